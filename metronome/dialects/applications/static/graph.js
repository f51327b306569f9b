// Lines and points over time, as SVG. Dragging over a span zooms in; points can be reached with the keyboard.
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 352, LEFT = 56, RIGHT = 12, TOP = 12, BOTTOM = 28;
// Times are those of the buckets, which are in UTC.
const UTC = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

// An SVG element with attributes.
function drawn(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// About five round steps from 0 to `most`.
function steps(most) {
  const rough = Math.max(most, 1) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((times) => times * unit).find((size) => size >= rough));
  return Array.from({ length: Math.ceil(Math.max(most, 1) / step) + 1 }, (_, number) => number * step);
}

export class Graph {
  // `onZoom` is told whether a span is zoomed in.
  constructor(place, tooltip, onZoom) {
    Object.assign(this, { place, tooltip, onZoom, series: [], span: null, start: null });
    place.addEventListener("pointerdown", (event) => this.begin(event));
    place.addEventListener("pointermove", (event) => this.move(event));
    place.addEventListener("pointerup", (event) => this.end(event));
    place.addEventListener("pointercancel", () => { this.start = null; this.draw(); });
    for (const name of ["pointerover", "focusin"]) place.addEventListener(name, (event) => this.tell(event.target));
    for (const name of ["pointerout", "focusout"]) place.addEventListener(name, () => { tooltip.hidden = true; });
    new ResizeObserver(() => this.draw()).observe(place);
  }

  // `series`: [{label, style, data: [[ms, count]]}]
  show(series) {
    this.series = series;
    this.draw();
  }

  reset() {
    this.span = null;
    this.onZoom(false);
    this.draw();
  }

  timeText(ms) {
    return ms % 86_400_000 ? UTC.format(ms) : DAY.format(ms);
  }

  draw() {
    const width = this.place.clientWidth;
    const times = this.series.flatMap((one) => one.data.map(([ms]) => ms));
    if (!times.length || !width) {
      this.place.replaceChildren(this.series.length ? "" : "There are no events to show.");
      return;
    }
    const [first, last] = this.span ?? [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
    const within = this.series.map((one) => ({ ...one, data: one.data.filter(([ms]) => ms >= first && ms <= last) }));
    const most = within.flatMap((one) => one.data.map(([, count]) => count)).reduce((a, b) => Math.max(a, b), 1);
    const marks = steps(most), top = marks.at(-1);
    this.x = (ms) => LEFT + (last > first ? (ms - first) / (last - first) : 0.5) * (width - LEFT - RIGHT);
    this.msAt = (x) => first + (last - first) * Math.min(1, Math.max(0, (x - LEFT) / (width - LEFT - RIGHT)));
    const y = (count) => TOP + (1 - count / top) * (HEIGHT - TOP - BOTTOM);
    this.band = drawn("rect", { class: "chosen-span", y: TOP, height: HEIGHT - TOP - BOTTOM, width: 0, x: 0 });
    const title = `Events over time, ${this.series.length} series; the table below has the numbers`;
    this.place.replaceChildren(drawn("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": title },
      ...marks.flatMap((count) => this.rule(count, y(count), width)), ...this.dates(first, last), this.band,
      ...within.flatMap((one) => this.line(one, y))));
  }

  rule(count, y, width) {
    const text = drawn("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, count.toLocaleString("en"));
    return [drawn("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }), text];
  }

  dates(first, last) {
    const ends = first === last ? [[first, "middle"]] : [[first, "start"], [last, "end"]];
    return ends.map(([ms, anchor]) => drawn("text", { x: this.x(ms), y: HEIGHT - 8, "text-anchor": anchor }, this.timeText(ms)));
  }

  line({ label, style, data }, y) {
    const path = data.map(([ms, count], number) => `${number ? "L" : "M"}${this.x(ms).toFixed(1)} ${y(count).toFixed(1)}`).join("");
    // A point that nobody could hit is no help: beyond two hundred, the line stands alone with its ends.
    const shown = data.length > 200 ? data.filter(([, count], at) => count || at === 0 || at === data.length - 1).slice(0, 200) : data;
    const points = shown.map(([ms, count]) => drawn("circle", {
      class: `point ${style}`, cx: this.x(ms), cy: y(count), r: 4, tabindex: 0, role: "img",
      "aria-label": `${label}: ${count} at ${this.timeText(ms)}`,
    }));
    return [drawn("path", { class: `line ${style}`, d: path }), ...points];
  }

  tell(target) {
    const text = target.getAttribute?.("aria-label");
    if (target.tagName !== "circle" || !text) return;
    const box = target.getBoundingClientRect();
    this.tooltip.textContent = text;
    this.tooltip.hidden = false;
    const room = document.documentElement.clientWidth - this.tooltip.offsetWidth - 8;
    this.tooltip.style.left = `${Math.max(8, Math.min(box.x + 12, room))}px`;
    this.tooltip.style.top = `${Math.max(8, box.y - 40)}px`;
  }

  inside(event) {
    return event.clientX - this.place.getBoundingClientRect().x;
  }

  begin(event) {
    if (event.button === 0 && this.msAt) this.start = this.inside(event);
  }

  move(event) {
    if (this.start === null || !this.band) return;
    const now = this.inside(event);
    this.band.setAttribute("x", Math.min(this.start, now));
    this.band.setAttribute("width", Math.abs(now - this.start));
  }

  end(event) {
    if (this.start === null) return;
    const ends = [this.start, this.inside(event)].sort((a, b) => a - b);
    this.start = null;
    if (ends[1] - ends[0] > 8) {
      this.span = ends.map(this.msAt);
      this.onZoom(true);
    }
    this.draw();
  }
}
