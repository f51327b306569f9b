// The builders: a form whose state is the address, and a panel with the question that it makes.

import { ask } from "./api.js";
import { add, all, OVERVIEW } from "./boards.js";
import { choose, el, field } from "./dom.js";
import * as figures from "./figures.js";
import { panel } from "./panel.js";
import { common, go, range } from "./state.js";
import { t } from "./text.js";

/** Names of events and of properties of the range, most frequent first; empty where they can't be read. */
async function known(parameters) {
  const when = range(parameters);
  const read = async (kind, question, pick) => {
    try { return pick((await ask(kind, { ...question, ...when })).result); } catch { return []; }
  };
  const [events, properties] = await Promise.all([
    read("values", { field: "event", top: 200 }, (result) => result.values.map((one) => String(one.value))),
    read("properties", {}, (result) => result.properties.map((one) => one.name)),
  ]);
  return { events, properties };
}

/** Words of a question, as they are called on the page. */
const terms = (words) => words.map((word) => [word, t(word)]);

const datalist = (id, options) => el("datalist", { id }, options.map((value) => el("option", { value })));
const input = (name, value, attributes = {}) => el("input", { name, value: value ?? "", autocomplete: "off", ...attributes });

function builder(place, view, parameters, { events, properties }, rows, title, kind, question, show) {
  const form = el("form", { class: "form", onsubmit: (event) => {
    event.preventDefault();
    const made = common(parameters);
    for (const [name, value] of new FormData(form)) made.append(name, value);
    made.set("ask", "1");
    go(view, made);
  } }, rows, datalist("events", events), datalist("properties", properties), el("button", {}, t("Apply")));
  place.append(form);
  if (!question) return;
  place.append(panel(title, kind, { ...question, ...range(parameters) }, figures[show], { wide: true, more: [keeping({ title, kind, question, show })] }));
}

/** A form that adds a tile to a dashboard, under a title of its own. The dashboards are read once it is opened. */
function keeping(tile) {
  const title = input("tile-title", tile.title, { required: true, maxlength: 200 });
  const board = choose([[OVERVIEW, t("Overview")]], OVERVIEW, { name: "board" });
  const said = el("span", { class: "said", role: "status" });
  const open = async () => {
    try {
      const others = (await all()).filter((one) => one.id !== OVERVIEW);
      board.append(...others.map((one) => el("option", { value: one.id }, one.title)));
    } catch (error) { said.textContent = t(error.message); }
  };
  return el("details", { ontoggle: (event) => { if (event.target.open && board.options.length === 1) open(); } },
    el("summary", {}, t("Add to a dashboard")), el("form", { class: "form", onsubmit: async (event) => {
      event.preventDefault();
      try {
        await add(board.value, { ...tile, title: title.value });
        said.textContent = t("Added.");
      } catch (error) { said.textContent = t(error.message); }
    } }, field(t("Title"), title), field(t("Dashboard"), board), el("button", {}, t("Add")), said));
}

/** A list of text inputs with one name; empty ones are left out of the question. */
function several(label, name, values, list, more) {
  const holder = el("fieldset", {}, el("legend", {}, label));
  const add = (value = "") => {
    const made = input(name, value, { list, "aria-label": `${label} ${holder.querySelectorAll("input").length + 1}` });
    holder.insertBefore(el("span", { class: "row" }, made, el("button", { type: "button", "aria-label": t("Remove"), onclick: (event) => event.target.parentNode.remove() }, "×")), button);
    return made;
  };
  const button = el("button", { type: "button", onclick: () => add().focus() }, more);
  holder.append(button);
  for (const value of values.length ? values : [""]) add(value);
  return holder;
}

const step = (name) => name ? { event: name } : {};

const filters = (parameters) => parameters.getAll("where").map(filter).filter(Boolean);

/** `browser = Chrome`, `props.price > 10`: one filter as text. */
function filter(text) {
  const found = /^\s*(\S+?)\s*(>=|<=|!=|=|>|<|~)\s*(.*?)\s*$/.exec(text);
  if (!found) return null;
  const [, name, op, value] = found;
  const plain = /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value === "true" ? true : value === "false" ? false : value;
  const ops = { "=": "is", "!=": "is_not", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "~": "contains" };
  return { field: name, op: ops[op], value: op === "~" ? value : plain };
}

const narrowing = (parameters) =>
  several(`${t("Add a filter")} (browser = Chrome, props.price > 10, url ~ /buy)`, "where", parameters.getAll("where"), "properties", t("Add a filter"));

