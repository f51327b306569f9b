"""Rows of stretches from Elasticsearch, by composite aggregations, page by page to the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from metronome.errors import TooMuch
from metronome.periods import Period
from metronome.query.body import Json, all_of, within
from metronome.query.clause import clause
from metronome.query.condition import All, Condition, In
from metronome.query.kinds import AS_NAMED
from metronome.query.search import Search
from metronome.video.intervals import ANCHOR_MS, Interval
from metronome.video.jsonb import contains

#: Rows of a page. Elasticsearch makes 65,536 buckets at most, each of which may hold a figure.
PAGE = 20_000

#: Most rows of one question: sessions by bucket, or stretches. They are held in memory, at a few hundred bytes each.
MAX_ROWS = 1_000_000

#: Most different metadata that is compared one by one, which is needed only for objects inside arrays.
MAX_METADATA = 20_000


def too_many() -> TooMuch:
    return TooMuch(f"more than {MAX_ROWS} sessions or stretches to read; narrow timeframe, or select fewer videos")


def query_of(where: Condition, period: Period) -> Json:
    return all_of([clause(where, AS_NAMED), *within(period)])


def holding(search: Search, where: Condition, period: Period, wanted: str) -> Condition:
    """`where`, narrowed to the metadata that contains `wanted`. Raises TooMuch."""
    if not wanted:
        return where
    asked = orjson.loads(wanted)
    texts = [row["metadata"] for row in rows(search, query_of(where, period), {"metadata": "stretch.metadata"})]
    if len(texts) > MAX_METADATA:
        raise TooMuch("query: objects inside arrays are compared one by one, and there are too many; narrow timeframe")
    return All(where, In("stretch.metadata", tuple(text for text in texts if contains(orjson.loads(text), asked))))


def rows(
    search: Search, query: Json, fields: Mapping[str, Any], aggs: Json | None = None, *, most: int = MAX_ROWS
) -> Iterator[dict[str, Any]]:
    """One row for each combination of the fields that there is: their values, `count`, and those of `aggs`.

    A field is a name, or the JSON of a source. What has no value is None. Raises TooMuch.
    """
    sources = [
        {name: {"terms": {"field": field, "missing_bucket": True}} if isinstance(field, str) else field}
        for name, field in fields.items()
    ]
    by: Json = {"composite": {"size": PAGE, "sources": sources}}
    if aggs:
        by["aggs"] = aggs
    body = {"size": 0, "track_total_hits": False, "query": query, "aggs": {"by": by}}
    for number, bucket in enumerate(search.pages(body)):
        if number >= most:
            raise too_many()
        yield {**bucket["key"], "count": bucket["doc_count"], **{name: bucket[name] for name in aggs or ()}}


def bucketed(width: Interval) -> Json:
    """The source that gives the start of the bucket, or for months that of the month, which `Interval.bucket` reads."""
    if width.months:
        return {"date_histogram": {"field": "@timestamp", "calendar_interval": "month"}}
    offset = ANCHOR_MS % width.ms
    return {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{width.ms}ms", "offset": f"{offset}ms"}}


def chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
