"""The saved metrics and series that a question names, for the application that it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from metronome.dialects.query.formula import Tree
from metronome.dialects.query.metrics.ready import READY
from metronome.dialects.query.read import common
from metronome.dialects.query.schemas import TrendSchema, checked
from metronome.dialects.query.segments import with_segment
from metronome.dialects.query.trend import Series, formula_of
from metronome.errors import BadQuestion, NotFound
from metronome.periods import Period
from metronome.query import All, Condition
from metronome.saved import Point, Saved, Thing
from metronome.segments import Segment

#: Longest chain of metrics that are made of each other.
MOST_DEEP = 10

_TREND = TrendSchema()


@dataclass(frozen=True)
class Library:
    """Finds saved things. `used` notes the version of each one that it gave, by `metrics/<id>`."""

    saved: Saved
    segment: Callable[[str], Segment]
    app: str
    used: dict[str, int] = field(default_factory=dict)
    #: What `robots` the question asks for: a metric within another must ask for the same.
    robots: Any = False
    #: The metrics that are being read, the outermost first.
    within: tuple[str, ...] = ()

    def find(self, name: str, version: int | None = None) -> Thing:
        """A metric, saved or ready-made; raises NotFound."""
        try:
            found = self.saved.get("metrics", name, self.app, version)
        except NotFound:
            if name not in READY or version not in (None, 0):
                raise
            found = Thing(name, 0, None, "", {"order": None, "request": None, **READY[name]})
        self.used[f"metrics/{name}"] = found.version
        return found

    def metric(self, name: str, now: datetime) -> tuple[tuple[Series, ...], Tree]:
        """The series of a metric, and its formula over them. Its `where`, `app` and `subject` hold for these series.

        Range, buckets and groups are those of the question that names the metric.
        """
        path = (*self.within, name)
        if name in self.within:
            raise BadQuestion(f"metric: {' → '.join(path)}: a metric can't be made of itself", field="series")
        if len(path) > MOST_DEEP:
            raise BadQuestion(f"metric: {' → '.join(path)}: more than {MOST_DEEP} deep", field="series")
        try:
            found = self.find(name)
        except NotFound:
            raise BadQuestion(f"metric: there is no saved metric {name[:64]!r}", field="series") from None
        return self.within_one(name).formula(found.body, now)

    def within_one(self, name: str) -> Library:
        """The same library for a question of the metric `name`."""
        return replace(self, within=(*self.within, name))

    def formula(self, body: Mapping[str, Any], now: datetime) -> tuple[tuple[Series, ...], Tree]:
        """The series and the formula of a metric's definition; raises BadQuestion for one that has none."""
        said = f"metric: {self.within[-1]!r}"
        if body["type"] in ("funnel", "lifecycle") or body.get("query") is None:
            raise BadQuestion(f"{said} isn't computed from series; a formula can't hold it", field="series")
        asked = checked(_TREND, body["query"])
        if asked["by"]:
            raise BadQuestion(f"{said} has groups of its own; a formula can't hold it", field="series")
        if asked["robots"] != self.robots:
            raise BadQuestion(f"{said} asks for other robots than the question; ask for the same", field="robots")
        shared = common({**asked, "explain": None}, now, "trend")
        shared = with_segment(shared, asked, self.app, self.segment)
        series, tree = formula_of(asked, shared, now, self)
        return tuple(_narrowed(one, shared.where) for one in series), tree

    def points(self, name: str) -> Callable[[Period], list[Point]]:
        """Reads the points of an external series, each range once."""
        try:
            found = self.saved.get("series", name, self.app)
        except NotFound:
            raise BadQuestion(f"series: there is no saved series {name[:64]!r}", field="series") from None
        self.used[f"series/{name}"] = found.version
        known: dict[Period, list[Point]] = {}
        holder = self.saved.points_name(name, self.app)

        def read(period: Period) -> list[Point]:
            if period not in known:
                known[period] = self.saved.points.read(holder, period)
            return known[period]

        return read


def _narrowed(series: Series, where: Condition) -> Series:
    """Its events must meet the metric's own conditions too. Points of an external series are no events."""
    return series if series.points is not None else replace(series, where=All(where, series.where))
