"""One report for one customer: which months there are, and the entries, ready to be written in any form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from metronome.counter.customers import Customer
from metronome.counter.facts import WORLD, Facts, Month
from metronome.counter.reports import months
from metronome.counter.reports.fold import Entry, Stream, entries
from metronome.counter.reports.header import Header
from metronome.counter.reports.notices import (
    ATTRIBUTE,
    NO_LONGER,
    NO_USAGE,
    NOT_READY,
    PARTIAL,
    QUEUED,
    Notice,
    declined,
)
from metronome.counter.reports.selection import Selection
from metronome.counter.reports.values import OF_CUSTOMER

#: Months of members whose facts are read side by side. Each has some facts in memory.
MAX_STREAMS = 600

#: After so long a client may look again whether a month has been processed.
RETRY_S = 60

#: Asks for months that were never processed, given them and all known ones; gives those that will be.
Asking = Callable[[Sequence[str], Sequence[Month]], Sequence[str]]


def _asks_for_none(wanted: Sequence[str], known: Sequence[Month]) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Made:
    """A report: its header, its entries, and the months that it has usage of."""

    header: Header
    entries: Iterator[Entry]
    covered: list[str]


def make(
    selection: Selection,
    facts: Facts,
    customer: Customer,
    members: list[Customer],
    now: datetime,
    *,
    asking: Asking = _asks_for_none,
) -> Made:
    """Make a report. `members` are those of a consortium, for the reports that tell them apart.

    Raises Declined with 1011 where a month that has no facts yet is being processed, or will be since this report asks
    for it; and as `Facts` does.
    """
    covered, lost, notices = _look(selection, facts, asking)
    selection, customers, refused = _whose(selection, customer, members, len(covered))
    streams = [
        Stream(month, facts.facts(month, one.id, selection.report.full), one.name, one.id)
        for month in covered
        for one in customers
    ]
    found = entries(streams, selection)
    # The header says whether there is nothing, and it comes first.
    first = next(found, None)
    # Of each month one thing is said, and of a month that isn't ready there may be usage yet.
    if first is None and len(lost) < len(covered) and not any(notice.code == NOT_READY for notice in notices):
        notices.append(Notice(NO_USAGE))
    every = sorted((*selection.notices, *refused, *notices), key=lambda notice: notice.code)
    header = Header(selection, customer, now, tuple(every))
    return Made(header, found if first is None else chain((first,), found), covered)


def _look(selection: Selection, facts: Facts, asking: Asking) -> tuple[list[str], list[str], list[Notice]]:
    """The months that have facts, those of them that lost some, and what to say of these and of all others."""
    every = facts.months()
    known = {month.month: month for month in every}
    asked = months.through(selection.begin, selection.end)
    covered = [month for month in asked if _has_facts(known.get(month))]
    others = [month for month in asked if month not in covered]
    first = (facts.first_month() if others else None) or ""
    gone = [month for month in others if month < first]
    waiting = [month for month in others if month >= first]
    working = {month for month in waiting if month in known and known[month].processing}
    if first and (rest := [month for month in waiting if month not in working]):
        working.update(asking(rest, every))
    if working:
        raise declined(QUEUED, months.runs(sorted(working)), retry_after_s=RETRY_S)
    lost = [month for month in covered if known[month].lost]
    waiting += selection.late
    notices = [Notice(NOT_READY, months.runs(waiting))] if waiting else []
    if gone:
        notices.append(Notice(NO_LONGER, f"{months.runs(gone)}; usage is available from {first}"))
    if lost:
        notices.append(Notice(PARTIAL, "; ".join(f"{month}: {known[month].lost}" for month in lost)))
    return covered, lost, notices


def _has_facts(month: Month | None) -> bool:
    return month is not None and month.processed_at is not None


def _whose(
    selection: Selection, customer: Customer, members: list[Customer], count: int
) -> tuple[Selection, list[Customer], list[Notice]]:
    """Whose facts a report is made of: a consortium's own, or those of its members where they are told apart."""
    wanted = [name for name in selection.attributes if name in OF_CUSTOMER]
    # The members of a consortium among the members are there themselves.
    apart = [one for one in members if not any(one.id in other.member_of for other in members)]
    if not wanted or not apart or customer.id == WORLD:
        return selection, [customer], []
    if len(apart) * count <= MAX_STREAMS:
        return selection, apart, []
    rest = tuple(name for name in selection.attributes if name not in OF_CUSTOMER)
    text = f"attributes_to_show={'|'.join(wanted)}: {len(apart)} members and {count} months are too many at once"
    return replace(selection, attributes=rest), [customer], [Notice(ATTRIBUTE, text)]
