// The first page: figures that most sites want, and those that its users have added.

import { all, editing, OVERVIEW, panels } from "./boards.js";
import { el } from "./dom.js";
import * as figures from "./figures.js";
import { panel } from "./panel.js";
import { range } from "./state.js";
import { t } from "./text.js";

const READY = [
  ["Events by day", "trend", { series: [{ name: "events", measure: "count" }], interval: "day" }, "trend", true],
  ["People by day", "trend", { series: [{ name: "people", measure: "unique" }], interval: "day" }, "trend"],
  ["Views and downloads", "trend", { series: [{ name: "view", event: "view" }, { name: "download", event: "download" }], interval: "day" }, "trend"],
  ["Most viewed items", "trend", { series: [{ name: "views", event: "view" }], by: ["id"], top: 10, interval: "total" }, "totals"],
  ["Where visitors come from", "trend", { series: [{ name: "views", event: "view" }], by: ["referer_host"], top: 10, interval: "total" }, "totals"],
  ["Browsers", "trend", { series: [{ name: "events" }], by: ["browser"], top: 8, interval: "total" }, "totals"],
  ["What happened", "trend", { series: [{ name: "events" }], by: ["event"], top: 10, interval: "total" }, "totals"],
  ["Downloads by format", "trend", { series: [{ name: "downloads", event: "download" }], by: ["format"], top: 10, interval: "total" }, "totals"],
];

export async function view(place, parameters) {
  const when = range(parameters);
  const grid = el("div", { class: "grid" });
  const said = el("p", { class: "said wrong", role: "alert" });
  place.append(said, grid);
  for (const [title, kind, question, show, wide] of READY) {
    grid.append(panel(t(title), kind, { ...question, ...when }, figures[show], { wide }));
  }
  const board = (await all()).find((one) => one.id === OVERVIEW);
  if (board) grid.append(...await panels(board, parameters, editing(board, said).tile));
}
