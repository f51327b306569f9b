"""Funnels by brute force: every match of every entry is looked at. Reads as semantics, section 4, is written.

A subject's events are a list in the total order; a match is a tuple of places in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from columned import total_order

from metronome.periods import Period, to_ms
from metronome.query.condition import Condition, typed, values_of
from metronome.query.journeys.answers import FunnelAnswer, Step, Times
from metronome.query.journeys.questions import Funnel
from oracles.sessions import sessions

Event = dict[str, Any]
Match = tuple[int, ...]


@dataclass(frozen=True)
class Attempt:
    subject: str
    match: Match


class Subject:
    """One subject's events, and what a funnel asks of them."""

    def __init__(self, question: Funnel, events: list[Event], now_ms: int) -> None:
        self.question = question
        self.events = sorted(events, key=total_order)
        self.now_ms = now_ms
        self.sessions = sessions(self.events)
        assert question.period.start is not None and question.period.end is not None
        self.start_ms, self.end_ms = to_ms(question.period.start), to_ms(question.period.end)
        #: The end of the whole range, of which a trend looks at one bucket at a time.
        self.clip_ms = self.end_ms

    def at(self, place: int) -> int:
        return int(self.events[place]["@timestamp"])

    def meets(self, condition: Condition, place: int) -> bool:
        return condition.holds(self.events[place])

    def in_range(self, place: int) -> bool:
        return self.start_ms <= self.at(place) < self.end_ms

    def in_time(self, place: int) -> bool:
        """Completion is sought up to now, or with `clip` to the end of the range."""
        return self.at(place) <= self.now_ms and (not self.question.clip or self.at(place) < self.clip_ms)

    def serves(self, step: int, place: int) -> bool:
        """Steps count from 1."""
        return self.meets(self.question.steps[step - 1], place)

    def entries(self) -> list[int]:
        if self.question.order == "any":
            steps = range(1, len(self.question.steps) + 1)
            return [
                place
                for place in range(len(self.events))
                if self.in_range(place) and any(self.serves(k, place) for k in steps)
            ]
        return [place for place in range(len(self.events)) if self.in_range(place) and self.serves(1, place)]

    def in_window(self, entry: int, place: int) -> bool:
        window = self.question.window
        if window.ms is not None:
            return self.at(place) - self.at(entry) <= window.ms
        assert window.sessions is not None
        # Up to the last event of the n-th session from the entry's own on, or of an earlier one that outlasts it.
        within = [n for n, session in enumerate(self.sessions) if session < self.sessions[entry] + window.sessions]
        return place <= max(within)

    # Which vectors are matches

    def matches(self, entry: int, excluding: bool = True) -> Iterator[Match]:
        """All matches from an entry."""
        todo: list[Match] = [(entry,)]
        while todo:
            match = todo.pop()
            yield match
            if len(match) < len(self.question.steps):
                todo += [
                    longer for place in range(len(self.events)) if self.is_match(longer := (*match, place), excluding)
                ]

    def is_match(self, match: Match, excluding: bool) -> bool:
        """Whether a match may go on with its last event."""
        entry, before, place = match[0], match[-2], match[-1]
        return (
            self.serves(len(match), place)
            and place not in match[:-1]
            and self.in_time(place)
            and self.in_window(entry, place)
            and self.in_order(before, place)
            and (self.question.order != "strict" or self.are_neighbours(len(match) - 1, before, place))
            and not any(
                self.has_between(one.where, match[one.first - 1], place)
                for one in self.question.exclusions
                if excluding and one.mode == "stop" and one.last == len(match)
            )
        )

    def in_order(self, before: int, place: int) -> bool:
        grace = self.question.tie_grace_ms if self.question.order == "sequential" else 0
        return place > before or (grace > 0 and self.at(before) - self.at(place) <= grace)

    def are_neighbours(self, step: int, before: int, place: int) -> bool:
        """No event of the scope between them, other than repeats of the step just matched."""
        return not any(
            self.meets(self.question.strict_scope, between)
            and not (self.question.collapse_repeats and self.serves(step, between))
            for between in range(before + 1, place)
        )

    def has_between(self, condition: Condition, after: int, before: int) -> bool:
        return any(self.meets(condition, place) for place in range(after + 1, before))

    def holds(self, match: Match) -> bool:
        """Whether the events share a value of every property to hold constant; no value is shared as well."""
        for name in self.question.hold:
            kinds = [set(map(typed, values_of(self.events[place], name))) or {None} for place in match]
            if not set.intersection(*kinds):
                return False
        return True

    # Attempts

    def witness(self, entry: int) -> Match:
        """The longest match from an entry; of those the earliest."""
        if self.question.order == "any":
            return self.unordered(entry)
        found = [match for match in self.matches(entry) if self.holds(match)]
        return min(found, key=lambda match: (-len(match), match))

    def unordered(self, entry: int) -> Match:
        """Events of the window in order, each that lets more steps be served than those before it."""
        inside = [
            place
            for place in range(entry, len(self.events))
            if self.in_window(entry, place) and (self.in_time(place) or self.in_range(place))
        ]
        lanes = self.lanes(inside) if self.question.hold else [inside]
        return min((self.served(lane) for lane in lanes if entry in lane), key=lambda match: (-len(match), match))

    def lanes(self, places: list[int]) -> list[list[int]]:
        """Events that agree in what is held constant, for each combination of values."""
        found: list[list[int]] = [places]
        for name in self.question.hold:
            kinds = {place: set(map(typed, values_of(self.events[place], name))) or {None} for place in places}
            values = set().union(*kinds.values()) if kinds else set()
            found = [[place for place in lane if value in kinds[place]] for lane in found for value in values]
        return found

    def served(self, places: list[int]) -> Match:
        found: list[int] = []
        for n in range(len(places)):
            if self.most(places[: n + 1], frozenset()) > len(found):
                found.append(places[n])
        return tuple(found)

    def most(self, places: list[int], used: frozenset[int]) -> int:
        """The most steps that these events can serve, one each."""
        if not places:
            return 0
        steps = [k for k in range(1, len(self.question.steps) + 1) if k not in used and self.serves(k, places[0])]
        return max([self.most(places[1:], used), *(1 + self.most(places[1:], used | {step}) for step in steps)])

    def attempts(self) -> list[Match]:
        entries = self.entries()
        if not entries:
            return []
        if self.question.entry == "first":
            return [self.witness(entries[0])]
        if self.question.entry == "best":
            return [min((self.witness(entry) for entry in entries), key=lambda match: (-len(match), match[0]))]
        found: list[Match] = []
        after = 0
        while further := [entry for entry in entries if entry >= after]:
            found.append(self.witness(further[0]))
            after = self.next(found[-1])
        return found

    def next(self, match: Match) -> int:
        """The place after which an attempt opens: the conversion, the window's end, or what excluded it."""
        if len(match) == len(self.question.steps):
            return max(match) + 1
        window = [place for place in range(match[0], len(self.events)) if self.in_window(match[0], place)]
        excluded = [
            place
            for place in window
            for one in self.question.exclusions
            if one.mode == "stop" and one.first <= len(match) < one.last
            if place > max(match) and self.meets(one.where, place)
        ]
        return min(excluded, default=max(window)) + 1

    def is_removed(self, match: Match) -> bool:
        for one in self.question.exclusions:
            if one.mode == "remove" and len(match) >= one.first:
                for place in range(match[one.first - 1] + 1, len(self.events)):
                    before = place < match[one.last - 1] if len(match) >= one.last else self.in_window(match[0], place)
                    if before and self.meets(one.where, place):
                        return True
        return False

    def is_open(self, match: Match) -> bool:
        if len(match) == len(self.question.steps):
            return False
        window = self.question.window
        if window.ms is not None:
            return self.at(match[0]) + window.ms > self.now_ms
        assert window.sessions is not None
        last = self.sessions[match[0]] + window.sessions - 1
        ends_here = self.in_window(match[0], len(self.events) - 1)
        more = last > max(self.sessions) or self.at(len(self.events) - 1) + 30 * 60_000 > self.now_ms
        return ends_here and more


