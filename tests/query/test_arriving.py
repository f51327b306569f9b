"""What has arrived between two moments: each event once, in whatever index, by whomever it was sent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from conftest import Gateway

from metronome.query import Arrived, Positions, open_door
from metronome.store import names


def asker(gateway: Gateway) -> Callable[[Any], Any]:
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: gateway.now)  # type: ignore[arg-type, return-value]
    return lambda question: ask(question)[0]


def ids(arrivals: Any) -> list[str]:
    return sorted(one.event["_id"] for one in arrivals)


def test_events_of_any_day_and_any_shipper_arrive_once(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(shards=3)
    ask = asker(gateway)
    nothing = ask(Positions())
    assert (nothing, ask(Arrived({}, nothing))) == ({}, [])
    gateway.accepted([{"id": "x", "insert_id": f"a{n}"} for n in range(20)])
    gateway.drain()
    first = ask(Positions())
    assert ids(ask(Arrived(nothing, first))) == sorted(f"a{n}" for n in range(20))
    gateway.accepted([{"id": "x", "insert_id": f"late{n}", "ts": f"2026-10-0{1 + n % 2}"} for n in range(6)])
    gateway.drain()
    # Logstash writes straight into Elasticsearch, and nobody refreshes for it.
    shipped = {"@timestamp": "2026-10-01T12:00:00Z", "@version": "1", "id": "x", "user_agent": "curl/8"}
    gateway.elasticsearch.index(index=f"{gateway.settings.index_prefix}-2026.10.01", id="shipped", document=shipped)
    second = ask(Positions())
    arrived = ask(Arrived(first, second))
    assert ids(arrived) == sorted([*(f"late{n}" for n in range(6)), "shipped"])
    (straight,) = [one.event for one in arrived if one.event["_id"] == "shipped"]
    assert (straight["is_robot"], "user_agent" in straight) == (True, False)
    assert ask(Arrived(second, ask(Positions()))) == []


def test_a_limit_is_gone_on_from_by_the_numbers_of_the_last_ones(gateway: Gateway) -> None:
    ask = asker(gateway)
    gateway.accepted([{"id": "x", "insert_id": f"e{n:02}"} for n in range(25)])
    gateway.drain()
    until, moment, found = ask(Positions()), {}, []
    while page := ask(Arrived(dict(moment), until, limit=10)):
        moment.update({one.shard: one.number for one in page})
        found += [one.event["_id"] for one in page]
    assert found == [f"e{n:02}" for n in range(25)]


def test_nothing_is_missed_and_nothing_comes_twice_while_many_write(gateway_for: Callable[..., Gateway]) -> None:
    """Bulk requests run in parallel, so a number can be visible before its predecessor is."""
    gateway = gateway_for(shards=2, refresh_s=1)
    ask, index = asker(gateway), f"{gateway.settings.index_prefix}-2026.10.01"
    gateway.drain()  # installs the template

    def write(writer: int) -> None:
        for batch in range(12):
            rows: list[Any] = []
            for n in range(20):
                rows += [{"create": {"_id": f"{writer}-{batch}-{n}"}}, {"@timestamp": "2026-10-01", "id": "x"}]
            gateway.elasticsearch.bulk(index=index, operations=rows)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    moment: dict[str, int] = {}
    seen: Counter[str] = Counter()
    going = True
    while going:
        going = any(writer.is_alive() for writer in writers)
        now = ask(Positions())
        seen.update(one.event["_id"] for one in ask(Arrived(dict(moment), now)))
        moment.update(now)
    assert len(seen) == 4 * 12 * 20 and set(seen.values()) == {1}
    assert gateway.elasticsearch.count(index=names.pattern(gateway.settings))["count"] == len(seen)
