"""Send spooled bytes to `_bulk` until each event of a body is settled or set aside (judge.py says which is when).

A retry sends only the items that need it. Ids were fixed at intake and the action is `create`, so that an item whose
fate is unknown can be sent again without being stored twice.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import elastic_transport
from elasticsearch import ApiError, Elasticsearch

from metronome.drain.body import Item, by_index, count, indices, items, lines
from metronome.drain.judge import FILTER, AllStored, Reply, RequestRefused, judge, refusal, refuses_request, understood
from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.spool.held import Held
from metronome.spool.quarantine import Quarantine, Refusal

log = logging.getLogger("metronome.drain")

_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}

#: How long Elasticsearch waits for a primary shard that is missing, at most half of what our client waits for it.
#: Elasticsearch's own default is a minute, as long as our client waits, so that an answer would never come.
SHARD_WAIT_S = 5

#: An item that still isn't settled this long after it was sent first is set aside.
PATIENCE_S = 2.0

#: How often an item is sent again for a race about types before it is taken to be at fault itself.
_MAX_RACES = 4

_PAUSE_S = (0.1, 0.2, 0.5, 1, 2, 5)

#: An index found with its template in place is trusted so long.
_TRUST_S = 60

_OUTCOMES = ("indexed", "duplicate", "quarantined", "held", "retried")


@dataclass
class Outcome:
    """How many events of a body ended how; without `retried`, together as many as were sent.

    Those `held` are set aside, and come up again as indexed, duplicate or quarantined.
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
    """The drain was asked to stop while a body was unshipped; its rows stay in the spool."""


@dataclass
class Unsettled:
    """An item that can't be delivered now, and what Elasticsearch said last of it."""

    item: Item
    last: Refusal


