"""Tracker: events of an application, sent to a gateway in batches and in the background.

    track  ->  queue (queues.py)  ->  worker: POST, again until it is answered  ->  counted

* `track` only puts an event into the queue; it never waits for the network, and raises nothing of it. With `sync` it
  returns once the event is on the gateway's disk, or raises.
* A batch is sent again after a network error, 408, 429, 5xx, and 401 or 403 (a key may be mended). It is the same bytes
  with the same `insert_id`, so each event is stored once.
* The queue is bounded. What was dropped is counted, and told to the gateway as an event `$dropped`.
* A forked child has a queue and a worker of its own; what waited in the parent is the parent's.

Source: semantics, section 15.
"""

from __future__ import annotations

import atexit
import itertools
import json
import logging
import os
import random
import threading
import time
import uuid
import weakref
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from metronome.client.http import Reply, Target
from metronome.client.queues import DiskQueue, MemoryQueue, Queue
from metronome.errors import BadKey, Refused, StoreUnavailable

log = logging.getLogger("metronome.client")

MAX_QUEUE = 10_000
BATCH_EVENTS = 100
BATCH_BYTES = 512 * 1024
INTERVAL_S = 5.0

#: Seconds that one request may take, and for which a synchronous tracker tries again.
TIMEOUT_S = 10.0
PATIENCE_S = 10.0
#: Seconds for which the end of the process may be held up by events that wait.
EXIT_S = 5.0

#: Pauses between attempts, in seconds: the first, which doubles, and the longest.
PAUSES_S = (0.5, 30.0)
#: Longest Retry-After that is believed.
MAX_RETRY_AFTER_S = 300

#: Refusals that may pass by themselves, or that somebody mends.
_PASSING = frozenset((401, 403, 408, 429))

DROPPED = "$dropped"

_trackers: weakref.WeakSet[Tracker] = weakref.WeakSet()


