// What the answers of the query contract look like: a chart of each, and its table.

import { bars, columns, figure, flow, heat, lines } from "./charts.js";
import { number, percent, t } from "./text.js";

const NAMES = { $none: "(none)", $other: "(other)" };
const named = (value) => NAMES[value] ?? String(value);

const seriesName = (one) => one.group.length ? `${one.group.map(named).join(", ")}` : one.name;

/** A trend over buckets. */
export async function trend(place, result) {
  const { buckets, series } = result;
  if (!series.length || series.every((one) => one.values.every((value) => !value))) return null;
  await lines(place, buckets, series.map((one) => ({ name: seriesName(one), values: one.values })));
  return {
    headings: [t("Time"), ...series.map(seriesName)],
    rows: buckets.map((bucket, at) => [bucket, ...series.map((one) => number(one.values[at]))]),
  };
}

/** A trend's totals by group. */
export async function totals(place, result) {
  const rows = result.series.filter((one) => one.total).map((one) => ({ name: seriesName(one), value: one.total }));
  if (!rows.length) return null;
  // A single figure has nothing to be compared with: it stands there as a number.
  await (rows.length === 1 && !result.series[0].group.length ? figure(place, rows[0].value) : bars(place, rows));
  return { headings: [t("Name"), t("Count")], rows: rows.map((row) => [row.name, number(row.value)]) };
}

export async function funnel(place, result) {
  if (!result.steps[0].count) return null;
  const groups = result.groups ?? [{ group: t("Count"), steps: result.steps }];
  const names = result.steps.map((step) => `${step.step}. ${step.name}`);
  await columns(place, names, groups.map((one) => ({ name: named(one.group), values: one.steps.map((step) => step.count) })));
  return {
    headings: [t("Step"), t("Group"), t("Count"), t("Share"), "→", "⌀ s"],
    rows: groups.flatMap((one) => one.steps.map((step) => [
      `${step.step}. ${step.name}`, named(one.group), number(step.count), percent(step.of_first), percent(step.of_previous),
      number(step.time_from_previous_s?.mean ?? null),
    ])),
  };
}

export async function retention(place, result) {
  const cohorts = result.cohorts.filter((one) => one.size);
  if (!cohorts.length) return null;
  const periods = cohorts[0].rate.map((_, at) => `+${at}`);
  await heat(place, cohorts.map((one) => one.cohort), periods, cohorts.map((one) => one.rate));
  return {
    headings: [t("Cohort"), t("Size"), ...periods],
    rows: cohorts.map((one) => [one.cohort, number(one.size), ...one.rate.map(percent)]),
  };
}

export async function paths(place, result) {
  if (!result.paths) return null;
  await flow(place, result);
  return {
    headings: [t("Step"), t("From"), t("To"), t("Count")],
    rows: result.links.map((link) => [link.step, named(link.from), named(link.to), number(link.count)]),
  };
}

export async function values(place, result) {
  if (!result.values.length) return null;
  await bars(place, result.values.slice(0, 20).map((one) => ({ name: named(one.value), value: one.events })));
  return { headings: [t("Value"), t("Count")], rows: result.values.map((one) => [named(one.value), number(one.events)]) };
}
