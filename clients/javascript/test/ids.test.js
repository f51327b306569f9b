import assert from "node:assert/strict";
import { test } from "node:test";
import { sessionId, uuid7 } from "../src/ids.js";

test("an insert_id is a UUIDv7 of its millisecond", () => {
  // The time of the example in RFC 9562, appendix A.6.
  const id = uuid7(0x017f22e279b0);
  assert.match(id, /^017f22e2-79b0-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("ids sort by time", () => {
  const times = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1795307829653, 2 ** 48 - 1];
  const ids = times.map(uuid7);
  assert.deepEqual([...ids].sort(), ids);
});

test("ten thousand ids of one millisecond are different", () => {
  assert.equal(new Set(Array.from({ length: 10_000 }, () => uuid7(1795307829653))).size, 10_000);
});

test("a session is ten characters of 62, each about as likely", () => {
  const counts = {};
  for (let round = 0; round < 6_200; round++) {
    const id = sessionId();
    assert.match(id, /^[A-Za-z0-9]{10}$/);
    for (const letter of id) counts[letter] = (counts[letter] ?? 0) + 1;
  }
  // A thousand of each are expected; six standard deviations are 190.
  assert.equal(Object.keys(counts).length, 62);
  assert.deepEqual(Object.entries(counts).filter(([, count]) => count < 810 || count > 1190), []);
});