def funnel(question: Funnel, events: Sequence[Event], now: datetime) -> FunnelAnswer:
    subjects = subjects_of(question, events, now)
    found = attempts(subjects)
    groups = trend = None
    if question.by is not None:
        groups = tuple(grouped(question, subjects, found))
    if question.trend is not None:
        trend = tuple(by_day(question, events, now))
    through = [took(subjects, one, 0, -1) for one in found if len(one.match) == len(question.steps)]
    return FunnelAnswer(
        steps=steps(question, subjects, found),
        convert=times(through),
        open=sum(subjects[one.subject].is_open(one.match) for one in found),
        groups=groups,
        trend=trend,
    )


def subjects_of(question: Funnel, events: Sequence[Event], now: datetime) -> dict[str, Subject]:
    names = sorted({str(event[question.subject]) for event in events if event.get(question.subject) is not None})
    return {
        name: Subject(question, [event for event in events if str(event.get(question.subject)) == name], to_ms(now))
        for name in names
    }


def attempts(subjects: dict[str, Subject]) -> list[Attempt]:
    """Whoever is removed by one attempt leaves with all of them."""
    found = []
    for name, subject in subjects.items():
        matches = subject.attempts()
        if not any(map(subject.is_removed, matches)):
            found += [Attempt(name, match) for match in matches]
    return found


