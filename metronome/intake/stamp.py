"""Stamps: what intake checks and adds, event by event.

An event's names decide which steps it takes, in this order (`steps_for`):

1. place_in_time     `@timestamp`, for every event
2. agree             only if the event names a fact of its request (see origin.py)
3. checks            ids that can't be stored as they are
4. derivations       the facts of event/facts.py
5. drops             the visitor's agent, since the derivations have read it and it is never stored; and a shipper's
                     `@version`, since the document gets our own
6. dialect's steps   those of `Origin.steps`
7. cuts              addresses of web pages lose what analytics doesn't need, once everything has been derived

Every step changes the event in place. It raises Unacceptable for an event that can't be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from metronome.event.facts import Derivation, derivations
from metronome.event.fields import AGENT_NAMES, ITEM_NAMES, TIME_NAMES, Event
from metronome.event.identity import LINKED, LINKS, problem_of
from metronome.event.privacy import Privacy
from metronome.intake.origin import Origin
from metronome.intake.settle import RENAMED, Unacceptable
from metronome.periods import read_time, to_text

#: A client's time further ahead of ours than this can't be meant (semantics, section 1).
MAX_AHEAD = timedelta(hours=1)

MAX_ITEM_BYTES = 512
MAX_DISTINCT_ID = 200

_AGENT = AGENT_NAMES[0]


@dataclass(slots=True)
class Arrival:
    """What the events of one request have in common.

    Times as text are in the form in which they are stored, so that two of them compare as times do. `earliest` is the
    horizon: events from before it are set aside. `tail` is what every document of the request ends in, line end
    included. It holds the request's facts, so these cost nothing per event.
    """

    at: datetime
    at_text: str
    latest: datetime
    latest_text: str
    earliest: datetime
    earliest_text: str
    facts: dict[str, Any]
    tail: bytes


def arrival(now: datetime, origin: Origin, earliest: datetime, earliest_text: str) -> Arrival:
    latest, at_text = now + MAX_AHEAD, to_text(now)
    facts = dict(origin.facts)
    said = orjson.dumps(facts)[1:-1]
    tail = b',"@version":"1","received_at":"%b","dialect":"%b"%b}\n' % (
        at_text.encode(),
        origin.dialect.encode(),
        b"," + said if said else b"",
    )
    return Arrival(now, at_text, latest, to_text(latest), earliest, earliest_text, facts, tail)


def place_in_time(event: Event, arrival: Arrival) -> None:
    """`@timestamp`: the client's time as UTC text in milliseconds, clamped to now if over an hour ahead; else now."""
    given = event.get("@timestamp")
    # "2026-11-22T09:30:00.123Z"    what most shippers send is already in the stored form: only check that it is a time
    # "2026-11-22T24:00:00.000Z"    newer Pythons take this as the next day, so it goes the slow way
    if (
        type(given) is str
        and given[4:20:3] == "--T::."
        and given[23:] == "Z"
        and arrival.earliest_text <= given <= arrival.latest_text
    ):
        try:
            datetime.fromisoformat(given)
            if "T24" not in given:
                return
        except ValueError:
            pass  # the slow way says what is wrong
    _read_any_time(event, arrival)


def _read_any_time(event: Event, arrival: Arrival) -> None:
    name = next((name for name in TIME_NAMES if event.get(name) is not None), None)
    if name is None:
        event["@timestamp"] = arrival.at_text
        return
    given = event[name]
    try:
        moment = read_time(given)
    except ValueError as error:
        raise Unacceptable(str(error), name) from None
    if moment < arrival.earliest:
        raise Unacceptable(
            f"{to_text(moment)} is before {arrival.earliest_text[:10]}, the oldest day that is taken "
            "(METRONOME_HORIZON_DAYS, and less for a public key)",
            name,
            kept=True,
        )
    clamped = moment > arrival.latest
    if clamped:
        event["flags"] = [*event.get("flags", ()), "clamped"]
    if clamped or name == "@timestamp":
        _keep_as_given(event, name)
    event["@timestamp"] = arrival.at_text if clamped else to_text(moment)


