"""Engagement: how many stretches meet each range or second of the video. Source: video contract, sections 3.3 and 6."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate

from metronome.errors import TooMuch
from metronome.query.condition import All
from metronome.query.door import Sources, answers
from metronome.query.search import Search
from metronome.query.video.questions import STRETCH, Engagement, PerSecond, RangeRow, SecondsRow
from metronome.query.video.rows import bucketed, holding, query_of, rows
from metronome.video.stretches import DIGITS, seconds_of

#: Most seconds of all buckets of one answer.
MAX_SECONDS = 1_000_000


@answers(Engagement)
def _engagement(questions: Sequence[Engagement], sources: Sources, now: datetime) -> list[list[RangeRow]]:
    return [_answer_ranges(sources.index.search, question) for question in questions]


@answers(PerSecond)
def _per_second(questions: Sequence[PerSecond], sources: Sources, now: datetime) -> list[list[SecondsRow]]:
    return [_answer_seconds(sources.index.search, question) for question in questions]


def _answer_ranges(search: Search, question: Engagement) -> list[RangeRow]:
    query = query_of(holding(search, All(STRETCH, question.where), question.period, question.wanted), question.period)
    body = {"size": 0, "track_total_hits": True, "query": query, "aggs": {"last": {"max": {"field": "stretch.to"}}}}
    found = search(body)
    total = found["hits"]["total"]["value"]
    if not total:
        return []
    part = found["aggregations"]["last"]["value"] / question.ranges
    edges = [(part * number, part * (number + 1)) for number in range(question.ranges)]
    # A stretch that doesn't meet a range begins at its end or later, or ends at its start or before. No stretch does
    # both, unless it is an empty one in an empty range.
    beyond = _range_aggregation("stretch.from", [{"key": str(n), "from": end} for n, (_, end) in enumerate(edges)])
    before = _range_aggregation(
        "stretch.to", [{"key": str(n), "to": math.nextafter(start, math.inf)} for n, (start, _) in enumerate(edges)]
    )
    body = {"size": 0, "track_total_hits": False, "query": query, "aggs": {"beyond": beyond, "before": before}}
    counted = search(body)["aggregations"]
    outside = [sum(counted[name]["buckets"][str(n)]["doc_count"] for name in counted) for n in range(question.ranges)]
    return [
        RangeRow(round(start, DIGITS), round(end, DIGITS), max(0, total - outside[n]))
        for n, (start, end) in enumerate(edges)
    ]


def _range_aggregation(field: str, ranges: list[dict[str, object]]) -> dict[str, object]:
    return {"range": {"field": field, "keyed": True, "ranges": ranges}}


def _answer_seconds(search: Search, question: PerSecond) -> list[SecondsRow]:
    query = query_of(holding(search, All(STRETCH, question.where), question.period, question.wanted), question.period)
    steps: dict[int, Counter[int]] = defaultdict(Counter)
    fields = {"bucket": bucketed(question.width), "from": "stretch.from", "to": "stretch.to"}
    for row in rows(search, query, fields):
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
