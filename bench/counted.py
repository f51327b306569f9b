"""Counted usage: what the intake of one costs beside that of a tick, posted one by one, and in batches as ticks.

Both say about as much: who, when, which item, which page. A usage says in addition what the item is, and its visitor
leaves hashes. Processor time of the workers alone, without the drain.
"""

from __future__ import annotations

import json
import random
import sys
from statistics import median
from typing import Any

from bench import load
from bench.events import agent_text, generate, yardstick_us, yesterday
from bench.host import Gateway, Host, gateway

BATCH = 500

PATH = "/_/metrics/events/counted_usage/"


def bench(host: Host, *, posts: int, runs: int) -> dict[str, Any]:
    """Yardsticks a tick and a usage, medians over `runs` after a warm-up; `ratio`: a tick's time over a usage's."""
    ticks = generate(posts, seed=6, end=yesterday(), days=1, agents=True)
    usages = [_usage(line, number) for number, line in enumerate(ticks)]
    yardstick = yardstick_us(ticks)
    figures: dict[str, list[float]] = {}
    with gateway(host, "counted", METRONOME_WORKERS="1") as running:
        ways = _ways(running, ticks, usages)
        for number in range(runs + 1):
            for name, (requests, events) in ways.items():
                cost = _cost_us(running, requests) / events / yardstick
                if number:
                    figures.setdefault(name, []).append(cost)
            print(f"  run {number}: " + ", ".join(f"{n} {v[-1]:.1f}" for n, v in figures.items()), file=sys.stderr)
    host.remove("counted-*")
    found: dict[str, Any] = {name: round(median(values), 1) for name, values in figures.items()}
    for kind in ("single", "batches"):
        pairs = zip(figures[f"tick_{kind}"], figures[f"usage_{kind}"], strict=True)
        found[f"{kind}_ratio"] = round(median(tick / usage for tick, usage in pairs), 2)
    return found


def _ways(running: Gateway, ticks: list[bytes], usages: list[dict[str, Any]]) -> dict[str, tuple[list[bytes], int]]:
    """Requests of each way, and how many events one of them has."""
    posted = [json.dumps({"data": {"type": "counted-usage", "attributes": usage}}).encode() for usage in usages]
    as_ticks = [json.dumps(usage).encode() for usage in usages]

    def batches(lines: list[bytes]) -> list[bytes]:
        bodies = [b"\n".join(lines[start : start + BATCH]) for start in range(0, len(lines), BATCH)]
        return [load.request(running.bind, "/tick", body, "application/x-ndjson") for body in bodies]

    return {
        "tick_single": ([load.request(running.bind, "/tick", line, "application/json") for line in ticks], 1),
        "usage_single": ([load.request(running.bind, PATH, body, "application/json") for body in posted], 1),
        "tick_batches": (batches(ticks), BATCH),
        "usage_batches": (batches(as_ticks), BATCH),
    }


def _usage(line: bytes, number: int) -> dict[str, Any]:
    """A usage of the item, page and visitor of a tick."""
    tick, chance = json.loads(line), random.Random(number)
    item = int(tick["id"].rpartition("-")[2])
    return {
        "action_labels": ["download" if tick["event"] == "download" else "view", "web"],
        "item_guid": tick["id"],
        "client_session_id": tick["session_id"],
        "pageview_info": {"page_url": tick["url"], "referer_url": tick["referer"]},
        "counter": {
            "timestamp": tick["@timestamp"],
            "status": 200,
            "ip": f"198.51.{chance.randrange(256)}.{chance.randrange(256)}",
            "user_agent": tick.get("user_agent", agent_text(number)),
            "country": tick["country"],
            "item": {"name": f"On roads, part {item}", "data_type": "Article", "yop": str(1990 + item % 35)},
            "title": {"id": f"j-{item % 500}", "name": f"Journal of Roads {item % 500}", "data_type": "Journal"},
        },
    }


def _cost_us(running: Gateway, requests: list[bytes]) -> float:
    """Processor time of the workers for a request, in microseconds."""
    workers = Gateway(running.bind, running.pids[:1], "")
    before = workers.cpu_s()
    result = load.run(running.bind, requests, 4)
    assert set(result.statuses) <= {201, 202}, result.statuses
    return (workers.cpu_s() - before) / len(requests) * 1e6
