/**
 * The OpenMetrics client of Node programs: `require("metronome-events")(url)`.
 *
 * Who did it is `{sessionId}` or `{userId}`. A user's first event makes a session for the user and tells the server by
 * setUserId; later events of the user are of the same session. Events go once a second, or at once when ten wait, in
 * one request a session.
 */

import { sessionId } from "./ids.js";
import { all, ask, eventOf } from "./openmetrics.js";

const EVERY = 1_000;
const AT_ONCE = 10;

/** How many users' sessions are remembered. A user who was forgotten gets another session, under the same id. */
const USERS = 10_000;

/** Arguments of which the last may be a callback, wherever it stands. */
function withCallback(given) {
  const at = given.findIndex((value) => typeof value === "function");
  return at < 0 ? [given, undefined] : [given.slice(0, at), given[at]];
}

export class OpenMetrics {
  #url;
  #headers;
  /** Session by user; the order of a Map is that of use. */
  #sessions = new Map();
  /** What must be answered before events of a session may go. */
  #first = new Map();
  #waiting = [];
  #timer;
  #ended = false;

  /** `options.key` is a key with the scope `write`, where the server asks for one. */
  constructor(url, options = {}) {
    this.#url = `${url}`;
    this.#headers = options.key ? { Authorization: `Bearer ${options.key}` } : {};
  }

  /** `logEvent({userId} or {sessionId}, name, props?, options?, done?)`. Throws an Error where neither id is given. */
  logEvent(who, name, ...given) {
    const [[props, options], done] = withCallback(given);
    const session = this.#sessionOf(who);
    if (this.#ended) return done?.(true);
    this.#waiting.push({ session, event: eventOf(name, props, options), done });
    if (this.#waiting.length >= AT_ONCE) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), EVERY);
  }

  setUserId(session, uid, ...given) {
    const [[options], done] = withCallback(given);
    this.#ask("setUserId", { uid, sessionId: session, options }, done);
  }

  setUserProperties(who, props, ...given) {
    const [[options], done] = withCallback(given);
    this.#ask("setUserProps", { props, sessionId: this.#sessionOf(who), options }, done);
  }

  /** Send what waits, and stop: the callbacks of later events get `true`. */
  destroy() {
    this.#flush();
    this.#ended = true;
  }

  #sessionOf({ sessionId: given, userId } = {}) {
    if (given) return given;
    if (!userId) throw new Error("say who did it: {userId} or {sessionId}");
    const session = this.#sessions.get(userId) ?? this.#introduce(userId);
    this.#sessions.delete(userId);
    this.#sessions.set(userId, session);
    if (this.#sessions.size > USERS) this.#sessions.delete(this.#sessions.keys().next().value);
    return session;
  }

  #introduce(uid) {
    const session = sessionId();
    const told = this.#ask("setUserId", { uid, sessionId: session });
    this.#first.set(
      session,
      told.then(() => this.#first.delete(session)),
    );
    return session;
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const sessions = new Map(this.#waiting.map(({ session }) => [session, []]));
    this.#waiting.forEach((row) => sessions.get(row.session).push(row));
    this.#waiting = [];
    for (const [session, rows] of sessions) {
      const events = rows.map(({ event }) => event);
      this.#ask("events", { events, sessionId: session }, all(rows.map(({ done }) => done)));
    }
  }

  /** Ask once the session's user is known to the server. */
  async #ask(route, data, done) {
    await this.#first.get(data.sessionId);
    await ask(this.#url, route, data, { headers: this.#headers, done });
  }
}
