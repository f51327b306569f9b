// COUNTER: the reports that a customer may have, month by month, and their files.

import { call, json } from "./api.js";
import { choose, el, field, save, table } from "./dom.js";
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
  field("Report", choose(reports, given("report", "tr"), { name: "report" })),
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
  const query = new URLSearchParams({
    customer_id: parameters.get("customer_id"), begin_date: given("begin_date", month(2)), end_date: given("end_date", month(1)),
  });
  if (parameters.get("requestor_id")) query.set("requestor_id", parameters.get("requestor_id"));
  if (kept()) query.set("api_key", kept());
  const name = given("report", "tr");
  const path = `/r51/reports/${name}?${query}`;
  const found = await json(path);
  const header = found.Report_Header ?? {};
  for (const exception of header.Exceptions ?? []) place.append(el("p", { class: "said" }, `${exception.Code}: ${exception.Message}`));
  const rows = (found.Report_Items ?? []).flatMap((item) => (item.Attribute_Performance ?? item.Items?.flatMap((inner) => inner.Attribute_Performance) ?? [])
    .flatMap((part) => Object.entries(part.Performance ?? {}).map(([metric, months]) => [
      item.Title ?? item.Item ?? item.Database ?? item.Platform ?? "–", part.Data_Type ?? "–", metric,
      number(Object.values(months).reduce((sum, count) => sum + count, 0))])));
  place.append(el("h3", {}, header.Report_Name ?? name),
    table([t("Title"), "Data_Type", "Metric_Type", t("Count")], rows, header.Report_Name ?? name),
    el("p", { class: "actions" }, ["tsv", "xlsx"].map((format) => el("button", { type: "button", onclick: async () => {
      const file = await (await call(`${path}&format=${format}`, { accept: "*/*" })).blob();
      save(`${name}.${format}`, file, file.type);
    } }, format.toUpperCase()))));
}
