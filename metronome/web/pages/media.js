// Videos: plays, how far people watched, and on which pages; by the video routes of the gateway.

import { ask, json } from "./api.js";
import { bars, lines } from "./charts.js";
import { el, field, table } from "./dom.js";
import { sheet } from "./panel.js";
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
  } }, field(t("Video"), input), el("button", {}, t("Apply"))));
  if (input.value) await one(place, input.value, parameters);
  // A session counts that watched any stretch of it; a player may never have said that it plays.
  const watched = { name: "sessions", event: "video.watch", measure: "unique:session_id" };
  const { result } = await ask("trend", { series: [watched], by: ["id"], top: 100, interval: "total", ...range(parameters) });
  const videos = result.series.filter((row) => row.group[0] !== "$other");
  const address = (name) => {
    const own = common(parameters);
    own.set("video", name);
    return link("video", own);
  };
  place.append(videos.length
    ? table([t("Video"), t("Sessions")], videos.map(({ group: [name], total }) => [el("a", { href: address(name) }, String(name)), number(total)]), t("Video"))
    : el("p", { class: "said" }, t("There is nothing here in this range.")));
}

/** Plays, engagement and sources of one video. */
async function one(place, identifier, parameters) {
  const when = days(parameters);
  const timeframe = JSON.stringify({ from: Date.parse(when.from) / SECONDS, to: Date.parse(when.to) / SECONDS + 86_399 });
  const read = async (report, more) => {
    const path = `/api/v1/${report}?${new URLSearchParams({ identifier, timeframe, ...more })}`;
    const answer = await json(path);
    return { path, answer, rows: answer[report === "plays" ? "views" : report] };
  };
  const [plays, engagement, sources] = await Promise.all([
    read("plays", { interval: "1 day" }), read("engagement", { ranges: "20" }), read("sources", { interval: "1 year" })]);
  const day = (row) => row.interval.slice(0, 10);
  place.append(el("h3", {}, identifier), el("div", { class: "grid" }, [
    sheet(t("Plays"), plays, [t("Time"), t("Plays"), t("Seconds watched")], plays.rows.map((row) => [day(row), row.views, row.total_view_time]),
      (chart) => lines(chart, plays.rows.map(day), [{ name: "plays", values: plays.rows.map((row) => row.views) }]), numbers),
    sheet(t("Engagement"), engagement, [t("From second"), t("To second"), t("People")],
      engagement.rows.map((row) => [row.range_time.from, row.range_time.to, row.viewers]),
      (chart) => lines(chart, engagement.rows.map((row) => number(row.range_time.from)), [{ name: "viewers", values: engagement.rows.map((row) => row.viewers) }]), numbers),
    sheet(t("Sources"), sources, [t("Name"), t("Plays")], sources.rows.map((row) => [row.path, row.views]),
      (chart) => bars(chart, sources.rows.map((row) => ({ name: row.path, value: row.views }))), numbers),
  ].filter(Boolean)));
}

const numbers = ([first, ...rest]) => [first, ...rest.map(number)];
