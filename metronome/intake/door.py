"""The door itself: events in, one durable spool row, a receipt out."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from metronome.errors import TooLarge
from metronome.event import AGENT_NAMES, Event
from metronome.intake.settle import PLAIN, Flat, Names, Refusal, Settled
from metronome.intake.stamp import Arrival, Plan, arrival, steps_for
from metronome.periods import from_ms, to_ms, to_text
from metronome.settings import Settings

_INSERT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)

#: Longest app that stands in an `_id` as it is; Elasticsearch takes ids of 512 bytes, an insert_id of 64 is in it.
_MAX_APP = 400

#: Shapes of events that are remembered; past this many the memory starts afresh. One of more names isn't remembered.
_MAX_REMEMBERED = 4096
_MAX_NAMES = 64

#: How minted ids end.
_LAST_DIGITS = tuple(f"{number:02x}" for number in range(256))


class Durable(Protocol):
    """What the door needs of a spool: bytes put there are on disk when `append` returns."""

    def append(self, body: bytes, events: int) -> None: ...


@dataclass(frozen=True)
class Unreadable:
    """A position of a batch that couldn't be parsed, with the reason for the receipt."""

    reason: str


@dataclass(frozen=True)
class Source:
    """Where a request's events come from: the dialect, and the visitor's agent if a browser sent them itself."""

    dialect: str
    agent: str | None = None


@dataclass
class Receipt:
    """What became of each event of a request.

    `ids` has one entry a position: the id under which a retry is recognised, or None where it was refused.
    """

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    ids: list[str | None] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    renamed: list[dict[str, Any]] = field(default_factory=list)
    withheld: list[dict[str, Any]] = field(default_factory=list)
    #: With `echo`: the document of each position as it will be stored, None where it was refused.
    records: list[bytes | None] = field(default_factory=list)

    def refuse(self, position: int, posted: Any, refusal: Refusal) -> None:
        insert_id = posted.get("insert_id") if isinstance(posted, dict) else None
        row = {"index": position, "id": insert_id, "field": refusal.field, "reason": refusal.reason}
        self.rejected.append(row)
        self.ids.append(None)
        self.records.append(None)

    def note(self, position: int, event: Settled) -> None:
        """What had to change about an event that was accepted."""
        self.renamed += ({"index": position, "from": old, "to": new} for old, new in event.renamed)
        self.withheld += ({"index": position, "field": name} for name in event.withheld)

    def as_dict(self) -> dict[str, Any]:
        """The answer's body; `renamed` and `withheld` only where there is something to say."""
        body: dict[str, Any] = {
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "quarantined": self.quarantined,
            "ids": self.ids,
            "rejected": self.rejected,
        }
        if self.renamed:
            body["renamed"] = self.renamed
        if self.withheld:
            body["withheld"] = self.withheld
        return body


