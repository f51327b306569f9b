// The whole state of a page stands in its address: the view, the range, the time zone, and what the view is set to.
//
//     #/trend?from=-30d&to=&tz=Europe%2FBerlin&by=browser&step=view&step=buy

const OWN_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

export function read() {
  const [, view = "", query = ""] = /^#\/?([^?]*)\??(.*)$/.exec(location.hash) ?? [];
  return { view: view || "overview", parameters: new URLSearchParams(query) };
}

export function link(view, parameters) {
  const kept = new URLSearchParams();
  for (const [name, value] of parameters) if (value !== "") kept.append(name, value);
  const query = kept.toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

export const go = (view, parameters) => { location.hash = link(view, parameters).slice(1); };

/** Draw the page anew, with what is stored by now. */
export const again = () => { window.dispatchEvent(new HashChangeEvent("hashchange")); };

/** The parameters that go along from view to view. */
export function common(parameters) {
  const kept = new URLSearchParams();
  for (const name of ["from", "to", "tz"]) if (parameters.get(name)) kept.set(name, parameters.get(name));
  return kept;
}

/** Range and time zone as keys of a question. */
export function range(parameters) {
  const asked = { from: parameters.get("from") || "-30d", tz: parameters.get("tz") || OWN_ZONE };
  if (parameters.get("to")) asked.to = parameters.get("to");
  return asked;
}

/** The range as days, for routes that know only days: {from, to}. */
export function days(parameters) {
  const now = new Date();
  const day = (date) => date.toLocaleDateString("sv", { timeZone: range(parameters).tz });
  const back = /^-(\d+)(d|w|mo|y|h)$/.exec(range(parameters).from);
  let from = parameters.get("from");
  if (back) {
    const start = new Date(now);
    const [, count, unit] = back;
    if (unit === "mo") start.setMonth(start.getMonth() - count + 1, 1);
    else if (unit === "y") start.setFullYear(start.getFullYear() - count + 1, 0, 1);
    else start.setTime(start.getTime() - ({ h: 1 / 24, d: 1, w: 7 }[unit] * count - 1) * 86_400_000);
    from = day(start);
  }
  const to = parameters.get("to");
  return { from: from?.slice(0, 10) || day(new Date(now - 29 * 86_400_000)), to: to && !to.startsWith("-") ? to.slice(0, 10) : day(now) };
}
