"""The door itself: events in, one durable spool row, a receipt out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from metronome.errors import TooLarge
from metronome.event.fields import AGENT_NAMES, Event
from metronome.intake.ids import checked, day_of, id_safe, mint
from metronome.intake.receipt import Receipt
from metronome.intake.settle import PLAIN, Flat, Names, Refusal, Settled
from metronome.intake.stamp import Arrival, Plan, arrival, steps_for
from metronome.settings import Settings

#: Shapes of events that are remembered; past this many the memory starts afresh. One of more names isn't remembered.
_MAX_REMEMBERED = 4096
_MAX_NAMES = 64


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
                insert_id = checked(given) if given else minted()
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
                its_day = day_of(insert_id, came.latest) or its_day
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
        prefix = f"{id_safe(app)}:" if app else ""
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
