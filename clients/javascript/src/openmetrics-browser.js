/**
 * The OpenMetrics client of pages: `new OpenMetrics(url)`.
 *
 * The session is ten characters in the cookie `_metricId`. The first event goes at once, later ones in at most one
 * request a second, or at once when five wait; also when the session is cleared and when the page is hidden or left.
 */

import { sessionId } from "./ids.js";
import { all, ask, eventOf } from "./openmetrics.js";

const COOKIE = "_metricId";
const EVERY = 1_000;
const AT_ONCE = 5;

export class OpenMetrics {
  #url;
  #key;
  #session;
  #events = [];
  #callbacks = [];
  #latest = -EVERY;
  #timer;
  #listening = new AbortController();

  /** `options.key` is a publishable key, where the server asks for one. */
  constructor(url, options = {}) {
    this.#url = `${url}`;
    this.#key = options.key;
    this.#session = document.cookie.match(`(?:^|; )${COOKIE}=([A-Za-z0-9]{10})(?:;|$)`)?.[1] ?? this.#newSession();
    const { signal } = this.#listening;
    addEventListener("pagehide", () => this.#flush(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.#flush(), { signal });
  }

  get sessionId() {
    return this.#session;
  }

  logEvent(name, props, done) {
    if (typeof props === "function") [props, done] = [undefined, props];
    if (this.#listening.signal.aborted) return done?.(true);
    this.#events.push(eventOf(name, props));
    this.#callbacks.push(done);
    const wait = this.#latest + EVERY - performance.now();
    if (wait <= 0 || this.#events.length >= AT_ONCE) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), wait);
  }

  setUserId(uid, done) {
    this.#ask("setUserId", { uid }, done);
  }

  setUserProperties(props, done) {
    this.#ask("setUserProps", { props }, done);
  }

  setSessionProperties(props, done) {
    this.#ask("setSessionProps", { props }, done);
  }

  /** Send what waits, and start a new session. */
  clearSession() {
    this.#flush();
    this.#session = this.#newSession();
  }

  /** Send what waits, and stop: the callbacks of later events get `true`. */
  destroy() {
    this.#flush();
    this.#listening.abort();
  }

  #newSession() {
    const id = sessionId();
    document.cookie = `${COOKIE}=${id}; path=/; expires=Fri, 31 Dec 9999 23:59:59 GMT; SameSite=Lax`;
    return id;
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#events.length) return;
    this.#latest = performance.now();
    this.#ask("events", { events: this.#events }, all(this.#callbacks));
    this.#events = [];
    this.#callbacks = [];
  }

  #ask(route, data, done) {
    ask(this.#url, route, { ...data, sessionId: this.#session }, { key: this.#key, done, keepalive: true });
  }
}