def _keep_as_given(event: Event, name: str) -> None:
    """Keep the text of a time that `@timestamp` won't show: in `ts_client`, unless the client has set that itself."""
    if "ts_client" not in event:
        event["ts_client"] = event[name]
    elif name == "@timestamp":
        event[RENAMED + name] = event[name]
        event["flags"] = [*event.get("flags", ()), "renamed_keys"]


def agree(event: Event, facts: dict[str, Any], names: Iterable[str]) -> None:
    """Drop properties of these names, which the request's facts say for the whole request.

    Raises Unacceptable where the event names another `app` than that of its key. Any other value that differs is kept
    under `renamed.`.
    """
    for name in names:
        said = event.pop(name)
        if said is None or said == "" or said == facts[name] or str(said) == facts[name]:
            continue
        if name == "app":
            raise Unacceptable(f"the key is bound to the app {facts[name]!r}; send that one or none", name)
        event[RENAMED + name] = said
        event["flags"] = [*event.get("flags", ()), "renamed_keys"]


def _check_item(name: str) -> Step:
    """An item's id is stored exactly as sent. One that couldn't be found again is refused, never cut."""

    def check(event: Event) -> None:
        item = event[name]
        if item is None or (type(item) is str and len(item) <= MAX_ITEM_BYTES // 4):
            return
        if len(str(item).encode(errors="surrogatepass")) > MAX_ITEM_BYTES:
            raise Unacceptable(f"an item's id has at most {MAX_ITEM_BYTES} bytes", name)

    return check


def _check_person(event: Event) -> None:
    """As with items: refused, never cut."""
    person = event["distinct_id"]
    if len(person if type(person) is str else str(person)) > MAX_DISTINCT_ID:
        raise Unacceptable(f"at most {MAX_DISTINCT_ID} characters", "distinct_id")


def _check_link(event: Event) -> None:
    """A link of a person to an id that stands for nobody would make one person of many."""
    for name in (LINKED, "distinct_id"):
        problem = problem_of(event.get(name))
        if problem and event.get("event") in LINKS:
            raise Unacceptable(problem, name)


def _drop_agent(event: Event) -> None:
    del event[_AGENT]


def _drop_version(event: Event) -> None:
    del event["@version"]


Step = Callable[[Event], None]

_CHECKS: dict[str, Step] = {
    **{name: _check_item(name) for name in ITEM_NAMES},
    "distinct_id": _check_person,
    LINKED: _check_link,
}
_DROPS: dict[str, Step] = {_AGENT: _drop_agent, "@version": _drop_version}


#: What is done to the events of one shape: the names that the request's facts say too, the steps, and the names of
#: addresses of web pages.
Plan = tuple[tuple[str, ...], tuple[Step, ...], tuple[str, ...]]


def steps_for(names: Iterable[str], origin: Origin, privacy: Privacy) -> Plan:
    """The plan for events of these names."""
    names = frozenset(names)
    own = [step.apply for step in origin.steps if _is_called(step, names)]
    steps = (
        *(check for name, check in _CHECKS.items() if name in names),
        *derivations(names, shipped=origin.shipped or "@version" in names),
        *(drop for name, drop in _DROPS.items() if name in names),
        *own,
    )
    pages = tuple(name for name in sorted(names) if privacy.kind(name) == "page")
    return tuple(name for name in origin.facts if name in names), steps, pages


def cut_pages(event: Event, pages: tuple[str, ...], privacy: Privacy) -> list[str]:
    """Cut the addresses under these names in place; gives the names of those that were longer."""
    names = []
    for name in pages:
        value = event[name]
        if type(value) is not str or "?" in value or "#" in value or "@" in value:
            short = privacy.cut(value)
            if short != value:
                event[name] = short
                names.append(name)
    return names


def _is_called(step: Derivation, names: frozenset[str]) -> bool:
    return step.calls is None or not step.calls.isdisjoint(names)
