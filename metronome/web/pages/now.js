// What happens now: the live events, and how the gateway is with its ledger.

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

/** The figures of the ledger, the first being the sum of the others; then those that it doesn't hold. */
const LEDGER = [
  ["accepted", "Accepted"], ["indexed", "Stored"], ["duplicate", "Stored before, and sent again"], ["quarantined", "Put in quarantine by Elasticsearch's refusal"],
  ["suppressed", "Dropped, of persons who were erased"], ["waiting", "Waiting in the spool"], ["difference", "Difference"],
];
const BESIDE = [
  ["refused", "Refused"], ["refused_but_kept", "Refused, and kept in quarantine"], ["repeated_in_their_request", "Repeated within their request"],
  ["damaged_requests", "Requests that the disk damaged"], ["in_quarantine", "In quarantine now"],
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
  place.append(el("p", { class: `badge ${ready.status}` }, t(ready.status)), table([t("Name"), t("Value")], rows, t("Health")));
  const ledger = await json("/ledger");
  const counted = (figures) => figures.map(([name, label]) => [t(label), number(ledger[name])]);
  place.append(el("h3", {}, t("Ledger")),
    el("p", { class: "said" }, t("What became of the events that this host has accepted. The first figure is the sum of the others.")),
    table([t("Name"), t("Events")], counted(LEDGER), t("Ledger")),
    el("p", { class: "said" }, t("A difference is small while events flow. One that stays: above 0, the disk damaged requests or an erasure took events out of the spool; below 0, events went to Elasticsearch twice, after a crash or a replay.")),
    el("h3", {}, t("Beside the ledger")), table([t("Name"), t("Count")], counted(BESIDE), t("Beside the ledger")));
}
