// Saved dashboards: which there are, and the panels of one. `GET /saved/dashboards` and its neighbours keep them.
//
//     #/dashboards                       all of them, and a form for a new one
//     #/dashboards?id=sales              one; whoever has its address and a key may see it
//     #/dashboards?id=sales&version=2    the same as it was
//
// A tile is a question with its title, {title, kind, question, show}, or a saved metric, {metric: "stickiness"}.

import { call, json, Refused } from "./api.js";
import { choose, el, field, table } from "./dom.js";
import * as figures from "./figures.js";
import { panel } from "./panel.js";
import { again, common, go, link, range } from "./state.js";
import { t } from "./text.js";

const PATH = "/saved/dashboards";
const CHANGED = 409;
const TRIES = 3;

/** The dashboard of the first page. It is there once a panel was added to it. */
export const OVERVIEW = "overview";

export const all = async () => (await json(PATH)).dashboards;

const at = (id) => `${PATH}/${encodeURIComponent(id)}`;

/** The version that is expected: what stands in its place meanwhile isn't overwritten, the gateway answers 409. */
const expecting = (version) => version ? { "If-Match": `"${version}"` } : { "If-None-Match": "*" };

/** Save a board over the version that was read (0: there was none); raises Refused, with 409 if another was faster. */
export const write = (id, { title, tiles, desc = "", order = null }, version) =>
  json(at(id), { method: "PUT", body: { title, tiles, desc, order }, more: expecting(version) });

/** Add a tile behind those that the dashboard has by now. */
export async function add(id, tile) {
  for (let turn = 1; ; turn++) {
    const board = (await all()).find((one) => one.id === id) ?? { title: "Overview", tiles: [], version: 0 };
    try {
      return await write(id, { ...board, tiles: [...board.tiles, tile] }, board.version);
    } catch (error) {
      if (!(error instanceof Refused && error.status === CHANGED) || turn === TRIES) throw error;
    }
  }
}

/** The panels of a board. `more` gives the buttons of the tile at a place. */
export async function panels(board, parameters, more) {
  const named = board.tiles.some((tile) => tile.metric) ? (await json("/saved/metrics")).metrics : [];
  return board.tiles.map((tile, place) => {
    const shown = tile.metric ? ofMetric(tile.metric, named, parameters) : { ...tile, question: { ...tile.question, ...range(parameters) } };
    return figures[shown.show]
      ? panel(shown.title, shown.kind, shown.question, figures[shown.show], { wide: shown.wide, more: more(place) })
      : el("section", { class: "panel", "aria-label": shown.title ?? "" }, el("h3", {}, shown.title ?? t("Panel")),
        el("p", { class: "said wrong" }, t(shown.why ?? "This page can't show this panel.")), el("p", { class: "actions" }, more(place)));
  });
}

/** A metric as a tile. It keeps the range that it was saved with, which is a part of what it means. */
function ofMetric(id, named, parameters) {
  const metric = named.find((one) => one.id === id);
  if (!metric) return { title: id, why: "There is no such metric." };
  const { title, type, query } = metric;
  if (!query) return { title, why: "Another server computes this metric; ask for its result." };
  const { from, tz } = range(parameters);
  const question = { from, tz, ...query };
  const named_so = query.from ? `${title} (${query.from})` : title;
  if (type === "funnel") return { title: named_so, kind: "funnel", question, show: "funnel" };
  return type === "total"
    ? { title: named_so, kind: "trend", question: { ...question, interval: "total" }, show: "totals" }
    : { title: named_so, kind: "trend", question, show: "trend" };
}

/** Buttons that change a board, and what it says when they can't. */
export function editing(board, said) {
  const saving = async (change) => {
    try {
      await write(board.id, { ...board, ...change }, board.version);
      again();
    } catch (error) {
      const late = error instanceof Refused && error.status === CHANGED;
      said.replaceChildren(t(late ? "Somebody else has changed this dashboard. Nothing of yours was saved." : error.message), " ",
        late ? el("button", { type: "button", onclick: again }, t("Read it again")) : "");
    }
  };
  const moved = (place, by) => {
    const tiles = [...board.tiles];
    tiles.splice(place + by, 0, ...tiles.splice(place, 1));
    return tiles;
  };
  const button = (label, name, click) => el("button", { type: "button", "aria-label": name, onclick: click }, label);
  const tile = (place) => [
    place ? button("←", t("Move to the front"), () => saving({ tiles: moved(place, -1) })) : null,
    place < board.tiles.length - 1 ? button("→", t("Move to the back"), () => saving({ tiles: moved(place, 1) })) : null,
    el("button", { type: "button", onclick: () => saving({ tiles: board.tiles.filter((_, other) => other !== place) }) }, t("Remove")),
  ].filter(Boolean);
  return { saving, tile };
}

