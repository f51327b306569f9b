"""Seeded events: twelve flat fields, about 300 bytes as JSON, as varied as those of a real site.

A million items and their addresses, 300,000 referers, 20,000 agents: few are asked for often, and many once. So nothing
is gained by remembering what most events hold.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson

ITEMS = 1_000_000
REFERERS = 300_000
AGENTS = 20_000
HOSTS = 30_000
PEOPLE = 100_000


def generate(
    count: int,
    seed: int,
    *,
    end: datetime,
    days: int,
    agents: bool = False,
    items: int = ITEMS,
    referers: int = REFERERS,
) -> list[bytes]:
    """`count` events as JSON lines, within the `days` before `end`; items, referers and agents have a long tail."""
    rng = random.Random(seed)
    start = end - timedelta(days=days)
    span_ms = days * 86_400_000
    some_items, some_referers = zipf(rng, items, count), zipf(rng, referers, count)
    some_agents = zipf(rng, AGENTS, count) if agents else [0] * count
    lines = []
    for number, (item, referer, agent) in enumerate(zip(some_items, some_referers, some_agents, strict=True)):
        at = start + timedelta(milliseconds=rng.randrange(span_ms))
        event = {
            "@timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "id": f"item-{item}",
            "event": "download" if rng.random() < 0.2 else "view",
            "app": "shop",
            "distinct_id": f"u{rng.randrange(PEOPLE)}",
            "session_id": f"s{number // 7:08x}",
            "referer": f"https://site{referer % HOSTS}.example/page/{referer}",
            "url": f"https://shop.example/item/{item}",
            "status": 200,
            "load_ms": round(rng.random() * 1000, 1),
            "country": rng.choice(("FR", "DE", "US", "JP", "BR")),
        }
        if event["event"] == "download":
            event["format"] = rng.choice(("csv", "kml", "shp"))
        if agents:
            event["user_agent"] = agent_text(agent)
        lines.append(orjson.dumps(event))
    return lines


def agent_text(number: int) -> str:
    """The agent of this number: a browser on some telephone; every hundredth is a robot."""
    if number % 100 == 99:
        return f"Mozilla/5.0 (compatible; Crawlerbot/{number}.0; +https://crawler.example/{number})"
    return (
        f"Mozilla/5.0 (Linux; Android {5 + number % 11}; SM-{number:05d}) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{80 + number % 70}.0.{1000 + number % 6000}.{number % 200} Mobile Safari/537.36"
    )


def zipf(rng: random.Random, values: int, count: int) -> Sequence[int]:
    """`count` numbers below `values`; the one of rank r is as frequent as 1 / (r + 1)."""
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(values)))
    return rng.choices(range(values), cum_weights=weights, k=count)


def yardstick_us(lines: list[bytes]) -> float:
    """What an orjson round trip of one of these events costs just now, in microseconds of processor time.

    Processor time is given in this unit, since machines differ by a factor of three from day to day.
    """
    some = lines[:20_000]
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        for line in some:
            orjson.dumps(orjson.loads(line))
        best = min(best, time.process_time() - started)
    return best / len(some) * 1e6


def yesterday() -> datetime:
    """The end of the last whole day: all events are in the past, on whole days."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
