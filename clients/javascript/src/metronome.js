/**
 * The client for `POST /tick`: each event is counted once, and isn't forgotten before the gateway has said 202.
 *
 * An event gets its `insert_id` (UUIDv7) and `seq` when it happens, and waits in the queue (queue.js). Batches go at
 * `batch` events, `interval` ms after the first, and when the page is hidden or left. What has no 202 after a network
 * error, a timeout, 5xx, 408 or 429 stays queued and is sent again, with the same `insert_id`. When a page is left,
 * its last requests go on without it, and nobody sees their answers. These events are sent again by a later page, once
 * their lease has ended; the gateway knows them by their ids.
 */

import { uuid7 } from "./ids.js";
import { LEASE, Queue } from "./queue.js";

/** Browsers allow 64 KiB of bodies in requests that outlive their page, for all scripts of the page together. */
const KEEPALIVE_BYTES = 60_000;

/** The most events in one request. */
const MOST = 100;

/** How long a claim waits until other pages have seen it, in ms. */
const CLAIM = 250;

const TIMES = ["@timestamp", "timestamp", "time", "ts"];

const inBrowser = typeof document !== "undefined";

const bytesOf = (text) => new TextEncoder().encode(text).length;

const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** localStorage, unless there is none or the user forbids it. Node 25's isn't meant: it is one file for all programs. */
function ownStorage() {
  try {
    return inBrowser ? localStorage : undefined;
  } catch {
    return undefined;
  }
}

/** What Retry-After says, in ms: seconds or a date; 0 without it. */
function retryAfter(response) {
  const given = response.headers.get("Retry-After");
  if (!given) return 0;
  return Math.max(0, +given * 1000 || Date.parse(given) - Date.now() || 0);
}

export class Metronome {
  #url;
  #key;
  #batch;
  #interval;
  #timeout;
  #refused;
  #common;
  #queue;
  #most = MOST;
  #timer;
  #timerAt = 0;
  #running;
  #failures = 0;
  #waitUntil = 0;
  #keepalive = 0;
  #listening = new AbortController();

  /**
   * `url` is the gateway's address, such as `https://ticks.example.org`; in pages it may be relative. Throws a TypeError
   * where it is none. The options are in types/common.d.ts.
   */
  constructor(url, options = {}) {
    this.#url = new URL(url, inBrowser ? location.href : undefined).href.replace(/\/+$/, "") + "/tick";
    this.#key = options.key;
    this.#batch = options.batch ?? 10;
    this.#interval = options.interval ?? 5_000;
    this.#timeout = Math.min(options.timeout ?? 30_000, LEASE - 5_000);
    this.#refused = options.onRefused ?? ((events, status) => console.warn("metronome: refused", status, events));
    this.#common = { ...options.common };
    const storage = options.storage === undefined ? ownStorage() : options.storage;
    this.#queue = new Queue(`metronome:${this.#url}`, options.queue ?? 100, storage);
    if (inBrowser) this.#listen();
    this.#plan();
  }

