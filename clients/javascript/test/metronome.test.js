import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { afterEach, beforeEach, test } from "node:test";
import { promisify } from "node:util";
import { Metronome } from "../src/node.js";
import { FakeStorage, lateStorages, Recorder, waitFor } from "./recorder.js";

let server;
let clients;

beforeEach(async () => {
  server = await Recorder.start();
  clients = [];
});

afterEach(async () => {
  // A server that is gone ends every attempt of the clients at once.
  await server.stop();
  await Promise.all(clients.map((client) => client.close()));
});

function connect(options) {
  const client = new Metronome(server.url, options);
  clients.push(client);
  return client;
}

const ids = (events) => events.map(({ id }) => id);

test("a batch goes as soon as it is full, and the rest after the interval", async () => {
  const client = connect({ batch: 3, interval: 300 });
  for (const id of ["a", "b", "c", "d"]) client.tick({ id });
  await waitFor(() => server.events.length === 4, "all events");
  assert.deepEqual(server.requests.map(({ body }) => ids(JSON.parse(body))).flat(), ["a", "b", "c", "d"]);
  assert.equal(await client.flush(), 0);
  const started = Date.now();
  client.tick({ id: "e" });
  await waitFor(() => server.events.length === 5, "the last event");
  assert.ok(server.requests.at(-1).at - started >= 295);
});

test("an event has an id, a number, its time and what is common", async () => {
  const client = connect({ common: { app: "shop", plan: "free" } });
  client.set({ distinct_id: "ann", plan: undefined });
  const before = new Date().toISOString();
  const id = client.track("signup", { price: 1.5, nested: { a: [1, null] } });
  client.view({ id: "home", insert_id: "mine", timestamp: 1795307829 });
  await client.flush();
  const [first, second] = server.events;
  assert.ok(before <= first["@timestamp"] && first["@timestamp"] <= first.sent_at);
  assert.deepEqual(first, {
    event: "signup",
    app: "shop",
    distinct_id: "ann",
    price: 1.5,
    nested: { a: [1, null] },
    insert_id: id,
    seq: 1,
    "@timestamp": first["@timestamp"],
    sent_at: first.sent_at,
  });
  assert.deepEqual(second, {
    event: "view",
    id: "home",
    app: "shop",
    distinct_id: "ann",
    insert_id: "mine",
    timestamp: 1795307829,
    seq: 2,
    sent_at: second.sent_at,
  });
});

test("an event is what it was when it was ticked, and one that JSON can't hold is the caller's error", async () => {
  const client = connect();
  const mine = { id: "a", list: [1] };
  client.tick(mine);
  mine.list.push(2);
  mine.self = mine;
  assert.throws(() => client.tick(mine), TypeError);
  assert.throws(() => client.tick({ id: 1n }), TypeError);
  client.tick({ id: "b" });
  assert.equal(await client.flush(), 0);
  assert.deepEqual(
    server.events.map(({ id, list }) => [id, list]),
    [
      ["a", [1]],
      ["b", undefined],
    ],
  );
});

test("what is no address is an error at once", () => {
  for (const url of ["", "ticks.example.org", undefined]) assert.throws(() => new Metronome(url), TypeError);
});

test("an answer of 202 without a receipt is an answer", async () => {
  const client = connect();
  for (const body of ["", "null", "[", "7"]) {
    server.orders = [{ status: 202, body }];
    client.tick({ id: "a" });
    assert.equal(await client.flush(), 0);
  }
  assert.equal(server.requests.length, 4);
});

test("a key goes in a header, and without one the request needs no preflight", async () => {
  const keyed = connect({ key: "mt_live_1_x" });
  keyed.tick({ id: "a" });
  await keyed.flush();
  const open = connect();
  open.tick({ id: "b" });
  await open.flush();
  assert.deepEqual(
    server.requests.map(({ method, url, headers }) => [method, url, headers.authorization, headers["content-type"]]),
    [
      ["POST", "/tick", "Bearer mt_live_1_x", "application/json"],
      ["POST", "/tick", undefined, "text/plain;charset=UTF-8"],
    ],
  );
});

for (const [what, order] of [
  ["500", { status: 500 }],
  ["503", { status: 503 }],
  ["408", { status: 408 }],
  ["429", { status: 429 }],
  ["a connection that is cut", "cut"],
  ["a login page that answers 200 for the gateway", { status: 200, body: "<html>" }],
  ["an answer that is late", { status: 202, afterMs: 5_000 }],
]) {
  test(`after ${what} the same event is sent again under the same insert_id`, async () => {
    server.orders = [order];
    const client = connect({ interval: 10, timeout: 300 });
    const insert_id = client.tick({ id: "a" });
    await waitFor(() => server.requests.length === 2, "the second attempt");
    assert.equal(await client.flush(), 0);
    assert.deepEqual(
      server.events.map((event) => event.insert_id),
      [insert_id, insert_id],
    );
  });
}

for (const status of [400, 401, 403, 413, 422]) {
  test(`what is refused with ${status} isn't sent again, and is told`, async () => {
    server.orders = [{ status, body: '{"error": {"status": 1}}' }];
    const told = [];
    const client = connect({ onRefused: (...given) => told.push(given) });
    client.tick({ id: "a", insert_id: "i" });
    assert.equal(await client.flush(), 0);
    client.tick({ id: "b" });
    await client.flush();
    assert.deepEqual(ids(server.events), ["a", "b"]);
    assert.deepEqual(
      told.map(([events, code, receipt]) => [ids(events), code, receipt]),
      [[["a"], status, { error: { status: 1 } }]],
    );
  });
}