export async function view(place, parameters) {
  const id = parameters.get("id");
  return id ? one(place, id, parameters) : list(place, parameters);
}

/** `Sales, by week` becomes `sales-by-week`; a title without such letters gets a number. */
const idOf = (title) => title.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 64)
  || `board-${Date.now()}`;

async function list(place, parameters) {
  const title = el("input", { name: "title", required: true, maxlength: 200, autocomplete: "off" });
  const said = el("p", { class: "said wrong", role: "alert" });
  const open = (id) => { const own = common(parameters); own.set("id", id); return own; };
  place.append(el("form", { class: "form", onsubmit: async (event) => {
    event.preventDefault();
    try {
      go("dashboards", open((await write(idOf(title.value), { title: title.value, tiles: [] }, 0)).id));
    } catch (error) {
      said.textContent = t(error.status === CHANGED ? "There is a dashboard of this name already." : error.message);
    }
  } }, field(t("Title"), title), el("button", {}, t("New dashboard"))), said);
  const found = await all();
  place.append(found.length
    ? table([t("Title"), t("Panels"), t("Version"), t("Changed"), t("By")], found.map((board) =>
      [el("a", { href: link("dashboards", open(board.id)) }, board.title), board.tiles.length, board.version, board.at, board.by || null]), t("Dashboards"))
    : el("p", { class: "said" }, t("There are no dashboards yet.")));
}

async function one(place, id, parameters) {
  const wanted = parameters.get("version");
  let board;
  try {
    board = await json(wanted ? `${at(id)}?version=${encodeURIComponent(wanted)}` : at(id));
  } catch (error) {
    if (!(error instanceof Refused && error.status === 404)) throw error;
    throw new Refused(0, "There is no such dashboard.");
  }
  const said = el("p", { class: "said wrong", role: "alert" });
  const { saving, tile } = editing(board, said);
  const grid = el("div", { class: "grid" });
  const own = common(parameters);
  own.set("id", id);
  place.append(el("h3", { id: "board" }, board.title), said, wanted ? older(board, own) : settings(board, saving, own, said), grid);
  if (!board.tiles.length) grid.append(el("p", { class: "said" }, t("Nothing is on it yet: build a trend, a funnel or another figure and add it, or choose a metric.")));
  grid.append(...await panels(board, parameters, wanted ? () => [] : tile));
}

/** The title, the metrics to choose from, the versions, the address, and the way out. */
function settings(board, saving, own, said) {
  const title = el("input", { name: "title", required: true, maxlength: 200, value: board.title });
  const metric = choose([], "", { name: "metric", required: true });
  const kept = new URLSearchParams(own);
  const versions = choose(Array.from({ length: board.version }, (_, place) => String(board.version - place)), String(board.version), {
    name: "version", onchange: (event) => { kept.set("version", event.target.value); go("dashboards", kept); } });
  const metrics = el("details", { class: "edit", ontoggle: async () => {
    if (metric.options.length) return;
    const found = (await json("/saved/metrics")).metrics;
    metric.append(...found.map((one) => el("option", { value: one.id }, one.title)));
  } }, el("summary", {}, t("Add a metric")), el("form", { class: "form", onsubmit: (event) => {
    event.preventDefault();
    saving({ tiles: [...board.tiles, { metric: metric.value }] });
  } }, field(t("Metric"), metric), el("button", {}, t("Add"))));
  const remove = el("button", { type: "button", onclick: async () => {
    if (!confirm(t("Delete this dashboard? Its versions stay readable."))) return;
    try {
      await call(at(board.id), { method: "DELETE", more: expecting(board.version) });
      own.delete("id");
      go("dashboards", own);
    } catch (error) { said.textContent = t(error.message); }
  } }, t("Delete"));
  return el("div", {}, el("form", { class: "form", onsubmit: (event) => { event.preventDefault(); saving({ title: title.value }); } },
    field(t("Title"), title), el("button", {}, t("Rename")), field(t("Version"), versions),
    field(t("Address to share"), el("input", { readonly: true, value: location.href, onfocus: (event) => event.target.select() })), remove), metrics);
}

/** An older version says so, and can be made the newest again. */
function older(board, own) {
  const back = el("button", { type: "button", onclick: async () => {
    const newest = (await all()).find((one) => one.id === board.id);
    await write(board.id, board, newest?.version ?? 0);
    go("dashboards", own);
  } }, t("Make it the newest"));
  return el("p", { class: "actions" }, el("span", { class: "said" }, `${t("An older version")}: ${board.version}, ${board.at}`),
    el("a", { href: link("dashboards", own) }, t("Newest")), back);
}
