/**
 * Events that wait for a 2xx, in localStorage where there is one, and in memory elsewhere.
 *
 * All pages of a site share one queue. localStorage has no transactions, so no value is ever read, changed and written
 * by two pages: each event has a key of its own.
 *
 *   <name>:e:<insert_id>   {"event": {…}, "owner": "<page>", "until": 1795307829653}
 *   <name>:seq             the number of the latest event
 *   <name>:pause           until when the gateway asked all pages to wait (Retry-After)
 *
 * Who may send an event: its owner, until the lease ends. Afterwards any page may claim it. A claim writes the page's
 * own name, and holds if it is still there a moment later: of two pages that claim at once, the later writer wins, and
 * both see the same. A page that is left ends the leases of what it didn't send, so the next page goes on at once.
 */

import { uuid7 } from "./ids.js";

/** How long an event is its owner's, in ms. It is longer than a request may take. */
export const LEASE = 45_000;

/** The owner stops using a lease so long before its end, in ms, since another page may see changes late. */
const MARGIN = 1_000;

/** localStorage, with memory for what doesn't fit or isn't allowed. Values are JSON. */
class Shelf {
  #storage;
  #memory = new Map();

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
    return [...this.#memory.keys(), ...(this.#stored(() => Object.keys(this.#storage)) ?? [])];
  }

  /** What the storage gives; undefined where there is none, where it is full, or where the user forbids it. */
  #stored(use) {
    try {
      return this.#storage ? use() : undefined;
    } catch {
      return undefined;
    }
  }
}

export class Queue {
  #shelf;
  #name;
  #most;
  #seq = 0;
  /** This page's name among the owners. */
  #page = uuid7();
  /** Ids of this page's events that a request is carrying now. */
  #flying = new Set();
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
      // Another page may have removed it just now, and another script may have written something else there.
      if (entry?.event?.insert_id) entries.push(entry);
    }
    return entries.sort((one, other) => one.event.seq - other.event.seq);
  }

  /** The events that this page may send now, without those that a request is carrying. */
  mine() {
    const soon = Date.now() + MARGIN;
    return this.all()
      .filter(({ event, owner, until }) => owner === this.#page && until > soon && !this.#flying.has(event.insert_id))
      .map(({ event }) => event);
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
    return waits.length ? Math.min(...waits) : undefined;
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
}
