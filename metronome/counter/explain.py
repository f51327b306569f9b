"""Which event became which number: the usages of one item, title or database in a month, each with its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import duckdb
import orjson

from metronome.counter.about import Uses, uses, whose
from metronome.counter.day import COUNTS, IS_DOUBLE, IS_NOTHING, IS_ROBOT, Columns, Usages
from metronome.counter.facts import WORLD
from metronome.counter.tables import working
from metronome.counter.values import UNIQUE_TITLES
from metronome.parts.read import Opens
from metronome.periods import from_ms

_EXTRA: Columns = {"id": ("_id", "text"), "item": ("id", "text"), "about": ("counter.about", "text")}

_VERDICTS = {
    COUNTS: "counts",
    IS_ROBOT: "a robot",
    IS_NOTHING: "counts for nothing: neither status 200 nor 304, no agent, or no use of an item",
    IS_DOUBLE: "a double click: the same visitor opened the same link again within 30 s",
}


@dataclass(frozen=True)
class Explained:
    """One event. `counts` are the metrics that it adds to, each with how much; empty where it doesn't count."""

    at: datetime
    id: str
    verdict: str
    counts: dict[str, int]


def explain(folder: Opens, days: list[date], subject: str, customer: str = WORLD) -> Iterator[Explained]:
    """The events of an item, title or database on these days, by time, as they count for a customer."""
    with working() as database:
        usages = Usages(database, folder, extra=_EXTRA)
        for day in days:
            if usages.load(day):
                yield from _of_day(database, subject, customer)


def _of_day(database: duckdb.DuckDBPyConnection, subject: str, customer: str) -> Iterator[Explained]:
    seen: set[tuple[object, ...]] = set()
    # A text that tells of the subject has its id, as JSON writes it. Whether as an id is found below.
    found = database.execute(
        "select ms, id, verdict, session, item, about from usages where item = ? or contains(about, ?) order by ms, id",
        [subject, orjson.dumps(subject).decode()],
    )
    while row := found.fetchone():
        ms, id_, number, session, item, text = row
        about = uses(text)
        if item != subject and subject not in _subjects(about):
            continue
        verdict, counts = _VERDICTS[number], {}
        if number == COUNTS:
            if customer in (WORLD, *whose(text).customers):
                counts = _counts(about, subject, session, seen)
            else:
                verdict = "another customer's"
        yield Explained(from_ms(ms), id_, verdict, counts)


def _subjects(about: Uses) -> set[str]:
    found = {database.id for database in about.databases}
    for use in about.items:
        found |= {use.item.id, *([use.title.id] if use.title else [])}
    return found


def _counts(about: Uses, subject: str, session: int | None, seen: set[tuple[object, ...]]) -> dict[str, int]:
    counts: dict[str, int] = {}

    def add(metric: str) -> None:
        counts[metric] = counts.get(metric, 0) + 1

    def add_once(metric: str, *unit: str) -> None:
        key = (metric, session, about.yop, about.access_type, about.access_method, *unit)
        if key not in seen:
            seen.add(key)
            add(metric)

    if about.search and any(database.id == subject for database in about.databases):
        add(f"Searches_{about.search}")
    for use in about.items:
        if about.denial:
            add(about.denial)
            continue
        for act in ("Investigations", "Requests") if about.request else ("Investigations",):
            add(f"Total_Item_{act}")
            add_once(f"Unique_Item_{act}", use.parent.id if use.parent else "", use.item.id)
            if use.title is not None and use.title_type in UNIQUE_TITLES:
                add_once(f"Unique_Title_{act}", use.title.id)
    return counts
