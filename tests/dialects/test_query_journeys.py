"""Funnel, retention and paths through HTTP: what is refused and how, tables, witnesses, who is behind a step."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Gateway

NOW = datetime(2026, 10, 12, 12, tzinfo=UTC)
STEPS = [{"event": name} for name in ("view", "cart", "buy")]
SPAN = {"from": "2026-10-05", "to": "2026-10-06"}


@pytest.fixture
def asked(gateway_for: Any) -> Any:
    """Three subjects: a buys; b puts into the cart and returns it; c only views."""
    gateway: Gateway = gateway_for(now=NOW)
    days = {
        "a": [("view", "05T10:00"), ("cart", "05T10:01"), ("buy", "06T10:00")],
        "b": [("view", "05T11:00"), ("cart", "05T11:05"), ("return", "05T11:06"), ("buy", "05T11:07")],
        "c": [("view", "05T12:00"), ("view", "06T12:00")],
    }
    events = [
        {"event": event, "@timestamp": f"2026-10-{at}:00Z", "distinct_id": subject, "insert_id": f"{subject}{n}"}
        for subject, rows in days.items()
        for n, (event, at) in enumerate(rows)
    ]
    assert gateway.accepted(events)["rejected"] == []
    gateway.drain()

    def ask(kind: str, question: dict[str, Any], status: int = 200, **query: Any) -> Any:
        answer = gateway.http.post(f"/query/{kind}", json=question, query_string=query)
        assert answer.status_code == status, answer.text
        return answer.text if "format" in query else answer.json

    return ask


EXCLUDED = {"exclude": [{"event": "return", "between": [2, 3]}]}


def at(subject: str, number: int, moment: str) -> dict[str, Any]:
    return {"id": f"{subject}{number}", "index": f"2026.{moment[5:7]}.{moment[8:10]}", "at": f"{moment}:00.000Z"}


def shortened(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "id": event["id"], "index": event["index"][-10:]}


@pytest.mark.parametrize(
    ("subject", "question", "level", "stopped"),
    [
        ("a", {}, 3, None),
        ("a", {"window": "1h"}, 2, {"step": 3, "reason": "window", "event": at("a", 2, "2026-10-06T10:00")}),
        ("b", EXCLUDED, 2, {"step": 3, "reason": "exclusion", "event": at("b", 2, "2026-10-05T11:06")}),
        ("b", {"order": "strict"}, 2, {"step": 3, "reason": "order", "event": at("b", 2, "2026-10-05T11:06")}),
        ("c", {}, 1, {"step": 2, "reason": "no_event", "event": None}),
        ("nobody", {}, 0, None),
    ],
)
def test_a_witness_says_how_far_a_subject_got_and_what_stopped_it(
    asked: Any, subject: str, question: dict[str, Any], level: int, stopped: Any
) -> None:
    body = {"steps": STEPS, "explain": {"subject": subject}, **SPAN, **question}
    witness = asked("funnel", body)["result"]["witness"]
    if witness["stopped"] and witness["stopped"]["event"]:
        witness["stopped"]["event"] = shortened(witness["stopped"]["event"])
    assert (witness["level"], witness["stopped"]) == (level, stopped)
    assert [event["step"] for event in witness["events"]] == list(range(1, level + 1))
    assert [event["id"][0] for event in witness["events"]] == [subject] * level


def test_a_lifecycle_says_by_which_events_a_subject_has_its_state(asked: Any) -> None:
    question = {"active": {"event": "view"}, "explain": {"subject": "c"}, "from": "2026-10-05", "to": "2026-10-07"}
    found = asked("lifecycle", question)["result"]
    assert [(line["name"], line["values"], line["total"]) for line in found["series"]] == [
        ("new", [3, 0, 0], 3), ("returning", [0, 1, 0], 1), ("resurrecting", [0, 0, 0], 0), ("dormant", [0, 2, 1], 3)
    ]  # fmt: skip
    first, second = at("c", 0, "2026-10-05T12:00"), at("c", 1, "2026-10-06T12:00")
    shown = [
        {name: shortened(one) if isinstance(one, dict) else one for name, one in row.items()}
        for row in found["witness"]
    ]
    assert shown == [
        {"bucket": "2026-10-05", "state": "new", "event": first, "before": None},
        {"bucket": "2026-10-06", "state": "returning", "event": second, "before": first},
        {"bucket": "2026-10-07", "state": "dormant", "event": None, "before": second},
    ]
    assert asked("lifecycle", {"split": "four"}, 400)["error"]["message"].startswith("split: Must be one of")


def test_steps_can_be_opened_to_see_who_is_behind_them(asked: Any) -> None:
    found = {}
    for state, step in (("reached", 1), ("reached", 3), ("dropped", 2), ("dropped", 3)):
        question = {"steps": STEPS, **EXCLUDED, **SPAN, "list": {"step": step, "state": state}}
        result = asked("funnel", question)["result"]
        found[state, step] = (result["subjects"], result["cursor"])
    assert found == {
        ("reached", 1): (["a", "b", "c"], None),
        ("reached", 3): (["a"], None),
        ("dropped", 2): (["c"], None),
        ("dropped", 3): (["b"], None),
    }
    one = {"step": 1, "limit": 2}
    page = asked("funnel", {"steps": STEPS, **SPAN, "list": one})["result"]
    rest = asked("funnel", {"steps": STEPS, **SPAN, "list": {**one, "cursor": page["cursor"]}})["result"]
    assert (page["subjects"], rest["subjects"], rest["cursor"]) == (["a", "b"], ["c"], None)


def test_a_trend_lists_days_without_entries_and_the_answer_says_where_it_comes_from(asked: Any) -> None:
    answer = asked("funnel", {"steps": STEPS, "trend": "day", "from": "2026-10-04", "to": "2026-10-06"})
    assert answer["result"]["trend"] == [
        {"bucket": "2026-10-04", "counts": [0, 0, 0]},
        {"bucket": "2026-10-05", "counts": [3, 2, 2]},
        {"bucket": "2026-10-06", "counts": [1, 0, 0]},
    ]
    meta = answer["meta"]
    assert (meta["engine"], meta["exact"], meta["ignored_values"]) == ("parts", True, 0)
    assert meta["watermark"] is not None


def test_retention_explains_a_subjects_births_and_returns(asked: Any) -> None:
    question = {"start": {"event": "view"}, "return": {}, "periods": 1, **SPAN, "explain": {"subject": "a"}}
    result = asked("retention", question)["result"]
    (member,) = result["witness"]
    assert (member["cohort"], member["birth"]["id"]) == ("2026-10-05", "a0")
    assert [(event["cell"], event["id"]) for event in member["returns"]] == [(0, "a1"), (1, "a2")]
    assert [(row["size"], row["returned"]) for row in result["cohorts"]] == [(3, [2, 2]), (0, [0, 0])]


def test_each_kind_is_a_table_too(asked: Any) -> None:
    funnel = list(csv.DictReader(io.StringIO(asked("funnel", {"steps": STEPS, **SPAN}, format="csv"))))
    assert [(row["step"], row["name"], row["count"], row["median_s"]) for row in funnel] == [
        ("1", "view", "3", ""),
        ("2", "cart", "2", "60.0"),
        ("3", "buy", "2", "120.0"),
    ]
    retention = asked("retention", {"start": {"event": "view"}, "periods": 1, **SPAN}, format="ndjson")
    assert [json.loads(line) for line in retention.splitlines()][:2] == [
        {"cohort": "2026-10-05", "period": 0, "size": 3, "returned": 2, "rate": 2 / 3, "complete": True},
        {"cohort": "2026-10-05", "period": 1, "size": 3, "returned": 2, "rate": 2 / 3, "complete": True},
    ]
    paths = list(csv.DictReader(io.StringIO(asked("paths", {"start": {"event": "view"}, **SPAN}, format="csv"))))
    assert [list(row.values()) for row in paths] == [
        ["0", "view", "cart", "2", "60.0"],
        ["1", "cart", "return", "1", "60.0"],
        ["2", "return", "buy", "1", "60.0"],
    ]


@pytest.mark.parametrize(
    ("kind", "question", "said"),
    [
        ("funnel", {"steps": STEPS[:1]}, "steps: 2 to 20 of them"),
        ("funnel", {"steps": STEPS * 7}, "steps: 2 to 20 of them"),
        ("funnel", {"steps": STEPS, "window": "soon"}, "window: 'soon' is no duration; write 90s, 30m, 2h, 7d or 4w"),
        ("funnel", {"steps": STEPS, "window": "367d"}, "window: at most 366d"),
        ("funnel", {"steps": STEPS, "window": "13 sessions"}, "window: 1 to 12 sessions"),
        (
            "funnel",
            {"steps": STEPS, "order": "any", "exclude": [{"event": "x"}]},
            'exclude: not with order "any"; there are "sequential" and "strict"',
        ),
        (
            "funnel",
            {"steps": STEPS, "order": "any", "hold": ["plan"]},
            'hold: not with order "any"; there are "sequential" and "strict"',
        ),
        (
            "funnel",
            {"steps": STEPS, "exclude": [{"between": [2, 2]}]},
            "exclude[0].between: two steps from 1 to 3, the earlier first",
        ),
        (
            "funnel",
            {"steps": STEPS, "by": "browser", "attribution": 4},
            'attribution: "first", "last", "all", or a step from 1 to 3',
        ),
        ("funnel", {"steps": STEPS, "hold": list("abcd")}, "hold: at most 3 fields"),
        ("funnel", {"steps": STEPS, "list": {"step": 1, "state": "dropped"}}, "list.step: a step from 2 to 3"),
        (
            "funnel",
            {"steps": STEPS, "trend": "hour", "from": "-90d"},
            "trend: more than 400 buckets; ask for fewer days",
        ),
        ("retention", {}, "start: Missing data for required field"),
        (
            "retention",
            {"start": {}, "count": "on", "brackets": [[1, 2]]},
            "count: not beside brackets, which say what counts",
        ),
        (
            "retention",
            {"start": {}, "value": "avg:price"},
            'value: "sum:" and a field of numbers, such as "sum:props.price"',
        ),
        ("paths", {}, "start: one of start and end, which looks backward"),
        ("paths", {"start": {}, "end": {}}, "start: one of start and end, which looks backward"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(asked: Any, kind: str, question: dict[str, Any], said: str) -> None:
    assert asked(kind, question, 400)["error"]["message"] == said
