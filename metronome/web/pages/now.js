// What happens now: the live events, and how the gateway is.

import { call, json } from "./api.js";
import { el, table } from "./dom.js";
import { number, t } from "./text.js";

const MOST_ROWS = 100;

/** Events as they come, by server-sent events over fetch: EventSource can't send a key. */
export async function live(place) {
  const state = el("p", { class: "said", role: "status" }, t("Watching …"));
  const body = el("tbody", {});
  const stop = new AbortController();
  window.addEventListener("hashchange", () => stop.abort(), { once: true });
  place.append(state,
    el("p", { class: "actions" }, el("button", { type: "button", onclick: () => { stop.abort(); state.textContent = t("Stop"); } }, t("Stop"))),
    el("div", { class: "scroll", tabindex: "0" }, el("table", {}, el("caption", {}, t("Live")),
      el("thead", {}, el("tr", {}, [t("Time"), t("Event"), t("Item")].map((text) => el("th", { scope: "col" }, text)))), body)));
  const response = await call("/live/events", { accept: "text/event-stream", signal: stop.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  read(reader, (event) => {
    body.prepend(el("tr", {}, [event["@timestamp"], event.event, event.id ?? event.item_id].map((value) => el("td", {}, String(value ?? "")))));
    while (body.rows.length > MOST_ROWS) body.lastChild.remove();
  }).catch((error) => { if (error.name !== "AbortError") state.textContent = t(error.message); });
}

async function read(reader, take) {
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const lines = message.split("\n");
      if (!lines.some((line) => line.trim() === "event: event")) continue; // a comment, or a gap after a restart
      take(JSON.parse(lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n")));
    }
  }
}

const FIGURES = [
  ["metronome_events_accepted_total", "Accepted"], ["metronome_events_duplicate_total", "Duplicate"],
  ["metronome_events_refused_total", "Refused"], ["metronome_spool_events", "Waiting in the spool"], ["metronome_quarantine_events", "In quarantine"],
];

export async function health(place) {
  const ready = await json("/readyz");
  const yes = (flag) => t(flag ? "yes" : "no");
  const rows = [
    [t("Ticks are taken"), yes(ready.spool?.writable)],
    [t("Waiting in the spool"), number(ready.spool?.events ?? null)],
    [t("Oldest that waits"), `${number(ready.spool?.lag_s ?? null)} s`],
    [t("Elasticsearch"), String(ready.elasticsearch)],
    [t("Drain"), t(ready.drain?.running ? "running" : "not running") + (ready.drain?.trouble ? `: ${ready.drain.trouble}` : "")],
    [t("In quarantine"), number(ready.quarantined ?? null)],
  ];
  place.append(el("p", { class: `badge ${ready.status}` }, ready.status), table([t("Name"), t("Value")], rows, t("Health")));
  const text = await (await call("/metrics", { accept: "text/plain" })).text();
  place.append(table([t("Name"), t("Count")], FIGURES.map(([name, label]) => [t(label), number(sum(text, name))]), "/metrics"));
}

/** The sum of a metric over its labels. */
const sum = (text, name) => text.split("\n").filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length] ?? ""))
  .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
