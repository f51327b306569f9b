// The page of one application: asks for its figures, and shows them as a graph, a legend, properties and events.
import { Graph } from "./graph.js";

const { application, event: eventName, property } = document.body.dataset;
const find = (selector) => document.querySelector(selector);
const own = `/application/${encodeURIComponent(application)}`;
const hidden = new Set();
let latest = 0;

const graph = new Graph(find("#graph"), find("#tooltip"), (zoomed) => { find("#reset-zoom").hidden = !zoomed; });

// `page({event_name: "login"})` is the address of this page with these parameters; empty ones are left out.
function page(parameters) {
  const kept = Object.entries(parameters).filter(([, value]) => value);
  return own + (kept.length ? "?" + new URLSearchParams(kept) : "");
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function load() {
  const request = ++latest;
  find("#state").hidden = false;
  find("#error").hidden = true;
  try {
    const parameters = new URLSearchParams({ event_name: eventName, property, time_range: find("#time-range").value });
    const response = await fetch(`/api${own}?${parameters}`);
    const answer = await response.json();
    if (request !== latest) return;
    if (!response.ok) throw new Error(answer.error?.message ?? `HTTP ${response.status}`);
    show(answer);
  } catch (error) {
    if (request !== latest) return;
    find("#error").textContent = `The figures couldn't be loaded: ${error.message}`;
    find("#error").hidden = false;
  } finally {
    if (request === latest) find("#state").hidden = true;
  }
}

function show(answer) {
  const series = answer.data.map((one, number) => ({ ...one, number, style: `s${number % 11}` }));
  const draw = () => graph.show(series.filter((one) => !hidden.has(one.label)));
  showLegend(series, draw);
  showNumbers(series);
  showProperties(answer.properties);
  showEvents(answer.events);
  draw();
}

function showLegend(series, draw) {
  const rows = series.map((one) => {
    const box = element("input", { type: "checkbox", checked: !hidden.has(one.label) });
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(one.label); else hidden.add(one.label);
      draw();
    });
    const mark = element("span", { className: `series-mark ${one.style}` });
    return element("label", {}, box, mark, one.label);
  });
  find("#legend").replaceChildren(element("legend", { textContent: "Series" }), ...rows);
  find("#legend").hidden = !series.length;
}

function showNumbers(series) {
  const head = element("tr", {}, ...["Time", ...series.map((one) => one.label)].map((text) => element("th", { scope: "col", textContent: text })));
  const rows = (series[0]?.data ?? []).map(([ms], at) => element("tr", {},
    element("th", { scope: "row", textContent: graph.timeText(ms) }), ...series.map((one) => element("td", { textContent: one.data[at][1] }))));
  find("#numbers div").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  find("#numbers").hidden = !series.length;
}

function showProperties(properties) {
  const rows = properties.map(({ name, count }) => {
    const button = element("input", { type: "radio", name: "property", value: name, checked: name === property });
    button.addEventListener("change", () => { location.href = page({ event_name: eventName, property: name }); });
    return element("label", {}, button, `${name} (${count})`);
  });
  find("#properties fieldset").replaceChildren(find("#properties legend"), ...rows);
  find("#properties").hidden = !properties.length;
}

function showEvents(events) {
  find("#events tbody").replaceChildren(...events.map(({ name, count }) => element("tr", {},
    element("td", {}, element("a", { href: page({ event_name: name }), textContent: name })), element("td", { textContent: count }))));
}

find("#time-range").addEventListener("change", () => { graph.reset(); load(); });
find("#reset-zoom").addEventListener("click", () => graph.reset());
load();
