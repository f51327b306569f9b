"""The door itself: events in, one durable spool row, a receipt out."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson

from metronome.errors import TooLarge
from metronome.event.fields import AGENT_NAMES, FIELDS, TIME_NAMES, Event
from metronome.intake.aside import Aside, Unreadable
from metronome.intake.clamped import ClampedDays
from metronome.intake.days import NewDays
from metronome.intake.ids import checked, day_of, id_safe, mint
from metronome.intake.origin import NO_HORIZON, Origin, Refused, WithFacts
from metronome.intake.receipt import Receipt
from metronome.intake.settle import PLAIN, Names, Settled, Unacceptable
from metronome.intake.stamp import Arrival, Plan, agree, arrival, cut_pages, place_in_time, steps_for
from metronome.metrics import Metrics
from metronome.periods import to_text
from metronome.settings import Settings
from metronome.spool.suppressed import Suppressed

log = logging.getLogger("metronome.intake")

_AGENT = AGENT_NAMES[0]

_TOO_LONG = "%d bytes as stored; at most %d are taken (METRONOME_MAX_EVENT_BYTES)"

#: Shapes of events that are remembered, per kind of origin. Past this many the memory starts afresh.
_MAX_REMEMBERED = 4096

#: An event of more names isn't remembered: its shape hardly comes again, and takes much memory.
_MAX_NAMES = 64

#: Kinds of origins that are remembered. There are as many as dialects have sets of steps and facts.
_MAX_KINDS = 256

#: Fields that refused events are counted by. Other names come from clients and would grow without bound.
_COUNTED = frozenset(named.name for named in FIELDS) | frozenset(TIME_NAMES)

#: The plan for each shape (names in order) of events of one kind of origin.
Plans = dict[tuple[str, ...], Plan]


class Durable(Protocol):
    """What the door needs of a spool: bytes put there are on disk when `append` returns."""

    def append(self, body: bytes, events: int) -> None: ...


class Intake:
    """Takes events in. One per worker process; safe to use from many threads.

    `folder` is where the quarantine is, and the notes on clamped events; without it neither is kept.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Durable,
        metrics: Metrics | None = None,
        *,
        folder: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._metrics = metrics or Metrics()
        self._names = Names(settings)
        self._privacy = self._names.privacy
        self._aside = Aside(folder, settings.spool_max_bytes, self._privacy)
        self._clamped = ClampedDays(folder)
        self._days = NewDays(folder, settings)
        self._suppressed = Suppressed(folder)
        self._clock = clock
        self._horizon = timedelta(days=settings.horizon_days) if settings.horizon_days else NO_HORIZON
        self._plans: dict[tuple[Any, ...], Plans] = {}
        self._horizons: dict[timedelta, tuple[date, tuple[datetime, str]]] = {}
        self._longest = settings.max_event_bytes + len(b"\n")
        self._counted: dict[str, _Counted] = {}

    def accept(
        self,
        events: Iterable[Any],
        origin: Origin,
        *,
        echo: bool = False,
        flat: bool = False,
        addresses: bool = True,
        whole: bool = False,
    ) -> Receipt:
        """Take events in; return once every accepted one is safely on disk.

        `events` are JSON objects (nested ones are flattened), `WithFacts`, `Refused` or `Unreadable`; they stay as they
        are. An event that can't be taken is named in the receipt and costs the others nothing. Ids come from the
        event's own identity, `app` and `insert_id`, so a repeated call stores nothing twice.

        `flat` says that no event holds an object or an array. Pass only what `wire.events` found (`Posted.flat`): an
        object in a flat event would be stored with its names unsettled, private ones too. In the same way,
        `addresses=False` says that no text of theirs is an IP address (`Posted.addresses`), so that none is looked for.

        `whole` takes all events or none: if one is refused, the receipt names it, and nothing is stored or kept.

        Raises TooLarge before anything is looked at, and SpoolFull or SpoolUnavailable before anything is promised.
        After the spool has the events nothing is raised.
        """
        events = events if isinstance(events, list) else list(events)
        limit = self._settings.max_batch_events
        if len(events) > limit:
            raise TooLarge(f"{len(events)} events in one request; send at most {limit} (METRONOME_MAX_BATCH_EVENTS)")
        came = self._arrival(origin)
        taken = self._taken(events, origin, came, echo, flat, addresses)
        if whole and taken.refused:
            taken.give_back()
        elif taken.clamped:
            self._settle_clamped(taken, came)
        receipt, took_s = taken.receipt, 0.0
        if taken.parts:
            started = time.perf_counter()
            self._spool.append(b"".join(taken.parts), receipt.accepted)
            took_s = time.perf_counter() - started
        try:
            if taken.refused and not whole:
                self._set_aside(receipt, taken.refused, untold=origin.untold)
            self._count(receipt, origin.dialect, took_s)
        except Exception:  # the events are on disk: whoever sent them must not send them again
            log.exception("events were accepted, but not counted", extra={"events": receipt.accepted})
        return receipt

    def _taken(self, events: list[Any], origin: Origin, came: Arrival, echo: bool, flat: bool, look: bool) -> _Taken:
        """Stamp the events of a request. All of it is one loop, since a call an event costs 2 % of it."""
        plans, longest, tail, at_text = self._plans_for(origin), self._longest, came.tail, came.at_text
        quick, bound_app = not (origin.agent or look), came.facts.get("app", "")
        minted, taken, seen, heads = mint(came.at), _Taken(), set[str](), dict[tuple[str, str], str]()
        receipt, put, days = taken.receipt, taken.parts.append, self._days.known(came.at)
        put_id, suppression = receipt.ids.append, self._suppressed.now()
        for position, posted in enumerate(events):
            try:
                plan = plans.get(tuple(posted)) if quick and type(posted) is dict else None
                if plan is not None and (flat or PLAIN.issuperset(map(type, posted.values()))):
                    event: Event = posted.copy()
                else:
                    event, plan = self._settled(posted, origin, plans, flat, look)
                said, steps, pages = plan
                place_in_time(event, came)
                if said:
                    agree(event, came.facts, said)
                for step in steps:
                    step(event)
                if suppression is not None and suppression.holds(event):
                    receipt.suppress()
                    continue
                cut = pages and cut_pages(event, pages, self._privacy)
                given = event.get("insert_id")
                insert_id = checked(given) if (named := given is not None and given != "") else minted()
                try:
                    line = orjson.dumps(event)[:-1] + tail
                except TypeError:
                    line = _slow_line(event)[:-1] + tail
                if len(line) > longest:
                    raise Unacceptable(_TOO_LONG % (len(line) - 1, longest - 1))  # noqa: TRY301 - a call an event
                timeless = named and event["@timestamp"] is at_text
                its_day = (timeless and day_of(insert_id, came.latest)) or event["@timestamp"][:10]
                if its_day not in days:
                    self._days.begin(its_day, came.at, public=origin.is_public)
            except Unacceptable as why:
                taken.refuse(position, posted, why)
                continue
            put_id(insert_id)
            if cut or type(event) is Settled:
                receipt.note(position, event, cut)
            if echo:
                receipt.records.append(line[:-1])
            its_app = event.get("app", bound_app)
            if type(its_app) is not str:
                its_app = "" if its_app is None else str(its_app)
            action = f'{heads.get((its_day, its_app)) or self._head(its_day, its_app, heads)}{insert_id}"}}}}\n'
            if named:
                if action in seen:
                    receipt.duplicate += 1
                    continue
                seen.add(action)
                if timeless and "clamped" in event.get("flags", ()):
                    taken.clamped.append((len(taken.parts), its_app, insert_id))
            put(action.encode())
            put(line)
        receipt.accepted = len(taken.parts) // 2
        return taken

    def _arrival(self, origin: Origin) -> Arrival:
        now = self._clock()
        horizon = self._horizon if origin.horizon is None else origin.horizon
        return arrival(now, origin, *self._earliest(now.date(), horizon))

    def _earliest(self, today: date, horizon: timedelta) -> tuple[datetime, str]:
        """The start of the oldest day from which events are taken, also as text. It changes once a day."""
        found = self._horizons.get(horizon)
        if found is None or found[0] != today:
            try:
                moment = datetime.combine(today - horizon, datetime.min.time(), UTC)
            except OverflowError:
                moment = datetime.min.replace(tzinfo=UTC)
            found = self._horizons[horizon] = (today, (moment, to_text(moment)))
        return found[1]

    def _plans_for(self, origin: Origin) -> Plans:
        """The plans for origins of this kind: what differs from request to request isn't in the key."""
        kind = (origin.dialect, origin.shipped, origin.steps, *origin.facts)
        plans = self._plans.get(kind)
        if plans is None:
            origin.check()
            if len(self._plans) >= _MAX_KINDS:
                self._plans.clear()
            plans = self._plans[kind] = {}
        return plans

    def _settled(self, posted: Any, origin: Origin, plans: Plans, flat: bool, addresses: bool) -> tuple[Event, Plan]:
        """A new event and its plan; raises Unacceptable.

        An event's names say which steps it takes, and millions of events have the same names in the same order. So the
        plan for these names is remembered, if the names were good as they are. Finding it says that they are.
        """
        if type(posted) is dict:
            if origin.agent and not posted.get(_AGENT):
                posted = {**posted, _AGENT: origin.agent}
            plan = plans.get(tuple(posted))
            good = plan is not None and (flat or PLAIN.issuperset(map(type, posted.values())))
            if plan is not None and good and not (addresses and self._privacy.hides(posted)):
                return posted.copy(), plan
        elif type(posted) is Unreadable:
            raise Unacceptable(posted.reason)
        elif type(posted) is Refused:
            raise Unacceptable(posted.reason, posted.field)
        elif type(posted) is WithFacts:
            event = {**posted.event, _AGENT: posted.agent} if posted.agent else posted.event
            event, (said, steps, pages) = self._settled(event, origin, plans, False, True)
            return event, (said, (*steps, posted.complete), pages)
        event = self._names.settle(posted, addresses=addresses)
        plan = steps_for(event, origin, self._privacy)
        if type(event) is not Settled and len(event) <= _MAX_NAMES:
            if len(plans) > _MAX_REMEMBERED:
                plans.clear()
            plans[tuple(event)] = plan
        return event, plan

    def _head(self, day: str, app: str, heads: dict[tuple[str, str], str]) -> str:
        """Start of an action line, up to where the insert_id goes: the index of the day, and the app.

        `_id` is `app:insert_id`, or the insert_id alone where there is no app. An insert_id holds no colon, so the
        two can always be told apart. An app that is too long for an id or would need escaping is replaced by its hash.
        """
        index = f"{self._settings.index_prefix}-{day.replace('-', '.')}"
        head = heads[day, app] = f'{{"create":{{"_index":"{index}","_id":"{_prefix(app)}'
        return head

    def _settle_clamped(self, taken: _Taken, came: Arrival) -> None:
        """Move clamped events that came before, on another day, to that day."""
        # An id with a day in it has been given that day already.
        clamped = [(at, app, insert_id) for at, app, insert_id in taken.clamped if not day_of(insert_id, came.latest)]
        days = self._clamped.settle([_prefix(app) + insert_id for _, app, insert_id in clamped], came.at_text[:10])
        for (at, app, insert_id), day in zip(clamped, days, strict=True):
            taken.parts[at] = f'{self._head(day, app, {})}{insert_id}"}}}}\n'.encode()

    def _set_aside(self, receipt: Receipt, refused: list[tuple[Any, Unacceptable]], *, untold: bool) -> None:
        """Keep what was refused of a request that is otherwise taken; a request that isn't stays the sender's."""
        if not receipt.accepted and not untold and not any(why.kept for _, why in refused):
            return
        rows = [(posted, f"{why.field}: {why.reason}" if why.field else why.reason) for posted, why in refused]
        receipt.quarantined = self._aside.keep(rows)

    def _count(self, receipt: Receipt, dialect: str, took_s: float) -> None:
        counted = self._counted.get(dialect)
        if counted is None:
            counted = self._counted[dialect] = _Counted(self._metrics, dialect)
        if receipt.accepted:
            counted.accepted.inc(receipt.accepted)
            counted.spool_seconds.observe(took_s)
        if receipt.duplicate:
            counted.duplicate.inc(receipt.duplicate)
        if receipt.quarantined:
            counted.set_aside.inc(receipt.quarantined)
        for kind, properties in receipt.hidden.items():
            self._metrics.hidden.labels(kind).inc(properties)
        if receipt.rejected:
            fields = Counter(row["field"] if row["field"] in _COUNTED else "other" for row in receipt.rejected)
            for name, events in fields.items():
                self._metrics.refused.labels(dialect, name).inc(events)


