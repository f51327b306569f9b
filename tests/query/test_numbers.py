"""Every measure, grouping and filter of /query/trend against brute force (oracle.py), over random events, through HTTP."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import oracle
import pytest
from conftest import Gateway

SERIES = [
    "count",
    "unique",
    "unique:tag",
    "sum:price",
    "avg:price",
    "min:price",
    "max:price",
    "median:price",
    "p90:price",
    "p1:price",
    "per_subject",
    "active_days",
]

FILTERS: list[dict[str, Any]] = [
    {"field": "mixed", "op": "is", "value": 3},
    {"field": "mixed", "op": "is", "value": "3"},
    {"field": "mixed", "op": "in", "value": [3.0, "x"]},
    {"field": "mixed", "op": "is_not", "value": 3},
    {"field": "mixed", "op": "not_in", "value": ["x", 7]},
    {"field": "mixed", "op": "gt", "value": 3},
    {"field": "mixed", "op": "between", "value": [3, 7]},
    {"field": "mixed", "op": "exists"},
    {"field": "mixed", "op": "missing"},
    {"field": "mixed", "op": "contains", "value": "x"},
    {"field": "beta", "op": "is", "value": True},
    {"field": "beta", "op": "is_not", "value": True},
    {"field": "tag", "op": "is", "value": "a"},
    {"field": "tag", "op": "is_not", "value": "a"},
    {"field": "tag", "op": "starts_with", "value": "b*"},
    {"field": "tag", "op": "contains", "value": "?"},
    {"field": "price", "op": "lte", "value": 2.5},
    {"field": "nowhere", "op": "is", "value": 1},
    {"field": "nowhere", "op": "missing"},
    {"not": {"any": [{"field": "tag", "op": "is", "value": "a"}, {"field": "price", "op": "gte", "value": 5}]}},
    {"all": [{"field": "event", "op": "is", "value": "buy"}, {"field": "browser", "op": "exists"}]},
    {"any": [{"field": "event", "op": "is", "value": "view"}, {"field": "tag", "op": "is", "value": "b*c"}]},
]

#: What a field is depends on the day: Elasticsearch has a number in one day's index, text in the other's.
MIXED: dict[int, list[Any]] = {0: [3, 7, 3.5, [3, 4]], 1: ["3", "x", "xy", ["x", "3"]], 2: [None]}


def random_events(rng: random.Random, start: datetime, days: int, count: int) -> list[dict[str, Any]]:
    events = []
    for _ in range(count):
        at = start + timedelta(milliseconds=rng.randrange(days * 86_400_000))
        event: dict[str, Any] = {"at": at, "event": rng.choice(["view", "buy", "download"])}
        chances: list[tuple[str, Any]] = [
            ("distinct_id", rng.choice(["u1", "u2", "u3", "u4"])),
            ("price", rng.choice([1, 2.5, 5, 5.5, [1, 9], -3])),
            ("tag", rng.choice(["a", "b*c", "b?", ["a", "c"], ["c", "c"], "d"])),
            ("beta", rng.choice([True, False])),
            ("browser", rng.choice(["Firefox", "Chrome"])),
            ("status", rng.choice([200, 404])),
            ("mixed", rng.choice(MIXED[(at - datetime(1970, 1, 1, tzinfo=UTC)).days % 3])),
        ]
        event |= {name: value for name, value in chances if rng.random() < 0.7}
        events.append(event)
    return events


def fill(gateway: Gateway, events: list[dict[str, Any]]) -> None:
    """Half of them through the door, half as Logstash writes them."""
    gateway.drain()
    posted, shipped = events[::2], events[1::2]
    for start in range(0, len(posted), 500):
        assert gateway.accepted([as_sent(event) for event in posted[start : start + 500]])["rejected"] == []
    gateway.drain()
    ship(gateway, shipped)


def as_sent(event: dict[str, Any]) -> dict[str, Any]:
    sent = {name: value for name, value in event.items() if name != "at"}
    at = event["at"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**sent, "@timestamp": at}


def ship(gateway: Gateway, events: list[dict[str, Any]]) -> None:
    operations: list[dict[str, Any]] = []
    for event in events:
        document = {"@version": "1", **as_sent(event)}
        day = document["@timestamp"][:10].replace("-", ".")
        operations += [{"index": {"_index": f"{gateway.settings.index_prefix}-{day}"}}, document]
    if operations:
        answered = gateway.elasticsearch.bulk(operations=operations, refresh=True)
        assert not answered["errors"]


def asked(gateway: Gateway, kind: str, **question: Any) -> Any:
    if "from_" in question:
        question["from"] = question.pop("from_")
    response = gateway.http.post(f"/query/{kind}", json=question)
    assert response.status_code == 200, response.text
    return response.json


def close(found: Any, expected: Any) -> bool:
    """Equal, but for the last digits of sums that were added up in another order."""
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(close(found[name], expected[name]) for name in expected)
    if isinstance(expected, float) and found is not None:
        return math.isclose(found, expected, rel_tol=1e-12)
    return bool(found == expected) and isinstance(found, bool) == isinstance(expected, bool)


@pytest.fixture(scope="module")
def start() -> datetime:
    return datetime(2026, 10, 23, tzinfo=UTC)  # the clocks of Europe change on the 25th


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
@pytest.mark.parametrize("interval", ["hour", "day", "week", "month", "total"])
def test_every_measure_equals_brute_force(gateway: Gateway, start: datetime, interval: str, tz: str) -> None:
    events = random_events(random.Random(f"{interval}{tz}"), start, 5, 150)
    fill(gateway, events)
    measures = [name for name in SERIES if not (interval == "hour" and name == "active_days")]
    series = [{"name": f"S{n}", "measure": name} for n, name in enumerate(measures)]
    first, last = start.astimezone(ZoneInfo(tz)).date(), start.date() + timedelta(days=5)
    # Nothing links ids here, so persons are the values of distinct_id; these come from Elasticsearch, those from parts.
    for subject, engine in (("distinct_id", "elasticsearch"), ("person", "parts")):
        found = asked(
            gateway,
            "trend",
            series=series,
            interval=interval,
            tz=tz,
            subject=subject,
            from_=first.isoformat(),
            to=last.isoformat(),
        )
        result = found["result"]
        expected = oracle.trend(events, result["buckets"], series, interval=interval, tz=tz)
        for row, wanted in zip(result["series"], expected, strict=True):
            assert close(row, wanted), (row, wanted)
        held = {oracle.bucket_name(event["at"], interval, ZoneInfo(tz)) for event in events}
        assert held <= set(result["buckets"])
        assert (found["meta"]["exact"], found["meta"]["engine"]) == (True, engine)


@pytest.mark.parametrize(
    "by", [["tag"], ["mixed"], ["status"], ["beta"], ["browser", "tag"], ["mixed", "beta"]], ids=" ".join
)
def test_every_grouping_equals_brute_force(gateway: Gateway, start: datetime, by: list[str]) -> None:
    events = random_events(random.Random(str(by)), start, 3, 120)
    fill(gateway, events)
    firsts = [("count", "distinct_id"), ("unique", "distinct_id"), ("unique", "person"), ("sum:price", "distinct_id")]
    for (first, subject), top in product(firsts, (1, 3, None)):
        series = [{"name": "A", "measure": first}, {"name": "B", "measure": "median:price", "event": ["buy", "view"]}]
        question = {"series": series, "by": by, "top": top, "subject": subject}
        result = asked(gateway, "trend", **question, from_="2026-10-23", to="2026-10-25")["result"]
        expected = oracle.trend(events, result["buckets"], series, interval="day", by=by, top=top)
        assert close(result["series"], expected), (result["series"], expected)


@pytest.mark.parametrize("way", ["posted", "shipped"])
def test_every_filter_equals_brute_force(gateway: Gateway, start: datetime, way: str) -> None:
    events = random_events(random.Random(way), start, 3, 200)
    gateway.drain()
    if way == "posted":
        assert gateway.accepted([as_sent(event) for event in events])["rejected"] == []
        gateway.drain()
    else:
        ship(gateway, events)
    for filter_ in FILTERS:
        expected = sum(oracle.fits(event, filter_) for event in events)
        found = asked(
            gateway, "trend", series=[{}], where=[filter_], interval="total", from_="2026-10-23", to="2026-10-25"
        )
        assert found["result"]["series"][0]["total"] == expected, (filter_, found["meta"])
        listed = asked(gateway, "events", where=[filter_], limit=1000, from_="2026-10-23", to="2026-10-25")["result"]
        assert len(listed["events"]) == listed["total"] == expected, filter_
