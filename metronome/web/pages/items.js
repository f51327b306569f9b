// Items: which there are, and the tock of each.

import { ask, json } from "./api.js";
import { bars, lines } from "./charts.js";
import { el, field, table } from "./dom.js";
import { days, go, link, range } from "./state.js";
import { number, t } from "./text.js";

export async function view(place, parameters) {
  const search = el("input", { type: "search", name: "search", value: parameters.get("search") ?? "" });
  const form = el("form", { class: "form", role: "search", onsubmit: (event) => {
    event.preventDefault();
    parameters.set("search", search.value);
    go("items", parameters);
  } }, field(t("Search"), search), el("button", {}, t("Apply")));
  place.append(form);
  const item = parameters.get("item");
  if (item) await tock(place, item, parameters);
  const question = { field: "id", top: 100, ...range(parameters) };
  if (search.value) question.search = search.value;
  const { result } = await ask("values", question);
  const address = (name) => {
    const own = new URLSearchParams(parameters);
    own.set("item", name);
    return link("items", own);
  };
  place.append(result.values.length
    ? table([t("Item"), t("Count")], result.values.map((one) => [el("a", { href: address(one.value) }, String(one.value)), number(one.events)]), t("Items"))
    : el("p", { class: "said" }, t("There is nothing here in this range.")));
}

async function tock(place, item, parameters) {
  const { from, to } = days(parameters);
  const query = new URLSearchParams({ from, to, tz: range(parameters).tz });
  const path = `/tock/${item.split("/").map(encodeURIComponent).join("/")}.json?${query}`;
  const found = await json(path);
  const section = (title, made) => {
    const chart = el("div", { class: "chart" });
    const [headings, rows] = made(chart);
    return rows.length ? el("section", { class: "panel" }, el("h3", {}, title), chart,
      el("details", {}, el("summary", {}, t("Data")), table(headings, rows, title)), el("p", { class: "actions" }, el("a", { href: path }, "JSON"))) : null;
  };
  const pairs = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]);
  place.append(el("h2", { id: "item" }, item), el("div", { class: "grid" }, [
    section(t("Views by date"), (chart) => {
      const dates = Object.keys(found.views).sort();
      if (dates.length) lines(chart, dates, [{ name: "views", values: dates.map((date) => found.views[date]) }]);
      return [[t("Time"), t("Count")], dates.map((date) => [date, number(found.views[date])])];
    }),
    ...[[t("Downloads by format"), found.downloads], [t("Referers"), found.referers]].map(([title, counts]) => section(title, (chart) => {
      const rows = pairs(counts ?? {});
      if (rows.length) bars(chart, rows.slice(0, 20).map(([name, value]) => ({ name, value })));
      return [[t("Name"), t("Count")], rows.map(([name, value]) => [name, number(value)])];
    })),
  ].filter(Boolean)));
}
