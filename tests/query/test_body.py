"""Questions as JSON, compared whole; no server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metronome.dialects.tick.ask import TockQuerySchema, to_questions
from metronome.errors import BadQuestion
from metronome.periods import Every, Period
from metronome.query import (
    PEOPLE,
    All,
    AnyOf,
    Between,
    Condition,
    Contains,
    Has,
    In,
    Is,
    Item,
    Missing,
    Not,
    Outside,
    Percentile,
    Question,
    StartsWith,
    Subset,
    Sum,
    Unique,
    Values,
)
from metronome.query.body import STAMPED, search_body
from metronome.query.clause import NOTHING, clause
from metronome.query.kinds import AS_NAMED, Kinds
from metronome.query.shipped import split

PARIS = ZoneInfo("Europe/Paris")

KINDS = Kinds((("n", "number"), ("t", "text"), ("f", "flags"), ("m", "mixed"), ("b", "flag"), ("gone", "none")))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Is("t", "x"), {"term": {"t": "x"}}),
        (Is("t", 3), NOTHING),
        (Is("n", 3), {"term": {"n": 3}}),
        (Is("n", "3"), NOTHING),
        (Is("n", True), NOTHING),
        (Is("f", True), {"term": {"f": "true"}}),
        (Is("f", "true"), NOTHING),
        (Is("b", False), {"term": {"b": False}}),
        (In("m", ("x", 3, True)), {"terms": {"m": ["x", "true"]}}),
        (Is("gone", 1), NOTHING),
        (Between("n", gte=1, lt=2), {"range": {"n": {"gte": 1, "lt": 2}}}),
        (Between("t", gte=1), NOTHING),
        (
            Between("@timestamp", gt=datetime(1970, 1, 2, tzinfo=UTC)),
            {"range": {"@timestamp": {"gt": 86_400_000, "format": "epoch_millis"}}},
        ),
        (Contains("t", "a*b?\\"), {"wildcard": {"t": {"value": "*a\\*b\\?\\\\*"}}}),
        (StartsWith("t", "a*"), {"prefix": {"t": {"value": "a*"}}}),
        (StartsWith("n", "a"), NOTHING),
        (
            Has("n"),
            {"bool": {"should": [{"exists": {"field": "n"}}, {"term": {"_ignored": "n"}}], "minimum_should_match": 1}},
        ),
        (Missing("gone"), {"bool": {"must_not": [{"term": {"_ignored": "gone"}}]}}),
        (
            Outside("n", (2, 1)),
            {
                "bool": {
                    "should": [{"range": {"n": one}} for one in ({"lt": 1}, {"gt": 1, "lt": 2}, {"gt": 2})],
                    "minimum_should_match": 1,
                }
            },
        ),
        (
            All(Is("t", "x"), Not(Is("n", 1)), AnyOf()),
            {"bool": {"filter": [{"term": {"t": "x"}}, NOTHING], "must_not": [{"term": {"n": 1}}]}},
        ),
        (
            Subset("video", {"id": 7, "tags": ["a"], "by": {"name": "x"}}),
            {"bool": {"filter": [NOTHING, NOTHING, {"bool": {"filter": [NOTHING], "must_not": []}}], "must_not": []}},
        ),
    ],
    ids=repr,
)
def test_a_condition_is_written_by_what_the_index_holds(condition: Condition, expected: Any) -> None:
    assert clause(condition, KINDS) == expected


def test_true_and_one_are_two_conditions() -> None:
    assert Is("a", True) != Is("a", 1)
    assert Is("a", 3) == Is("a", 3.0)
    assert len({Is("a", True), Is("a", 1), Is("a", "1")}) == 3
    assert Outside("a", (True,)) != Outside("a", (1,))
    assert Outside("a", (1,)) != In("a", (1,))


def test_the_questions_of_a_tock_are_one_search() -> None:
    wanted = TockQuerySchema().load({"include": "visitors,errors"})
    body = search_body(tuple(to_questions("home", wanted).values()), AS_NAMED)
    people = {"must_not": [{"term": {"is_robot": True}}]}
    has_page = {
        "should": [{"exists": {"field": "referer_page"}}, {"term": {"_ignored": "referer_page"}}],
        "minimum_should_match": 1,
    }
    assert body["size"] == 0
    assert body["query"]["bool"]["filter"][0] == clause(Item("home"), AS_NAMED)
    assert body["aggs"] == {
        "stamped": {
            "filter": STAMPED,
            "aggs": {
                "q0.0": {
                    "filter": {"bool": {"filter": [{"term": {"event": "view"}}], **people}},
                    "aggs": {
                        "by": {
                            "date_histogram": {"field": "@timestamp", "calendar_interval": "day", "min_doc_count": 1}
                        }
                    },
                },
                "q1.0": {
                    "filter": {"bool": {"filter": [{"term": {"event": "download"}}], **people}},
                    "aggs": {"by": {"terms": {"field": "format", "size": 10_000}}},
                },
                "q2.0": {
                    "filter": {"bool": {"filter": [{"bool": has_page}], **people}},
                    "aggs": {"by": {"terms": {"field": "referer_page", "size": 10_000}}},
                },
                "q3.0": {
                    "filter": {"bool": {"filter": [], **people}},
                    "aggs": {"of": {"cardinality": {"field": "distinct_id", "precision_threshold": 40_000}}},
                },
                "q4.0": {
                    "filter": {"bool": {"filter": [{"range": {"status": {"gte": 400}}}], **people}},
                    "aggs": {"by": {"terms": {"field": "status", "size": 10_000}}},
                },
            },
        },
        "shipped": {"filter": {"bool": {"filter": [], "must_not": [STAMPED]}}},
        "ignored4": {"filter": {"terms": {"_ignored": ["status"]}}},
    }
    again = search_body(tuple(to_questions("other", wanted).values()), AS_NAMED)
    assert again["aggs"] is body["aggs"]


def histogram(step_ms: int, offset_ms: int) -> dict[str, Any]:
    options = {"field": "@timestamp", "fixed_interval": f"{step_ms}ms", "offset": f"{offset_ms}ms", "min_doc_count": 1}
    return {"date_histogram": options}


@pytest.mark.parametrize(
    ("every", "first", "expected"),
    [
        pytest.param(
            Every("day", tz=PARIS), 10, histogram(86_400_000, 79_200_000), id="days of a zone whose clocks don't change"
        ),
        pytest.param(Every("hour", tz=PARIS), 24, histogram(3_600_000, 0), id="hours, whatever clocks do"),
        pytest.param(Every("minute", 10), 10, histogram(600_000, 0), id="ten minutes"),
        pytest.param(Every("month", tz=PARIS), 10, histogram(86_400_000, 79_200_000), id="one bucket alone"),
        pytest.param(
            Every("day", tz=PARIS),
            24,
            {
                "date_range": {
                    "field": "@timestamp",
                    "format": "epoch_millis",
                    "ranges": [
                        {"from": 1792792800000, "to": 1792879200000},
                        {"from": 1792879200000, "to": 1792969200000},
                        {"from": 1792969200000},
                    ],
                }
            },
            id="days, one of them of 25 hours",
        ),
    ],
)
def test_buckets_have_the_edges_of_the_zone(every: Every, first: int, expected: dict[str, Any]) -> None:
    period = Period(datetime(2026, 10, first - 1, 22, tzinfo=UTC), datetime(2026, 10, first + 2, 22, tzinfo=UTC))
    body = search_body([Question(All(), by=(every,), period=period)], AS_NAMED)
    assert body["aggs"]["stamped"]["aggs"]["q0.0"]["aggs"]["by"] == expected


def test_rows_hold_groupings_and_the_values_that_are_kept_apart() -> None:
    kinds = Kinds((("price", "number"),))
    by = (Every("day"), Values("browser", missing=True))
    sources = [
        {"by0": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day"}}},
        {"by1": {"terms": {"field": "browser", "missing_bucket": True}}},
    ]
    value = {"value": {"terms": {"field": "price", "missing_bucket": True}}}
    questions = [Question(PEOPLE, measure, by) for measure in (Percentile("price"), Unique("price"), Sum("price"))]
    aggs = search_body(questions, kinds)["aggs"]["stamped"]["aggs"]
    assert [aggs[f"q{n}.0"]["aggs"]["by"] for n in range(3)] == [
        {
            "composite": {"size": 5000, "sources": [*sources, value]},
            "aggs": {"of": {"value_count": {"field": "price"}}},
        },
        {"composite": {"size": 5000, "sources": [*sources, value]}},
        {"composite": {"size": 5000, "sources": sources}, "aggs": {"of": {"stats": {"field": "price"}}}},
    ]


def test_more_groups_are_asked_than_the_largest() -> None:
    by = (Values("browser", missing=True),)
    kinds = Kinds((("load", "number"),))
    largest = {"field": "browser", "size": 130, "shard_size": 130}
    questions = [
        Question(PEOPLE, by=by, most=3),
        Question(PEOPLE, Unique("load"), by, most=3),
        Question(PEOPLE, by=(Values("load"),), most=3),
    ]
    aggs = [search_body([question], kinds)["aggs"]["stamped"]["aggs"]["q0.0"]["aggs"] for question in questions]
    assert aggs[0] == {"by": {"terms": largest}, "none": {"missing": {"field": "browser"}}}
    # Only counts, and only of texts, come with a bound.
    assert list(aggs[1]["by"]) == ["composite"]
    assert aggs[2] == {"by": {"terms": {"field": "load", "size": 10_000}}}


def test_what_reads_derived_facts_is_looked_at_in_cases_that_exclude_each_other() -> None:
    plan, view = Is("plan", "pro"), Is("event", "view")
    assert list(split(All(Item("a"), view))) == [(All(Item("a")), All(view))]
    assert list(split(AnyOf(plan, view))) == [
        (All(AnyOf(plan)), All(AnyOf(All(), view))),
        (All(Not(AnyOf(plan))), All(AnyOf(AnyOf(), view))),
    ]


def test_many_raw_filters_beside_each_other_are_one_case() -> None:
    plans = [Is("plan", n) for n in range(40)]
    assert len(list(split(AnyOf(*plans, Is("event", "view"))))) == 2


def test_more_cases_than_are_asked_are_refused() -> None:
    parts = [AnyOf(Is(f"f{n}", 1), Is("event", f"e{n}")) for n in range(20)]
    with pytest.raises(BadQuestion, match="where: too many"):
        list(split(All(*parts)))