class _Counted:
    """The counters of one dialect: looking them up by label takes longer than counting."""

    def __init__(self, metrics: Metrics, dialect: str) -> None:
        self.accepted = metrics.accepted.labels(dialect)
        self.duplicate = metrics.duplicate.labels(dialect)
        self.set_aside = metrics.set_aside.labels(dialect)
        self.spool_seconds = metrics.spool_seconds.labels(dialect)


@dataclass
class _Taken:
    """What became of a request's events before the first byte is written.

    `parts` are bulk lines, two an event. `refused` are the events that can't be taken. `clamped` are the events with a
    time to come and an insert_id: place in `parts`, app, insert_id.
    """

    receipt: Receipt = field(default_factory=Receipt)
    parts: list[bytes] = field(default_factory=list)
    refused: list[tuple[Any, Unacceptable]] = field(default_factory=list)
    clamped: list[tuple[int, str, str]] = field(default_factory=list)

    def refuse(self, position: int, posted: Any, why: Unacceptable) -> None:
        if isinstance(posted, WithFacts | Refused):
            posted = posted.event
        self.receipt.refuse(position, posted, why)
        self.refused.append((posted, why))

    def give_back(self) -> None:
        """Take nothing: the receipt keeps what was refused."""
        self.parts.clear()
        self.receipt.accepted = self.receipt.duplicate = 0


def _prefix(app: str) -> str:
    return f"{id_safe(app)}:" if app else ""


def _slow_line(event: Event) -> bytes:
    """JSON with whole numbers of more than 64 bits; raises Unacceptable."""
    try:
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # half an emoji, NaN beside a long number
        raise Unacceptable(f"can't be written as JSON: {error}") from None
