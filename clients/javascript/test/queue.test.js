import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { LEASE, Queue } from "../src/queue.js";
import { FakeStorage } from "./recorder.js";

let storage;

beforeEach(() => {
  storage = new FakeStorage();
  mock.timers.enable({ apis: ["Date"], now: 1795307829653 });
});

afterEach(() => mock.timers.reset());

const page = (most = 100) => new Queue("q", most, storage);
const add = (queue, ...ids) => ids.forEach((insert_id) => queue.add({ insert_id, seq: queue.next() }));
const ids = (events) => events.map(({ insert_id }) => insert_id);

for (const [where, make] of [
  ["localStorage", () => new Queue("q", 3, storage)],
  ["memory", () => new Queue("q", 3, undefined)],
]) {
  test(`${where}: a full queue drops the oldest, and the next event says how many`, () => {
    const queue = make();
    add(queue, "a", "b", "c", "d", "e");
    assert.deepEqual(queue.mine(), [
      { insert_id: "c", seq: 3 },
      { insert_id: "d", seq: 4, client_dropped: 1 },
      { insert_id: "e", seq: 5, client_dropped: 1 },
    ]);
    add(queue, "f", "g");
    // "d" told of one, and went itself.
    assert.deepEqual(
      queue.mine().map((event) => event.client_dropped),
      [1, 1, 2],
    );
  });

  test(`${where}: what a request carries isn't dropped, sent again or claimed`, () => {
    const queue = make();
    add(queue, "a", "b", "c");
    queue.start(queue.mine().slice(0, 1));
    add(queue, "d");
    assert.deepEqual(ids(queue.mine()), ["c", "d"]);
    mock.timers.tick(LEASE + 1);
    queue.claim();
    assert.deepEqual(ids(queue.mine()), ["c", "d"]);
    queue.again([{ insert_id: "a" }]);
    queue.claim();
    assert.deepEqual(ids(queue.mine()), ["a", "c", "d"]);
  });
}

test("two pages number their events by one counter, and never send each other's", () => {
  const [one, other] = [page(), page()];
  add(one, "a");
  add(other, "b");
  add(one, "c");
  assert.deepEqual(
    one.all().map(({ event }) => [event.insert_id, event.seq]),
    [
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ],
  );
  assert.equal(other.claim(), false);
  assert.deepEqual([ids(one.mine()), ids(other.mine())], [["a", "c"], ["b"]]);
});

test("a page that is left gives up what it didn't send, and keeps what is on its way", () => {
  const [left, next] = [page(), page()];
  add(left, "a", "b");
  left.start(left.mine().slice(0, 1));
  left.release();
  assert.equal(next.claim(), true);
  assert.deepEqual(ids(next.mine()), ["b"]);
  mock.timers.tick(LEASE);
  assert.equal(next.claim(), true);
  assert.deepEqual(ids(next.mine()), ["a", "b"]);
});

test("of two pages that claim at once one gets the event", () => {
  const [gone, one, other] = [page(), page(), page()];
  add(gone, "a");
  gone.release();
  // Both see the event as free before either has written.
  const before = { ...storage };
  one.claim();
  const claimed = { ...storage };
  Object.assign(storage, before);
  other.claim();
  const later = Object.keys(claimed).find((key) => key.includes(":e:"));
  storage[later] = claimed[later];
  assert.deepEqual([ids(one.mine()), ids(other.mine())], [["a"], []]);
});

test("a page that slept past its lease doesn't send what another has claimed", () => {
  const [asleep, awake] = [page(), page()];
  add(asleep, "a");
  mock.timers.tick(LEASE);
  awake.claim();
  assert.deepEqual([ids(asleep.mine()), ids(awake.mine())], [[], ["a"]]);
});

test("what doesn't fit into the storage waits in memory", () => {
  storage.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  const queue = page();
  add(queue, "a", "b");
  assert.deepEqual(ids(queue.mine()), ["a", "b"]);
  queue.remove([{ insert_id: "a" }]);
  assert.deepEqual(ids(queue.mine()), ["b"]);
});

test("what another script wrote under our names is passed over", () => {
  for (const rubbish of ["", "null", "{", "7", '{"event": {}}']) storage.setItem(`q:e:${rubbish}`, rubbish);
  const queue = page();
  add(queue, "a");
  assert.deepEqual(ids(queue.mine()), ["a"]);
});
