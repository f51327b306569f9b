import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { Recorder, waitFor } from "./recorder.js";

test("the package is found by its own name, by import and by require", async () => {
  const imported = await import("metronome-events");
  const required = createRequire(import.meta.url)("metronome-events");
  assert.deepEqual(Object.keys(imported).sort(), ["Metronome", "OpenMetrics", "default", "openMetrics"]);
  assert.deepEqual(Object.keys(required).sort(), ["Metronome", "OpenMetrics", "openMetrics"]);
  assert.equal(imported.default, imported.openMetrics);
});

test("require gives a function of the server's address", async () => {
  const server = await Recorder.start({ status: 200, body: "ok" });
  createRequire(import.meta.url)("metronome-events")(server.url).setUserId("s", "u");
  await waitFor(() => server.requests.length, "the request");
  assert.equal(server.requests[0].url, `/v1/setUserId?q=${encodeURIComponent('{"uid":"u","sessionId":"s"}')}`);
  await server.stop();
});
