"""Sends spooled bytes to `_bulk` until each event of a body is settled or set aside. judge.py decides which.

A retry sends only the items that need it. Ids were fixed at intake and the action is `create`. So an item can be sent
again without being stored twice, even if nobody knows whether it was stored the first time.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import elastic_transport
from elasticsearch import ApiError, Elasticsearch

from metronome.drain.body import Item, by_index, count, indices, is_suppressed, items, lines
from metronome.drain.judge import (
    FILTER,
    NO_ANSWER,
    AllStored,
    Reply,
    RequestFailed,
    Unanswered,
    judge,
    refuses_request,
    rejection,
    understood,
)
from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.spool.held import Held
from metronome.spool.quarantine import Quarantine, Rejection
from metronome.spool.suppressed import Suppressed, Suppression
from metronome.store.client import health

log = logging.getLogger("metronome.drain")

_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}

#: Seconds for which Elasticsearch waits for a missing primary shard, at most half of the client's own timeout.
#: Elasticsearch's default is a minute. That is as long as our client waits, so an answer would never arrive.
SHARD_WAIT_S = 5

#: An item that isn't settled this many seconds after it was first sent is set aside.
PATIENCE_S = 2.0

#: How often an item that lost a race for a name's type is sent again. After that, the item itself counts as the cause.
_MAX_RACES = 4

#: Seconds in which an index must answer a request of its own, after one that it was part of wasn't answered. If it is
#: only slow, Elasticsearch still stores the events.
SILENT_S = 10.0

#: Seconds in which a cluster that is there says how it is.
_ALIVE_S = 5.0

_PAUSE_S = (0.1, 0.2, 0.5, 1, 2, 5)

#: Seconds for which an index isn't checked again, once its template was found in place.
_TRUST_S = 60

_OUTCOMES = ("indexed", "duplicate", "quarantined", "held", "retried")


@dataclass
class Outcome:
    """The number of events of a body by outcome. All counts but `retried` add up to the events that were sent.

    `held` events are set aside. Later they count again as indexed, duplicate or quarantined.
    """

    indexed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    retried: int = 0
    held: int = 0

    def add(self, other: Outcome) -> None:
        for name in _OUTCOMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Stopped(Exception):
    """The drain was asked to stop before a body was shipped. The rows of that body stay in the spool."""


@dataclass
class Unsettled:
    """An item that can't be delivered now, and Elasticsearch's last answer about it."""

    item: Item
    last: Rejection


@dataclass
class Sender:
    """Ships bodies until every item is settled or set aside. One may serve several threads."""

    client: Elasticsearch
    quarantine: Quarantine
    held: Held
    metrics: Metrics
    stopping: threading.Event = field(default_factory=threading.Event)
    shard_wait_s: float = SHARD_WAIT_S
    #: Makes sure that new indices get our mapping, or raises. Called before a write to an index that hasn't been
    #: written to for a while.
    prepare: Callable[[], object] = lambda: None
    #: The reason why nothing gets through just now, for health checks and the log; empty while all is well.
    trouble: str = ""
    #: Indices that take no events now. Events for them are set aside at once, since a request with such events would
    #: wait for the missing shard.
    refusing: set[bytes] = field(default_factory=set)
    #: Whose events are dropped on the way: an erased person's may have been spooled before.
    suppressed: Suppressed = field(default_factory=lambda: Suppressed(None))
    _began: dict[int, float] = field(default_factory=dict)
    _trusted: dict[bytes, float] = field(default_factory=dict)

    def ship(self, body: bytes, events: int | None = None, since_ms: int = 0) -> Outcome:
        """Send bulk-ready bytes; returns once each event is indexed, a duplicate, in quarantine or set aside.

        `events` is their number, if known. `since_ms` is when the oldest was received, in Unix milliseconds. Waits as
        long as Elasticsearch is away; raises Stopped if `stopping` is set in that time.
        """
        with self.under_way() as suppression:
            if suppression is not None:
                body = lines(self.unsuppressed(items(body), suppression))
                events = None
            events = count(body) if events is None else events
            return self._ship(body, events, since_ms) if body else Outcome()

    @contextmanager
    def under_way(self) -> Iterator[Suppression | None]:
        """While it runs, `oldest_s` tells since when; gives who is suppressed from now on."""
        mine = threading.get_ident()
        self._began[mine] = time.monotonic()
        try:
            yield self.suppressed.now()
        finally:
            del self._began[mine]

    def unsuppressed(self, some: list[Item], suppression: Suppression) -> list[Item]:
        """The items that aren't an erased person's; the others are counted, and dropped."""
        kept = [item for item in some if not is_suppressed(item, suppression)]
        if len(kept) < len(some):
            self.metrics.bulk_items.labels("suppressed").inc(len(some) - len(kept))
        return kept

    @property
    def oldest_s(self) -> float | None:
        """When the oldest body that is under way was begun, by the monotonic clock; None if there is none."""
        return min(list(self._began.values()), default=None)

    def _ship(self, body: bytes, events: int, since_ms: int) -> Outcome:
        names = indices(body, events)
        outcome = Outcome()
        if self.refusing and not self.refusing.isdisjoint(names):
            self._ship_the_rest(items(body), outcome, since_ms)
        else:
            # The usual case: one request, no errors, and no need to look at a single event.
            started = time.monotonic()
            reply = self._send(body, events, names)
            if isinstance(reply, AllStored):
                outcome.indexed = reply.count
            else:
                left = self.settle(items(body), reply, outcome, until=started + PATIENCE_S)
                self._set_aside(left, outcome, since_ms)
        self.count(outcome)
        return outcome

    def count(self, outcome: Outcome) -> None:
        """Add an outcome to the metrics."""
        for name in _OUTCOMES:
            if getattr(outcome, name):
                self.metrics.bulk_items.labels(name).inc(getattr(outcome, name))

    def _ship_the_rest(self, all_items: list[Item], outcome: Outcome, since_ms: int) -> None:
        """Set aside the events for indices that refuse, and send the others."""
        refused: list[Item] = []
        others: list[Item] = []
        for item in all_items:
            (refused if item.index in self.refusing else others).append(item)
        last = Rejection(b"", b"", 0, "", "its index takes nothing now")
        self._set_aside([Unsettled(item, last) for item in refused], outcome, since_ms)
        if others:
            left = self.deliver(others, outcome, until=time.monotonic() + PATIENCE_S)
            self._set_aside(left, outcome, since_ms)

    def deliver(self, some: list[Item], outcome: Outcome, *, until: float = 0.0) -> list[Unsettled]:
        """Send items. Until the moment `until`, send those again that need it. Gives the items that stay unsettled."""
        body = lines(some)
        return self.settle(some, self._send(body, len(some), indices(body, len(some))), outcome, until=until)

    def settle(self, some: list[Item], reply: Reply, outcome: Outcome, *, until: float) -> list[Unsettled]:
        """Go on from the reply to a request that held the items; gives those that can't be delivered now."""
        left: list[Unsettled] = []
        tries = 0
        while True:
            if isinstance(reply, RequestFailed):
                return left + self._settle_halves(some, reply.status, outcome, until)
            if isinstance(reply, Unanswered):
                return left + self._settle_by_index(some, outcome, until)
            if isinstance(reply, AllStored):
                outcome.indexed += reply.count
                return left
            again, later = self._judge_all(some, reply, outcome)
            if time.monotonic() > until:
                left += later
            else:
                again += [unsettled.item for unsettled in later]
            if not again:
                return left
            outcome.retried += len(again)
            # After progress, the pauses begin with the shortest again.
            tries = 0 if len(again) < len(some) else tries + 1
            self._pause(tries)
            some, body = again, lines(again)
            reply = self._send(body, len(some), indices(body, len(some)))

    def _settle_halves(self, some: list[Item], status: int, outcome: Outcome, until: float) -> list[Unsettled]:
        """Find the item at fault by halving, after the request as a whole was refused with `status`."""
        if len(some) == 1:
            reason = "Elasticsearch refused the request that held this event alone"
            while not self.put_in_quarantine(
                [Rejection(some[0].action, some[0].source, status, "request_refused", reason)]
            ):
                self._pause(len(_PAUSE_S))
            outcome.quarantined += 1
            return []
        middle = len(some) // 2
        return self.deliver(some[:middle], outcome, until=until) + self.deliver(some[middle:], outcome, until=until)

    def _settle_by_index(self, some: list[Item], outcome: Outcome, until: float) -> list[Unsettled]:
        """Find the indices that don't answer, after a request as a whole wasn't answered; gives their items back."""
        left: list[Unsettled] = []
        for index, group in by_index(some).items():
            reply = self._send(lines(group), len(group), {index}, timeout_s=SILENT_S)
            if isinstance(reply, Unanswered):
                reason = "its index doesn't answer, though the cluster does"
                left += [Unsettled(item, Rejection(item.action, item.source, 504, NO_ANSWER, reason)) for item in group]
            else:
                left += self.settle(group, reply, outcome, until=until)
        return left

    def _judge_all(
        self, some: list[Item], results: list[dict[str, Any]], outcome: Outcome
    ) -> tuple[list[Item], list[Unsettled]]:
        """Settle every item that can be settled; gives those to send again, and those that can't be delivered now."""
        again: list[Item] = []
        later: list[Unsettled] = []
        at_fault: list[Item] = []
        rejections: list[Rejection] = []
        for item, result in zip(some, results, strict=True):
            said = rejection(item.action, item.source, result)
            verdict = judge(said.status, said.kind, said.reason)
            item.races += verdict == "again"
            if verdict == "indexed":
                outcome.indexed += 1
            elif verdict == "duplicate":
                outcome.duplicate += 1
            elif verdict == "later":
                later.append(Unsettled(item, said))
            elif verdict == "again" and item.races <= _MAX_RACES:
                again.append(item)
            else:
                at_fault.append(item)
                rejections.append(said)
        if rejections:
            if self.put_in_quarantine(rejections):
                outcome.quarantined += len(rejections)
            else:
                again += at_fault
        if not again:
            self._well()
        return again, later

    def put_in_quarantine(self, rejections: list[Rejection]) -> bool:
        """Keep events in quarantine for good; says whether it took them (its disk may be full)."""
        try:
            self.quarantine.add(rejections)
        except sqlite3.Error as error:
            self.ill(f"the quarantine can't be written: {error}")
            return False
        log.warning("quarantined", extra={"events": len(rejections), "reason": rejections[0].reason})
        return True

    def _set_aside(self, left: list[Unsettled], outcome: Outcome, since_ms: int) -> None:
        """Put undeliverable items on disk, by index. If the disk can't take them, wait here until they are delivered.

        Other senders go on meanwhile.
        """
        tries = 0
        while left:
            said = {unsettled.item.index: unsettled.last for unsettled in left}
            left_over: list[Item] = []
            for index, some in by_index([unsettled.item for unsettled in left]).items():
                if self._hold(index, some, said[index], since_ms):
                    outcome.held += len(some)
                else:
                    left_over += some
            left = []
            if left_over:
                self._pause(tries)
                tries += 1
                left = self.deliver(left_over, outcome)

    def _hold(self, index: bytes, some: list[Item], said: Rejection, since_ms: int) -> bool:
        try:
            self.held.put(index.decode(errors="replace"), lines(some), len(some), since_ms)
        except MetronomeError as error:
            self.ill(f"{said.status} {said.kind}, and what waits can't be set aside: {error.message}")
            return False
        if index not in self.refusing:
            extra = {"index": index.decode(errors="replace"), "problem": f"{said.status} {said.kind} {said.reason}"}
            log.warning("events wait for their index", extra=extra)
            self.refusing.add(index)
        return True

    def _send(self, body: bytes, events: int, names: set[bytes], *, timeout_s: float | None = None) -> Reply:
        """One request, again and again until there is an answer to it, or the cluster answers all but this request."""
        tries = 0
        while True:
            if self.stopping.is_set():
                raise Stopped
            started = time.monotonic()
            try:
                self._prepare_indices(names)
                answer = self._post(body, timeout_s)
            except ApiError as error:
                if refuses_request(error.meta.status, error.meta.headers):
                    self.metrics.bulk_requests.labels("refused").inc()
                    return RequestFailed(error.meta.status)
                problem = f"{error.meta.status} {error.message}"
            except (elastic_transport.TransportError, MetronomeError) as error:
                problem = f"{type(error).__name__}: {error}"
                if isinstance(error, elastic_transport.ConnectionTimeout) and self._is_alive():
                    self.metrics.bulk_requests.labels("failed").inc()
                    return Unanswered()
            else:
                self.metrics.bulk_seconds.observe(time.monotonic() - started)
                reply = understood(answer, events)
                if reply is None:  # the number `events` may be wrong, but the body is right
                    reply = understood(answer, count(body))
                if reply is not None:
                    self.metrics.bulk_requests.labels("answered").inc()
                    if isinstance(reply, AllStored):
                        self._well()
                    return reply
                problem = "an answer that doesn't fit what was sent"
            self.metrics.bulk_requests.labels("failed").inc()
            self.ill(problem)
            self._pause(tries)
            tries += 1

    def _post(self, body: bytes, timeout_s: float | None) -> Any:
        asked = {"filter_path": FILTER, "timeout": f"{int(1000 * self.shard_wait_s)}ms"}
        client = self.client if timeout_s is None else self.client.options(request_timeout=timeout_s)
        return client.perform_request("POST", "/_bulk", params=asked, headers=_HEADERS, body=body).body

    def _is_alive(self) -> bool:
        """Whether the cluster answers."""
        with contextlib.suppress(MetronomeError):
            return bool(health(self.client, timeout_s=_ALIVE_S))
        return False

    def _prepare_indices(self, names: set[bytes]) -> None:
        """Make sure that the template is there before an event creates an index, even if somebody deleted it."""
        now = time.monotonic()
        if all(self._trusted.get(name, 0) > now for name in names):
            return
        self.prepare()
        self._trusted = {name: until for name, until in self._trusted.items() if until > now}
        self._trusted.update(dict.fromkeys(names, now + _TRUST_S))

    def _well(self) -> None:
        if self.trouble:
            log.info("Elasticsearch takes events again")
            self.trouble = ""

    def ill(self, problem: str) -> None:
        """Note why events wait. Only a new reason is logged."""
        if problem != self.trouble:
            log.warning("events wait in the spool", extra={"problem": problem})
            self.trouble = problem

    def _pause(self, tries: int) -> None:
        pause = _PAUSE_S[min(tries, len(_PAUSE_S) - 1)]
        # Jitter keeps several gateways from coming back at the same moment.
        if self.stopping.wait(pause * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
            raise Stopped
