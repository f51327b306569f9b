"""Trends of external series against the oracle: buckets of a zone with clock changes, groups, formulas, metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.externals import Line, trend, written

from metronome.dialects.query import trend as asking
from metronome.dialects.query.draw import Drawing
from metronome.dialects.query.read import common
from metronome.dialects.query.schemas import TrendSchema, checked
from metronome.errors import BadQuestion
from metronome.periods import Period
from metronome.saved import Point

#: Paris sets its clocks back on 25 October 2026.
PARIS = ZoneInfo("Europe/Paris")
FIRST = datetime(2026, 10, 23, 22, tzinfo=UTC)
DAYS = ["2026-10-24", "2026-10-25", "2026-10-26"]
NOW = datetime(2026, 10, 27, 12, tzinfo=UTC)

MEASURES = ("count", "sum", "avg", "min", "max", "median")


class Shelf:
    """Saved things that a test has made up."""

    def __init__(self, points: dict[str, list[Point]], metrics: dict[str, dict[str, Any]] | None = None) -> None:
        self._points, self._metrics = points, metrics or {}

    def metric(self, name: str, now: datetime) -> Any:
        asked = checked(TrendSchema(), self._metrics[name])
        return asking.formula_of(asked, common(asked, now, "trend"), now, self)

    def points(self, name: str) -> Callable[[Period], list[Point]]:
        def read(period: Period) -> list[Point]:
            assert period.start is not None and period.end is not None
            return [one for one in self._points[name] if period.start <= one.at < period.end]

        return read


def drawn(question: dict[str, Any], shelf: Shelf) -> dict[str, Any]:
    asked = checked(TrendSchema(), {"from": DAYS[0], "to": DAYS[-1], "tz": "Europe/Paris", **question})
    shared = common(asked, NOW, "trend")
    return Drawing(asking.read(asked, shared, NOW, shelf), shared, lambda *questions: []).result()


points = st.lists(
    st.builds(
        Point,
        st.integers(-3600, 73 * 3600 + 3600).map(lambda s: FIRST + timedelta(seconds=s)),
        st.integers(-5, 5),
        st.fixed_dictionaries({}, optional={"country": st.sampled_from(["NL", "FR", "DE"])}),
    ),
    max_size=12,
)

leaves = st.sampled_from([("A", None, None), ("B", None, None), (2, None, None)])
trees = st.recursive(leaves, lambda part: st.tuples(st.sampled_from("+-*/"), part, part), max_leaves=6)


def lines_of(given: list[Point]) -> list[Line]:
    days = [(one, one.at.astimezone(PARIS).date().isoformat()) for one in given]
    return [Line(day, int(one.value), dict(one.dims)) for one, day in days if day in DAYS]


@settings(max_examples=400, deadline=None)
@given(
    a=points,
    b=points,
    measures=st.tuples(st.sampled_from(MEASURES), st.sampled_from(MEASURES)),
    tree=trees,
    by=st.sampled_from([None, "country"]),
    top=st.integers(1, 3),
    through_metrics=st.booleans(),
)
def test_figures_groups_and_formulas_are_those_of_the_oracle(
    a: list[Point],
    b: list[Point],
    measures: tuple[str, str],
    tree: Any,
    by: str | None,
    top: int,
    through_metrics: bool,
) -> None:
    series = [{"name": name, "series": name, "measure": measure} for name, measure in zip("AB", measures, strict=True)]
    question: dict[str, Any] = {"series": series, "formula": written(tree)}
    metrics = {}
    if through_metrics:
        # "m" is A alone, and the whole is a formula over it and B: the figures are the same.
        metrics = {"m": {"series": [{**series[0], "name": "X"}], "formula": "X * 1"}}
        question["series"] = [{"name": "A", "metric": "m"}, series[1]]
    if by:
        question |= {"by": [by], "top": top}
    found = drawn(question, Shelf({"A": a, "B": b}, metrics))
    of = {name: (measure, lines_of(rows)) for name, measure, rows in zip("AB", measures, (a, b), strict=True)}
    expected = trend(of, tree, DAYS, by, top)
    assert found["buckets"] == DAYS
    assert [line["group"] for line in found["series"]] == [group for group, _, _ in expected]
    for line, (_, values, total) in zip(found["series"], expected, strict=True):
        assert (line["values"], line["total"]) == (approximately(values), approximately(total))


def approximately(value: Any) -> Any:
    return pytest.approx([None if one is None else float(one) for one in value] if isinstance(value, list) else value)


def test_the_total_is_the_formula_on_the_totals_and_no_mean_of_buckets() -> None:
    """Semantics, section 8: 1/2 and 9/10 are 10/12 together."""
    at = [FIRST + timedelta(hours=3), FIRST + timedelta(days=1, hours=3)]
    shelf = Shelf(
        {
            "good": [Point(at[0], 1), Point(at[1], 9)],
            "all": [Point(at[0], 2), Point(at[1], 10)],
        }
    )
    found = drawn({"series": [{"series": "good"}, {"series": "all"}], "formula": "100 * A / B"}, shelf)
    assert found["series"] == [
        {"name": "formula", "group": [], "values": [50, 90, None], "total": pytest.approx(83.333333333)}
    ]


def test_points_are_chosen_by_their_dims() -> None:
    shelf = Shelf({"r": [Point(FIRST, 1, {"country": "NL", "paid": True}), Point(FIRST, 2, {"country": "FR"})]})
    where = [{"field": "country", "op": "is_not", "value": "NL"}]
    found = drawn({"series": [{"series": "r", "where": where}, {"name": "all", "series": "r"}]}, shelf)
    assert [line["total"] for line in found["series"]] == [2, 3]


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([{"series": "r", "measure": "unique"}], "series[0].measure: there are count, sum, avg, min, max, median"),
        ([{"series": "r", "event": "buy"}], "series[0]: 'event' isn't a key; there are name, series, measure, where"),
        ([{"metric": "m", "measure": "count"}], "series[0]: 'measure' isn't a key; there are name, metric"),
        ([{"metric": "two"}], "formula: several series need one, which says what the figure is"),
    ],
)
def test_what_has_no_meaning_is_refused(series: list[dict[str, Any]], said: str) -> None:
    metrics = {"m": {"series": [{"series": "r"}]}, "two": {"series": [{"series": "r"}, {"series": "r"}]}}
    with pytest.raises(BadQuestion) as refused:
        drawn({"series": series}, Shelf({"r": []}, metrics))
    assert refused.value.message == said
