"""The largest groups of a question: the quick way gives what reading all groups gives, and is taken where it is sure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import oracle
import pytest
from conftest import Gateway
from test_numbers import as_sent, asked, close, fill
from test_sources import Memory

from metronome.periods import Period
from metronome.query import PEOPLE, Answer, Question, Values, open_door, top
from metronome.query.search import Search

START = datetime(2026, 11, 2, tzinfo=UTC)
DAYS = 5
PERIOD = Period(START, START + timedelta(days=DAYS))


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def skewed(rng: random.Random, at: int) -> str:
    """The value of rank r is as frequent as 1 / r."""
    return f"v{int(200 ** rng.random())}"


def drifting(rng: random.Random, at: int) -> str:
    """The largest in all is never among the largest of one day, whose own values come and go."""
    if rng.random() < 0.12:
        return f"always{rng.randrange(2)}"
    return f"of day {at}, {rng.randrange(7)}" if rng.random() < 0.7 else f"rare {rng.randrange(40)}"


def flat(rng: random.Random, at: int) -> str:
    """Many are equally frequent, so many tie for the last place."""
    return f"v{rng.randrange(100)}"


def few(rng: random.Random, at: int) -> str:
    return rng.choice("abcde")


DISTRIBUTIONS = {one.__name__: one for one in (skewed, drifting, flat, few)}


def events_of(distribution: str, seed: int, count: int = 1200) -> list[dict[str, Any]]:
    """Events with a tag: one value, several, or none."""
    rng, draw = random.Random(f"{distribution}{seed}"), DISTRIBUTIONS[distribution]
    found = []
    for _ in range(count):
        at = rng.randrange(DAYS)
        event: dict[str, Any] = {"at": day(at) + timedelta(seconds=rng.randrange(86_400))}
        event["event"] = rng.choice(["view"] * 50 + ["buy"])
        chance = rng.random()
        if chance < 0.9:
            event["tag"] = draw(rng, at) if chance < 0.8 else [draw(rng, at), draw(rng, at)]
        found.append(event)
    return found


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The searches since it was last emptied: first, second, pages."""
    found: list[str] = []
    send = Search.__call__

    def sent(self: Search, body: Any, indices: Any = None) -> Any:
        said = str(body)
        found.append("pages" if "composite" in said else "second" if "'likely'" in said else "first")
        return send(self, body, indices)

    monkeypatch.setattr(Search, "__call__", sent)
    return found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Few values at once, so that a few hundred are many."""
    monkeypatch.setattr(top, "TERMS", 12)
    return 12


def post(gateway: Gateway, events: list[dict[str, Any]]) -> None:
    gateway.drain()
    for start in range(0, len(events), 500):
        assert gateway.accepted([as_sent(event) for event in events[start : start + 500]])["rejected"] == []
    gateway.drain()


def agree(quick: Answer, whole: Answer, most: int) -> None:
    """The largest groups and their order are the same; None is; and others are told of."""
    found, wanted = [[row for row in one.rows if row.key != (None,)] for one in (quick, whole)]
    assert found[:most] == wanted[:most]
    assert set(quick.rows) <= set(whole.rows)
    assert (len(found) > most) == (len(wanted) > most)
    assert [row for row in quick.rows if row.key == (None,)] == [row for row in whole.rows if row.key == (None,)]
    assert (quick.exact, quick.ignored_values) == (whole.exact, whole.ignored_values)


@pytest.mark.parametrize(
    ("distribution", "most", "way"),
    [
        pytest.param("few", 3, ["first"], id="all values are given at once"),
        pytest.param("skewed", 2, ["first", "second"], id="the largest are far ahead on every day"),
        pytest.param("drifting", 2, ["first", "second"], id="the largest are small on every day"),
        pytest.param("flat", 3, ["first", "second", "pages"], id="many are equally large"),
    ],
)
def test_the_largest_groups_are_read_the_shortest_way_that_is_sure(
    gateway: Gateway, ways: list[str], at_once: int, distribution: str, most: int, way: list[str]
) -> None:
    # The last one's tag is too long to be indexed, so it is in the group None.
    post(gateway, [*events_of(distribution, 0), {"at": day(2), "event": "view", "tag": "x" * 9000}])
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: day(6))
    question = Question(PEOPLE, by=(Values("tag", missing=True),), period=PERIOD)
    (whole,) = ask(question)
    ways.clear()
    (quick,) = ask(Question(PEOPLE, by=question.by, period=PERIOD, most=most))
    assert ways == way
    agree(quick, whole, most)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_top_through_http_equals_brute_force(gateway: Gateway, at_once: int, distribution: str) -> None:
    events = events_of(distribution, 1)
    post(gateway, events)
    span = {"from_": "2026-11-02", "to": "2026-11-06", "interval": "total"}
    views, buys = {"name": "A", "event": "view"}, {"name": "B", "event": "buy"}
    # Few values were bought: those that were not follow by name.
    for series, number in product(([views], [views, buys], [buys, views]), (1, 3, 10, 300)):
        found = asked(gateway, "trend", series=series, by=["tag"], top=number, **span)
        expected = oracle.trend(events, ["total"], series, interval="total", by=["tag"], top=number)
        assert close(found["result"]["series"], expected), (series, number)
        assert found["meta"]["exact"]


def test_where_the_first_series_has_few_groups_rare_ones_of_the_next_follow_by_name(
    gateway: Gateway, at_once: int
) -> None:
    tags = [("buy", "v150"), ("buy", "v7"), ("view", "a rare one")]
    events = events_of("skewed", 3, 600) + [{"at": day(1), "event": event, "tag": tag} for event, tag in tags]
    events = [event for event in events if event["event"] == "view" or event["at"] == day(1)]
    post(gateway, events)
    series = [{"name": "B", "event": "buy"}, {"name": "A", "event": "view"}]
    found = asked(gateway, "trend", series=series, by=["tag"], top=3, interval="total", from_="2026-11-02")
    groups = [line["group"] for line in found["result"]["series"] if line["name"] == "B"]
    assert groups[:3] == [["v150"], ["v7"], ["a rare one"]]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_top_over_two_ways_in_or_two_sources_equals_the_whole(
    gateway: Gateway, at_once: int, distribution: str
) -> None:
    events = events_of(distribution, 2, 600)
    held = [Period(day(1), day(2))]
    fill(gateway, [event for event in events if not day(1) <= event["at"] < day(2)])
    whole, quick = (Question(PEOPLE, by=(Values("tag", missing=True),), period=PERIOD, most=most) for most in (None, 3))
    for others in ((), (Memory(events, held),)):
        ask = open_door(gateway.elasticsearch, gateway.settings, lambda: day(6), *others)
        (all_groups,), (largest,) = ask(whole), ask(quick)
        agree(largest, all_groups, 3)


def answered(shards: list[Counter[str]], size: int, likely: set[str]) -> dict[str, Any]:
    """What Elasticsearch gives for these shards: each gives its largest values, and is off by its last one's count."""
    given = [dict(sorted(one.items(), key=lambda pair: (-pair[1], pair[0]))[:size]) for one in shards]
    errors = [min(one.values()) if len(one) >= size else 0 for one in given]
    known = sum(map(Counter, given), Counter[str]())
    in_order = sorted(known.items(), key=lambda pair: (-pair[1], pair[0]))
    buckets = [{"key": value, "doc_count": count} for value, count in in_order]
    true = sum(shards, Counter[str]())
    shown = sum(bucket["doc_count"] for bucket in buckets[:size])
    return {
        "by": {
            "doc_count_error_upper_bound": sum(errors) if len(shards) > 1 else 0,
            "sum_other_doc_count": true.total() - shown,
            "buckets": buckets[:size],
        },
        "likely": {"buckets": [{"key": value, "doc_count": true[value]} for value in likely]},
    }


