// The page of /live. Streams are read with fetch, since EventSource can send no key.

const ROWS = 100;
const byId = (id) => document.getElementById(id);
const state = byId("state"), list = byId("events"), pause = byId("pause");
let leaving = new AbortController();
let cursor = "";

// Reads one stream of server-sent events until it ends; calls `take(event, data, id)` for each.
async function read(path, headers, signal, take) {
  const answer = await fetch(path, { headers: { Accept: "text/event-stream", ...headers }, signal, cache: "no-store" });
  if (!answer.ok) throw Object.assign(new Error(await refusal(answer)), { status: answer.status });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = { event: "", data: "", id: "" };
      for (const line of block.split("\n")) {
        const found = /^(event|data|id): ?(.*)$/.exec(line);
        if (found) fields[found[1]] += found[2];
      }
      take(fields.event, fields.data && JSON.parse(fields.data), fields.id);
    }
  }
}

async function refusal(answer) {
  try { return (await answer.json()).error.message; } catch { return `HTTP ${answer.status}`; }
}

// Reads a stream again and again until the page asks for another one.
async function follow(path, headers, take) {
  const { signal } = leaving;
  while (!signal.aborted) {
    try {
      await read(path(), headers(), signal, take);
    } catch (error) {
      if (signal.aborted) return;
      byId("key-label").hidden = ![401, 403].includes(error.status) && byId("key-label").hidden;
      state.textContent = error.status ? error.message : "The gateway can't be reached; trying again…";
      if ([400, 401, 403].includes(error.status)) return;
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

function start() {
  leaving.abort();
  leaving = new AbortController();
  list.replaceChildren();
  cursor = "";
  state.textContent = "Connecting…";
  const wanted = new URLSearchParams(), name = byId("event").value.trim(), app = byId("app").value.trim();
  if (name) wanted.set("where", JSON.stringify([{ field: "event", op: "is", value: name }]));
  if (app) wanted.set("app", app);
  const key = byId("key").value.trim();
  const headers = () => ({ ...(key && { Authorization: `Bearer ${key}` }) });
  follow(() => `/live/events?${wanted}`, () => ({ ...headers(), ...(cursor && { "Last-Event-ID": cursor }) }), taken);
  follow(() => `/live/counters?${wanted}`, headers, (kind, found) => kind === "counters" && count(found));
}

function taken(kind, found, id) {
  if (id) cursor = id;
  if (kind === "gap") byId("gap").textContent = "Some events were left out here: more came than are sent again.";
  if (kind === "event" && pause.getAttribute("aria-pressed") === "false") show(found);
  if (!kind || kind === "event") state.textContent = "Connected";
}

function cell(text, tag = "td") {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  return made;
}

function show(event) {
  const row = document.createElement("tr");
  const time = cell("", "td"), stamp = document.createElement("time");
  stamp.dateTime = event["@timestamp"];
  stamp.textContent = new Date(event["@timestamp"]).toLocaleTimeString();
  time.append(stamp);
  const all = cell(""), details = document.createElement("details");
  details.append(cell(`${Object.keys(event).length} fields`, "summary"), cell(JSON.stringify(event, null, 1), "pre"));
  all.append(details);
  row.append(time, cell(event.event), cell(event.id ?? event.item_id ?? event.url), cell(event.distinct_id ?? event.session_id), all);
  list.prepend(row);
  while (list.rows.length > ROWS) list.deleteRow(-1);
}

function count(found) {
  const short = found["5m"], long = found["30m"];
  const names = Object.keys({ ...long.by_event, ...short.by_event });
  const rows = [["events", short.events, long.events], ["subjects", short.subjects, long.subjects]];
  for (const name of names) rows.push([name, short.by_event[name] ?? 0, long.by_event[name] ?? 0]);
  byId("counters").replaceChildren(...rows.map(([name, five, thirty]) => {
    const row = document.createElement("tr"), head = cell(name, "th");
    head.scope = "row";
    row.append(head, cell(five), cell(thirty));
    return row;
  }));
}

byId("asking").addEventListener("submit", (event) => { event.preventDefault(); start(); });
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") === "true";
  pause.setAttribute("aria-pressed", String(!paused));
});
start();
