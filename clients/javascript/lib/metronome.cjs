/*! metronome-events 0.1.0, Apache-2.0, sources d87e5c387ad1e7b4aceb91e1c1fec27418e3e6b9922aad12153c1c7078d290bb */
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __export = (target, all2) => {
  for (var name in all2)
    __defProp(target, name, { get: all2[name], enumerable: true });
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

// src/commonjs.js
var commonjs_exports = {};
__export(commonjs_exports, {
  default: () => commonjs_default
});
module.exports = __toCommonJS(commonjs_exports);

// src/ids.js
var LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
var random = (size) => crypto.getRandomValues(new Uint8Array(size));
function uuid7(now = Date.now()) {
  const bytes = random(16);
  for (let at = 0; at < 6; at++) bytes[at] = Math.floor(now / 2 ** (40 - 8 * at));
  bytes[6] = bytes[6] & 15 | 112;
  bytes[8] = bytes[8] & 63 | 128;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
function sessionId() {
  let id = "";
  while (id.length < 10) {
    const [byte] = random(1);
    if (byte < 248) id += LETTERS[byte % 62];
  }
  return id;
}

// src/queue.js
var LEASE = 45e3;
var MARGIN = 1e3;
var Shelf = class {
  #storage;
  #memory = /* @__PURE__ */ new Map();
  constructor(storage) {
    this.#storage = storage;
  }
  get(key) {
    return this.#memory.get(key) ?? this.#stored(() => JSON.parse(this.#storage.getItem(key)));
  }
  put(key, value) {
    const kept = this.#stored(() => (this.#storage.setItem(key, JSON.stringify(value)), true));
    if (kept) this.#memory.delete(key);
    else this.#memory.set(key, value);
  }
  remove(key) {
    this.#memory.delete(key);
    this.#stored(() => this.#storage.removeItem(key));
  }
  keys() {
    return [...this.#memory.keys(), ...this.#stored(() => Object.keys(this.#storage)) ?? []];
  }
  /** What the storage gives; undefined where there is none, where it is full, or where the user forbids it. */
  #stored(use) {
    try {
      return this.#storage ? use() : void 0;
    } catch {
      return void 0;
    }
  }
};
var Queue = class {
  #shelf;
  #name;
  #most;
  #seq = 0;
  /** This page's name among the owners. */
  #page = uuid7();
  /** Ids of this page's events that a request is carrying now. */
  #flying = /* @__PURE__ */ new Set();
  shared;
  /** `most`: how many events may wait. `storage`: a Storage, or nothing. */
  constructor(name, most, storage) {
    this.#shelf = new Shelf(storage);
    this.#name = name;
    this.#most = most;
    this.shared = !!storage;
  }
  /** The next number of the client's counter. All pages of a site have one counter. */
  next() {
    const key = `${this.#name}:seq`;
    this.#seq = Math.max(+this.#shelf.get(key) || 0, this.#seq) + 1;
    this.#shelf.put(key, this.#seq);
    return this.#seq;
  }
  /** Add an event. Where the queue is full the oldest go, and `client_dropped` of the new one says how many. */
  add(event) {
    const waiting = this.all();
    const still = waiting.filter((entry) => !this.#flying.has(entry.event.insert_id));
    for (const { event: oldest } of still.slice(0, Math.max(0, waiting.length + 1 - this.#most))) {
      event.client_dropped = (event.client_dropped ?? 0) + 1 + (oldest.client_dropped ?? 0);
      this.remove([oldest]);
    }
    this.#write({ event, owner: this.#page, until: Date.now() + LEASE });
  }
  /** All that waits, in the order in which it happened. */
  all() {
    const prefix = this.#key("");
    const entries = [];
    for (const key of this.#shelf.keys()) {
      const entry = key.startsWith(prefix) && this.#shelf.get(key);
      if (entry?.event?.insert_id) entries.push(entry);
    }
    return entries.sort((one, other) => one.event.seq - other.event.seq);
  }
  /** The events that this page may send now, without those that a request is carrying. */
  mine() {
    const soon = Date.now() + MARGIN;
    return this.all().filter(({ event, owner, until }) => owner === this.#page && until > soon && !this.#flying.has(event.insert_id)).map(({ event }) => event);
  }
  /** Write this page's name on the events whose lease has ended; says whether there were any. */
  claim() {
    const free = this.all().filter(({ event, until }) => until <= Date.now() && !this.#flying.has(event.insert_id));
    free.forEach(({ event }) => this.#write({ event, owner: this.#page, until: Date.now() + LEASE }));
    return free.length > 0;
  }
  /** A request takes these events with it. */
  start(events) {
    for (const event of events) {
      this.#flying.add(event.insert_id);
      this.#write({ event, owner: this.#page, until: Date.now() + LEASE });
    }
  }
  /** The request has ended, and these events are still to be sent. */
  again(events) {
    events.forEach(({ insert_id }) => this.#flying.delete(insert_id));
  }
  /** These events need not be sent any more. */
  remove(events) {
    this.again(events);
    events.forEach(({ insert_id }) => this.#shelf.remove(this.#key(insert_id)));
  }
  /** The page is left: what no request is carrying is anybody's. */
  release() {
    this.mine().forEach((event) => this.#write({ event, owner: "", until: 0 }));
  }
  /** In how many ms there may be something to send; undefined if nothing waits. */
  due(interval) {
    const waits = this.all().map(({ event, owner, until }) => {
      const left = until - Date.now();
      const mine = owner === this.#page && !this.#flying.has(event.insert_id);
      return mine || left <= 0 ? interval : left + MARGIN;
    });
    return waits.length ? Math.min(...waits) : void 0;
  }
  /** Until when the gateway asked to wait, as a Unix time in ms. */
  get pausedUntil() {
    return +this.#shelf.get(`${this.#name}:pause`) || 0;
  }
  set pausedUntil(time) {
    this.#shelf.put(`${this.#name}:pause`, time);
  }
  #key(id) {
    return `${this.#name}:e:${id}`;
  }
  #write(entry) {
    this.#shelf.put(this.#key(entry.event.insert_id), entry);
  }
};

// src/metronome.js
var KEEPALIVE_BYTES = 6e4;
var MOST = 100;
var CLAIM = 250;
var TIMES = ["@timestamp", "timestamp", "time", "ts"];
var inBrowser = typeof document !== "undefined";
var bytesOf = (text) => new TextEncoder().encode(text).length;
var sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));
function ownStorage() {
  try {
    return inBrowser ? localStorage : void 0;
  } catch {
    return void 0;
  }
}
function retryAfter(response) {
  const given = response.headers.get("Retry-After");
  if (!given) return 0;
  return Math.max(0, +given * 1e3 || Date.parse(given) - Date.now() || 0);
}
var Metronome = class {
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
    this.#url = new URL(url, inBrowser ? location.href : void 0).href.replace(/\/+$/, "") + "/tick";
    this.#key = options.key;
    this.#batch = options.batch ?? 10;
    this.#interval = options.interval ?? 5e3;
    this.#timeout = Math.min(options.timeout ?? 3e4, LEASE - 5e3);
    this.#refused = options.onRefused ?? ((events, status) => console.warn("metronome: refused", status, events));
    this.#common = { ...options.common };
    const storage = options.storage === void 0 ? ownStorage() : options.storage;
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
    const event = JSON.parse(JSON.stringify({ ...this.#common, ...properties }));
    event.insert_id ??= uuid7();
    event.seq = this.#queue.next();
    if (TIMES.every((name) => event[name] == null)) event["@timestamp"] = (/* @__PURE__ */ new Date()).toISOString();
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
    const page = inBrowser ? { id: location.pathname, url: location.href, referer: document.referrer || void 0 } : {};
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
    addEventListener("online", () => (this.#waitUntil = this.#failures = 0, this.#run()), { signal });
    addEventListener("pagehide", () => (this.#leave(), this.#queue.release()), { signal });
    addEventListener("pageshow", () => this.#plan(), { signal });
    addEventListener("storage", ({ newValue }) => newValue?.includes('"owner":""') && this.#plan(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "hidden" ? this.#leave() : this.#plan(),
      { signal }
    );
  }
  /** How long nothing may be sent, in ms. */
  #waits() {
    return Math.max(this.#waitUntil, this.#queue.pausedUntil) - Date.now();
  }
  /** Set the timer for the next batch, unless it is set for a time before that. */
  #plan() {
    const due = this.#queue.due(this.#interval);
    if (due === void 0 || this.#running || this.#listening.signal.aborted) return;
    const at = Date.now() + Math.max(due, this.#waits());
    if (this.#timer && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#run(), at - Date.now());
    this.#timer.unref?.();
  }
  /** Send batches one after the other until nothing is left or one fails. */
  #run() {
    clearTimeout(this.#timer);
    this.#timer = void 0;
    this.#running ??= this.#sendAll().finally(() => {
      this.#running = void 0;
      this.#plan();
    });
    return this.#running;
  }
  async #sendAll() {
    if (this.#waits() > 0 || inBrowser && navigator.onLine === false) return;
    if (this.#queue.claim() && this.#queue.shared) await sleep(CLAIM);
    let events;
    do {
      events = this.#queue.mine().slice(0, this.#most);
    } while (events.length && this.#waits() <= 0 && await this.#send(events, false));
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
      this.#send(events, true).then(() => this.#plan());
    } else if (navigator.sendBeacon?.(this.#simpleUrl(), new Blob([body], { type: "text/plain" }))) {
      this.#queue.start(events);
      setTimeout(() => this.#queue.again(events), this.#timeout);
    }
  }
  #fits(body) {
    return "keepalive" in Request.prototype && this.#keepalive + bytesOf(body) <= KEEPALIVE_BYTES;
  }
  #body(events) {
    const more = { sent_at: (/* @__PURE__ */ new Date()).toISOString() };
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
        signal: abort.signal
      });
      answer = [response.status, retryAfter(response), await response.json().catch(() => null) ?? {}];
    } catch {
    }
    clearTimeout(timer);
    this.#keepalive -= taken;
    return this.#judge(events, ...answer);
  }
  /** What an answer means for the events; status 0 is none at all. Gives whether the next batch may follow at once. */
  #judge(events, status, pause, receipt) {
    const given = receipt.rejected ?? [];
    if (status === 413 && events.length > 1) {
      this.#most = Math.ceil(events.length / 2);
      this.#queue.again(events);
      return true;
    }
    if (status === 202 || status >= 400 && status < 500 && status !== 408 && status !== 429) {
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
    const backoff = Math.min(6e4, 1e3 * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#waitUntil = Date.now() + Math.max(backoff, pause * (1 + Math.random() / 10));
    if (pause) this.#queue.pausedUntil = this.#waitUntil;
  }
};

// src/openmetrics.js
var LONGEST = 2e3;
async function ask(url, route, data, { key, done, ...options }) {
  const query = key ? `?key=${encodeURIComponent(key)}&` : "?";
  const address = `${url.replace(/\/+$/, "")}/v1/${route}${query}`;
  let answer = [true];
  try {
    const q = JSON.stringify(data);
    const whole = `${address}q=${encodeURIComponent(q)}`;
    const posted = whole.length > LONGEST && { method: "POST", body: q };
    const response = await fetch(posted ? address.slice(0, -1) : whole, {
      ...options,
      ...posted,
      // Browsers bound the bodies of requests that outlive their page, and fail those beyond.
      keepalive: options.keepalive && q.length < 2e4,
      credentials: "omit",
      redirect: "error",
      cache: "no-store"
    });
    const body = await response.text();
    if (response.status === 200) answer = [null, body];
  } catch {
  }
  done?.(...answer);
}
var eventOf = (name, props, options) => JSON.parse(JSON.stringify({ name, ts: Date.now(), props, options }));
var all = (callbacks) => (...answer) => callbacks.forEach((done) => done?.(...answer));

// src/openmetrics-node.js
var EVERY = 1e3;
var AT_ONCE = 10;
var USERS = 1e4;
function withCallback(given) {
  const at = given.findIndex((value) => typeof value === "function");
  return at < 0 ? [given, void 0] : [given.slice(0, at), given[at]];
}
var OpenMetrics = class {
  #url;
  #headers;
  /** Session by user; the order of a Map is that of use. */
  #sessions = /* @__PURE__ */ new Map();
  /** What must be answered before events of a session may go. */
  #first = /* @__PURE__ */ new Map();
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
      told.then(() => this.#first.delete(session))
    );
    return session;
  }
  #flush() {
    clearTimeout(this.#timer);
    this.#timer = void 0;
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
};

// src/node.js
var Metronome2 = class extends Metronome {
  #atExit = () => this.flush();
  constructor(url, options) {
    super(url, { queue: 1e4, batch: 100, ...options });
    process.on("beforeExit", this.#atExit);
  }
  async close() {
    process.off("beforeExit", this.#atExit);
    return super.close();
  }
};
var openMetrics = (url, options) => new OpenMetrics(url, options);

// src/commonjs.js
var commonjs_default = Object.assign(openMetrics, { Metronome: Metronome2, OpenMetrics, openMetrics });
module.exports = module.exports.default;
