"""Send spooled bytes to `_bulk`, and judge every item of the answer.

    judge:  2xx                     indexed
            409                     duplicate: stored before, which is success
            429, 5xx                again, with the others that failed, after a pause, for as long as it takes
            403, 404, index closed, again for a minute: an index that is blocked, closed or gone may come back; then
            no shards left          quarantine, so that one day can't hold up the others
            two types at once       again: two documents that bring one new name with two types race for its mapping;
                                    the second finds it settled
            any other 4xx           quarantine, with the reason

    whole request:  413             in halves, down to one event, which goes to quarantine
                    400             the same, if it is Elasticsearch that says so
                    all else        again: no answer or one to something else, a proxy's 400, 401, 403, 404, 429, 5xx

A retry sends only the items that need it. Ids were fixed at intake and the action is `create`, so sending an
item whose fate is unknown can't double it.
"""

from __future__ import annotations

import logging
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import elastic_transport
from elasticsearch import ApiError, Elasticsearch

from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.spool.quarantine import Quarantine, Refusal

log = logging.getLogger("metronome.drain")

Verdict = Literal["indexed", "duplicate", "again", "again for a while", "quarantined"]

#: Only what the judge needs comes back: a status an item, and the reason of those that failed.
_FILTER = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"

_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}

#: How long an index may refuse before its events go to quarantine. As long without a refusal starts this afresh.
PATIENCE_S = 60

#: How often an item is sent again for a race about types before it is taken to be at fault itself.
_MAX_RACES = 4

_PAUSE_S = (0.1, 0.2, 0.5, 1, 2, 5)

#: Refusals (kinds with status 400) that are no fault of the document: the index is closed, the cluster out of shards.
_NOT_ITS_FAULT = frozenset(("index_closed_exception", "index_not_found_exception", "validation_exception"))

_INDEX = re.compile(rb'\{"create": ?\{"_index": ?"([^"]+)"')

#: An index found with its template in place is trusted so long.
_TRUST_S = 60


def judge(status: int, kind: str, reason: str) -> Verdict:
    """What to do about one item of a bulk answer."""
    if status < 300:
        return "indexed"
    if status == 409:
        return "duplicate"
    if status in (408, 429) or status >= 500 or _is_race(reason):
        return "again"
    if status in (403, 404) or kind in _NOT_ITS_FAULT:
        return "again for a while"
    return "quarantined"


def _is_race(reason: str) -> bool:
    return "cannot be changed from type" in reason


@dataclass
class Outcome:
    """How many events of a body ended how; without `retried`, together as many as were sent."""

    indexed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    retried: int = 0

    def add(self, other: Outcome) -> None:
        self.indexed += other.indexed
        self.duplicate += other.duplicate
        self.quarantined += other.quarantined
        self.retried += other.retried


class Stopped(Exception):
    """The drain was asked to stop while a body was unshipped; its rows stay in the spool."""


@dataclass
class _Item:
    action: bytes
    source: bytes
    races: int = 0

    @property
    def index(self) -> bytes:
        found = _INDEX.match(self.action)
        return found.group(1) if found else b""


@dataclass(frozen=True)
class _Clean:
    """Every item was stored: the answer said `errors: false` and had as many items as were sent."""

    count: int


@dataclass(frozen=True)
class _Refused:
    """The request as a whole was refused with this status."""

    status: int


_Reply = _Clean | _Refused | list[dict[str, Any]]


