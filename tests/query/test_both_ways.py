"""Both ways in give the same numbers: the same records through /tick, and straight into Elasticsearch."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Gateway
from test_numbers import as_sent, asked, ship

AGENTS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "curl/8.5.0",
    "-",
]
CHOICES: dict[str, list[Any]] = {
    "event": ["view", "download", "play", ""],
    "format": ["csv", "CSV", "Shp"],
    "accept": ["text/html", "*/*", "application/json", "text/csv", "image/png"],
    "referer": ["https://a.example/1?q", "https://shop.example/x", "-"],
    "url": ["https://shop.example/home", "/files/b.tar.gz"],
    "user_agent": AGENTS,
    "browser": ["My Browser"],
    "distinct_id": ["u1", "u2", "u3"],
    "status": [200, 404, 500],
    "country": ["FR", "NL"],
    "session_id": ["s1", "s2"],
    "bytes": [10, 20.5, [1, 2]],
}
TOCKS = [
    {"include": "hits,visitors,robots,errors,geo", "interval": interval, "tz": tz, "referers": referers}
    for interval, tz, referers in (
        ("day", "UTC", "page"),
        ("hour", "Asia/Kathmandu", "host"),
        ("week", "America/New_York", "page"),
        ("month", "UTC", "page"),
    )
]


def records(rng: random.Random, count: int) -> list[dict[str, Any]]:
    start = datetime(2026, 10, 30, tzinfo=UTC)  # the clocks of New York change on 1 November
    found = []
    for _ in range(count):
        event: dict[str, Any] = {"at": start + timedelta(seconds=rng.randrange(4 * 86_400))}
        event[rng.choice(["id", "item_id", "extra.item_id"])] = rng.choice(["home", "other"])
        event |= {name: rng.choice(values) for name, values in CHOICES.items() if rng.random() < 0.5}
        found.append(event)
    return found


@pytest.fixture
def ways(gateway_for: Callable[..., Gateway]) -> tuple[Gateway, Gateway, Gateway]:
    """The same records: all posted, all shipped, and half and half."""
    events = records(random.Random(7), 400)
    posted, shipped, both = gateway_for(), gateway_for(), gateway_for()
    for gateway, through, straight in ((posted, events, []), (shipped, [], events), (both, events[::2], events[1::2])):
        gateway.drain()
        if through:
            sent = [{"@version": "1", **as_sent(event)} for event in through]
            assert gateway.accepted(sent)["rejected"] == []
            gateway.drain()
        ship(gateway, straight)
    return posted, shipped, both


def test_every_tock_is_the_same_both_ways_in(ways: tuple[Gateway, Gateway, Gateway]) -> None:
    posted, shipped, both = ways
    for query in TOCKS:
        for bounds in ({}, {"from_": "2026-10-31", "to": "2026-11-01"}):
            tocks = [gateway.tock("home", **query, **bounds) for gateway in (posted, shipped, both)]
            assert tocks[0] == tocks[1] == tocks[2], (query, bounds)
            assert all(
                tocks[0][block] for block in ("views", "downloads", "referers", "hits", "robots", "errors", "geo")
            )


def test_every_trend_and_list_is_the_same_both_ways_in(ways: tuple[Gateway, Gateway, Gateway]) -> None:
    series = [
        {"name": "A"},
        {"name": "B", "measure": "unique"},
        {"name": "C", "measure": "sum:bytes", "event": "view"},
        {"name": "D", "measure": "unique:browser"},
        {"name": "E", "measure": "p90:bytes"},
    ]
    span = {"from_": "2026-10-30", "to": "2026-11-03", "subject": "distinct_id"}
    mixed = {
        "any": [{"field": "browser", "op": "is", "value": "Firefox"}, {"field": "country", "op": "is", "value": "NL"}]
    }
    for robots in (False, True, "all"):
        for by in (["browser"], ["event", "country"], ["is_robot"], ["format"]):
            question = {
                "series": series,
                "by": by,
                "robots": robots,
                "tz": "America/New_York",
                "where": [mixed],
                **span,
            }
            results = [asked(gateway, "trend", **question)["result"] for gateway in ways]
            assert results[0] == results[1] == results[2], (robots, by)
        for field in ("event", "browser", "platform", "referer_page", "status"):
            results = [asked(gateway, "values", field=field, robots=robots, **span)["result"] for gateway in ways]
            assert results[0] == results[1] == results[2], (robots, field)
