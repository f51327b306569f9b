// Items: which there are, and the tock of each.

import { ask, json } from "./api.js";
import { bars, lines } from "./charts.js";
import { el, field, table } from "./dom.js";
import { sheet } from "./panel.js";
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
  const counted = (title, counts) => {
    const rows = Object.entries(counts ?? {}).sort((a, b) => b[1] - a[1]);
    return sheet(title, { path, answer: found }, [t("Name"), t("Count")], rows,
      (chart) => bars(chart, rows.slice(0, 20).map(([name, value]) => ({ name, value }))), ([name, value]) => [name, number(value)]);
  };
  const views = Object.entries(found.views).sort();
  place.append(el("h3", { id: "item" }, item), el("div", { class: "grid" }, [
    sheet(t("Views by date"), { path, answer: found }, [t("Time"), t("Count")], views,
      (chart) => lines(chart, views.map(([date]) => date), [{ name: "views", values: views.map(([, count]) => count) }]), ([date, count]) => [date, number(count)]),
    counted(t("Downloads by format"), found.downloads), counted(t("Referers"), found.referers)].filter(Boolean)));
}
