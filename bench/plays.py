"""(i) `/api/v1/plays` over stretches of ninety days, against its aggregation sent straight to Elasticsearch."""

from __future__ import annotations

import http.client
import random
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from statistics import median
from typing import Any

import orjson

from bench import load
from bench.events import yesterday
from bench.host import Gateway, Host, gateway
from metronome.event.privacy import Privacy
from metronome.periods import from_ms, to_ms, to_text
from metronome.query.body import Json
from metronome.store.documents import template
from metronome.video.device import Device
from metronome.video.events import watched
from metronome.video.identity import about, page_of
from metronome.video.stretches import Seen, Stretch, Watched

DAYS = 90
BATCH = 2000
VIDEOS = 200
PREFIX = "plays"

#: Stretches of a session, and the seconds of a video.
EACH = 2
LENGTH = 600.0


def bench(host: Host, *, stretches: int, runs: int) -> dict[str, Any]:
    """Seconds of a question about all videos by day, and of the same rows from Elasticsearch: medians over `runs`."""
    _fill(host, stretches)
    asked = {"query": {"video": {"site": "a"}}, "timeframe": f"{DAYS + 1} days", "interval": "1 day"}
    times: dict[str, list[float]] = {"plays": [], "raw": []}
    views = 0
    with gateway(host, PREFIX) as running:
        for number in range(runs + 1):
            started = time.perf_counter()
            rows = _plays(running, asked)
            between = time.perf_counter()
            sessions = _raw(host)
            ended = time.perf_counter()
            views = sum(row["views"] for row in rows)
            assert views == sessions, (views, sessions)
            if number:  # Elasticsearch's code is compiled as it is used
                times["plays"].append(between - started)
                times["raw"].append(ended - between)
    found = {f"{name}_s": round(median(seconds), 2) for name, seconds in times.items()}
    ratio = round(median(a / b for a, b in zip(times["plays"], times["raw"], strict=True)), 2)
    return {"stretches": stretches, "views": views, **found, "ratio": ratio}


def _plays(running: Gateway, asked: dict[str, Any]) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection(running.bind, timeout=300)
    connection.request("POST", "/api/v1/plays", orjson.dumps(asked), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status == 200, data[:500]
    rows: list[dict[str, Any]] = orjson.loads(data)["views"]
    return rows


def _raw(host: Host) -> int:
    """Read each session's watched time by day, page by page: what whoever has only Elasticsearch would do."""
    sources: list[Json] = [
        {"day": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1d"}}},
        {"session": {"terms": {"field": "stretch.session"}}},
    ]
    by: Json = {"composite": {"size": 20_000, "sources": sources}}
    aggs = {"by": {**by, "aggs": {"elapsed": {"sum": {"field": "stretch.elapsed"}}}}}
    query = {"bool": {"filter": [{"term": {"event": "video.watch"}}]}}
    count = 0
    connection = http.client.HTTPConnection(host.elasticsearch, timeout=300)
    while True:
        body = orjson.dumps({"size": 0, "track_total_hits": False, "query": query, "aggs": aggs})
        connection.request("POST", f"/{PREFIX}-*/_search", body, host.headers)
        found = orjson.loads(connection.getresponse().read())["aggregations"]["by"]
        count += sum(1 for row in found["buckets"] if row["elapsed"]["value"] >= 1)
        if "after_key" not in found:
            return count
        by["composite"]["after"] = found["after_key"]
        aggs["by"]["composite"] = by["composite"]


def _fill(host: Host, stretches: int) -> None:
    host.ask("PUT", f"/_index_template/metronome-{PREFIX}", template(PREFIX))
    step = 100_000
    made = _documents(stretches)
    for start in range(0, stretches, step):
        requests = []
        for first in range(0, min(step, stretches - start), BATCH):
            body = b"".join(next(made) for _ in range(min(BATCH, stretches - start - first)))
            requests.append(host.bulk(body))
        load.run(host.elasticsearch, requests, 2)
        print(f"  {min(start + step, stretches):,} stretches are in", file=sys.stderr)
    host.ask("POST", f"/{PREFIX}-*/_forcemerge?max_num_segments=1")
    assert host.count(f"{PREFIX}-*") == stretches


def _documents(stretches: int) -> Iterator[bytes]:
    """Lines of `_bulk`, two a stretch, as they are after intake."""
    chance = random.Random(9)
    devices = [
        Device("chrome", "windows", "desktop"),
        Device("safari", "ios", "mobile"),
        Device("firefox", "linux", "desktop"),
    ]
    pages = [found for n in range(50) if (found := page_of(f"https://site.example/videos/{n}"))]
    first_ms = to_ms(yesterday() - timedelta(days=DAYS))
    privacy = Privacy()
    for session in range(-(-stretches // EACH)):
        film = min(int(chance.paretovariate(0.7)), VIDEOS) - 1
        said = about(
            identifier=f"film {film}",
            metadata={"site": "a", "film": film},
            session_data=None,
            page=pages[film % len(pages)],
            key="bench",
            session=f"load-{session // 2}",
            join=f"join-{session:09d}",
            device=devices[session % 3],
            privacy=privacy,
        )
        at, seen = first_ms + chance.randrange(DAYS * 86_400_000), Seen()
        for number in range(min(EACH, stretches - session * EACH)):
            start = round(chance.uniform(0, LENGTH - 60), 2)
            elapsed = round(chance.uniform(0.2, 60), 2)
            one = Watched(Stretch(number, at, start), round(start + elapsed, 2), elapsed)
            # Thresholds of coverage are events of their own, which no question of plays reads.
            fact = watched(said, [one], LENGTH, seen)[0]
            stamps = {"received_at": to_text(from_ms(at)), "dialect": "video", "@version": "1"}
            day = to_text(from_ms(at))[:10].replace("-", ".")
            head = orjson.dumps({"create": {"_index": f"{PREFIX}-{day}"}})
            yield head + b"\n" + orjson.dumps({**fact.event, **fact.facts, **stamps}) + b"\n"
            at += 90_000
