"""Facts: what intake adds to an event, in the literal order of STEPS.

A step changes the event in place, and raises Refusal for one that can't be taken. Each is written for the event
that millions are alike: one look into a dictionary, and a cache for what was seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from metronome.event.facts import DERIVATIONS, Derivation
from metronome.event.fields import TIME_NAMES, Event
from metronome.intake.settle import Refusal
from metronome.periods import read_time, to_text

#: A client's time further ahead of ours than this can't be meant (semantics, section 1).
MAX_AHEAD = timedelta(hours=1)

MAX_ITEM_BYTES = 512
MAX_DISTINCT_ID = 200


@dataclass(frozen=True)
class Arrival:
    """When and how the events of one request came; the same for all of them."""

    at_text: str
    latest: datetime
    latest_text: str
    dialect: str

    @property
    def tail(self) -> bytes:
        """What every stored document of the request ends in, line end included: written once a request."""
        return b',"@version":"1","received_at":"%b","dialect":"%b"}\n' % (
            self.at_text.encode(),
            self.dialect.encode(),
        )


def arrival(now: datetime, dialect: str) -> Arrival:
    latest = now + MAX_AHEAD
    return Arrival(to_text(now), latest, to_text(latest), dialect)


def place_in_time(event: Event, arrival: Arrival) -> None:
    """`@timestamp`: the client's time as UTC text in milliseconds, clamped to now if over an hour ahead; else now."""
    given = event.get("@timestamp")
    # "2026-11-22T09:30:00.123Z"    what most shippers send is what we store: only look whether it is a time
    # "2026-11-22T24:00:00.000Z"    which newer Pythons take, is the next day: for the slow reader
    if type(given) is str and given[4:20:3] == "--T::." and given[23:] == "Z" and given <= arrival.latest_text:
        try:
            datetime.fromisoformat(given)
            if "T24" not in given:
                return
        except ValueError:
            pass  # the slow reader says what is wrong
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
        raise Refusal(str(error), name) from None
    clamped = moment > arrival.latest
    if clamped:
        event["flags"] = [*event.get("flags", ()), "clamped"]
    if clamped or name == "@timestamp":
        event.setdefault("ts_client", given)
    event["@timestamp"] = arrival.at_text if clamped else to_text(moment)


def drop_version(event: Event, arrival: Arrival) -> None:
    """A shipper's `@version` has said what it says; what is stored has ours."""
    del event["@version"]


def check_item(name: str) -> Step:
    """An item's id is stored exactly as sent, so one that can't be found again is refused, never cut."""

    def check(event: Event, arrival: Arrival) -> None:
        item = event[name]
        text = item if type(item) is str else "" if item is None else str(item)
        if len(text) > MAX_ITEM_BYTES // 4 and len(text.encode()) > MAX_ITEM_BYTES:
            raise Refusal(f"an item's id has at most {MAX_ITEM_BYTES} bytes", name)

    return check


def check_person(event: Event, arrival: Arrival) -> None:
    """As with items: refused, never cut."""
    if len(str(event["distinct_id"])) > MAX_DISTINCT_ID:
        raise Refusal(f"at most {MAX_DISTINCT_ID} characters", "distinct_id")


def derived(derivation: Derivation) -> Step:
    """A step that derives facts. A record of a shipper says so by the version of its format; a tick hasn't any."""

    def step(event: Event, arrival: Arrival) -> None:
        derivation(event, "@version" in event)

    return step


Step = Callable[[Event, Arrival], None]

#: The steps that the events of one shape take, in order.
Plan = tuple[Step, ...]

#: The steps in order, each with the names that call for it: an event with none of them doesn't take the step.
STEPS: tuple[tuple[Step, frozenset[str] | None], ...] = (
    (place_in_time, None),
    *((derived(derivation), calls) for derivation, calls in DERIVATIONS),
    (drop_version, frozenset(("@version",))),
    (check_item("id"), frozenset(("id",))),
    (check_item("item_id"), frozenset(("item_id",))),
    (check_person, frozenset(("distinct_id",))),
)


def steps_for(names: Iterable[str]) -> Plan:
    """The steps that an event of these names takes."""
    names = set(names)
    return tuple(step for step, calls in STEPS if calls is None or not calls.isdisjoint(names))


__all__ = ["STEPS", "Arrival", "Plan", "Step", "arrival", "steps_for"]
