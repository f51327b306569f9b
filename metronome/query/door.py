"""The door out: `ask` is the only way to a number.

1. dispatch    each question goes to the function that answers its kind; a new kind registers one with `answers`
2. cut         a period becomes the days that each source holds: day parts, the archive, else Elasticsearch
3. merge       partial answers of all sources are added up
4. finish      figures, empty buckets and order are made once, from the sum
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

from metronome.periods import Every, Period
from metronome.query.answer import Answer, Number, Row
from metronome.query.body import MAX_BUCKETS, too_many_buckets
from metronome.query.condition import Condition
from metronome.query.index import Index
from metronome.query.journeys.days import Days
from metronome.query.partial import Partial, Tally, error_bound, figure
from metronome.query.question import Known, Properties, Question, Seen


class Source(Protocol):
    """Holds the events of some days, and can answer questions about them."""

    def holds(self, period: Period) -> list[Period]:
        """The stretches of the period of which the source has every event. They ascend and don't overlap."""
        ...

    def partials(self, questions: Sequence[Question], *, alone: bool) -> list[Partial]:
        """A partial answer to each question, in order. All questions have one period, which the source holds.

        If the source is asked `alone`, no other source's answer is added to this one. It may then give the number of
        distinct values instead of their set.
        """
        ...


class Archived(Protocol):
    """Days that have left Elasticsearch, for questions about the events themselves.

    Every method may raise ArchiveUnavailable.
    """

    def version(self) -> str:
        """Changes when any of these days does."""
        ...

    def days(self) -> list[date]: ...

    def fetched(self) -> dict[str, int]:
        """The days that were read so far, with the bytes that were fetched for each."""
        ...

    def folder(self, of: Any) -> Any:
        """A folder of day parts (`parts.folder.Folder`) with these days in it."""
        ...

    def hits(self, period: Period, after: Sequence[Any] | None, *, newest_first: bool) -> Iterator[dict[str, Any]]:
        """The events of the period as hits, by `sort`: time and id. `after` is the `sort` of the last one."""
        ...

    def knows(self, hit: Mapping[str, Any]) -> bool:
        """Whether an event in Elasticsearch is among these as well, because it was sent once more."""
        ...

    def late(self) -> list[str]:
        """Indices of archived days, with what came after they were archived."""
        ...

    def values(self, where: Condition, period: Period, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Each event that meets `where`, those that came late too, as its values of these names; times in ms."""
        ...

    def seen(self, question: Seen) -> tuple[int, list[int]]:
        """How many events meet `where`, and the times of the first and last in milliseconds."""
        ...

    def properties(self, question: Properties) -> dict[str, tuple[frozenset[str], int, int | None, int | None]]:
        """Each field that events have: its kinds, how many have it, first and last time in milliseconds."""
        ...


@dataclass(frozen=True)
class Sources:
    """Elasticsearch (`index`), which holds every day, and `others`, which are asked first for the days they hold.

    `days` are the day parts, for questions about the order of events. `archived` are days that have left Elasticsearch.
    """

    index: Index
    others: tuple[Source, ...] = ()
    days: Days | None = None
    archived: Archived | None = None


Answerer = Callable[[Sequence[Any], Sources, datetime], list[Any]]

_ANSWERERS: dict[type, Answerer] = {}


def answers(kind: type) -> Callable[[Answerer], Answerer]:
    """Register the function that answers questions of a kind. It gets all questions of that kind of one `ask`."""

    def register(answerer: Answerer) -> Answerer:
        _ANSWERERS[kind] = answerer
        return answerer

    return register


def ask(*questions: Any, sources: Sources, now: datetime) -> list[Any]:
    """An answer to each question, in order. Questions of one kind and period share a search and see the same moment.

    Raises BadQuestion (it says what to narrow), StoreUnavailable or StoreFailed.
    """
    found: dict[int, Any] = {}
    for kind in dict.fromkeys(map(type, questions)):
        numbers = [number for number, question in enumerate(questions) if type(question) is kind]
        answered = _ANSWERERS[kind]([questions[number] for number in numbers], sources, now)
        found.update(zip(numbers, answered, strict=True))
    return [found[number] for number in range(len(questions))]


@answers(Question)
def _ask_questions(questions: Sequence[Question], sources: Sources, now: datetime) -> list[Answer]:
    # The watermark is read before the search, since the search may miss events that are acknowledged while it runs.
    watermark = sources.index.watermark(now)
    merged = [Partial() for _ in questions]
    for period in dict.fromkeys(question.period for question in questions):
        numbers = [number for number, question in enumerate(questions) if question.period == period]
        stretches = cut(period, sources)
        for source, stretch in stretches:
            asked = [replace(questions[number], period=stretch) for number in numbers]
            for number, partial in zip(numbers, source.partials(asked, alone=len(stretches) == 1), strict=True):
                merged[number].add(partial)
    return [finish(question, partial, now, watermark) for question, partial in zip(questions, merged, strict=True)]


@answers(Known)
def _ask_known(questions: Sequence[Known], sources: Sources, now: datetime) -> list[bool]:
    return [sources.index.is_known(known) or _is_elsewhere(known, sources) for known in questions]


def _is_elsewhere(known: Known, sources: Sources) -> bool:
    """Whether another source has such an event; the latest days are looked at first, and one is enough."""
    counted = Question(known.where)
    for source in sources.others:
        for period in reversed(source.holds(counted.period)):
            (partial,) = source.partials([replace(counted, period=period)], alone=False)
            if any(tally.events for tally in partial.tallies.values()):
                return True
    return False


def cut(period: Period, sources: Sources) -> list[tuple[Source, Period]]:
    """The period as stretches, each with the first source that holds it."""
    open_: list[Period] = [period]
    found: list[tuple[Source, Period]] = []
    for source in sources.others:
        left: list[Period] = []
        for stretch in open_:
            held = source.holds(stretch)
            found += [(source, part) for part in held]
            left += _without(stretch, held)
        open_ = left
    return found + [(sources.index, stretch) for stretch in open_]


def _without(period: Period, held: Sequence[Period]) -> list[Period]:
    left: list[Period] = []
    start = period.start
    for part in held:
        if part.start is not None and part.start != start:
            left.append(Period(start, part.start))
        start = part.end
        if start is None:
            return left
    return left if held and start == period.end else [*left, Period(start, period.end)]


def finish(question: Question, partial: Partial, now: datetime, watermark: datetime | None = None) -> Answer:
    """The answer from the sum of all partial answers."""
    bound = max((error_bound(question.measure, tally) for tally in partial.tallies.values()), default=0)
    figures = {key: figure(question.measure, tally) for key, tally in partial.tallies.items()}
    return replace(
        assembled(question, figures, now),
        exact=bound == 0 and not partial.ignored,
        error_bound=bound,
        ignored_values=partial.ignored,
        watermark=watermark,
        archived=partial.archived,
    )


def assembled(question: Question, figures: Mapping[Any, Number | None], now: datetime) -> Answer:
    """The answer from the figures of all groups that have events: empty buckets are added, and rows put in order.

    Keys are typed, as those of a `Partial`.
    """
    starts = _buckets(question, figures, now)
    nothing = figure(question.measure, Tally())
    figures = dict(figures)
    if not question.by:
        figures.setdefault((), nothing)
    if len(question.by) == 1 and isinstance(question.by[0], Every):
        figures = {(start,): figures.get((start,), nothing) for start in starts}
    every = _every(question)
    return Answer(
        rows=tuple(Row(_untyped(key), value) for key, value in _in_order(question, figures)),
        complete={start: _has_ended(every, start, now) for start in starts} if every else {},
    )


def buckets(every: Every, period: Period, now: datetime) -> Mapping[datetime, bool]:
    """The buckets of a period, empty ones too, as every answer has them: each start, and whether it has ended."""
    return finish(Question(by=(every,), period=period), Partial(), now).complete


def _every(question: Question) -> Every | None:
    return next((grouping for grouping in question.by if isinstance(grouping, Every)), None)


def _buckets(question: Question, groups: Iterable[Any], now: datetime) -> list[datetime]:
    """Starts of all buckets of time, empty ones too. An open side of the period ends at the first or last event."""
    every = _every(question)
    if every is None:
        return []
    place = question.by.index(every)
    held = [key[place] for key in groups]
    period = question.period
    # A period that has begun and has no end reaches up to now.
    end = (
        period.end - timedelta(milliseconds=1) if period.end else now if period.start and period.start <= now else None
    )
    if not held and (period.start is None or end is None):
        return []
    first = period.start or min(held)
    last = max(held) if end is None else max([end, *held])
    starts = list(islice(every.starts(first, last), MAX_BUCKETS + 1))
    if len(starts) > MAX_BUCKETS:
        raise too_many_buckets()
    return starts


def _has_ended(every: Every, start: datetime, now: datetime) -> bool:
    try:
        return every.after(start) <= now
    except (OverflowError, ValueError):  # the calendar's last bucket
        return False


def _in_order(question: Question, figures: Mapping[Any, Number | None]) -> list[tuple[Any, Number | None]]:
    """Sort by bucket of time, ascending, then by figure, largest first, then by value. What is missing comes last."""
    places = [number for number, grouping in enumerate(question.by) if isinstance(grouping, Every)]

    def order(row: tuple[Any, Number | None]) -> Any:
        key, value = row
        others = [_sortable(part) for number, part in enumerate(key) if number not in places]
        return [key[place] for place in places], value is None, -(value or 0), others

    return sorted(figures.items(), key=order)


def _sortable(part: Any) -> tuple[Any, ...]:
    # None, ("text", "csv") or a pair of bounds
    if part is None:
        return (2,)
    return (
        (0, *part) if isinstance(part[0], str) else (1, *(float("-inf") if bound is None else bound for bound in part))
    )


def _untyped(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part[1] if isinstance(part, tuple) and isinstance(part[0], str) else part for part in key)
