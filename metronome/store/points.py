"""The points of external series: numbers that come from elsewhere, such as a day's revenue.

A point is one document of the index `metronome-points`. Its id is made of series, time and dims, so the same point sent
again replaces the older one, and a request that is repeated changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from elasticsearch import Elasticsearch

from metronome.errors import StoreFailed, StoreUnavailable, TooLarge
from metronome.periods import Period, read_time, to_ms, to_text
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import record_index

#: Most points of one series. A trend reads all of its range into memory.
MOST = 100_000

_PAGE = 5000


@dataclass(frozen=True)
class Point:
    """A value at a time, with the dimensions that it can be split and filtered by: `{"country": "NL"}`."""

    at: datetime
    value: float
    dims: Mapping[str, Any] = field(default_factory=dict)


class Points:
    """All points. `series` is a name that is unique in the installation. Raises as `Records` does."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client
        self._index = record_index(settings, "points")

    def put(self, series: str, points: Sequence[Point]) -> int:
        """Store points, each in place of one with the same time and dims; gives how many differ in these.

        Raises TooLarge, and stores none of them, if the series would have more than MOST points.
        """
        rows = {_point_id(series, point): _row(series, point) for point in points}
        held = self.count(series)
        if held + len(rows) > MOST and held + len(rows) - self._known(list(rows)) > MOST:
            raise TooLarge(f"points: a series has at most {MOST:,}, and this one has {held:,}; delete older ones")
        self._bulk([part for name, row in rows.items() for part in ({"index": {"_id": name}}, {**row, "id": name})])
        return len(rows)

    def read(
        self, series: str, period: Period, *, limit: int = MOST, after: Sequence[Any] | None = None
    ) -> list[Point]:
        """The points of a period by time. `after` is the `place` of the point before the first."""
        found: list[Point] = []
        for hit in self._hits(_of(series, period), after):
            found.append(_point(hit["_source"]))
            if len(found) == limit:
                break
        return found

    def place(self, series: str, point: Point) -> list[Any]:
        """Where a point stands in the order in which `read` gives them."""
        return [to_ms(point.at), _point_id(series, point)]

    def count(self, series: str) -> int:
        with our_errors():
            found = self._client.options(ignore_status=404).count(index=self._index, query=_of(series, Period()))
        return int(found.body.get("count", 0))

    def delete(self, series: str, period: Period) -> int:
        """Delete the points of a period; gives how many there were."""
        deleted = 0
        while names := [hit["_id"] for hit in islice(self._hits(_of(series, period)), _PAGE)]:
            self._bulk([{"delete": {"_id": name}} for name in names])
            deleted += len(names)
        return deleted

    def rows(self) -> Iterator[dict[str, Any]]:
        """The documents of all points of all series: `id`, `series`, `at`, `value`, `dims`."""
        for hit in self._hits({"match_all": {}}):
            yield hit["_source"]

    def replace(self, replaced: Iterable[tuple[str, Mapping[str, Any] | None]]) -> None:
        """Delete the points of these ids; where a document stands beside an id, it is stored first."""
        pairs = iter(replaced)
        while page := list(islice(pairs, _PAGE)):
            instead = [row for _, row in page if row is not None]
            self._bulk([part for row in instead for part in ({"index": {"_id": row["id"]}}, dict(row))])
            self._bulk([{"delete": {"_id": name}} for name, _ in page])

    def _known(self, names: list[str]) -> int:
        with our_errors():
            found = self._client.mget(index=self._index, ids=names, source=False)
        return sum(bool(one.get("found")) for one in found["docs"])

    def _bulk(self, operations: list[dict[str, Any]]) -> None:
        if not operations:
            return
        with our_errors():
            answer = self._client.bulk(index=self._index, operations=operations, refresh=True)
        failed = [one for item in answer["items"] for one in item.values() if one["status"] >= 400]
        if any(one["status"] == 429 or one["status"] >= 500 for one in failed):
            raise StoreUnavailable("Elasticsearch takes no points just now; send all of them again")
        if any(one["status"] != 404 for one in failed):
            raise StoreFailed("Elasticsearch refused points", detail=str(failed[0])[:300])

    def _hits(self, query: Mapping[str, Any], after: Sequence[Any] | None = None) -> Iterator[dict[str, Any]]:
        while True:
            with our_errors():
                found = self._client.options(ignore_status=404).search(
                    index=self._index,
                    query=query,
                    size=_PAGE,
                    sort=["at", "id"],
                    search_after=after,
                    track_total_hits=False,
                )
            hits = found.body["hits"]["hits"] if found.meta.status == 200 else []
            yield from hits
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"]


def _of(series: str, period: Period) -> dict[str, Any]:
    edges = {"gte": period.start, "lt": period.end}
    within = {name: to_text(edge) for name, edge in edges.items() if edge is not None}
    return {"bool": {"filter": [{"term": {"series": series}}, *([{"range": {"at": within}}] if within else [])]}}


def _point_id(series: str, point: Point) -> str:
    identity = orjson.dumps([series, to_ms(point.at), point.dims], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(identity).hexdigest()[:32]


def _row(series: str, point: Point) -> dict[str, Any]:
    return {"series": series, "at": to_text(point.at), "value": point.value, "dims": dict(point.dims)}


def _point(row: Mapping[str, Any]) -> Point:
    return Point(read_time(row["at"]), row["value"], row["dims"])
