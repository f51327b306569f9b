"""(g) Figures of persons through the gateway, beside Elasticsearch over the same events; answers are compared first.

Q6    exact unique persons by day over 90 days ÷ Elasticsearch's estimated cardinality; once columns are merged
Q7    the first question after many new events: day parts are brought up to date for it, seconds
Q9    a trend by day of one event, over HTTP ÷ the same aggregation sent straight to Elasticsearch, milliseconds more

The events are those of journeys.py: each has a person, and no two of a person have one time.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

from bench import load
from bench.host import Host, gateway, settle, wait
from bench.journeys import DAYS, source
from metronome.periods import to_ms, to_text
from metronome.store.documents import template

BATCH = 2000
PREFIX = "persons"

#: How far Elasticsearch's estimate may be off; it promises about 1 % beyond its threshold.
_ESTIMATED = 0.05

#: Requests of a run of Q9.
_TRENDS = 200


def bench(host: Host, *, events: int, fresh: int, runs: int) -> dict[str, Any]:
    """`events` over 90 days that have ended, then `fresh` more of the last of these days."""
    host.ask("PUT", f"/_index_template/metronome-{PREFIX}", template(PREFIX))
    first = (datetime.now(UTC) - timedelta(days=DAYS)).date()
    rng = random.Random(7)
    people, begun = _fill(host, rng, first, dict.fromkeys(range(DAYS), events // DAYS))
    with gateway(host, PREFIX, METRONOME_QUERY_SECONDS="600") as running:
        direct, through = (http.client.HTTPConnection(name, timeout=600) for name in (host.elasticsearch, running.bind))
        begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
        asked = _Asked(host, direct, through, begin, begin + timedelta(days=DAYS))
        figures: dict[str, Any] = {"events": events // DAYS * DAYS, "fresh": fresh}
        figures["all_parts_s"] = _first_s(asked, people)
        merged = host.settings.home / f"gateway-{PREFIX}" / "parts" / "merged" / "set.json"
        wait(merged.exists, 120)
        figures["q6"] = _uniques(asked, runs)
        assert asked.begun() == asked.begun_raw() == begun, "trends differ"
        figures["q9"] = _trends(asked)
        more, _ = _fill(host, rng, first, {DAYS - 1: fresh})
        people[-1] |= more[-1]
        settle()
        figures["q7_s"] = _first_s(asked, people)
    print(f"  {figures}", file=sys.stderr)
    return figures


def _first_s(asked: _Asked, people: list[set[str]]) -> float:
    """How long the first question takes, for which day parts are brought up to date."""
    started = time.perf_counter()
    found = asked.persons()
    elapsed = time.perf_counter() - started
    assert found == [len(one) for one in people], "persons by day differ from those that were sent"
    return round(elapsed, 2)


def _fill(host: Host, rng: random.Random, first: date, a_day: dict[int, int]) -> tuple[list[set[str]], list[int]]:
    """Index so many events of each day; gives its persons, and how many are a `step0`."""
    people: list[set[str]] = [set() for _ in range(DAYS)]
    begun = [0] * DAYS
    before = host.count(f"{PREFIX}-*")
    requests: list[bytes] = []
    for number, count in a_day.items():
        day = first + timedelta(days=number)
        midnight = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
        action = json.dumps({"create": {"_index": f"{PREFIX}-{day:%Y.%m.%d}"}}).encode() + b"\n"
        lines = []
        for ms in rng.sample(range(86_400_000), count):
            event = source(rng, midnight + ms)
            lines.append(action + json.dumps(event).encode() + b"\n")
            people[number].add(event["distinct_id"])
            begun[number] += event["event"] == "step0"
        requests += [host.bulk(b"".join(lines[at : at + BATCH])) for at in range(0, len(lines), BATCH)]
        if sum(map(len, requests)) > 64 * 2**20 or number == max(a_day):
            load.run(host.elasticsearch, requests, 2)
            requests = []
    assert host.count(f"{PREFIX}-*") == before + sum(a_day.values())
    return people, begun


@dataclass(frozen=True)
class _Asked:
    """The questions, each both ways, over connections that stay open; `first` and `end` are instants."""

    host: Host
    direct: http.client.HTTPConnection
    through: http.client.HTTPConnection
    first: datetime
    end: datetime

    def persons(self) -> list[int]:
        return self._trend({"measure": "unique"})

    def begun(self) -> list[int]:
        return self._trend({"event": "step0"})

    def _trend(self, series: dict[str, Any]) -> list[int]:
        question = json.dumps({"series": [series], "from": to_text(self.first), "to": to_text(self.end)})
        result = _answer(self.through, "/query/trend", question, {"Content-Type": "application/json"})["result"]
        return list(result["series"][0]["values"])

    def estimated(self) -> list[int]:
        """Persons as Elasticsearch estimates them, at its highest precision; robots left out."""
        of = {"of": {"cardinality": {"field": "distinct_id", "precision_threshold": 40_000}}}
        return [int(bucket["of"]["value"]) for bucket in self._by_day([], of)]

    def begun_raw(self) -> list[int]:
        return [int(bucket["doc_count"]) for bucket in self._by_day([{"term": {"event": "step0"}}], {})]

    def _by_day(self, filters: list[Any], aggs: dict[str, Any]) -> list[Any]:
        days = {"date_histogram": {"field": "@timestamp", "calendar_interval": "day"}, "aggs": aggs}
        span = {"range": {"@timestamp": {"gte": to_text(self.first), "lt": to_text(self.end)}}}
        query = {"bool": {"filter": [span, *filters], "must_not": [{"term": {"is_robot": True}}]}}
        body = json.dumps({"size": 0, "track_total_hits": False, "query": query, "aggs": {"days": days}})
        found = _answer(self.direct, f"/{PREFIX}-*/_search?request_cache=false", body, self.host.headers)
        return list(found["aggregations"]["days"]["buckets"])

    def moved(self, seconds: int) -> _Asked:
        """The same from a little later on, so that an answer isn't found in a cache."""
        return replace(self, first=self.first + timedelta(seconds=seconds))


def _uniques(asked: _Asked, runs: int) -> dict[str, Any]:
    """Q6: median seconds of both, in turn, and their ratio."""
    for exact, estimate in zip(asked.persons(), asked.estimated(), strict=True):
        assert abs(exact - estimate) <= _ESTIMATED * exact, (exact, estimate)
    one, other = _medians(asked, _Asked.persons, _Asked.estimated, runs)
    return {"ours_s": round(one, 4), "theirs_s": round(other, 4), "ratio": round(one / other, 2)}


def _trends(asked: _Asked) -> dict[str, Any]:
    """Q9: median milliseconds of both, in turn, and how much later ours comes."""
    one, other = _medians(asked, _Asked.begun, _Asked.begun_raw, _TRENDS)
    return {
        "ours_ms": round(one * 1000, 2),
        "raw_ms": round(other * 1000, 2),
        "over_ms": round((one - other) * 1000, 2),
    }


def _medians(
    asked: _Asked, ours: Callable[[_Asked], Any], theirs: Callable[[_Asked], Any], runs: int
) -> tuple[float, float]:
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * runs):
        mine = number % 2 == 0
        moved = asked.moved(number + 1)
        started = time.perf_counter()
        (ours if mine else theirs)(moved)
        times[mine].append(time.perf_counter() - started)
    return median(times[True]), median(times[False])


def _answer(connection: http.client.HTTPConnection, path: str, body: str, headers: dict[str, str]) -> Any:
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    data = response.read()
    assert response.status == 200, data[:500]
    return json.loads(data)
