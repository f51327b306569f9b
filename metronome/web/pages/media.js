// Videos: plays, how far people watched, and on which pages; by the video routes of the gateway.

import { ask, json } from "./api.js";
import { bars, columns, lines } from "./charts.js";
import { el, field, table } from "./dom.js";
import { common, days, go, link, range } from "./state.js";
import { number, t } from "./text.js";

const SECONDS = 1000;

export async function video(place, parameters) {
  const input = el("input", { name: "video", value: parameters.get("video") ?? "" });
  place.append(el("form", { class: "form", role: "search", onsubmit: (event) => {
    event.preventDefault();
    const made = common(parameters);
    made.set("video", input.value);
    go("video", made);
  } }, field("Video", input), el("button", {}, t("Apply"))));
  if (input.value) await one(place, input.value, parameters);
  const { result } = await ask("values", { field: "id", event: "video.play", top: 100, ...range(parameters) });
  const address = (name) => {
    const own = common(parameters);
    own.set("video", name);
    return link("video", own);
  };
  place.append(result.values.length
    ? table(["Video", t("Plays")], result.values.map((row) => [el("a", { href: address(row.value) }, String(row.value)), number(row.events)]), t("Video"))
    : el("p", { class: "said" }, t("There is nothing here in this range.")));
}

/** Plays, engagement and sources of one video. */
async function one(place, identifier, parameters) {
  const when = days(parameters);
  const timeframe = JSON.stringify({ from: Date.parse(when.from) / SECONDS, to: Date.parse(when.to) / SECONDS + 86_399 });
  const read = async (report, more) => {
    const path = `/api/v1/${report}?${new URLSearchParams({ identifier, timeframe, ...more })}`;
    return { path, rows: (await json(path))[report === "plays" ? "views" : report] };
  };
  const [plays, engagement, sources] = await Promise.all([
    read("plays", { interval: "1 day" }), read("engagement", { ranges: "20" }), read("sources", { interval: "1 year" })]);
  const section = (title, path, headings, rows, draw) => {
    if (!rows.length) return null;
    const chart = el("div", { class: "chart" });
    draw(chart);
    return el("section", { class: "panel", "aria-label": title }, el("h3", {}, title), chart,
      el("details", {}, el("summary", {}, t("Data")), table(headings, rows, title)), el("p", { class: "actions" }, el("a", { href: path }, "JSON")));
  };
  const day = (row) => row.interval.slice(0, 10);
  place.append(el("h3", {}, identifier), el("div", { class: "grid" }, [
    section(t("Plays"), plays.path, [t("Time"), t("Plays"), "s"], plays.rows.map((row) => [day(row), number(row.views), number(row.total_view_time)]),
      (chart) => lines(chart, plays.rows.map(day), [{ name: "plays", values: plays.rows.map((row) => row.views) }])),
    section(t("Engagement"), engagement.path, ["s", t("People")], engagement.rows.map((row) => [`${number(row.range_time.from)} – ${number(row.range_time.to)}`, number(row.viewers)]),
      (chart) => columns(chart, engagement.rows.map((row) => number(row.range_time.from)), [{ name: "viewers", values: engagement.rows.map((row) => row.viewers) }])),
    section(t("Sources"), sources.path, [t("Name"), t("Plays")], sources.rows.map((row) => [row.path, number(row.views)]),
      (chart) => bars(chart, sources.rows.map((row) => ({ name: row.path, value: row.views })))),
  ].filter(Boolean)));
}
