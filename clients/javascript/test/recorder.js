/** A server that records requests and answers as ordered. */

import { createServer } from "node:http";
import { once } from "node:events";

export class Recorder {
  requests = [];
  /** What the next requests get, in order: {status, headers, body, afterMs} or "cut"; then `usual`. */
  orders = [];
  usual;
  #server;

  constructor(usual) {
    this.usual = usual;
    this.#server = createServer((request, response) => this.#serve(request, response));
  }

  static async start(usual = { status: 202, body: '{"accepted": 1, "rejected": []}' }) {
    const recorder = new Recorder(usual);
    recorder.#server.listen(0, "127.0.0.1");
    await once(recorder.#server, "listening");
    return recorder;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** The events of all requests, in the order of arrival. */
  get events() {
    return this.requests.flatMap(({ body }) => JSON.parse(body));
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(request, response) {
    let body = "";
    for await (const part of request) body += part;
    this.requests.push({ method: request.method, url: request.url, headers: request.headers, body, at: Date.now() });
    const order = this.orders.shift() ?? this.usual;
    if (order === "cut") return request.socket.destroy();
    const { status = 200, headers = {}, body: answer = "", afterMs = 0 } = order;
    if (afterMs) await new Promise((wake) => setTimeout(wake, afterMs));
    response.writeHead(status, headers).end(answer);
  }
}

/** Wait until `condition` gives something true, and give it. */
export async function waitFor(condition, what, ms = 10_000) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((wake) => setTimeout(wake, 5));
  }
}

/** A Storage as browsers have it: what is kept are its own properties. */
export class FakeStorage {
  getItem(key) {
    return Object.hasOwn(this, key) ? this[key] : null;
  }

  setItem(key, value) {
    this[key] = `${value}`;
  }

  removeItem(key) {
    delete this[key];
  }
}

/** Two views of one storage, as pages in two processes have it: each sees the other's writes `ms` later, in one order. */
export function lateStorages(ms) {
  const both = [new FakeStorage(), new FakeStorage()];
  const write = (own, change) => {
    change(own);
    setTimeout(() => both.forEach(change), ms);
  };
  for (const own of both) {
    const setItem = (key, value) => write(own, (storage) => (storage[key] = `${value}`));
    const removeItem = (key) => write(own, (storage) => delete storage[key]);
    Object.defineProperties(own, { setItem: { value: setItem }, removeItem: { value: removeItem } });
  }
  return both;
}