export async function trend(place, parameters) {
  const found = await known(parameters);
  const measure = parameters.get("measure") || "count";
  const property = parameters.get("property") || "";
  const rows = [
    several(t("Event"), "event", parameters.getAll("event"), "events", t("Add a series")),
    field(t("Measure"), choose(terms(["count", "unique", "per_subject", "sum", "avg", "min", "max", "median", "p90"]), measure, { name: "measure" })),
    field(t("Field"), input("property", property, { list: "properties" })),
    field(t("Interval"), choose(terms(["hour", "day", "week", "month", "year", "total"]), parameters.get("interval") || "day", { name: "interval" })),
    field(t("By"), input("by", parameters.get("by"), { list: "properties" })),
    field(t("Formula"), input("formula", parameters.get("formula"), { placeholder: "A / B" })),
    narrowing(parameters),
  ];
  let question = null;
  if (parameters.get("ask")) {
    const needsField = ["sum", "avg", "min", "max", "median", "p90"].includes(measure);
    const series = (parameters.getAll("event").length ? parameters.getAll("event") : [""]).map((event, at) => ({
      name: parameters.get("formula") ? "ABCDEFGH"[at] : event || "events", ...step(event), measure: needsField ? `${measure}:${property}` : measure,
    }));
    question = { series, interval: parameters.get("interval") || "day", where: filters(parameters) };
    if (parameters.get("by")) { question.by = [parameters.get("by")]; question.top = 10; }
    if (parameters.get("formula")) question.formula = parameters.get("formula");
  }
  const show = question?.interval === "total" ? "totals" : "trend";
  builder(place, "trend", parameters, found, rows, t("Trend"), "trend", question, show);
}

export async function funnel(place, parameters) {
  const found = await known(parameters);
  const steps = parameters.getAll("step");
  const rows = [
    several(t("Step"), "step", steps.length ? steps : ["", ""], "events", t("Add a step")),
    field(t("Window"), input("window", parameters.get("window") || "7d")),
    field(t("Order"), choose(terms(["sequential", "strict", "any"]), parameters.get("order") || "sequential", { name: "order" })),
    field(t("By"), input("by", parameters.get("by"), { list: "properties" })),
    narrowing(parameters),
  ];
  let question = null;
  if (parameters.get("ask")) {
    question = { steps: steps.map(step), window: parameters.get("window") || "7d", order: parameters.get("order") || "sequential", where: filters(parameters) };
    if (parameters.get("by")) question.by = parameters.get("by");
  }
  builder(place, "funnel", parameters, found, rows, t("Funnel"), "funnel", question, "funnel");
}

export async function retention(place, parameters) {
  const found = await known(parameters);
  const rows = [
    field(t("Start event"), input("start", parameters.get("start"), { list: "events", placeholder: t("Any event") })),
    field(t("Return event"), input("return", parameters.get("return"), { list: "events", placeholder: t("Any event") })),
    field(t("Period"), choose(terms(["day", "week", "month"]), parameters.get("period") || "day", { name: "period" })),
    field(t("Periods"), input("periods", parameters.get("periods") || "14", { type: "number", min: 1, max: 60 })),
    narrowing(parameters),
  ];
  const question = parameters.get("ask") ? {
    start: step(parameters.get("start")), return: step(parameters.get("return")), period: parameters.get("period") || "day",
    periods: Number(parameters.get("periods") || 14), where: filters(parameters),
  } : null;
  builder(place, "retention", parameters, found, rows, t("Retention"), "retention", question, "retention");
}

export async function paths(place, parameters) {
  const found = await known(parameters);
  const rows = [
    field(t("Start event"), input("start", parameters.get("start"), { list: "events", placeholder: t("Any event") })),
    field(t("Depth"), input("depth", parameters.get("depth") || "4", { type: "number", min: 1, max: 20 })),
    field(t("By"), input("node", parameters.get("node") || "event", { list: "properties" })),
    narrowing(parameters),
  ];
  const question = parameters.get("ask") ? {
    start: step(parameters.get("start")), depth: Number(parameters.get("depth") || 4), node: parameters.get("node") || "event",
    top: 8, across_sessions: true, where: filters(parameters),
  } : null;
  builder(place, "paths", parameters, found, rows, t("Paths"), "paths", question, "paths");
}

export { filters, narrowing };
