// The example page: each video is watched, and its figures are asked for every two seconds.
"use strict";

const key = document.body.dataset.key;
const socket = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`;

async function ask(path, wanted) {
  const answer = await fetch(`/api/v1/${path}`, { method: "POST", body: JSON.stringify({ timeframe: "1 month", ...wanted }) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function show(section, views, parts, watching) {
  const sum = (name) => views.reduce((total, row) => total + row[name], 0);
  section.querySelector(".figures").textContent =
    `${sum("views")} views, ${sum("total_view_time").toFixed(1)} s watched, ${watching} watching now`;
  const most = Math.max(1, ...parts.map((part) => part.viewers));
  section.querySelector(".parts").replaceChildren(
    ...parts.map((part) => {
      const bar = document.createElement("i");
      bar.style.height = `${(48 * part.viewers) / most}px`;
      bar.title = `${part.range_time.from.toFixed(1)}–${part.range_time.to.toFixed(1)} s: ${part.viewers}`;
      return bar;
    }),
  );
}

async function refresh(section) {
  const identifier = section.dataset.video;
  try {
    const [{ views }, { engagement }, { watching }] = await Promise.all([
      ask("plays", { identifier }), ask("engagement", { identifier, ranges: 25 }), ask("watching", { identifier }),
    ]);
    show(section, views, engagement, watching);
  } catch (error) {
    section.querySelector(".figures").textContent = `The figures can't be shown: ${error.message}`;
  }
}

for (const section of document.querySelectorAll("section")) {
  watchVideo(section.querySelector("video"), { socket, key, identifier: section.dataset.video, metadata: { example: true } });
  refresh(section);
  setInterval(() => document.hidden || refresh(section), 2000);
}
