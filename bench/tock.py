"""(c) `/tock`, against the same aggregation sent straight to Elasticsearch, on a million events."""

from __future__ import annotations

import http.client
import json
import random
import sys
import time
from statistics import median
from typing import Any

from bench import load
from bench.events import ITEMS, generate, yesterday
from bench.host import Gateway, Host, gateway
from metronome.dialects.tick.ask import TockQuerySchema, to_questions
from metronome.query.body import search_body
from metronome.query.kinds import AS_NAMED
from metronome.store.documents import template

BATCH = 2000
DAYS = 30


def bench(host: Host, *, events: int, questions: int) -> dict[str, Any]:
    """Latency of `questions` tocks of random items each way, in turn; then of the same item again and again.

    As many, of other random items, come before that aren't measured: Elasticsearch's code is compiled as it is used.
    """
    _fill(host, events)
    rng = random.Random(3)
    weights = [1 / (n + 1) for n in range(ITEMS)]
    warm_up, items = ([f"item-{n}" for n in rng.choices(range(ITEMS), weights, k=questions)] for _ in range(2))
    with gateway(host, "tocks") as running:
        _compare(host, running, warm_up)
        figures = {"events": events, "items": _compare(host, running, items)}
        figures["repeated"] = _compare(host, running, [items[0]] * questions)
    return figures


def _fill(host: Host, events: int) -> None:
    host.ask("PUT", "/_index_template/metronome-tocks", template("tocks"))
    # What intake adds to an event like these.
    stamps = b',"received_at":"2026-01-01T00:00:00.000Z","dialect":"tick","@version":"1"'
    stamps += b',"referer_page":"site%d.example/page/%d"}'
    step = 100_000
    for start in range(0, events, step):
        lines = generate(min(step, events - start), seed=100 + start, end=yesterday(), days=DAYS)
        requests = []
        for first in range(0, len(lines), BATCH):
            body = b""
            for number, line in enumerate(lines[first : first + BATCH]):
                day = json.loads(line)["@timestamp"][:10].replace("-", ".")
                body += b'{"create":{"_index":"tocks-%b"}}\n' % day.encode()
                body += line[:-1] + stamps % (number % 50, number % 20) + b"\n"
            requests.append(host.bulk(body))
        load.run(host.elasticsearch, requests, 2)
        print(f"  {start + len(lines):,} events are in", file=sys.stderr)
    host.ask("POST", "/tocks-*/_forcemerge?max_num_segments=1")
    assert host.count("tocks-*") == events


def _compare(host: Host, running: Gateway, items: list[str]) -> dict[str, Any]:
    wanted = TockQuerySchema().load({})
    direct, through = http.client.HTTPConnection(host.elasticsearch), http.client.HTTPConnection(running.bind)
    times: dict[str, list[float]] = {"raw": [], "tock": []}
    for number, item in enumerate(items):
        body = json.dumps(search_body(tuple(to_questions(item, wanted).values()), AS_NAMED))
        # Who comes second finds the item in Elasticsearch's caches: each does in half of the cases.
        for way in ("raw", "tock") if number % 2 else ("tock", "raw"):
            if way == "raw":
                times[way].append(_timed(direct, "POST", "/tocks-*/_search", body, host.headers))
            else:
                times[way].append(_timed(through, "GET", f"/tock/{item}.json", None, {}))
    over = [tock - raw for tock, raw in zip(times["tock"], times["raw"], strict=True)]
    # The middle of either order, and the mean of both: of all together it might be anywhere between the two.
    p50_over_s = (median(over[::2]) + median(over[1::2])) / 2
    result: dict[str, Any] = {name: _percentiles(values) for name, values in times.items()}
    result["p50_over_ms"] = round(p50_over_s * 1000, 2)
    result["p99_ratio"] = round(result["tock"]["p99_ms"] / result["raw"]["p99_ms"], 2)
    print(f"  {result}", file=sys.stderr)
    return result


def _timed(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> float:
    started = time.perf_counter()
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    elapsed = time.perf_counter() - started
    assert response.status == 200, data[:500]
    return elapsed


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{p}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1000, 2) for p in (50, 99)}
