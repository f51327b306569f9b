/**
 * Watch a <video> by the same wire as the mave metrics client: Phoenix Channels over a websocket (docs/video.md).
 *
 *   const stop = watchVideo("#film", { socket: "wss://ticks.example.org/socket", key: "…", identifier: "film" });
 *
 * The first argument is a selector, an element, an hls.js object or a video.js player. Besides plays and pauses the
 * gateway is told how long the start took and how long the video stalled. Seeking, stalls and pauses are not watched.
 */

const HEARTBEAT_MS = 30_000;
const RETRY_MS = [1_000, 5_000, 10_000, 25_000];
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/** One socket for each server and key of a page. */
const sockets = new Map();

class Connection {
  constructor(url, key) {
    this.url = `${url}/websocket?source_url=${encodeURIComponent(location.origin + location.pathname)}&key=${encodeURIComponent(key)}&vsn=2.0.0`;
    this.channels = new Map();
    this.refs = 0;
    this.tries = 0;
    this.open();
  }

  ref() {
    return String(++this.refs);
  }

  open() {
    const socket = (this.socket = new WebSocket(this.url));
    socket.onopen = () => {
      this.tries = 0;
      this.beating = setInterval(() => this.beat(), HEARTBEAT_MS);
      for (const channel of this.channels.values()) channel.join();
    };
    socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    socket.onclose = () => {
      clearInterval(this.beating);
      this.awaited = null;
      for (const channel of this.channels.values()) channel.joined = false;
      if (this.channels.size) this.later(() => this.open());
    };
  }

  /** Do it after a pause that grows from try to try. */
  later(work) {
    setTimeout(work, RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
  }

  beat() {
    // The heartbeat before wasn't answered: the connection is dead.
    if (this.awaited) return this.socket.close();
    this.awaited = this.ref();
    this.send(null, "phoenix", "heartbeat", {}, this.awaited);
  }

  send(joinRef, topic, event, payload, ref = this.ref()) {
    if (this.socket.readyState === 1) this.socket.send(JSON.stringify([joinRef, ref, topic, event, payload]));
  }

  hear([joinRef, ref, topic, event, payload]) {
    if (ref === this.awaited) this.awaited = null;
    const channel = this.channels.get(topic);
    if (!channel || joinRef !== channel.ref) return;
    if (event === "phx_error" || (event === "phx_reply" && payload.status === "error")) {
      channel.joined = false;
      this.later(() => this.channels.has(topic) && this.socket.readyState === 1 && channel.join());
    } else if (event === "phx_reply" && ref === joinRef) channel.start();
  }

  drop(topic) {
    this.channels.delete(topic);
    if (this.channels.size) return;
    for (const [name, connection] of sockets) if (connection === this) sockets.delete(name);
    this.socket.close();
  }
}

/** One player's session. What happens before the join is answered is said after it. */
class Channel {
  constructor(connection, payload, resume) {
    this.connection = connection;
    this.payload = payload;
    this.resume = resume;
    this.waiting = [];
    const random = crypto.getRandomValues(new Uint8Array(21));
    this.topic = `session:${Array.from(random, (byte) => ALPHABET[byte & 63]).join("")}`;
    connection.channels.set(this.topic, this);
    if (connection.socket.readyState === 1) this.join();
  }

  join() {
    this.ref = this.connection.ref();
    this.connection.send(this.ref, this.topic, "phx_join", this.payload, this.ref);
  }

  start() {
    this.joined = true;
    const waiting = this.waiting.splice(0);
    // Joined again: the gateway has closed what was open, and what was said meanwhile is past.
    if (this.known) this.resume();
    else for (const event of waiting) this.say(event);
    this.known = true;
  }

  say(event) {
    if (this.joined) this.connection.send(this.ref, this.topic, "event", event);
    else if (this.waiting.length < 100) this.waiting.push(event);
  }

  leave() {
    this.connection.send(this.ref, this.topic, "phx_leave", {});
    this.connection.drop(this.topic);
  }
}

/** The media element of a selector, an element, an hls.js object or a video.js player. */
function elementOf(target) {
  if (typeof target === "string") target = document.querySelector(target);
  if (target?.media) target = target.media;
  if (typeof target?.el === "function") target = target.el();
  const element = target?.play ? target : target?.querySelector?.("video, audio");
  if (!element) throw new Error("watchVideo: there is no such video");
  return element;
}

/** Watch a video until the function that is returned is called. */
export function watchVideo(target, { socket, key, identifier, metadata, session }) {
  const video = elementOf(target);
  const name = `${socket} ${key}`;
  if (!sockets.has(name)) sockets.set(name, new Connection(socket, key));
  const payload = { identifier, metadata, session_data: session, source_url: location.href, key };
  const channel = new Channel(sockets.get(name), payload, () => {
    if (playing) say("play", { from: (last = video.currentTime) });
  });
  let playing = false;
  let last = 0;
  let asked = 0;
  let started = false;
  let stalled = 0;

  const say = (event, more) =>
    channel.say({ name: event, duration: Number.isFinite(video.duration) ? video.duration : null, ...more });
  const seconds = (since) => Math.round(performance.now() - since) / 1000;
  const stop = (to) => {
    if (!playing) return;
    playing = false;
    say("pause", { to });
  };

  const handlers = {
    play() {
      if (started || asked) return;
      asked = performance.now();
      say("play_request");
    },
    playing() {
      if (!started) say("startup", asked ? { seconds: seconds(asked) } : {});
      started = true;
      if (stalled) say("rebuffering_end", { seconds: seconds(stalled) });
      stalled = 0;
      if (playing) return;
      playing = true;
      last = video.currentTime;
      say("play", { from: last });
    },
    timeupdate() {
      if (playing && !video.seeking) last = video.currentTime;
    },
    pause: () => stop(video.seeking ? last : video.currentTime),
    ended: () => stop(video.currentTime),
    seeking: () => stop(last),
    waiting() {
      if (!playing || video.seeking) return;
      stop(video.currentTime);
      stalled = performance.now();
    },
    ratechange: () => started && say("ratechange", { rate: video.playbackRate }),
    error: () => say("playback_failure", { code: video.error?.code }),
  };
  const hide = () => stop(video.currentTime);
  for (const event in handlers) video.addEventListener(event, handlers[event]);
  addEventListener("pagehide", hide);
  if (!video.paused && video.readyState > 2) handlers.playing();

  return () => {
    stop(video.currentTime);
    for (const event in handlers) video.removeEventListener(event, handlers[event]);
    removeEventListener("pagehide", hide);
    channel.leave();
  };
}