class Intake:
    """Takes events in. One per worker process; safe to use from many threads."""

    def __init__(
        self, settings: Settings, spool: Durable, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._clock = clock
        self._names = Names(settings)
        self._plans: dict[tuple[str, ...], Plan] = {}

    def accept(self, events: Iterable[Any], source: Source, *, echo: bool = False) -> Receipt:
        """Take events in; return once every accepted one is safely on disk.

        `events` are JSON objects (nested ones are flattened) or `Unreadable`. A refused event is told in the receipt
        and costs the others nothing. Ids come from the event's own identity, `app` and `insert_id`, so a repeated
        call stores nothing twice. Raises TooLarge before anything is looked at, SpoolFull or SpoolUnavailable before
        anything is promised.
        """
        events = events if isinstance(events, list) else list(events)
        limit = self._settings.max_batch_events
        if len(events) > limit:
            raise TooLarge(f"{len(events)} events in one request; send at most {limit} (METRONOME_MAX_BATCH_EVENTS)")
        now = self._clock()
        came = arrival(now, source.dialect)
        flat = type(events) is Flat
        tail, longest = came.tail, self._settings.max_event_bytes
        minted = mint(now)
        receipt = Receipt()
        parts: list[bytes] = []
        seen: set[str] = set()
        day, app, head = "", "", ""
        for position, posted in enumerate(events):
            try:
                event = self._stamped(posted, came, source.agent, flat)
                given = event.get("insert_id")
                insert_id = _checked(given) if given else minted()
                line = _line(event, tail, longest)
            except Refusal as refusal:
                receipt.refuse(position, posted, refusal)
                continue
            receipt.ids.append(insert_id)
            if type(event) is Settled:
                receipt.note(position, event)
            if echo:
                receipt.records.append(line[:-1])
            its_day = event["@timestamp"][:10]
            if given and event["@timestamp"] is came.at_text:
                its_day = _day_of(insert_id, came.latest) or its_day
            its_app = event.get("app")
            if type(its_app) is not str:
                its_app = "" if its_app is None else str(its_app)
            # Neighbours mostly share day and app, and with them the start of their action lines.
            if its_day != day or its_app != app:
                day, app = its_day, its_app
                head = self._head(day, app)
            if given:
                if head + insert_id in seen:
                    receipt.duplicate += 1
                    continue
                seen.add(head + insert_id)
            parts.append(f'{head}{insert_id}"}}}}\n'.encode())
            parts.append(line)
        receipt.accepted = len(parts) // 2
        if parts:
            self._spool.append(b"".join(parts), receipt.accepted)
        return receipt

    def _stamped(self, posted: Any, came: Arrival, agent: str | None, flat: bool) -> Event:
        """The event with its facts, or Refusal.

        Which steps it takes follows from its names, and millions of events have the same names in the same order: for
        these one look into `_plans` says that the names are good and which steps there are.
        """
        if agent and type(posted) is dict and not posted.get(AGENT_NAMES[0]):
            posted = {**posted, AGENT_NAMES[0]: agent}
        plan = self._plans.get(tuple(posted)) if type(posted) is dict else None
        if plan is not None and (flat or PLAIN.issuperset(map(type, posted.values()))):
            event: Event = posted
        else:
            event, plan = self._settled(posted)
        for step in plan:
            step(event, came)
        return event

    def _settled(self, posted: Any) -> tuple[Event, Plan]:
        """An event whose shape is new, or that isn't flat; what can be remembered is."""
        if type(posted) is Unreadable:
            raise Refusal(posted.reason)
        event = self._names.settle(posted)
        plan = steps_for(event)
        if event is posted and len(event) <= _MAX_NAMES:
            if len(self._plans) > _MAX_REMEMBERED:
                self._plans.clear()
            self._plans[tuple(event)] = plan
        return event, plan

    def _head(self, day: str, app: str) -> str:
        """Start of an action line, up to where the insert_id goes: the index of the day, and the app.

        `_id` is `app:insert_id`, or the insert_id alone where there is no app. An insert_id holds no colon, so that
        can be read only one way; an app that would need escaping or is too long for an id goes in as its hash.
        """
        index = f"{self._settings.index_prefix}-{day.replace('-', '.')}"
        prefix = f"{_id_safe(app)}:" if app else ""
        return f'{{"create":{{"_index":"{index}","_id":"{prefix}'


def _line(event: Event, tail: bytes, longest: int) -> bytes:
    """The event as it is stored, line end included; or Refusal."""
    try:
        line = orjson.dumps(event)[:-1] + tail
    except TypeError:  # a whole number of more than 64 bits
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()[:-1] + tail
    size = len(line) - len(b"\n")
    if size > longest:
        raise Refusal(f"{size} bytes as stored; at most {longest} are taken (METRONOME_MAX_EVENT_BYTES)")
    return line


def _id_safe(app: str) -> str:
    if app.isascii() and app.isprintable() and not set('"\\#') & set(app) and len(app) <= _MAX_APP:
        return app
    return "#" + hashlib.blake2b(app.encode(), digest_size=16).hexdigest()


def mint(now: datetime) -> Callable[[], str]:
    """A function that gives one new id a call, for the events of one request.

    Ids are UUIDv7 (RFC 9562): they sort by time and carry their day. 42 random bits are the request's own, 32 count its
    events from a random start, which is a multiple of 256.
    """
    ms = to_ms(now) & (2**48 - 1)
    random = int.from_bytes(os.urandom(9), "big")
    a, b, c = random & 0xFFF, 0x8000 | random >> 12 & 0x3FFF, random >> 26 & 0xFFFF
    head = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{a:03x}-{b:04x}-{c:04x}"
    # Runs of 256 that differ in their last two digits: all but the first of a run are made without a line of Python.
    runs = (map(f"{head}{run:06x}".__add__, _LAST_DIGITS) for run in itertools.count(random >> 42 & 0x3FFFFF))
    return itertools.chain.from_iterable(runs).__next__


def _day_of(insert_id: str, latest: datetime) -> str | None:
    """The day `2026-11-22` inside a UUIDv7, None for another id or one of the future.

    An event without a usable time of its own belongs to the day it arrives on; if its id tells a day, that one is taken
    instead, so that a retry after midnight meets the first one's index (semantics, section 2).
    """
    if not _UUID7.fullmatch(insert_id):
        return None
    try:
        minted = from_ms(int(insert_id[:8] + insert_id[9:13], 16))
    except (OverflowError, ValueError):
        return None
    return to_text(minted)[:10] if minted <= latest else None


def _checked(given: Any) -> str:
    insert_id = str(given)
    if not _INSERT_ID.fullmatch(insert_id):
        raise Refusal("an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -", "insert_id")
    return insert_id