class Tracker:
    """Logs events of an application. It is safe to use from many threads, and before and after a fork.

    `options` are those of `Target.of`: `url` or `host`, `port` and `scheme`; `key`, or `username` and `password`.
    `folder` is where a disk queue is kept; without it events wait in memory. `path` is the route that takes the events.
    """

    def __init__(
        self,
        application: str = "",
        *,
        sync: bool = False,
        path: str = "/tick",
        max_queue: int = MAX_QUEUE,
        batch_events: int = BATCH_EVENTS,
        batch_bytes: int = BATCH_BYTES,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        exit_s: float = EXIT_S,
        folder: Path | str | None = None,
        **options: Any,
    ) -> None:
        self.application = application
        self._target = Target.of(options, timeout_s)
        self._numbers = itertools.count(1)
        self._sync, self._path, self.exit_s, self._patience_s = sync, path + "?receipt=full", exit_s, patience_s
        self._events, self._bytes, self._interval_s = batch_events, batch_bytes, interval_s
        self._queue: Queue = MemoryQueue(max_queue) if folder is None else DiskQueue(Path(folder), max_queue)
        self._start_afresh()
        if len(self._queue):  # of a process before
            self._start_worker()
        _trackers.add(self)
        if not sync:
            atexit.register(self._at_exit)

    def _start_afresh(self) -> None:
        #: Events that are on the gateway's disk, and that it refused for good.
        self.delivered = self.refused = 0
        #: Events that a full queue lost, and how many of them weren't told to the gateway yet.
        self.dropped = self._untold = self._queue.left_out
        #: The event that tells of them, and of how many.
        self._telling: tuple[int, bytes] | None = None
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False
        #: Events that ever came into the queue, those of them that left it, and the number up to which a flush waits.
        self._added, self._settled, self._wanted = len(self._queue), 0, len(self._queue)
        #: When the worker sends what there is, in time.monotonic().
        self._due = 0.0

    @property
    def pending(self) -> int:
        """Events that wait, or are under way."""
        return len(self._queue)

    def track(self, event: str, **properties: Any) -> str:
        """Log an event, and give its insert_id.

        tracker.track("buy", id="report", distinct_id="ann", price=9.5)

        Names are those of `POST /tick`. The time is now, unless `timestamp` says another. Raises ValueError for NaN and
        infinity, which JSON doesn't have.
        """
        said = {"event": event, **({"app": self.application} if self.application else {}), **properties}
        said.setdefault("timestamp", datetime.now(UTC))
        # Events of one millisecond have an order too.
        said.setdefault("seq", next(self._numbers))
        return self.put(said)

    def put(self, event: dict[str, Any]) -> str:
        """Log an event that is complete but for its insert_id, and give that."""
        event = {**event, "insert_id": event.get("insert_id") or new_id()}
        body = json.dumps(event, default=_as_json, allow_nan=False, ensure_ascii=False).encode(errors="replace")
        if self._sync:
            self._send_now(body)
        else:
            self._enqueue(body)
        return str(event["insert_id"])

    def flush(self, timeout: float | None = None) -> bool:
        """Send what waits, and return once all of it was answered; False if that took longer than `timeout` seconds."""
        with self._changed:
            goal = self._wanted = max(self._wanted, self._added)
            self._changed.notify_all()
            if self._settled >= goal or self._closed or threading.current_thread() is self._worker:
                return self._settled >= goal
            if self._start_worker():
                self._changed.wait_for(lambda: self._settled >= goal or self._closed, timeout)
                return self._settled >= goal
        # The interpreter is ending, and starts no thread any more.
        self._work(None if timeout is None else time.monotonic() + timeout, inline=True)
        return self._settled >= goal

    def close(self, timeout: float | None = None) -> bool:
        """`flush`, and stop; gives what `flush` gives. A disk queue keeps what is left for the next process."""
        done = self._sync or self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            worker, self._worker = self._worker, None
        if worker is not None and done:
            worker.join(timeout)
        atexit.unregister(self._at_exit)
        if done:
            self._queue.close()
        return done

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(self._patience_s)

    # --- Into the queue -----------------------------------------------------------------------------------------

    def _enqueue(self, body: bytes) -> None:
        with self._changed:
            if self._closed:
                raise ValueError("the tracker is closed")
            was_empty = not len(self._queue)
            if was_empty:
                self._due = time.monotonic() + self._interval_s
            self._added += 1
            self._drop(self._queue.add(body))
            self._start_worker()
            if was_empty or len(self._queue) >= self._events:
                self._changed.notify_all()

    def _drop(self, events: int) -> None:
        if events:
            self.dropped += events
            self._untold += events
            self._settled += events

    def _start_worker(self) -> bool:
        if self._worker is None or not self._worker.is_alive():
            worker = threading.Thread(target=self._work, name="metronome-tracker", daemon=True)
            try:
                worker.start()
            except RuntimeError:
                return False
            self._worker = worker
        return True

    # --- Out of it ----------------------------------------------------------------------------------------------

    def _work(self, deadline: float | None = None, *, inline: bool = False) -> None:
        """Send batches until the tracker is closed; inline, until the queue is empty or the time is up."""
        attempt = 0
        while batch := self._next_batch(inline):
            pause_s = self._attempt(batch, attempt)
            if pause_s is None:
                attempt = 0
                continue
            attempt += 1
            with self._changed:
                if deadline is not None and time.monotonic() + pause_s > deadline:
                    return
                self._changed.wait_for(lambda: self._closed, pause_s)
                if self._closed:
                    return

    def _next_batch(self, inline: bool) -> list[bytes]:
        """The events that are sent next. Waits until there are enough, they have waited long enough, or a flush."""
        with self._changed:
            while not self._closed:
                waiting = len(self._queue)
                left_s = self._due - time.monotonic()
                if waiting and (waiting >= self._events or self._settled < self._wanted or left_s <= 0):
                    return list(self._queue.batch(self._events, self._bytes))
                if inline:
                    return []
                self._changed.wait(left_s if waiting else None)
            return []

    def _attempt(self, batch: list[bytes], number: int) -> float | None:
        """Send a batch once. Gives the seconds to wait before the next attempt, or None if it was answered."""
        told = self._tell()
        try:
            refused = self._post([*batch, *([told[1]] if told else [])])
        except Passing as why:
            log.warning("events wait: %s", why)
            first, longest = PAUSES_S
            pause_s: float = min(first * 2 ** min(number, 10), longest) * random.uniform(0.5, 1)  # noqa: S311 - no secret
            return max(pause_s, min(why.wait_s, MAX_RETRY_AFTER_S))
        with self._changed:
            self._queue.done()
            self.refused += refused
            self.delivered += len(batch) - refused
            self._settled += len(batch)
            self._due = time.monotonic() + self._interval_s
            if told:
                self._untold -= told[0]
                self._telling = None
            self._changed.notify_all()
        return None

    def _tell(self) -> tuple[int, bytes] | None:
        """How many events were dropped, and the event that says so. It stays the same until it is delivered."""
        with self._changed:
            if self._telling is None and self._untold:
                said = {
                    "event": DROPPED,
                    "dropped": self._untold,
                    "timestamp": datetime.now(UTC),
                    "insert_id": new_id(),
                    **({"app": self.application} if self.application else {}),
                }
                self._telling = self._untold, json.dumps(said, default=_as_json).encode()
            return self._telling

    def _post(self, bodies: list[bytes]) -> int:
        """Post events; gives how many were refused for good. Raises Passing if they are to be sent again."""
        try:
            reply = self._target.send(self._path, b"\n".join(bodies), "application/x-ndjson")
        except StoreUnavailable as error:
            raise Passing(error.message) from None
        if reply.status == 413 and len(bodies) > 1:
            half = len(bodies) // 2
            return self._post(bodies[:half]) + self._post(bodies[half:])
        return _refusals(reply, len(bodies))

    def _send_now(self, body: bytes) -> None:
        """Send one event, and return once it is on disk. Raises Refused, or StoreUnavailable after `patience_s`."""
        deadline, number = time.monotonic() + self._patience_s, 0
        while True:
            try:
                reply = self._target.send(self._path, body, "application/x-ndjson")
                if reply.status in (401, 403):
                    raise BadKey(reply.message)
                if _refusals(reply, 1, tell=False):
                    raise Refused(_reason(reply))
                self.delivered += 1
            except (Passing, StoreUnavailable) as why:
                pause_s = min(PAUSES_S[0] * 2**number, PAUSES_S[1])
                pause_s = max(pause_s, why.wait_s) if isinstance(why, Passing) else pause_s
                if time.monotonic() + pause_s > deadline:
                    raise StoreUnavailable(f"{why}; the event wasn't stored") from None
                time.sleep(pause_s)
                number += 1
            else:
                return

    # --- The ends of a process ----------------------------------------------------------------------------------

    def _at_exit(self) -> None:
        try:
            if not self.flush(self.exit_s):
                log.warning("%d events weren't delivered", self.pending)
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    def _forked(self) -> None:
        """Begin afresh in a child: threads don't outlive a fork, and a lock may be held by one of them."""
        self._queue = self._queue.forked()
        self._start_afresh()