def spread(rng: random.Random, number: int) -> Counter[str]:
    """A shard. Its own values are about as frequent as those that all shards have, which are the largest in the sum."""
    about = rng.randint(1, 5)
    own = {f"of {number}, {n}": about + rng.randint(0, 2) for n in range(rng.randint(0, 5))}
    everywhere = {f"all {n}": rng.randint(0, about + 1) * rng.choice([1, 1, 1, 4]) for n in range(4)}
    return +Counter({**own, **everywhere})


@pytest.mark.parametrize("second", [False, True], ids=["the first answer", "the second answer"])
def test_what_is_called_proved_is_true_of_every_spread_over_shards(second: bool) -> None:
    rng = random.Random(int(second))
    took = 0
    for _ in range(3000):
        shards = [spread(rng, number) for number in range(rng.randint(1, 4))]
        most, size = rng.randint(1, 4), rng.randint(2, 6)
        question = Question(PEOPLE, by=(Values("tag"),), most=most)
        first = answered(shards, size, set())
        likely: set[str] = set()
        if second and first["by"]["buckets"]:
            likely = set(top.second(question, first)["likely"]["terms"]["include"])
            size = rng.randint(size, 8)
        counts = top.proved(question, answered(shards, size, likely), len(shards))
        if counts is None:
            continue
        took += 1
        true = sum(shards, Counter[str]())
        order = sorted(true, key=lambda value: (-true[value], value))
        assert sorted(counts, key=lambda value: (-counts[value], value))[:most] == order[:most]
        assert counts.items() <= true.items()
        assert len(counts) > most or len(counts) == len(true)
    assert took > 500


def test_an_error_of_zero_is_not_believed_while_several_shards_leave_values_out() -> None:
    question = Question(PEOPLE, by=(Values("tag"),), most=1)
    buckets = [{"key": key, "doc_count": count} for key, count in (("a", 9), ("b", 2))]
    by = {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 5, "buckets": buckets}
    assert top.proved(question, {"by": by}, 3) is None
    assert top.proved(question, {"by": by}, 1) == {"a": 9, "b": 2}
