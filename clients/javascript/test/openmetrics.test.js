import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import openMetrics, { OpenMetrics } from "../src/node.js";
import { Recorder, waitFor } from "./recorder.js";

let server;

beforeEach(async () => {
  server = await Recorder.start({ status: 200, body: "ok" });
});

afterEach(() => server.stop());

/** Method, route, value of `q` (or the body) of a request; `ts` is checked and left out. */
function said({ method, url, body }) {
  const [path, query = ""] = url.split("?");
  const data = JSON.parse(method === "POST" ? body : decodeURIComponent(query.slice(query.indexOf("q=") + 2)));
  for (const event of data.events ?? []) {
    assert.ok(Math.abs(event.ts - Date.now()) < 10_000);
    delete event.ts;
  }
  return [method, path, data];
}

const requests = (count) => waitFor(() => server.requests.length >= count && server.requests.map(said), "requests");

const answered = (call) => new Promise((resolve) => call((...answer) => resolve(answer)));

test("events of one session wait a second and go in one request", async () => {
  const client = openMetrics(server.url);
  const started = Date.now();
  client.logEvent({ sessionId: "s" }, "login", { page: "/home" }, { active: false });
  client.logEvent({ sessionId: "s" }, "logout");
  assert.deepEqual(await requests(1), [
    [
      "GET",
      "/v1/events",
      {
        events: [{ name: "login", props: { page: "/home" }, options: { active: false } }, { name: "logout" }],
        sessionId: "s",
      },
    ],
  ]);
  assert.ok(server.requests[0].at - started >= 990);
});

test("ten events go at once, in one request a session", async () => {
  const client = new OpenMetrics(server.url);
  const started = Date.now();
  for (let at = 0; at < 10; at++) client.logEvent({ sessionId: at % 2 ? "odd" : "even" }, `${at}`);
  const found = await requests(2);
  assert.ok(server.requests[1].at - started < 800);
  assert.deepEqual(
    found.map(([, , { sessionId, events }]) => [sessionId, events.map(({ name }) => name).join()]).sort(),
    [
      ["even", "0,2,4,6,8"],
      ["odd", "1,3,5,7,9"],
    ],
  );
});

test("a user is introduced once, before the first event, and keeps the session", async () => {
  server.orders = [{ status: 200, body: "ok", afterMs: 300 }];
  const client = openMetrics(server.url);
  client.logEvent({ userId: "u 1&x" }, "login");
  client.destroy();
  const again = openMetrics(server.url);
  await requests(2);
  again.logEvent({ userId: "v" }, "one");
  await requests(3);
  again.setUserProperties({ userId: "v" }, { "first-name": "jane" });
  again.logEvent({ userId: "v" }, "two");
  again.destroy();
  const found = await requests(5);
  const [session, other] = [found[0][2].sessionId, found[2][2].sessionId];
  assert.match(session, /^[A-Za-z0-9]{10}$/);
  assert.deepEqual(found.slice(0, 3), [
    ["GET", "/v1/setUserId", { uid: "u 1&x", sessionId: session }],
    ["GET", "/v1/events", { events: [{ name: "login" }], sessionId: session }],
    ["GET", "/v1/setUserId", { uid: "v", sessionId: other }],
  ]);
  assert.deepEqual(found.slice(3).sort(([, one], [, two]) => one.localeCompare(two)), [
    ["GET", "/v1/events", { events: [{ name: "one" }, { name: "two" }], sessionId: other }],
    ["GET", "/v1/setUserProps", { props: { "first-name": "jane" }, sessionId: other }],
  ]);
  assert.ok(server.requests[1].at - server.requests[0].at >= 290, "events went before the user was known");
});

test("neither a user nor a session is an error", () => {
  const client = openMetrics(server.url);
  const expected = { name: "Error", message: "say who did it: {userId} or {sessionId}" };
  for (const who of [{}, undefined, { userId: "" }]) assert.throws(() => client.logEvent(who, "login"), expected);
  assert.throws(() => client.setUserProperties({}, {}), expected);
});

for (const [what, order, expected] of [
  ["200", { status: 200, body: "ok" }, [null, "ok"]],
  ["400", { status: 400, body: "no" }, [true]],
  ["500", { status: 500 }, [true]],
  ["204", { status: 204 }, [true]],
  ["a redirect", { status: 302, headers: { Location: "/v1/ping" } }, [true]],
  ["a connection that is cut", "cut", [true]],
]) {
  test(`callbacks after ${what}`, async () => {
    const client = openMetrics(server.url);
    server.usual = order;
    assert.deepEqual(await answered((done) => client.setUserId("s", "u", done)), expected);
    assert.deepEqual(await answered((done) => client.setUserProperties({ sessionId: "s" }, {}, {}, done)), expected);
    const both = [1, 2].map(() => answered((done) => client.logEvent({ sessionId: "s" }, "e", done)));
    assert.deepEqual(await Promise.all(both), [expected, expected]);
  });
}

test("any text passes: reserved and non-Latin characters, emoji and their halves", async () => {
  const client = openMetrics(server.url);
  const text = "café 日本 + 100% & = # ? \" ' { } [ ] \\ \n \u0000 😀 \ud83d";
  client.setUserProperties({ sessionId: "s" }, { [text]: text });
  assert.deepEqual(await requests(1), [["GET", "/v1/setUserProps", { props: { [text]: text }, sessionId: "s" }]]);
  assert.match(server.requests[0].url, /^[A-Za-z0-9/?=%!'()*._~-]+$/);
});

test("what JSON can't hold is the caller's error, and costs no other event", async () => {
  const client = openMetrics(server.url);
  assert.throws(() => client.logEvent({ sessionId: "s" }, "bad", { number: 1n }), TypeError);
  assert.deepEqual(await answered((done) => client.setUserProperties({ sessionId: "s" }, { number: 1n }, done)), [true]);
  client.logEvent({ sessionId: "s" }, "good");
  assert.deepEqual(await requests(1), [["GET", "/v1/events", { events: [{ name: "good" }], sessionId: "s" }]]);
});

test("what is too long for an address is posted", async () => {
  const client = openMetrics(server.url);
  const props = { text: "ü".repeat(5_000) };
  client.setUserProperties({ sessionId: "s" }, props);
  assert.deepEqual(await requests(1), [["POST", "/v1/setUserProps", { props, sessionId: "s" }]]);
  assert.equal(server.requests[0].url, "/v1/setUserProps");
});

test("the path of the address and a key are kept", async () => {
  openMetrics(`${server.url}/metrics/`, { key: "mt_1" }).setUserId("s", "u", { active: false });
  await requests(1);
  assert.match(server.requests[0].url, /^\/metrics\/v1\/setUserId\?q=/);
  assert.equal(server.requests[0].headers.authorization, "Bearer mt_1");
});

test("after destroy nothing is sent, and callbacks hear of it", async () => {
  const client = openMetrics(server.url);
  const first = answered((done) => client.logEvent({ sessionId: "s" }, "one", done));
  client.destroy();
  assert.deepEqual(await first, [null, "ok"]);
  assert.deepEqual(await answered((done) => client.logEvent({ sessionId: "s" }, "two", done)), [true]);
  assert.equal(server.requests.length, 1);
});