@dataclass
class Sender:
    """Ships bodies until every item has a final verdict. One may serve several threads."""

    client: Elasticsearch
    quarantine: Quarantine
    metrics: Metrics
    stopping: threading.Event = field(default_factory=threading.Event)
    #: Called before an index is written to that wasn't lately: makes sure that it gets our mapping, or raises.
    prepare: Callable[[], object] = lambda: None
    #: Why nothing gets through just now, for health checks and the log; empty while all is well.
    trouble: str = ""
    #: Indices that refuse events, since when; the first event that one takes again ends it.
    _refusing: dict[bytes, float] = field(default_factory=dict)
    _trusted: dict[bytes, float] = field(default_factory=dict)

    def ship(self, body: bytes, events: int | None = None) -> Outcome:
        """Send bulk-ready bytes; returns once each event is indexed, known as a duplicate or in quarantine.

        `events` says how many there are, where that is known. Waits as long as Elasticsearch is away; raises Stopped
        when `stopping` is set meanwhile.
        """
        # The usual case: one request, no errors, and no need to look at a single event.
        reply = self._send(body, _count(body) if events is None else events)
        outcome = Outcome(indexed=reply.count) if isinstance(reply, _Clean) else self._ship_items(_items(body), reply)
        for name in ("indexed", "duplicate", "quarantined", "retried"):
            if getattr(outcome, name):
                self.metrics.bulk_items.labels(name).inc(getattr(outcome, name))
        return outcome

    def _ship_items(self, items: list[_Item], reply: _Reply) -> Outcome:
        """Go on from the reply to a request that held `items`, until none is left."""
        outcome = Outcome()
        tries = 0
        while items:
            if isinstance(reply, _Refused):
                outcome.add(self._ship_halves(items, reply.status))
                break
            if isinstance(reply, _Clean):
                outcome.indexed += reply.count
                break
            left = self._judge_all(items, reply, outcome)
            if left:
                outcome.retried += len(left)
                # Progress starts the pauses afresh.
                tries = 0 if len(left) < len(items) else tries + 1
                self._pause(tries)
                reply = self._send(_lines(left), len(left))
            items = left
        return outcome

    def _ship_halves(self, items: list[_Item], status: int) -> Outcome:
        """The request as a whole was refused with `status`: the one at fault is found by halving."""
        if len(items) == 1:
            reason = "Elasticsearch refused the request that held this event alone"
            while not self._set_aside([Refusal(items[0].action, items[0].source, status, "request_refused", reason)]):
                self._pause(len(_PAUSE_S))
            return Outcome(quarantined=1)
        outcome = Outcome()
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            outcome.add(self._ship_items(half, self._send(_lines(half), len(half))))
        return outcome

    def _judge_all(self, items: list[_Item], results: list[dict[str, Any]], outcome: Outcome) -> list[_Item]:
        """Settle every item that can be; gives those to send again."""
        again: list[_Item] = []
        refused: list[_Item] = []
        refusals: list[Refusal] = []
        problem = ""
        for item, result in zip(items, results, strict=True):
            refusal = _refusal(item, result)
            verdict = self._final(item, judge(refusal.status, refusal.kind, refusal.reason), refusal.reason)
            if verdict == "indexed":
                outcome.indexed += 1
            elif verdict == "duplicate":
                outcome.duplicate += 1
            elif verdict == "quarantined":
                refused.append(item)
                refusals.append(refusal)
            else:
                again.append(item)
                problem = f"{refusal.status} {refusal.kind}"
        if again:
            self._ill(problem)
        if refusals:
            if self._set_aside(refusals):
                outcome.quarantined += len(refusals)
            else:
                again += refused
        if not again:
            self._well()
        return again

    def _final(self, item: _Item, verdict: Verdict, reason: str) -> Verdict:
        """The judge knows one answer; whether it is time to give up takes those before it, too."""
        if verdict == "again" and _is_race(reason):
            item.races += 1
            return "quarantined" if item.races > _MAX_RACES else "again"
        if verdict == "again for a while":
            now = time.monotonic()
            since = self._refusing.setdefault(item.index, now)
            return "quarantined" if now - since >= PATIENCE_S else "again"
        if verdict == "indexed" and self._refusing:
            self._refusing.pop(item.index, None)
        return verdict

    def _set_aside(self, refusals: list[Refusal]) -> bool:
        """Put refused events in quarantine; says whether it took them (its disk may be full)."""
        try:
            self.quarantine.add(refusals)
        except sqlite3.Error as error:
            self._ill(f"the quarantine can't be written: {error}")
            return False
        log.warning("quarantined", extra={"events": len(refusals), "reason": refusals[0].reason})
        return True

    def _send(self, body: bytes, events: int) -> _Reply:
        """One request, again and again until there is an answer to it."""
        tries = 0
        names = _indices(body, events)
        while True:
            if self.stopping.is_set():
                raise Stopped
            started = time.monotonic()
            try:
                self._prepare_indices(names)
                answer = self._post(body)
                reply = _understood(answer, events)
                if reply is None:  # the bytes know better than who counted them
                    reply = _understood(answer, _count(body))
            except ApiError as error:
                status = error.meta.status
                # A proxy in front says 400 for reasons of its own; 413 is one that halving mends whoever says it.
                if status == 413 or (status == 400 and "x-elastic-product" in error.meta.headers):
                    self.metrics.bulk_requests.labels("refused").inc()
                    return _Refused(status)
                problem = f"{status} {error.message}"
            except (elastic_transport.TransportError, MetronomeError) as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                self.metrics.bulk_seconds.observe(time.monotonic() - started)
                if reply is not None:
                    self.metrics.bulk_requests.labels("answered").inc()
                    if isinstance(reply, _Clean):
                        self._well()
                        for name in names if self._refusing else ():
                            self._refusing.pop(name, None)
                    return reply
                problem = "an answer that doesn't fit what was sent"
            self.metrics.bulk_requests.labels("failed").inc()
            self._ill(problem)
            self._pause(tries)
            tries += 1

    def _post(self, body: bytes) -> Any:
        asked = {"filter_path": _FILTER}
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

    def _ill(self, problem: str) -> None:
        if problem != self.trouble:
            log.warning("events wait in the spool", extra={"problem": problem})
            self.trouble = problem

    def _pause(self, tries: int) -> None:
        pause = _PAUSE_S[min(tries, len(_PAUSE_S) - 1)]
        # Jitter keeps several gateways from returning in step.
        if self.stopping.wait(pause * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
            raise Stopped


def _count(body: bytes) -> int:
    """Two lines an event; the last may lack its line feed."""
    return (body.count(b"\n") + (not body.endswith(b"\n"))) // 2


def _indices(body: bytes, events: int) -> set[bytes]:
    """Names of the indices that events go to: mostly one, and to count its name is cheaper than to read all of them."""
    first = _INDEX.match(body)
    if first and body.count(first.group()) == events:
        return {first.group(1)}
    return set(_INDEX.findall(body))


def _understood(answer: Any, count: int) -> _Clean | list[dict[str, Any]] | None:
    """The results of `count` items in order; None where the answer isn't one to them, whatever it is."""
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        return None
    items = answer["items"]
    if len(items) != count:
        return None
    if answer.get("errors") is False:
        return _Clean(len(items))
    results: list[Any] = [next(iter(item.values()), None) if isinstance(item, dict) else None for item in items]
    if not all(isinstance(result, dict) and isinstance(result.get("status"), int) for result in results):
        return None
    return results


def _refusal(item: _Item, result: dict[str, Any]) -> Refusal:
    """An item's result as the quarantine would keep it; kind and reason are empty where it went well."""
    # {"status": 400, "error": {"type": "document_parsing_exception", "reason": "…", "caused_by": {"reason": "…"}}}
    error = result.get("error") or {}
    reason = str(error.get("reason", ""))
    cause = (error.get("caused_by") or {}).get("reason")
    reason = f"{reason} ({cause})" if cause else reason
    return Refusal(item.action, item.source, result["status"], str(error.get("type", "")), reason)


def _lines(items: list[_Item]) -> bytes:
    return b"".join(b"%b\n%b\n" % (item.action, item.source) for item in items)


def _items(body: bytes) -> list[_Item]:
    lines = body.rstrip(b"\n").split(b"\n")
    return [_Item(action, source) for action, source in zip(lines[::2], lines[1::2], strict=True)]