@dataclass
class Sender:
    """Ships bodies until every item is settled or set aside. One may serve several threads."""

    client: Elasticsearch
    quarantine: Quarantine
    held: Held
    metrics: Metrics
    stopping: threading.Event = field(default_factory=threading.Event)
    shard_wait_s: float = SHARD_WAIT_S
    #: Called before an index is written to that wasn't lately: makes sure that it gets our mapping, or raises.
    prepare: Callable[[], object] = lambda: None
    #: Why nothing gets through just now, for health checks and the log; empty while all is well.
    trouble: str = ""
    #: Indices that take nothing now. Their events are set aside at once: a request would wait for a missing shard.
    refusing: set[bytes] = field(default_factory=set)
    _trusted: dict[bytes, float] = field(default_factory=dict)

    def ship(self, body: bytes, events: int | None = None, since_ms: int = 0) -> Outcome:
        """Send bulk-ready bytes; returns once each event is indexed, a duplicate, in quarantine or set aside.

        `events` says how many there are, where that is known; `since_ms` when the oldest was received. Waits as long
        as Elasticsearch is away; raises Stopped when `stopping` is set meanwhile.
        """
        events = count(body) if events is None else events
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
        """Set aside what goes to indices that refuse, and send the others."""
        refused: list[Item] = []
        others: list[Item] = []
        for item in all_items:
            (refused if item.index in self.refusing else others).append(item)
        last = Refusal(b"", b"", 0, "", "its index takes nothing now")
        self._set_aside([Unsettled(item, last) for item in refused], outcome, since_ms)
        if others:
            left = self.deliver(others, outcome, until=time.monotonic() + PATIENCE_S)
            self._set_aside(left, outcome, since_ms)

    def deliver(self, some: list[Item], outcome: Outcome, *, until: float = 0.0) -> list[Unsettled]:
        """Send items, and again those that need it until the moment `until`; gives those that are still unsettled."""
        body = lines(some)
        return self.settle(some, self._send(body, len(some), indices(body, len(some))), outcome, until=until)

    def settle(self, some: list[Item], reply: Reply, outcome: Outcome, *, until: float) -> list[Unsettled]:
        """Go on from the reply to a request that held the items; gives those that can't be delivered now."""
        left: list[Unsettled] = []
        tries = 0
        while True:
            if isinstance(reply, RequestRefused):
                return left + self._settle_halves(some, reply.status, outcome, until)
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
            # Progress starts the pauses afresh.
            tries = 0 if len(again) < len(some) else tries + 1
            self._pause(tries)
            some, body = again, lines(again)
            reply = self._send(body, len(some), indices(body, len(some)))

    def _settle_halves(self, some: list[Item], status: int, outcome: Outcome, until: float) -> list[Unsettled]:
        """The request as a whole was refused with `status`: the one at fault is found by halving."""
        if len(some) == 1:
            reason = "Elasticsearch refused the request that held this event alone"
            while not self.put_in_quarantine(
                [Refusal(some[0].action, some[0].source, status, "request_refused", reason)]
            ):
                self._pause(len(_PAUSE_S))
            outcome.quarantined += 1
            return []
        middle = len(some) // 2
        return self.deliver(some[:middle], outcome, until=until) + self.deliver(some[middle:], outcome, until=until)

    def _judge_all(
        self, some: list[Item], results: list[dict[str, Any]], outcome: Outcome
    ) -> tuple[list[Item], list[Unsettled]]:
        """Settle every item that can be; gives those to send again, and those that can't be delivered now."""
        again: list[Item] = []
        later: list[Unsettled] = []
        at_fault: list[Item] = []
        refusals: list[Refusal] = []
        for item, result in zip(some, results, strict=True):
            said = refusal(item.action, item.source, result)
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
                refusals.append(said)
        if refusals:
            if self.put_in_quarantine(refusals):
                outcome.quarantined += len(refusals)
            else:
                again += at_fault
        if not again:
            self._well()
        return again, later

    def put_in_quarantine(self, refusals: list[Refusal]) -> bool:
        """Keep events in quarantine for good; says whether it took them (its disk may be full)."""
        try:
            self.quarantine.add(refusals)
        except sqlite3.Error as error:
            self.ill(f"the quarantine can't be written: {error}")
            return False
        log.warning("quarantined", extra={"events": len(refusals), "reason": refusals[0].reason})
        return True

    def _set_aside(self, left: list[Unsettled], outcome: Outcome, since_ms: int) -> None:
        """Put what can't be delivered now on disk, by index. Where that fails, deliver it after all: others go on."""
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

    def _hold(self, index: bytes, some: list[Item], said: Refusal, since_ms: int) -> bool:
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

    def _send(self, body: bytes, events: int, names: set[bytes]) -> Reply:
        """One request, again and again until there is an answer to it."""
        tries = 0
        while True:
            if self.stopping.is_set():
                raise Stopped
            started = time.monotonic()
            try:
                self._prepare_indices(names)
                answer = self._post(body)
            except ApiError as error:
                if refuses_request(error.meta.status, error.meta.headers):
                    self.metrics.bulk_requests.labels("refused").inc()
                    return RequestRefused(error.meta.status)
                problem = f"{error.meta.status} {error.message}"
            except (elastic_transport.TransportError, MetronomeError) as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                self.metrics.bulk_seconds.observe(time.monotonic() - started)
                reply = understood(answer, events)
                if reply is None:  # `events` may be wrong; the body itself isn't
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

    def _post(self, body: bytes) -> Any:
        asked = {"filter_path": FILTER, "timeout": f"{int(1000 * self.shard_wait_s)}ms"}
        return self.client.perform_request("POST", "/_bulk", params=asked, headers=_HEADERS, body=body).body

    def _prepare_indices(self, names: set[bytes]) -> None:
        """No event may create an index without its template, even if that was deleted meanwhile."""
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
        """Say why events wait; only what is new is logged."""
        if problem != self.trouble:
            log.warning("events wait in the spool", extra={"problem": problem})
            self.trouble = problem

    def _pause(self, tries: int) -> None:
        pause = _PAUSE_S[min(tries, len(_PAUSE_S) - 1)]
        # Jitter keeps several gateways from returning in step.
        if self.stopping.wait(pause * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
            raise Stopped
