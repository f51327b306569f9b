// A panel: one question, its answer as a chart and as a table, and the ways to take both elsewhere.

import { ask, csv, Refused } from "./api.js";
import { picture } from "./charts.js";
import { el, save, table } from "./dom.js";
import { t } from "./text.js";

const nameOf = (title) => title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");

/** What every panel has: its title, a place for the chart, what it says, its figures, its buttons. */
function frame(title, { wide, csvOf, actions }) {
  const chart = el("div", { class: "chart" });
  const said = el("p", { class: "said", role: "status" });
  const data = el("details", {}, el("summary", {}, t("Data")));
  const name = nameOf(title);
  const problem = (error) => { said.hidden = false; said.classList.add("wrong"); said.textContent = t(error.message); };
  const file = el("button", { type: "button", onclick: () => csvOf().then((text) => save(`${name}.csv`, text, "text/csv"), problem) }, "CSV");
  const drawn = el("button", { type: "button", onclick: () => picture(chart, name).catch(problem) }, "PNG");
  const made = el("section", { class: wide ? "panel wide" : "panel", "aria-label": title },
    el("h3", {}, title), said, chart, data, el("div", { class: "actions" }, actions[0], file, drawn, actions.slice(1)));
  return { made, chart, said, data, problem, drawn };
}

/** A button that shows and hides a text, and the place of the text. */
function opened(textOf) {
  const shown = el("pre", { hidden: true, tabindex: "0" });
  const button = el("button", { type: "button", "aria-expanded": "false", onclick: async () => {
    shown.hidden = !shown.hidden;
    button.setAttribute("aria-expanded", String(!shown.hidden));
    if (!shown.hidden) shown.textContent = await textOf();
  } }, "JSON");
  return [button, shown];
}

/**
 * @param {string} title
 * @param {string} kind       a kind of the query contract, "trend" …
 * @param {object} question   its JSON
 * @param {(place: HTMLElement, result: object) => Promise<{headings: string[], rows: any[][]} | null>} show
 *   draws into the place and gives the figures as a table; null if there is nothing
 */
export function panel(title, kind, question, show, { wide = false, more = [] } = {}) {
  const [asking, asked] = opened(() => JSON.stringify({ kind, question }, null, 2));
  const { made, chart, said, data, problem, drawn } = frame(title, { wide, csvOf: () => csv(kind, question), actions: [asking, ...more] });
  made.append(asked);
  said.textContent = t("Loading …");
  fill();
  return made;

  async function fill() {
    made.setAttribute("aria-busy", "true");
    try {
      const { result, meta } = await ask(kind, question);
      const figures = await show(chart, result, meta);
      const told = [];
      if (meta?.exact === false) told.push(t("estimate"));
      const unfinished = (result.buckets ?? []).filter((bucket, at) => bucket !== "total" && result.complete?.[at] === false);
      if (unfinished.length) told.push(`${unfinished.join(", ")}: ${t("not complete yet")}`);
      if (!figures) { chart.hidden = drawn.hidden = true; told.push(t("There is nothing here in this range.")); data.hidden = true; if (wide) made.dispatchEvent(new CustomEvent("nothing", { bubbles: true })); }
      else data.append(table(figures.headings, figures.rows, title));
      said.textContent = told.join(" · ");
      said.hidden = !told.length;
    } catch (error) {
      chart.hidden = data.hidden = drawn.hidden = true;
      problem(error instanceof Refused && error.status === 404 ? new Error("This isn't served here.") : error);
      if (error instanceof Refused && error.status === 401) made.dispatchEvent(new CustomEvent("needs-key", { bubbles: true }));
    } finally {
      made.setAttribute("aria-busy", "false");
    }
  }
}

const quoted = (cell) => /[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;

/**
 * A panel of figures that were read from another route than `/query`: `path` gave `answer`.
 *
 * `rows` are raw values, `shown` makes a row of texts of one; `draw` draws into the place. Null if there are no rows.
 */
export function sheet(title, { path, answer }, headings, rows, draw, shown = (row) => row) {
  if (!rows.length) return null;
  // The path is shown so that a program can ask the same; a secret in it is not.
  const [asking, asked] = opened(() => `GET ${path.replace(/&?api_key=[^&]*/, "")}\n\n${JSON.stringify(answer, null, 2)}`);
  const { made, chart, said, data, problem } = frame(title, {
    actions: [asking],
    csvOf: async () => [headings, ...rows].map((row) => row.map((cell) => quoted(String(cell ?? ""))).join(",")).join("\r\n") + "\r\n",
  });
  made.append(asked);
  said.hidden = true;
  data.append(table(headings, rows.map(shown), title));
  made.setAttribute("aria-busy", "true");
  draw(chart).catch(problem).finally(() => made.setAttribute("aria-busy", "false"));
  return made;
}
