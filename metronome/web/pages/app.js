// The frame: navigation, range, key, language, colours; and which view stands below it.

import { key, Refused, setKey } from "./api.js";
import * as boards from "./boards.js";
import * as build from "./build.js";
import { choose, el, field } from "./dom.js";
import * as items from "./items.js";
import * as lists from "./lists.js";
import { video } from "./media.js";
import * as now from "./now.js";
import * as overview from "./overview.js";
import { common, go, link, range, read } from "./state.js";
import { language, names, speak, t } from "./text.js";
import { usage } from "./usage.js";

// `start` stands in the page itself: it is there without scripts, too.
const VIEWS = {
  overview: ["Overview", overview.view], dashboards: ["Dashboards", boards.view], items: ["Items", items.view], events: ["Events", lists.events],
  trend: ["Trend", build.trend], funnel: ["Funnel", build.funnel], retention: ["Retention", build.retention],
  paths: ["Paths", build.paths], people: ["People", lists.people], live: ["Live", now.live], video: ["Video", video], counter: ["COUNTER", usage], health: ["Health", now.health],
  start: ["Start", (place) => place.append(start)],
};

const main = document.querySelector("main");
const start = document.querySelector("#start");
const bar = document.querySelector("#bar");
const ZONES = ["UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])];

let turn = 0;

async function show() {
  const { view, parameters } = read();
  const [title, draw] = VIEWS[view] ?? VIEWS.overview;
  const mine = ++turn;
  frame(view, parameters);
  document.title = `${t(title)} · Metronome`;
  const place = el("div", { class: "view", "aria-busy": "true" });
  const heading = el("h2", { tabindex: "-1" }, t(title));
  main.replaceChildren(heading, place);
  // What had the focus is gone: a keyboard and a reader of screens go on at the new view.
  if (mine > 1 && document.activeElement === document.body) heading.focus();
  try {
    await draw(place, parameters);
  } catch (error) {
    if (mine === turn && error.name !== "AbortError") main.append(trouble(error));
  }
  place.setAttribute("aria-busy", "false");
}

function trouble(error) {
  const missing = error instanceof Refused && error.status === 404;
  const needsKey = error instanceof Refused && [401, 403].includes(error.status);
  if (needsKey) bar.querySelector("[name=key]").focus();
  // A page of the gateway that is opened by its address makes the browser ask for name and password.
  const way = needsKey && error.status === 401 && !key() ? [" ", el("a", { href: "/applications" }, t("Sign in with a password"))] : [];
  return el("p", { class: "said wrong", role: "alert" }, t(missing ? "This isn't served here." : error.message), way);
}

function frame(view, parameters) {
  const held = bar.contains(document.activeElement) ? document.activeElement.name : "";
  const kept = common(parameters);
  const asked = range(parameters);
  const form = el("form", { id: "range", "aria-label": t("Time"), onsubmit: (event) => {
    event.preventDefault();
    const made = new URLSearchParams(parameters);
    for (const [name, value] of new FormData(form)) if (name !== "key") made.set(name, value);
    setKey(new FormData(form).get("key"));
    if (link(view, made) === location.hash) show(); else go(view, made);
  } },
  field(t("From"), el("input", { name: "from", value: asked.from, list: "ranges", size: 11 })),
  field(t("To"), el("input", { name: "to", value: parameters.get("to") ?? "", size: 11 })),
  el("datalist", { id: "ranges" }, ["-24h", "-7d", "-30d", "-12w", "-12mo"].map((value) => el("option", { value }))),
  field(t("Time zone"), choose(ZONES.includes(asked.tz) ? ZONES : [asked.tz, ...ZONES], asked.tz, { name: "tz" })),
  field(t("Key"), el("input", { name: "key", type: "password", value: key(), autocomplete: "off", size: 12 })),
  el("button", {}, t("Apply")));
  const spoken = choose(Object.entries(names), language, { name: "language", onchange: (event) => { speak(event.target.value); show(); } });
  bar.replaceChildren(
    el("nav", { "aria-label": "Metronome" }, Object.entries(VIEWS).map(([name, [title]]) =>
      el("a", { href: link(name, kept), "aria-current": name === view ? "page" : null }, t(title)))),
    form, field(t("Language"), spoken), field(t("Theme"), choose(["auto", "light", "dark"].map((name) => [name, t(name)]), theme(), { name: "theme", onchange: (event) => { dress(event.target.value); show(); } })));
  document.querySelector(".skip").textContent = t("Skip to content");
  if (held) bar.querySelector(`[name=${held}]`)?.focus();
}

function theme() {
  try { return localStorage.getItem("metronome.theme") ?? "auto"; } catch { return "auto"; }
}

function dress(name) {
  try { localStorage.setItem("metronome.theme", name); } catch { /* it lasts for this page then */ }
  document.documentElement.dataset.theme = name;
}

// A site without events yet is shown how to post one.
document.addEventListener("nothing", () => document.querySelector(".view").prepend(start), { capture: true });
document.addEventListener("needs-key", () => bar.querySelector("[name=key]").focus());
window.addEventListener("hashchange", show);
speak(language);
dress(theme());
show();
