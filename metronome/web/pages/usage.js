// COUNTER: the reports that a customer may have, month by month, and their files.

import { call, json } from "./api.js";
import { lines } from "./charts.js";
import { choose, el, field, save } from "./dom.js";
import { sheet } from "./panel.js";
import { common, go } from "./state.js";
import { number, t } from "./text.js";

const NAMES = ["customer_id", "requestor_id", "api_key"];

const month = (back) => {
  const date = new Date();
  date.setUTCDate(1);
  date.setUTCMonth(date.getUTCMonth() - back);
  return date.toISOString().slice(0, 7);
};

export async function usage(place, parameters) {
  const given = (name, fallback) => parameters.get(name) || fallback;
  const reports = ["pr", "dr", "tr", "ir", "pr_p1", "dr_d1", "dr_d2", "tr_b1", "tr_b2", "tr_b3", "tr_j1", "tr_j2", "tr_j3", "tr_j4", "ir_a1", "ir_m1"];
  const form = el("form", { class: "form", onsubmit: (event) => {
    event.preventDefault();
    const made = common(parameters);
    for (const [name, value] of new FormData(form)) if (name !== "api_key") made.set(name, value);
    keep(form.elements.api_key.value);
    go("counter", made);
  } },
  NAMES.map((name) => field(name, el("input", { name, value: name === "api_key" ? kept() : given(name, ""), type: name === "api_key" ? "password" : "text", autocomplete: "off" }))),
  field(t("Report"), choose(reports, given("report", "tr"), { name: "report" })),
  field(t("From"), el("input", { name: "begin_date", value: given("begin_date", month(2)), size: 8 })),
  field(t("To"), el("input", { name: "end_date", value: given("end_date", month(1)), size: 8 })),
  el("button", {}, t("Apply")));
  place.append(form);
  if (parameters.get("customer_id")) await report(place, parameters, given);
}

const KEPT = "metronome.counter";
const kept = () => sessionStorage.getItem(KEPT) ?? "";
const keep = (value) => sessionStorage.setItem(KEPT, value);

async function report(place, parameters, given) {
  const query = new URLSearchParams({ customer_id: parameters.get("customer_id") });
  if (parameters.get("requestor_id")) query.set("requestor_id", parameters.get("requestor_id"));
  if (kept()) query.set("api_key", kept());
  const name = given("report", "tr");
  const there = (await json(`/r51/reports?${query}`)).find((one) => one.Report_ID === name.toUpperCase());
  if (there?.First_Month_Available) place.append(el("p", { class: "said" }, `${t("Months that can be asked for")}: ${there.First_Month_Available} – ${there.Last_Month_Available}`));
  query.set("begin_date", given("begin_date", month(2)));
  query.set("end_date", given("end_date", month(1)));
  const path = `/r51/reports/${name}?${query}`;
  const found = await json(path);
  const title = found.Report_Header?.Report_Name ?? name;
  for (const exception of found.Report_Header?.Exceptions ?? []) place.append(el("p", { class: "said" }, `${exception.Code}: ${exception.Message}`));
  const figures = (found.Report_Items ?? []).flatMap((item) => (item.Items ?? [item]).flatMap(rows));
  const months = [...new Set(figures.flatMap((row) => Object.keys(row.counts)))].sort();
  const metrics = [...new Set(figures.map((row) => row.metric))];
  const sum = (metric, one) => figures.reduce((total, row) => total + (row.metric === metric ? row.counts[one] ?? 0 : 0), 0);
  const shown = sheet(title, { path, answer: found }, [t("Title"), "Data_Type", "Metric_Type", ...months, t("Total")],
    figures.map(({ name, type, metric, counts }) => [name, type, metric, ...months.map((one) => counts[one] ?? 0), Object.values(counts).reduce((a, b) => a + b, 0)]),
    (chart) => lines(chart, months, metrics.map((metric) => ({ name: metric, values: months.map((one) => sum(metric, one)) }))),
    ([name, type, metric, ...counts]) => [name, type, metric, ...counts.map(number)]);
  if (!shown) place.append(el("p", { class: "said" }, t("There is nothing here in this range.")));
  place.append(shown ?? "", el("p", { class: "actions" }, ["tsv", "xlsx"].map((format) => el("button", { type: "button", onclick: async () => {
    const file = await (await call(`${path}&format=${format}`, { accept: "*/*" })).blob();
    save(`${name}.${format}`, file, file.type);
  } }, format.toUpperCase()))));
}

/** One row for each data type and metric of an item, a title, a database or a platform. */
const rows = (item) => (item.Attribute_Performance ?? []).flatMap((part) => Object.entries(part.Performance ?? {}).map(([metric, counts]) => ({
  name: item.Item ?? item.Title ?? item.Database ?? item.Platform ?? "–", type: part.Data_Type ?? "–", metric, counts })));