  /** Properties of every event from now on, such as `distinct_id`; `undefined` takes one away. */
  set(properties) {
    Object.assign(this.#common, properties);
  }

  /** Send an event, a flat object; gives its `insert_id`. Throws a TypeError where JSON can't hold it. */
  tick(properties) {
    // A copy: what the caller changes afterwards isn't part of the event, and what JSON can't hold never gets into a batch.
    const event = JSON.parse(JSON.stringify({ ...this.#common, ...properties }));
    event.insert_id ??= uuid7();
    event.seq = this.#queue.next();
    if (TIMES.every((name) => event[name] == null)) event["@timestamp"] = new Date().toISOString();
    this.#queue.add(event);
    if (this.#queue.mine().length >= this.#batch) this.#run();
    else this.#plan();
    return event.insert_id;
  }

  /** Send an event of this name. */
  track(event, properties) {
    return this.tick({ event, ...properties });
  }

  /** Send a view of this page: its path is the item. */
  view(properties) {
    const page = inBrowser ? { id: location.pathname, url: location.href, referer: document.referrer || undefined } : {};
    return this.tick({ event: "view", ...page, ...properties });
  }

  /** Send all that waits, unless the gateway asked to wait; gives how many events still wait afterwards. */
  async flush() {
    await this.#running;
    await this.#run();
    return this.#queue.all().length;
  }

  /** Flush, then stop; gives how many events still wait. */
  async close() {
    const left = await this.flush();
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#queue.release();
    return left;
  }

  #listen() {
    const { signal } = this.#listening;
    addEventListener("online", () => ((this.#waitUntil = this.#failures = 0), this.#run()), { signal });
    addEventListener("pagehide", () => (this.#leave(), this.#queue.release()), { signal });
    addEventListener("pageshow", () => this.#plan(), { signal });
    // Another page was left and gave its events up (queue.js).
    addEventListener("storage", ({ newValue }) => newValue?.includes('"owner":""') && this.#plan(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => (document.visibilityState === "hidden" ? this.#leave() : this.#plan()),
      { signal },
    );
  }

  /** How long nothing may be sent, in ms. */
  #waits() {
    return Math.max(this.#waitUntil, this.#queue.pausedUntil) - Date.now();
  }

  /** Set the timer for the next batch, unless it is set for a time before that. */
  #plan() {
    const due = this.#queue.due(this.#interval);
    if (due === undefined || this.#running || this.#listening.signal.aborted) return;
    const at = Date.now() + Math.max(due, this.#waits());
    if (this.#timer && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#run(), at - Date.now());
    this.#timer.unref?.(); // Node: a program may end; node.js sends the rest then
  }

  /** Send batches one after the other until nothing is left or one fails. */
  #run() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#sendAll().finally(() => {
      this.#running = undefined;
      this.#plan();
    });
    return this.#running;
  }

  async #sendAll() {
    if (this.#waits() > 0 || (inBrowser && navigator.onLine === false)) return;
    if (this.#queue.claim() && this.#queue.shared) await sleep(CLAIM);
    let events;
    do {
      events = this.#queue.mine().slice(0, this.#most);
    } while (events.length && this.#waits() <= 0 && (await this.#send(events, false)));
  }

  /** The page is hidden or left: what waits goes in requests that outlive the page. */
  #leave() {
    if (this.#waits() > 0 || navigator.onLine === false) return;
    let part = [];
    let bytes = 0;
    for (const event of this.#queue.mine()) {
      const more = bytesOf(this.#body([event]));
      if (bytes && bytes + more > KEEPALIVE_BYTES / 2) {
        this.#handOver(part);
        part = [];
        bytes = 0;
      }
      part.push(event);
      bytes += more;
    }
    if (bytes) this.#handOver(part);
  }

  /** A request that outlives the page, else a beacon, else the events stay queued. */
  #handOver(events) {
    const body = this.#body(events);
    if (this.#fits(body)) {
      // If the page is only hidden, it sees the answer and tries again after a failure.
      this.#send(events, true).then(() => this.#plan());
    } else if (navigator.sendBeacon?.(this.#simpleUrl(), new Blob([body], { type: "text/plain" }))) {
      // A beacon has no answer: the events wait for the end of their lease.
      this.#queue.start(events);
      setTimeout(() => this.#queue.again(events), this.#timeout);
    }
  }

  #fits(body) {
    return "keepalive" in Request.prototype && this.#keepalive + bytesOf(body) <= KEEPALIVE_BYTES;
  }

  #body(events) {
    const more = { sent_at: new Date().toISOString() };
    // The headers of a batch aren't read. The gateway judges the agent and forgets it.
    if (inBrowser) more.user_agent = navigator.userAgent;
    return JSON.stringify(events.map((event) => ({ ...more, ...event })));
  }

  /** The address for requests that need no preflight, since a page that is left can't wait for one. */
  #simpleUrl() {
    return this.#key ? `${this.#url}?key=${encodeURIComponent(this.#key)}` : this.#url;
  }

  /** Send one batch; gives whether the next may follow at once. */
  async #send(events, leaving) {
    this.#queue.start(events);
    const body = this.#body(events);
    const keepalive = inBrowser && this.#fits(body);
    const taken = keepalive ? bytesOf(body) : 0;
    this.#keepalive += taken;
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), this.#timeout);
    let answer = [0, 0, {}];
    try {
      const response = await fetch(leaving ? this.#simpleUrl() : this.#url, {
        method: "POST",
        body,
        keepalive,
        credentials: "omit",
        headers: this.#key && !leaving ? { Authorization: `Bearer ${this.#key}`, "Content-Type": "application/json" } : {},
        signal: abort.signal,
      });
      answer = [response.status, retryAfter(response), (await response.json().catch(() => null)) ?? {}];
    } catch {
      // No answer came: a network error, or the time was up.
    }
    clearTimeout(timer);
    this.#keepalive -= taken;
    return this.#judge(events, ...answer);
  }

  /** What an answer means for the events; status 0 is none at all. Gives whether the next batch may follow at once. */
  #judge(events, status, pause, receipt) {
    // 202             taken, but for those that the receipt names
    // 413             the batch is too large: smaller ones follow
    // other 4xx       refused for good
    // all else        to be sent again, an answer of 200 too: that comes from a hotel's login page, not from a gateway
    const given = receipt.rejected ?? [];
    if (status === 413 && events.length > 1) {
      this.#most = Math.ceil(events.length / 2);
      this.#queue.again(events);
      return true;
    }
    if (status === 202 || (status >= 400 && status < 500 && status !== 408 && status !== 429)) {
      this.#failures = 0;
      this.#queue.remove(events);
      const refused = status === 202 ? given.map(({ index }) => events[index]) : events;
      if (refused.length) queueMicrotask(() => this.#refused(refused, status, receipt));
      return true;
    }
    this.#queue.again(events);
    this.#wait(pause);
    return false;
  }

  /** Wait longer after each failure, and at least as long as the gateway asked; never all clients at one moment. */
  #wait(pause) {
    const backoff = Math.min(60_000, 1_000 * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#waitUntil = Date.now() + Math.max(backoff, pause * (1 + Math.random() / 10));
    if (pause) this.#queue.pausedUntil = this.#waitUntil;
  }
}
