// Everything that is asked of the gateway. A key is kept for this tab alone.

const KEY = "metronome.key";

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const setKey = (value) => value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The answer to one request; raises Refused with the gateway's own words. `more` are further headers. */
export async function call(path, { method = "GET", body, accept = "application/json", signal, more = {} } = {}) {
  const headers = { Accept: accept, ...more };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The gateway can't be reached.");
  }
  if (!response.ok && response.status !== 503) throw await refusal(response);
  if (response.status === 503 && !path.startsWith("/readyz")) throw await refusal(response);
  return response;
}

async function refusal(response) {
  if (response.status === 401 && !key()) return new Refused(401, "The gateway asks for a key.");
  let message = response.statusText;
  try { message = (await response.json()).error.message; } catch { /* a body that isn't ours */ }
  return new Refused(response.status, message);
}

export const json = async (path, options) => (await call(path, options)).json();

/** The address under which a question's answer can be fetched, linked and kept. */
export const address = (kind, question) => `/query/${kind}?q=${encodeURIComponent(JSON.stringify(question))}`;

const LONGEST = 6000;

/** Ask one question of the query contract: {result, meta}. */
export function ask(kind, question, options = {}) {
  const path = address(kind, question);
  return path.length <= LONGEST
    ? json(path, options) : json(`/query/${kind}`, { ...options, method: "POST", body: question });
}

/** The same as CSV. */
export const csv = async (kind, question) =>
  (await call(`/query/${kind}`, { method: "POST", body: question, accept: "text/csv" })).text();
