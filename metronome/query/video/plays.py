"""Plays and sources: `s(bucket, session)` is the sum of elapsed; those of at least the minimum are views.

Source: video contract, section 3.3.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from metronome.periods import Period
from metronome.query.condition import All, Condition, Has, In, Is
from metronome.query.door import Sources as AllSources
from metronome.query.door import answers
from metronome.query.video.questions import STRETCH, Plays, PlaysRow, SourceRow, Sources, Watching
from metronome.query.video.rows import Fields, Figures, Stats, Stretches, Sum, chunks
from metronome.video.device import BROWSERS, DEVICES, PLATFORMS
from metronome.video.events import PLAY
from metronome.video.stretches import DIGITS, Parts, seconds_of

#: A session that plays has begun so lately at most.
_LONGEST_PLAY = timedelta(days=1)

#: Sessions of one search whose stretches are looked at one by one.
_AT_ONCE = 5_000

_CLASSES = {"browser": "stretch.browser", "platform": "stretch.platform", "device": "stretch.device"}


@answers(Plays)
def _plays(questions: Sequence[Plays], sources: AllSources, now: datetime) -> list[list[PlaysRow]]:
    return [_answer_plays(Stretches(sources), question) for question in questions]


@answers(Sources)
def _sources(questions: Sequence[Sources], sources: AllSources, now: datetime) -> list[list[SourceRow]]:
    return [_answer_sources(Stretches(sources), question) for question in questions]


@answers(Watching)
def _watching(questions: Sequence[Watching], sources: AllSources, now: datetime) -> list[int]:
    return [count_playing(Stretches(sources), question, now) for question in questions]


@dataclass
class _Watched:
    """One session in one bucket. `fresh` are its distinct seconds, if `whole`: if it has its first stretches."""

    elapsed: float = 0.0
    count: int = 0
    ordered: int = 0
    highest: float = -1
    fresh: float = 0
    classes: tuple[str, ...] = ()

    def add(self, row: dict[str, Any]) -> None:
        self.elapsed += row["elapsed"]["value"]
        self.count += row["count"]
        self.ordered += row["order"]["count"]
        self.highest = max(self.highest, row["order"]["max"] if row["order"]["count"] else -1)
        self.fresh += row["fresh"]["value"]

    @property
    def watch_s(self) -> float:
        return round(self.elapsed, DIGITS)

    @property
    def whole(self) -> bool:
        return self.ordered == self.count == self.highest + 1


@dataclass
class _Bucket:
    views: int = 0
    total: list[float] = field(default_factory=list)
    unique: int = 0
    classes: tuple[Counter[str], ...] = field(default_factory=lambda: (Counter(), Counter(), Counter()))


def _answer_plays(stretches: Stretches, question: Plays) -> list[PlaysRow]:
    where = stretches.holding(All(STRETCH, question.where), question.period, question.wanted)
    found: dict[tuple[int, str], _Watched] = defaultdict(_Watched)
    figures: Figures = {
        "elapsed": Sum("stretch.elapsed"),
        "order": Stats("stretch.order"),
        "fresh": Sum("stretch.fresh"),
    }
    fields: Fields = {"bucket": question.width, "session": "stretch.session", **_CLASSES}
    for row in stretches.rows(where, question.period, fields, figures):
        one = found[question.width.bucket(row["bucket"]), row["session"]]
        one.add(row)
        one.classes = (row["browser"], row["platform"], row["device"])
    kept = {key: one for key, one in found.items() if one.watch_s >= question.minimum_s}
    apart = [session for (_, session), one in kept.items() if not one.whole]
    seconds = _distinct_seconds(stretches, where, question, apart)
    buckets: dict[int, _Bucket] = defaultdict(_Bucket)
    for (start, session), one in kept.items():
        bucket = buckets[start]
        bucket.views += 1
        bucket.total.append(one.watch_s)
        bucket.unique += int(one.fresh) if one.whole else seconds[start, session]
        for counter, name in zip(bucket.classes, one.classes, strict=True):
            counter[name] += 1
    return [_plays_row(start, bucket) for start, bucket in sorted(buckets.items())]


def _plays_row(start: int, bucket: _Bucket) -> PlaysRow:
    total = round(math.fsum(bucket.total), DIGITS)
    counts = [
        {name: counter[name] for name in names}
        for counter, names in zip(bucket.classes, (BROWSERS, PLATFORMS, DEVICES), strict=True)
    ]
    return PlaysRow(start, bucket.views, total, bucket.unique, *counts)


def _distinct_seconds(
    stretches: Stretches, where: Condition, question: Plays, sessions: Iterable[str]
) -> dict[tuple[int, str], int]:
    """Distinct whole seconds by bucket and session, from each stretch of these sessions.

    It is needed for sessions of which the bucket has a part, or of which a stretch was closed after a crash.
    """
    seen: dict[tuple[int, str], Parts] = defaultdict(Parts)
    fields: Fields = {
        "bucket": question.width,
        "session": "stretch.session",
        "from": "stretch.from",
        "to": "stretch.to",
    }
    for some in chunks(sorted(set(sessions)), _AT_ONCE):
        of_some = All(where, In("stretch.session", tuple(some)))
        for row in stretches.rows(of_some, question.period, fields):
            first, last = seconds_of(row["from"], row["to"])
            if first < last:
                seen[question.width.bucket(row["bucket"]), row["session"]].add(first, last)
    return defaultdict(int, {key: int(math.fsum(high - low for low, high in parts)) for key, parts in seen.items()})


def _answer_sources(stretches: Stretches, question: Sources) -> list[SourceRow]:
    where = stretches.holding(All(STRETCH, question.where), question.period, question.wanted)
    fields: Fields = {
        "bucket": question.width, "address": "stretch.address", "host": "stretch.host", "session": "stretch.session",
    }  # fmt: skip
    elapsed: dict[tuple[int, str, str, str], float] = defaultdict(float)
    for row in stretches.rows(where, question.period, fields, {"elapsed": Sum("stretch.elapsed")}):
        key = (question.width.bucket(row["bucket"]), row["address"], row["host"], row["session"])
        elapsed[key] += row["elapsed"]["value"]
    kept: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    for (start, address, host, _), seconds in elapsed.items():
        if (watch_s := round(seconds, DIGITS)) >= question.minimum_s:
            kept[start, address, host].append(watch_s)
    return [SourceRow(*key, len(found), round(math.fsum(found), DIGITS)) for key, found in sorted(kept.items())]


def count_playing(stretches: Stretches, question: Watching, now: datetime) -> int:
    """Sessions with more plays than ends. A play has the time of its stretch's `video.watch`, and its id."""
    period = Period(now - _LONGEST_PLAY)
    plays = stretches.holding(All(Is("event", PLAY), question.where), period, question.wanted)
    sessions = {
        row["session"] for row in stretches.rows(All(plays, Has("stretch.id")), period, {"session": "stretch.session"})
    }
    open_stretches: Counter[str] = Counter()
    for some in chunks(sorted(sessions), _AT_ONCE):
        # What ends a stretch may say nothing of the video: a pause before its play has only the session.
        of_some = All(Has("stretch.id"), In("stretch.session", tuple(some)))
        for row in stretches.rows(of_some, period, {"session": "stretch.session", "event": "event"}):
            open_stretches[row["session"]] += row["count"] if row["event"] == PLAY else -row["count"]
    return sum(1 for count in open_stretches.values() if count > 0)
