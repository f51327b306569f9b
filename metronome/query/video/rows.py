"""Rows of stretches: by composite aggregations from Elasticsearch, and from the parts of archived days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from metronome.errors import TooMuch
from metronome.periods import Period
from metronome.query.body import Json, all_of, within
from metronome.query.clause import clause
from metronome.query.condition import All, Condition, In
from metronome.query.door import Sources
from metronome.query.kinds import AS_NAMED
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


@dataclass(frozen=True)
class Sum:
    """What a field's values add up to, as `value`."""

    field: str

    @property
    def body(self) -> Json:
        return {"sum": {"field": self.field}}

    def of(self, value: Any) -> Json:
        """The figure of one event."""
        return {"value": value or 0}


@dataclass(frozen=True)
class Stats:
    """How many values a field has, and the largest: `count` and `max`."""

    field: str

    @property
    def body(self) -> Json:
        return {"stats": {"field": self.field}}

    def of(self, value: Any) -> Json:
        return {"count": int(value is not None), "max": value}


#: By name: a field, or the width of buckets of time.
Fields = Mapping[str, str | Interval]

Figures = Mapping[str, Sum | Stats]


class Stretches:
    """Rows of events: from Elasticsearch, page by page to the end, and from the archive, event by event."""

    def __init__(self, sources: Sources) -> None:
        self.search = sources.index.search
        self._archived = sources.archived
        # The archive gives what came late as well, each event once.
        indices = sources.archived.late() if sources.archived is not None else []
        self._late: tuple[Json, ...] = ({"terms": {"_index": indices}},) if indices else ()

    def query(self, where: Condition, period: Period) -> Json:
        """What Elasticsearch is asked for, without the events that the archive gives."""
        return all_of([clause(where, AS_NAMED), *within(period)], but=self._late)

    def archived(self, where: Condition, period: Period, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Each archived event as its values of these names; `@timestamp` in milliseconds. Raises TooMuch."""
        return _bounded(self._archived.values(where, period, names) if self._archived is not None else ())

    def rows(
        self, where: Condition, period: Period, fields: Fields, figures: Figures | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows of their values of the fields, with `count`, the events that a row stands for, and these figures.

        A field is a name; an Interval gives the start of the bucket, or a time in it. What has no value is None.
        Several rows may have the same values. Raises TooMuch.
        """
        both = (self._of_index, self._of_archive)
        return _bounded(row for read in both for row in read(where, period, fields, figures or {}))

    def _of_index(self, where: Condition, period: Period, fields: Fields, figures: Figures) -> Iterator[dict[str, Any]]:
        sources = [{name: _source(field)} for name, field in fields.items()]
        by: Json = {"composite": {"size": PAGE, "sources": sources}}
        if figures:
            by["aggs"] = {name: figure.body for name, figure in figures.items()}
        query = self.query(where, period)
        for bucket in self.search.pages({"size": 0, "track_total_hits": False, "query": query, "aggs": {"by": by}}):
            yield {**bucket["key"], "count": bucket["doc_count"], **{name: bucket[name] for name in figures}}

    def _of_archive(
        self, where: Condition, period: Period, fields: Fields, figures: Figures
    ) -> Iterator[dict[str, Any]]:
        read = {name: "@timestamp" if isinstance(field, Interval) else field for name, field in fields.items()}
        names = list(dict.fromkeys((*read.values(), *(figure.field for figure in figures.values()))))
        for event in self.archived(where, period, names):
            row = {name: event[field] for name, field in read.items()}
            yield {**row, "count": 1, **{name: figure.of(event[figure.field]) for name, figure in figures.items()}}

    def holding(self, where: Condition, period: Period, wanted: str) -> Condition:
        """`where`, narrowed to the metadata that contains `wanted`. Raises TooMuch."""
        if not wanted:
            return where
        asked = orjson.loads(wanted)
        found = dict.fromkeys(row["metadata"] for row in self.rows(where, period, {"metadata": "stretch.metadata"}))
        texts = [text for text in found if text is not None]
        if len(texts) > MAX_METADATA:
            raise TooMuch(
                "query: objects inside arrays are compared one by one, and there are too many; narrow timeframe"
            )
        return All(where, In("stretch.metadata", tuple(text for text in texts if contains(orjson.loads(text), asked))))


def _bounded(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number >= MAX_ROWS:
            raise too_many()
        yield row


def _source(field: str | Interval) -> Json:
    """The source of a composite aggregation. For months its buckets are months, which `Interval.bucket` reads."""
    if isinstance(field, str):
        return {"terms": {"field": field, "missing_bucket": True}}
    if field.months:
        return {"date_histogram": {"field": "@timestamp", "calendar_interval": "month"}}
    offset = ANCHOR_MS % field.ms
    return {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{field.ms}ms", "offset": f"{offset}ms"}}


def chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