def took(subjects: dict[str, Subject], attempt: Attempt, first: int, last: int) -> float:
    subject = subjects[attempt.subject]
    return (subject.at(attempt.match[last]) - subject.at(attempt.match[first])) / 1000


def steps(question: Funnel, subjects: dict[str, Subject], found: list[Attempt]) -> tuple[Step, ...]:
    rows = []
    for k in range(len(question.steps)):
        reached = [one for one in found if len(one.match) > k]
        rows.append(Step(len(reached), times([took(subjects, one, k - 1, k) for one in reached]) if k else None))
    return tuple(rows)


def times(durations: list[float]) -> Times:
    """Nearest rank: the smallest value with at least that share of values at or below it."""
    if not durations:
        return Times(0, None, None, None, None, None)
    ordered, count = sorted(durations), len(durations)
    mean = sum(round(one * 1000) for one in ordered) / count / 1000
    return Times(
        count, mean, ordered[math.ceil(count / 2) - 1], ordered[math.ceil(count * 0.9) - 1], ordered[0], ordered[-1]
    )


def grouped(
    question: Funnel, subjects: dict[str, Subject], found: list[Attempt]
) -> Iterator[tuple[Any, tuple[Step, ...]]]:
    assert question.by is not None
    members: dict[Any, list[Attempt]] = {}
    for one in found:
        events = [subjects[one.subject].events[place] for place in one.match]
        values = [set(map(typed, values_of(event, question.by))) or {None} for event in events]
        if question.attribution == "all":
            chosen = set.intersection(*values)
        elif isinstance(question.attribution, int):
            chosen = values[question.attribution - 1] if len(values) >= question.attribution else set()
        else:
            chosen = values[0 if question.attribution == "first" else -1]
        for value in chosen:
            members.setdefault(value, []).append(one)
    valued = sorted((value for value in members if value is not None), key=lambda value: (-len(members[value]), value))
    for value in valued:
        yield value[1], steps(question, subjects, members[value])
    if None in members:
        yield "$none", steps(question, subjects, members[None])


def by_day(question: Funnel, events: Sequence[Event], now: datetime) -> Iterator[tuple[datetime, tuple[int, ...]]]:
    """One funnel a bucket: entries of that bucket, within the range."""
    period, every = question.period, question.trend
    assert period.start is not None and period.end is not None and every is not None
    start = every.start_of(period.start)
    while start < period.end:
        after = every.after(start)
        # Where `clip` cuts stays the end of the whole range.
        asked = replace(question, period=Period(max(start, period.start), min(after, period.end)))
        subjects = subjects_of(asked, events, now)
        for subject in subjects.values():
            subject.clip_ms = to_ms(period.end)
        found = attempts(subjects)
        yield start, tuple(step.count for step in steps(asked, subjects, found))
        start = after
