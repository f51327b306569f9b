// Lists: the events of a range, the people, and what one person did.

import { ask, csv } from "./api.js";
import { filters, narrowing } from "./build.js";
import { el, field, save, table } from "./dom.js";
import { common, go, link, range } from "./state.js";
import { number, t } from "./text.js";

const when = (event) => event["@timestamp"] ?? "";
const what = (event) => String(event.event ?? "");
const which = (event) => String(event.id ?? event.item_id ?? event.url ?? "");

/** An event as a row; the whole document is one click away. */
function row(event) {
  return [when(event), what(event), which(event), String(event.distinct_id ?? event.session_id ?? ""),
    el("details", {}, el("summary", {}, "JSON"), el("pre", {}, JSON.stringify(event, null, 2)))];
}

const HEADINGS = () => [t("Time"), t("Event"), t("Item"), t("Person"), t("Data")];

/** Pages of an answer, one below the other: `fetch` takes a cursor and gives {rows, cursor}. */
async function pages(place, headings, caption, fetch) {
  const more = el("button", { type: "button", onclick: () => next() }, t("More"));
  const holder = el("div", {});
  place.append(holder, more);
  let cursor = null;
  async function next() {
    const found = await fetch(cursor);
    cursor = found.cursor;
    more.hidden = !cursor;
    holder.append(found.rows.length ? table(headings, found.rows, caption)
      : el("p", { class: "said" }, t("There is nothing here in this range.")));
  }
  await next();
}

export async function events(place, parameters) {
  const name = el("input", { name: "event", value: parameters.get("event") ?? "" });
  const form = el("form", { class: "form", onsubmit: (event) => {
    event.preventDefault();
    const made = common(parameters);
    for (const [key, value] of new FormData(form)) made.append(key, value);
    go("events", made);
  } }, field(t("Event"), name), narrowing(parameters), el("button", {}, t("Apply")));
  const question = { ...range(parameters), where: filters(parameters), limit: 50 };
  if (name.value) question.event = name.value;
  const take = el("button", { type: "button", onclick: async () => save("events.csv", await csv("events", { ...question, limit: 1000 }), "text/csv") }, "CSV");
  place.append(form, el("p", { class: "actions" }, take));
  await pages(place, HEADINGS(), t("Events"), async (cursor) => {
    const { result } = await ask("events", cursor ? { ...question, cursor } : question);
    return { rows: result.events.map(row), cursor: result.cursor };
  });
}

export async function people(place, parameters) {
  const id = el("input", { name: "person", value: parameters.get("person") ?? "" });
  const form = el("form", { class: "form", role: "search", onsubmit: (event) => {
    event.preventDefault();
    const made = common(parameters);
    made.set("person", id.value);
    go("people", made);
  } }, field(t("Id of a person or session"), id), el("button", {}, t("Search")));
  place.append(form);
  if (id.value) await timeline(place, id.value, parameters);
  const to = (person) => {
    const own = common(parameters);
    own.set("person", person);
    return link("people", own);
  };
  if (!id.value) await pages(place, [t("Person"), t("Events"), t("First seen"), t("Last seen")], t("People"), async (cursor) => {
    const { result } = await ask("people", { ...range(parameters), limit: 50, ...(cursor ? { cursor } : {}) });
    return {
      rows: result.people.map((one) => [el("a", { href: to(one.id) }, one.id), number(one.events), one.first_seen, one.last_seen]),
      cursor: result.cursor,
    };
  });
}

async function timeline(place, person, parameters) {
  const question = { subject_id: person, limit: 100, ...range(parameters) };
  let said = false;
  await pages(place, HEADINGS(), person, async (cursor) => {
    const { result } = await ask("timeline", cursor ? { ...question, cursor } : question);
    if (!said && result.person) {
      said = true;
      const properties = Object.entries(result.person.properties ?? {});
      place.prepend(el("dl", { class: "facts" },
        [[t("Person"), (result.person.ids ?? [result.person.id]).join(", ")], [t("First seen"), result.person.first_seen], [t("Last seen"), result.person.last_seen],
          ...properties.map(([name, one]) => [name, JSON.stringify(one.value ?? one)])]
          .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value ?? "–")])));
    }
    return { rows: result.events.map(row), cursor: result.cursor };
  });
}
