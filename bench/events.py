"""Seeded events: twelve flat fields, about 300 bytes as JSON, over a month and ten thousand items."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import orjson

AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0" for version in range(100, 150)
]
ITEMS = 10_000


def generate(count: int, seed: int, *, end: datetime, days: int, agents: bool = False) -> list[bytes]:
    """`count` events as JSON lines; items are Zipf-distributed, as page views are."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(ITEMS)]
    items = rng.choices(range(ITEMS), weights, k=count)
    start = end - timedelta(days=days)
    span_ms = days * 86_400_000
    lines = []
    for number, item in enumerate(items):
        at = start + timedelta(milliseconds=rng.randrange(span_ms))
        event = {
            "@timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "id": f"item-{item}",
            "event": "download" if rng.random() < 0.2 else "view",
            "app": "shop",
            "distinct_id": f"u{rng.randrange(100_000)}",
            "session_id": f"s{number // 7:08x}",
            "referer": f"https://site{rng.randrange(50)}.example/page/{rng.randrange(20)}",
            "url": f"https://shop.example/item/{item}",
            "status": 200,
            "load_ms": round(rng.random() * 1000, 1),
            "country": rng.choice(("FR", "DE", "US", "JP", "BR")),
        }
        if event["event"] == "download":
            event["format"] = rng.choice(("csv", "kml", "shp"))
        if agents:
            event["user_agent"] = rng.choice(AGENTS)
        lines.append(orjson.dumps(event))
    return lines


def yesterday() -> datetime:
    """The end of the last whole day: all events are in the past, on whole days."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
