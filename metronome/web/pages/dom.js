// Elements, made without markup in strings: what users have sent is text and never becomes code.

/** An element with attributes (on… are listeners, a boolean is a flag) and children (nodes, texts, lists of them). */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

let ids = 0;

/** A labelled control. `control` is an input, select or textarea. */
export function field(label, control) {
  control.id ||= `field-${++ids}`;
  return el("p", { class: "field" }, el("label", { for: control.id }, label), control);
}

/** A select of [value, label] pairs or plain values. */
export function choose(options, value, attributes = {}) {
  const made = el("select", attributes, options.map((option) => {
    const [key, label] = Array.isArray(option) ? option : [option, option];
    return el("option", { value: key, selected: key === value }, label);
  }));
  return made;
}

/** A table of rows (arrays of texts or nodes) under a row of headings; the first cell of a row is its heading. */
export function table(headings, rows, caption) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, headings.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map((row) => el("tr", {},
        row.map((cell, place) => place ? el("td", {}, text(cell)) : el("th", { scope: "row" }, text(cell))))))));
}

const text = (cell) => cell instanceof Node ? cell : cell === null || cell === undefined ? "–" : String(cell);

/** Hands a file to the browser. */
export function save(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