class Passing(Exception):
    """A failure that passes: the same events are to be sent again, after `wait_s` seconds at least."""

    def __init__(self, why: str, wait_s: float = 0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def _refusals(reply: Reply, events: int, *, tell: bool = True) -> int:
    """How many events an answer refuses for good; raises Passing."""
    receipt = reply.json if isinstance(reply.json, dict) else None
    if reply.status in (200, 202, 422) and receipt is not None and "rejected" in receipt:
        rows = receipt["rejected"]
        if rows and tell:
            log.warning("%d events were refused; the first: %s", len(rows), _reason(reply))
        return len(rows)
    # An answer that isn't ours is that of a proxy, or of a page to log in at.
    if reply.status in _PASSING or reply.status >= 500 or reply.status < 400:
        raise Passing(reply.message, reply.wait_s or 0)
    if tell:
        log.warning("%d events were refused: %s", events, reply.message)
    return events


def _reason(reply: Reply) -> str:
    try:
        row = reply.json["rejected"][0]
    except (KeyError, TypeError, IndexError):
        return reply.message
    return f"{row['field']}: {row['reason']}" if row.get("field") else str(row["reason"])


def new_id() -> str:
    """A UUIDv7. It holds the day, so that a retry after midnight is known as one."""
    number = int.from_bytes(os.urandom(10))
    ms = time.time_ns() // 10**6
    return str(uuid.UUID(int=ms << 80 | 7 << 76 | (number >> 62 & 0xFFF) << 64 | 2 << 62 | number & (1 << 62) - 1))


def _as_json(value: Any) -> Any:
    """A value that JSON doesn't have: times as ISO 8601, bytes and everything else as text."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _after_fork() -> None:
    for tracker in list(_trackers):
        tracker._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
