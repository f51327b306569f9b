"""Retention by brute force. Reads as semantics, section 5, is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from columned import total_order

from metronome.periods import from_ms, to_ms
from metronome.query.condition import is_number, typed, values_of
from metronome.query.journeys.answers import Average, Cohort, RetentionAnswer, Table
from metronome.query.journeys.questions import Retention

Event = dict[str, Any]

LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


@dataclass(frozen=True)
class Member:
    """A subject in a cohort: its birth, and its returns, which all come after it."""

    cohort: datetime
    birth: Event
    returns: tuple[Event, ...]


def members(question: Retention, events: Sequence[Event], now: datetime) -> list[Member]:
    found = []
    for name in {str(event[question.subject]) for event in events if event.get(question.subject) is not None}:
        own = sorted((event for event in events if str(event.get(question.subject)) == name), key=total_order)
        for place in births(question, own):
            returns = [event for event in own[place + 1 :] if question.returns.holds(event)]
            returns = [event for event in returns if event["@timestamp"] <= to_ms(now)]
            start = question.every.start_of(from_ms(own[place]["@timestamp"]))
            found.append(Member(start, own[place], tuple(returns)))
    return found


def births(question: Retention, own: list[Event]) -> list[int]:
    """Places of births among a subject's events: the first start in all history, or the first of each period."""
    assert question.period.start is not None and question.period.end is not None
    low, high = to_ms(question.period.start), to_ms(question.period.end)
    starts = [place for place, event in enumerate(own) if question.start.holds(event)]
    if question.birth == "first_time":
        return [place for place in starts[:1] if low <= own[place]["@timestamp"] < high]
    inside = [place for place in starts if low <= own[place]["@timestamp"] < high]
    periods = [question.every.start_of(from_ms(own[place]["@timestamp"])) for place in inside]
    return [place for n, place in enumerate(inside) if periods[n] not in periods[:n]]


def index(question: Retention, birth: Event, event: Event) -> int:
    born, at = from_ms(birth["@timestamp"]), from_ms(event["@timestamp"])
    if question.mode == "rolling":
        return (at - born) // LENGTHS[question.every.unit]
    return len(list(question.every.starts(born, at))) - 1


def counts_in(question: Retention, cell: int, at: int) -> bool:
    """Whether a return of this index counts in a cell."""
    if question.brackets is not None:
        low, high = question.brackets[cell]
        return low <= at <= high
    return {"on": at == cell, "on_or_after": at >= cell, "on_or_before": 1 <= at <= cell}[question.count]


def has_ended(question: Retention, cohort: datetime, born: list[Member], cell: int, now: datetime) -> bool:
    last = question.brackets[cell][1] if question.brackets is not None else cell
    if question.mode == "rolling":
        latest = max(
            (from_ms(one.birth["@timestamp"]) for one in born),
            default=question.every.after(cohort) - timedelta(milliseconds=1),
        )
        return latest + (last + 1) * LENGTHS[question.every.unit] <= now
    end = cohort
    for _ in range(last + 1):
        end = question.every.after(end)
    return end <= now


def table(question: Retention, everybody: list[Member], chosen: list[Member], now: datetime) -> Table:
    """`everybody` says which cells have ended, `chosen` are counted."""
    assert question.period.start is not None and question.period.end is not None
    cells = range(len(question.brackets) if question.brackets is not None else question.periods + 1)
    cohorts = []
    start = question.every.start_of(question.period.start)
    while start < question.period.end:
        born = [one for one in chosen if one.cohort == start]
        complete = [
            has_ended(question, start, [one for one in everybody if one.cohort == start], cell, now) for cell in cells
        ]
        inside = [
            [
                [event for event in one.returns if counts_in(question, cell, index(question, one.birth, event))]
                for one in born
            ]
            for cell in cells
        ]
        returned = [sum(bool(events) for events in inside[cell]) for cell in cells]
        if question.zero == "size" and question.brackets is None:
            returned[0] = len(born)
        shown = tuple(count if complete[cell] else None for cell, count in enumerate(returned))
        rates = tuple(None if count is None or not born else count / len(born) for count in shown)
        rising = tuple(complete) if question.count == "on_or_after" and question.brackets is None else None
        sums = None
        if question.value is not None:
            sums = tuple(
                sum(
                    number
                    for events in inside[cell]
                    for event in events
                    for number in values_of(event, question.value)
                    if is_number(number)
                )
                if complete[cell]
                else None
                for cell in cells
            )
        cohorts.append(Cohort(start, len(born), shown, rates, tuple(complete), rising, sums))
        start = question.every.after(start)
    return Table(tuple(cohorts), average(question, cohorts, len(cells)))


def average(question: Retention, cohorts: list[Cohort], cells: int) -> Average:
    """Over complete cells only: of all members, or the mean of the rates."""
    rates: list[float | None] = []
    numbers = []
    for cell in range(cells):
        counted = [one for one in cohorts if one.size and one.complete[cell]]
        numbers.append(len(counted))
        if not counted:
            rates.append(None)
        elif question.average == "weighted":
            rates.append(sum(one.returned[cell] or 0 for one in counted) / sum(one.size for one in counted))
        else:
            rates.append(sum((one.returned[cell] or 0) / one.size for one in counted) / len(counted))
    return Average(tuple(rates), tuple(numbers))


def retention(question: Retention, events: Sequence[Event], now: datetime) -> RetentionAnswer:
    everybody = members(question, events, now)
    groups = None
    if question.by is not None:
        values = {value for one in everybody for value in own_values(question, one.birth)}
        sizes = {value: sum(value in own_values(question, one.birth) for one in everybody) for value in values}
        order = sorted((value for value in values if value is not None), key=lambda value: (-sizes[value], value))
        groups = tuple(
            (value[1] if value else "$none", table(question, everybody, of_group(question, everybody, value), now))
            for value in [*order, *([None] if None in values else [])]
        )
    return RetentionAnswer(table=table(question, everybody, everybody, now), groups=groups)


def own_values(question: Retention, event: Event) -> set[Any]:
    assert question.by is not None
    return set(map(typed, values_of(event, question.by))) or {None}


def of_group(question: Retention, everybody: list[Member], value: Any) -> list[Member]:
    found = []
    for one in everybody:
        if value in own_values(question, one.birth):
            returns = one.returns
            if question.match == "both":
                returns = tuple(event for event in returns if value in own_values(question, event))
            found.append(Member(one.cohort, one.birth, returns))
    return found