test("of a batch that is taken in part, the refused events are told", async () => {
  const receipt = { accepted: 2, rejected: [{ index: 1, id: "i", field: "id", reason: "too long" }] };
  server.orders = [{ status: 202, body: JSON.stringify(receipt) }];
  const told = [];
  const client = connect({ onRefused: (events, status, given) => told.push([ids(events), status, given]) });
  for (const id of ["a", "b", "c"]) client.tick({ id });
  await client.flush();
  assert.deepEqual(told, [[["b"], 202, receipt]]);
});

test("a batch that is too large comes in halves", async () => {
  server.orders = [{ status: 413 }, { status: 413 }];
  const client = connect();
  for (let id = 0; id < 8; id++) client.tick({ id: `${id}` });
  assert.equal(await client.flush(), 0);
  assert.deepEqual(
    server.requests.map(({ body }) => JSON.parse(body).length),
    [8, 4, 2, 2, 2, 2],
  );
});

test("Retry-After is kept to, by every page of the site", async () => {
  const storage = new FakeStorage();
  server.orders = [{ status: 429, headers: { "Retry-After": "1" } }];
  const one = connect({ interval: 10, storage });
  one.tick({ id: "a" });
  await waitFor(() => server.requests.length === 1, "the refusal");
  assert.equal(await one.flush(), 1);
  const other = connect({ interval: 10, storage });
  other.tick({ id: "b" });
  assert.equal(await other.flush(), 2);
  await waitFor(() => server.events.length === 3, "the rest");
  assert.ok(server.requests[1].at - server.requests[0].at >= 1_000);
  assert.deepEqual(ids(server.events).sort(), ["a", "a", "b"]);
});

test("pauses grow with each failure, and differ between clients", async () => {
  server.usual = { status: 503 };
  const client = connect({ interval: 1 });
  client.tick({ id: "a" });
  await waitFor(() => server.requests.length === 3, "three attempts");
  const [first, second, third] = server.requests.map(({ at }) => at);
  assert.ok(second - first >= 499 && second - first < 1_400, `${second - first}`);
  assert.ok(third - second >= 999 && third - second < 2_400, `${third - second}`);
});

test("while a request is on its way no other is sent, and nothing twice", async () => {
  server.usual = { status: 202, body: "{}", afterMs: 50 };
  const client = connect({ batch: 2, interval: 1 });
  for (let id = 0; id < 60; id++) {
    client.tick({ id: `${id}` });
    if (id % 10 === 0) await Promise.race([client.flush(), new Promise((wake) => setTimeout(wake, 20))]);
  }
  await client.flush();
  assert.deepEqual(ids(server.events), Array.from({ length: 60 }, (_, id) => `${id}`));
  assert.deepEqual(
    server.events.map(({ seq }) => seq),
    Array.from({ length: 60 }, (_, at) => at + 1),
  );
});

test("two pages with one storage send each event once", async () => {
  const storage = new FakeStorage();
  server.usual = { status: 202, body: "{}", afterMs: 20 };
  const pages = [1, 2].map(() => connect({ batch: 5, interval: 20, storage }));
  for (let id = 0; id < 40; id++) {
    pages[id % 2].tick({ id: `${id}` });
    if (id % 7 === 0) await new Promise((wake) => setTimeout(wake, 15));
  }
  await Promise.all(pages.map((page) => page.flush()));
  assert.deepEqual(
    ids(server.events).sort((one, other) => one - other),
    Array.from({ length: 40 }, (_, id) => `${id}`),
  );
  assert.deepEqual(Object.keys(storage).filter((key) => key.includes(":e:")), []);
});

test("what a page left behind is sent by the next, once, by whichever of two", async () => {
  const storage = new FakeStorage();
  server.orders = [{ status: 503 }];
  const left = new Metronome(server.url, { storage, interval: 60_000 });
  for (const id of ["a", "b"]) left.tick({ id });
  assert.equal(await left.close(), 2);
  const pages = [1, 2].map(() => connect({ storage, interval: 60_000 }));
  await Promise.all(pages.map((page) => page.flush()));
  assert.deepEqual(ids(server.events), ["a", "b", "a", "b"]);
  const [first, , second] = server.events;
  assert.equal(first.insert_id, second.insert_id);
});

test("two pages that claim at once and see each other late send nothing twice", async () => {
  const storages = lateStorages(50);
  server.orders = [{ status: 503 }];
  const left = new Metronome(server.url, { storage: storages[0], interval: 60_000 });
  for (const id of ["a", "b"]) left.tick({ id });
  await left.close();
  await waitFor(() => Object.values(storages[1]).filter((value) => value.includes('"owner":""')).length === 2, "both");
  server.requests = [];
  const pages = storages.map((storage) => connect({ storage, interval: 60_000 }));
  await Promise.all(pages.map((page) => page.flush()));
  assert.deepEqual(ids(server.events), ["a", "b"]);
});

test("a program that ends sends what waits, and doesn't hang where the gateway is away", async () => {
  const program = (url) => `
    import { Metronome } from ${JSON.stringify(new URL("../src/node.js", import.meta.url).href)};
    new Metronome(${JSON.stringify(url)}).tick({ id: "last" });`;
  const run = (url) => promisify(execFile)(process.execPath, ["--input-type=module", "-e", program(url)]);
  const started = Date.now();
  await run(server.url);
  assert.deepEqual(ids(server.events), ["last"]);
  await run("http://127.0.0.1:1");
  assert.ok(Date.now() - started < 4_500);
});
