// A panel: one question, its answer as a chart and as a table, and the ways to take both elsewhere.

import { ask, csv, Refused } from "./api.js";
import { picture } from "./charts.js";
import { el, save, table } from "./dom.js";
import { t } from "./text.js";

/**
 * @param {string} title
 * @param {string} kind       a kind of the query contract, "trend" …
 * @param {object} question   its JSON
 * @param {(place: HTMLElement, result: object) => Promise<{headings: string[], rows: any[][]} | null>} show
 *   draws into the place and gives the figures as a table; null if there is nothing
 */
export function panel(title, kind, question, show, { wide = false, more = [] } = {}) {
  const chart = el("div", { class: "chart" });
  const said = el("p", { class: "said", role: "status" }, t("Loading …"));
  const data = el("details", {}, el("summary", {}, t("Data")));
  const asked = el("pre", { hidden: true, tabindex: "0" }, JSON.stringify({ kind, question }, null, 2));
  const name = title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const problem = (error) => { said.hidden = false; said.classList.add("wrong"); said.textContent = t(error.message); };
  const actions = el("p", { class: "actions" },
    el("button", { type: "button", "aria-expanded": "false", onclick: (event) => {
      asked.hidden = !asked.hidden;
      event.target.setAttribute("aria-expanded", String(!asked.hidden));
    } }, "JSON"),
    el("button", { type: "button", onclick: () => csv(kind, question).then((text) => save(`${name}.csv`, text, "text/csv"), problem) }, "CSV"),
    el("button", { type: "button", onclick: () => picture(chart, name).catch(problem) }, "PNG"),
    more);
  const made = el("section", { class: wide ? "panel wide" : "panel", "aria-label": title },
    el("h3", {}, title), said, chart, data, actions, asked);
  fill();
  return made;

  async function fill() {
    made.setAttribute("aria-busy", "true");
    try {
      const { result, meta } = await ask(kind, question);
      const figures = await show(chart, result, meta);
      const told = [];
      if (meta?.exact === false) told.push(t("estimate"));
      if (!figures) { chart.hidden = true; told.push(t("There is nothing here in this range.")); data.hidden = true; if (wide) made.dispatchEvent(new CustomEvent("nothing", { bubbles: true })); }
      else data.append(table(figures.headings, figures.rows, title));
      said.textContent = told.join(" · ");
      said.hidden = !told.length;
    } catch (error) {
      chart.hidden = data.hidden = true;
      problem(error instanceof Refused && error.status === 404 ? new Error("This isn't served here.") : error);
      if (error instanceof Refused && error.status === 401) made.dispatchEvent(new CustomEvent("needs-key", { bubbles: true }));
    } finally {
      made.setAttribute("aria-busy", "false");
    }
  }
}
