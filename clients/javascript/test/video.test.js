import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

globalThis.location = { origin: "https://site.test", pathname: "/page", href: "https://site.test/page?x=1" };
const page = new EventTarget();
globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.removeEventListener = page.removeEventListener.bind(page);

class Socket {
  static opened = [];
  constructor(url) {
    Object.assign(this, { url, readyState: 0, sent: [] });
    Socket.opened.push(this);
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  reply(to, status = "ok", response = {}) {
    const [joinRef, ref, topic] = to;
    this.onmessage({ data: JSON.stringify([joinRef, ref, topic, "phx_reply", { status, response }]) });
  }
  close() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose();
  }
  get events() {
    return this.sent.filter((frame) => frame[3] === "event").map((frame) => frame[4]);
  }
}
globalThis.WebSocket = Socket;

class Video extends EventTarget {
  currentTime = 0;
  duration = 60;
  paused = true;
  readyState = 4;
  seeking = false;
  play() {}
  at(time, ...events) {
    this.currentTime = time;
    for (const name of events) this.dispatchEvent(new Event(name));
  }
}

const { watchVideo } = await import("../src/video.js");
let number = 0;

function watched(video = new Video(), options = {}) {
  const stop = watchVideo(video, { socket: "wss://g.test/socket", key: `k/${++number}`, identifier: "film", ...options });
  const socket = Socket.opened.at(-1);
  return { video, socket, stop };
}

function joined(...given) {
  const found = watched(...given);
  found.socket.accept();
  found.socket.reply(found.socket.sent[0]);
  return found;
}

const brief = (events) => events.map(({ name, from, to }) => [name, from ?? to ?? null]).filter(([name]) => name === "play" || name === "pause");

// No test waits for the clock, and none leaves a timer behind.
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
});

test("the handshake and the join are those of the wire", () => {
  const { socket } = watched(new Video(), { metadata: { n: 1 }, session: { plan: "free" } });
  assert.equal(socket.url, `wss://g.test/socket/websocket?source_url=https%3A%2F%2Fsite.test%2Fpage&key=k%2F${number}&vsn=2.0.0`);
  socket.accept();
  const [[joinRef, ref, topic, event, payload]] = socket.sent;
  assert.equal(joinRef, ref);
  assert.match(topic, /^session:[A-Za-z0-9_-]{21}$/);
  assert.deepEqual([event, payload], [
    "phx_join",
    { identifier: "film", metadata: { n: 1 }, session_data: { plan: "free" }, source_url: "https://site.test/page?x=1", key: `k/${number}` },
  ]);
});

test("plays, pauses, seeks and stalls become stretches of what was watched", () => {
  const { video, socket } = joined();
  video.at(0, "play", "playing");
  video.at(2.5, "timeupdate", "pause");
  video.at(2.5, "play", "playing");
  video.at(4, "timeupdate");
  video.seeking = true;
  video.at(20, "seeking");
  video.seeking = false;
  video.at(20, "playing");
  video.at(22, "waiting");
  video.at(22, "playing");
  video.at(60, "timeupdate", "pause", "ended");
  assert.deepEqual(brief(socket.events), [
    ["play", 0], ["pause", 2.5], ["play", 2.5], ["pause", 4], ["play", 20], ["pause", 22], ["play", 22], ["pause", 60],
  ]);
  const others = socket.events.map(({ name }) => name).filter((name) => !["play", "pause"].includes(name));
  assert.deepEqual(others, ["play_request", "startup", "rebuffering_end"]);
});

test("what happens before the join is answered is said after it", () => {
  const { video, socket } = watched();
  video.at(1, "play", "playing");
  socket.accept();
  assert.deepEqual(socket.events, []);
  video.at(3, "timeupdate");
  socket.reply(socket.sent[0]);
  assert.deepEqual(brief(socket.events), [["play", 1]]);
});

test("after a reconnect a playing video is joined and played again", () => {
  const { video, socket } = joined();
  video.at(0, "playing");
  video.at(7, "timeupdate");
  socket.close();
  mock.timers.tick(1_000);
  const again = Socket.opened.at(-1);
  assert.notEqual(again, socket);
  again.accept();
  again.reply(again.sent[0]);
  assert.equal(again.sent[0][2], socket.sent[0][2]);
  assert.deepEqual(brief(again.events), [["play", 7]]);
});

test("a refused join is tried again, and an unanswered heartbeat closes the socket", () => {
  const { socket } = watched();
  socket.accept();
  socket.reply(socket.sent[0], "error", { reason: "invalid key" });
  mock.timers.tick(1_000);
  assert.equal(socket.sent.filter((frame) => frame[3] === "phx_join").length, 2);
  mock.timers.tick(30_000);
  assert.deepEqual(socket.sent.at(-1).slice(2), ["phoenix", "heartbeat", {}]);
  socket.reply(socket.sent.at(-1));
  mock.timers.tick(30_000);
  assert.equal(socket.readyState, 1);
  mock.timers.tick(30_000);
  assert.equal(socket.readyState, 3);
});

test("two players of a page share a socket, and the last to leave closes it", () => {
  const first = joined();
  const key = `k/${number}`;
  const second = watchVideo(new Video(), { socket: "wss://g.test/socket", key, metadata: {} });
  assert.equal(first.socket.sent.filter((frame) => frame[3] === "phx_join").length, 2);
  first.video.at(3, "playing");
  first.video.at(4);
  first.stop();
  assert.deepEqual(brief(first.socket.events), [["play", 3], ["pause", 4]]);
  assert.equal(first.socket.readyState, 1);
  second();
  assert.equal(first.socket.readyState, 3);
});

test("hls.js objects and video.js players are watched by their element", () => {
  const video = new Video();
  for (const target of [{ media: video }, { el: () => video }, { el: () => ({ querySelector: () => video }) }]) {
    const { socket } = joined(target);
    video.at(1, "playing");
    assert.ok(socket.events.length);
  }
  assert.throws(() => watched({}), /no such video/);
});
