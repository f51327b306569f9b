"""Live: events as they arrive, and counters of the last minutes, as server-sent events.

    GET /live/events      id: a cursor, event: event, data: the document
    GET /live/counters    every 2 s: event: counters, data: {"5m": {"events", "subjects", "by_event"}, "30m": {…}}

Both take `where` (filters as JSON), `app` and `robots`, as a question does. `Last-Event-ID` (or `after`) resumes.
A stream ends after LASTS_S, so that a key that was revoked is asked for again; the client comes back by itself.
Source: query contract, section 8.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import orjson

from metronome.dialects.query.read import condition, robots
from metronome.errors import BadQuestion, Forbidden, MetronomeError, NotFound
from metronome.query import All, Condition, Is, Resolver, asks_persons
from metronome.streams.arrivals import Arrivals, Entry
from metronome.streams.events import EventStream
from metronome.streams.head import Head
from metronome.streams.live_counts import counted

if TYPE_CHECKING:
    from metronome.streams.hub import Doors

#: How long a stream lasts.
LASTS_S = 300.0

#: How long one waits for Elasticsearch before it is told to come later.
READY_S = 10.0

#: Entries that a watcher takes from the log at once.
AT_ONCE = 500

#: Events of one write, and pieces of the log that are kept ready for watchers who want the same.
A_PIECE = 50
KEPT = 4

#: A cursor is sent at least this often while events pass by that the watcher doesn't want.
CURSOR_S = 5.0

#: Seconds between two counts, and the least pause behind one that took long.
COUNT_EVERY_S = 2.0
PAUSE_S = 0.5

#: Most different conditions of counters at one time. Those who ask the same share one computation.
MOST_COUNTED = 50


async def events(stream: EventStream, doors: Doors) -> None:
    """The handler of /live/events."""
    try:
        where = condition_of(stream.head, ("after",))
    except MetronomeError as error:
        return await stream.refuse(error.status, error.code, error.message)
    live = _live(doors)
    cursor = stream.head.header("last-event-id") or stream.head.query.get("after", "")
    try:
        async with asyncio.timeout(READY_S) as waiting, live.arrivals.watched():
            waiting.reschedule(None)
            await stream.accept()
            async with asyncio.timeout(LASTS_S):
                await _tell(stream, live.arrivals, live.wanted(where), cursor)
    except TimeoutError:
        if waiting.expired():
            await stream.refuse(503, "store_unavailable", "Elasticsearch doesn't answer; try again soon")
    except MetronomeError as error:
        if error.status < 500 or stream.accepted:
            raise
        await stream.refuse(503, "store_unavailable", "live events can't be had just now; try again soon")
    return None


def _live(doors: Doors) -> Live:
    assert doors.live is not None
    return doors.live


async def _tell(stream: EventStream, arrivals: Arrivals, wanted: Wanted, cursor: str) -> None:
    number = arrivals.end
    start = b"retry: 2000\n"
    if cursor:
        try:
            entries, number, skipped = await arrivals.missed(cursor)
        except NotFound:
            entries, skipped = [], -1
        if skipped:
            gap = {"skipped": skipped if skipped > 0 else None}
            await stream.pushed(b"event: gap\ndata: %b\n\n" % orjson.dumps(gap))
        await _send(stream, pieces_of(entries, wanted.where))
    if not cursor or number == arrivals.end:
        start += f"id: {arrivals.cursor}\n".encode()
    await stream.pushed(start + b"\n")
    said = time.monotonic()
    while True:
        await arrivals.wait(number)
        if number < arrivals.first:
            return  # too slow; it comes back with its cursor
        entries = arrivals.since(number, AT_ONCE)
        pieces = wanted.pieces(number, entries)
        number += len(entries)
        if pieces:
            await _send(stream, pieces)
            said = time.monotonic()
        elif time.monotonic() - said > CURSOR_S:
            said = time.monotonic()
            await stream.pushed(entries[-1].frame.partition(b"\n")[0] + b"\n\n")


async def _send(stream: EventStream, pieces: list[bytes]) -> None:
    for piece in pieces:
        # Waiting after each piece keeps what isn't sent yet within the stream's limit.
        await stream.pushed(piece)


def pieces_of(entries: list[Entry], where: Condition) -> list[bytes]:
    """The events that are wanted, as they are sent."""
    frames = [entry.frame for entry in entries if where.holds(entry.event)]
    return [b"".join(frames[start : start + A_PIECE]) for start in range(0, len(frames), A_PIECE)]


@dataclass
class Wanted:
    """The events of one condition. Watchers who want the same, and stand at the same place, share the work."""

    where: Condition
    _made: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def pieces(self, number: int, entries: list[Entry]) -> list[bytes]:
        """As `pieces_of`, for entries of the log from this number on."""
        place = (number, len(entries))
        if place not in self._made:
            self._made[place] = pieces_of(entries, self.where)
            while len(self._made) > KEPT:
                del self._made[next(iter(self._made))]
        return self._made[place]


async def counters(stream: EventStream, doors: Doors) -> None:
    """The handler of /live/counters."""
    try:
        where = condition_of(stream.head)
    except MetronomeError as error:
        return await stream.refuse(error.status, error.code, error.message)
    shared = _live(doors).counting(where)
    if shared is None:
        said = f"{MOST_COUNTED} different counters are watched already; try again later"
        return await stream.refuse(503, "too_many_streams", said)
    await stream.accept()
    try:
        async with asyncio.timeout(LASTS_S):
            async for text in shared.texts():
                await stream.send(text, event="counters")
    except TimeoutError:
        pass
    return None


@dataclass
class Counting:
    """The counters of one condition, computed once for all who watch them."""

    arrivals: Arrivals
    people: Callable[[], Resolver]
    where: Condition
    watchers: int = 0
    _task: asyncio.Task[None] | None = None
    _text: str = ""
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def texts(self) -> AsyncIterator[str]:
        self.watchers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._count())
        try:
            if self._text:
                yield self._text
            while True:
                await self._more.wait()
                yield self._text
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._task.cancel()
                self._task, self._text = None, ""

    async def _count(self) -> None:
        while True:
            started = time.monotonic()
            try:
                self._text = orjson.dumps(await self._counted()).decode()
                self._more.set()
                self._more = asyncio.Event()
            except MetronomeError:
                # What arrives is watched as well, and says in the log why Elasticsearch can't be asked.
                await asyncio.sleep(COUNT_EVERY_S)
            await asyncio.sleep(max(PAUSE_S, COUNT_EVERY_S - (time.monotonic() - started)))

    async def _counted(self) -> Mapping[str, Any]:
        now = datetime.now(UTC)
        found: Mapping[str, Any] = await self.arrivals.run(lambda ask: counted(ask, self.people(), self.where, now))
        return found


@dataclass
class Live:
    """What all watchers share. `people` says who is whom; it is called once somebody watches counters."""

    arrivals: Arrivals
    people: Callable[[], Resolver]
    _counted: dict[Condition, Counting] = field(default_factory=dict)
    _wanted: WeakValueDictionary[Condition, Wanted] = field(default_factory=WeakValueDictionary)

    def wanted(self, where: Condition) -> Wanted:
        """What all watchers of a condition share, as long as there is one."""
        found = self._wanted.get(where)
        if found is None:
            found = self._wanted[where] = Wanted(where)
        return found

    def counting(self, where: Condition) -> Counting | None:
        """The counters of a condition; None if too many others are watched."""
        if where not in self._counted:
            self._counted = {key: one for key, one in self._counted.items() if one.watchers}
            if len(self._counted) >= MOST_COUNTED:
                return None
            self._counted[where] = Counting(self.arrivals, self.people, where)
        return self._counted[where]


def condition_of(head: Head, further: tuple[str, ...] = ()) -> Condition:
    """The events that a watcher wants and may see; raises BadQuestion or Forbidden."""
    query = head.query
    known = ("where", "app", "robots", *further)
    for name in query:
        if name not in known and name not in ("key",):
            raise BadQuestion(f"{name[:40]}: isn't a parameter; there are {', '.join(known)}", field=name[:40])
    parts = _filters(query)
    if head.app and query.get("app", head.app) != head.app:
        raise Forbidden(f"app: this key asks about {head.app!r} only", field="app")
    if app := head.app or query.get("app"):
        parts.append(Is("app", app))
    if asks_persons(All(*parts)):
        raise BadQuestion("where: properties of persons can't be watched; those of events can", field="where")
    given: Mapping[str, Any] = {"": False, "false": False, "true": True}
    parts.append(robots(given.get(query.get("robots", ""), query.get("robots", ""))))
    return All(*parts)


def _filters(query: Mapping[str, str]) -> list[Condition]:
    try:
        given = orjson.loads(query["where"]) if query.get("where") else []
    except ValueError as error:
        raise BadQuestion(f"where: isn't JSON: {error}", field="where") from None
    if not isinstance(given, list):
        raise BadQuestion('where: a list such as [{"field": "event", "op": "is", "value": "buy"}]', field="where")
    return [condition(one, f"where[{number}]") for number, one in enumerate(given)]
