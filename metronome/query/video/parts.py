"""Engagement: how many stretches meet each range or second of the video. Source: video contract, sections 3.3 and 6."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate

from metronome.errors import TooMuch
from metronome.query.body import Json
from metronome.query.condition import All
from metronome.query.door import Sources, answers
from metronome.query.video.questions import STRETCH, Engagement, PerSecond, RangeRow, SecondsRow
from metronome.query.video.rows import Fields, Stretches
from metronome.video.stretches import DIGITS, seconds_of

#: Most seconds of all buckets of one answer.
MAX_SECONDS = 1_000_000


@answers(Engagement)
def _engagement(questions: Sequence[Engagement], sources: Sources, now: datetime) -> list[list[RangeRow]]:
    return [_answer_ranges(Stretches(sources), question) for question in questions]


@answers(PerSecond)
def _per_second(questions: Sequence[PerSecond], sources: Sources, now: datetime) -> list[list[SecondsRow]]:
    return [_answer_seconds(Stretches(sources), question) for question in questions]


def _answer_ranges(stretches: Stretches, question: Engagement) -> list[RangeRow]:
    where = stretches.holding(All(STRETCH, question.where), question.period, question.wanted)
    query = stretches.query(where, question.period)
    body = {"size": 0, "track_total_hits": True, "query": query, "aggs": {"last": {"max": {"field": "stretch.to"}}}}
    found = stretches.search(body)
    indexed = found["hits"]["total"]["value"]
    names = ("stretch.from", "stretch.to")
    archived = [tuple(map(row.get, names)) for row in stretches.archived(where, question.period, names)]
    if not indexed and not archived:
        return []
    ends = [found["aggregations"]["last"]["value"]] if indexed else []
    part = max(ends + [to for _, to in archived]) / question.ranges
    edges = [(part * number, part * (number + 1)) for number in range(question.ranges)]
    outside = _outside(stretches, query, edges) if indexed else [0] * len(edges)
    return [
        RangeRow(
            round(start, DIGITS),
            round(end, DIGITS),
            max(0, indexed - outside[n]) + sum(1 for low, high in archived if low < end and high > start),
        )
        for n, (start, end) in enumerate(edges)
    ]


def _outside(stretches: Stretches, query: Json, edges: Sequence[tuple[float, float]]) -> list[int]:
    """How many of the stretches in Elasticsearch don't meet each range."""
    # A stretch that doesn't meet a range begins at its end or later, or ends at its start or before. No stretch does
    # both, unless it is an empty one in an empty range.
    beyond = _range_aggregation("stretch.from", [{"key": str(n), "from": end} for n, (_, end) in enumerate(edges)])
    before = _range_aggregation(
        "stretch.to", [{"key": str(n), "to": math.nextafter(start, math.inf)} for n, (start, _) in enumerate(edges)]
    )
    body = {"size": 0, "track_total_hits": False, "query": query, "aggs": {"beyond": beyond, "before": before}}
    counted = stretches.search(body)["aggregations"]
    return [sum(counted[name]["buckets"][str(n)]["doc_count"] for name in counted) for n in range(len(edges))]


def _range_aggregation(field: str, ranges: list[dict[str, object]]) -> dict[str, object]:
    return {"range": {"field": field, "keyed": True, "ranges": ranges}}


def _answer_seconds(stretches: Stretches, question: PerSecond) -> list[SecondsRow]:
    where = stretches.holding(All(STRETCH, question.where), question.period, question.wanted)
    steps: dict[int, Counter[int]] = defaultdict(Counter)
    fields: Fields = {"bucket": question.width, "from": "stretch.from", "to": "stretch.to"}
    for row in stretches.rows(where, question.period, fields):
        first, last = seconds_of(row["from"], row["to"])
        if first < last:
            bucket = steps[question.width.bucket(row["bucket"])]
            bucket[first] += row["count"]
            bucket[last] -= row["count"]
    found, left = [], MAX_SECONDS
    for start, changes in sorted(steps.items()):
        seconds = _counted(changes, left)
        left -= len(seconds)
        found.append(SecondsRow(start, seconds))
    return found


def _counted(changes: Counter[int], most: int) -> tuple[tuple[int, int], ...]:
    first, last = min(changes), max(changes)
    if last - first > most:
        raise TooMuch(f"more than {MAX_SECONDS} seconds; narrow timeframe, or ask for ranges")
    viewers = accumulate(changes[second] for second in range(first, last))
    return tuple((second, count) for second, count in zip(range(first, last), viewers, strict=True) if count)
