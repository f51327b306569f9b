// npm phoenix joins, plays, leaves, joins again: `node phoenix.cjs ws://127.0.0.1:8000/socket KEY`. Prints what it hears.
const { Socket } = require("phoenix");
const [url, key] = process.argv.slice(2);

const params = { source_url: "http://example.test/phoenix", key };
const socket = new Socket(url, { transport: require("ws"), params, heartbeatIntervalMs: 200 });
const topic = "session:phoenix_phoenix_phoenix_";
const heard = [];

function joined(channel) {
  return new Promise((resolve, reject) => channel.join().receive("ok", resolve).receive("error", reject));
}

function left(channel) {
  return new Promise((resolve) => channel.leave().receive("ok", resolve));
}

(async () => {
  socket.connect();
  const wrong = socket.channel("session:wrong", { ...params, identifier: "x", key: "nonsense" });
  await joined(wrong).catch((refused) => heard.push(["refused", refused.reason]));
  wrong.leave();
  for (const [from, to] of [[1, 3], [4, 4.5]]) {
    const channel = socket.channel(topic, { ...params, identifier: "phoenix" });
    channel.onClose(() => heard.push(["closed"]));
    heard.push(["joined", await joined(channel)]);
    channel.push("event", { name: "play", from, duration: 10 });
    channel.push("event", { name: "pause", to: String(to), duration: 10 });
    // A heartbeat is answered once all before it is done.
    await new Promise((resolve) => setTimeout(resolve, 500));
    await left(channel);
  }
  heard.push(["connected", socket.isConnected()]);
  socket.disconnect(() => { console.log(JSON.stringify(heard)); process.exit(0); });
})();
