"""(a) Indexed events a second through `/tick`, against prebuilt `_bulk` bodies sent to the same Elasticsearch."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

from bench import load
from bench.events import generate, yardstick_us, yesterday
from bench.host import Gateway, Host, gateway, settle, wait
from metronome.store.documents import template

BATCH = 500


def bench(host: Host, *, events: int, runs: int, beside: Path | None = None) -> dict[str, Any]:
    """ABAB: raw with ids, raw with automatic ids, gateway; medians and spread over `runs`, after one warm-up each.

    `beside` is the checkout of another version, whose gateway takes its turn as well. Processor time is given in
    yardsticks too: an orjson round trip of the same events, taken in the same run.
    """
    lines = generate(events, seed=1, end=yesterday(), days=1, agents=True)
    batches = [lines[start : start + BATCH] for start in range(0, len(lines), BATCH)]
    host.ask("PUT", "/_index_template/metronome-raw", template("raw"))
    figures: dict[str, list[float]] = {}
    connections = _best_connections(host, batches)
    with contextlib.ExitStack() as stack:
        running = {"": stack.enter_context(gateway(host, "gate"))}
        if beside is not None:
            running["beside_"] = stack.enter_context(gateway(host, "beside", checkout=beside))
        for number in range(runs + 1):
            rates = {
                "raw": _raw(host, batches, connections, ids=True),
                "raw_auto_id": _raw(host, batches, connections, ids=False),
            }
            yardstick = yardstick_us(lines)
            for name, one in running.items():
                rates[f"{name}gateway"], rates[f"{name}cpu_us"] = _through(host, one, batches)
                rates[f"{name}yardsticks"] = rates[f"{name}cpu_us"] / yardstick
            print(f"  run {number}: " + ", ".join(f"{k} {v:,.1f}" for k, v in rates.items()), file=sys.stderr)
            if number:
                for name, value in rates.items():
                    figures.setdefault(name, []).append(value)
    return {
        "events": events,
        "connections": connections,
        **{name: _spread(values) for name, values in figures.items()},
        "ratio": _ratio(figures["gateway"], figures["raw"]),
        "ratio_auto_id": _ratio(figures["gateway"], figures["raw_auto_id"]),
        **({} if beside is None else {"cpu_ratio_beside": _ratio(figures["cpu_us"], figures["beside_cpu_us"])}),
    }


def _ratio(here: list[float], instead: list[float]) -> float:
    """The median of the runs' own ratios: what a machine does otherwise changes between runs, less within one."""
    return round(median(a / b for a, b in zip(here, instead, strict=True)), 3)


def _best_connections(host: Host, batches: list[list[bytes]]) -> int:
    rates = {n: _raw(host, batches, n, ids=True) for n in (1, 2, 4)}
    return max(rates, key=lambda n: rates[n])


def _raw(host: Host, batches: list[list[bytes]], connections: int, *, ids: bool) -> float:
    run_id = uuid.uuid4().hex[:8]
    requests = []
    for number, batch in enumerate(batches):
        body = b"".join(
            _action(f"{run_id}-{number:06d}-{at:04d}" if ids else "") + line + b"\n" for at, line in enumerate(batch)
        )
        requests.append(host.bulk(body))
    settle()
    result = load.run(host.elasticsearch, requests, connections)
    assert set(result.statuses) == {200}, result.statuses
    count = sum(map(len, batches))
    assert host.count("raw-*") == count
    host.remove("raw-*")
    return count / result.elapsed_s


def _action(doc_id: str) -> bytes:
    index = f"raw-{yesterday():%Y.%m.%d}"
    return (
        f'{{"create":{{"_index":"{index}","_id":"{doc_id}"}}}}\n'.encode()
        if doc_id
        else f'{{"create":{{"_index":"{index}"}}}}\n'.encode()
    )


def _through(host: Host, running: Gateway, batches: list[list[bytes]]) -> tuple[float, float]:
    """Events a second until the last is indexed, and the gateway's processor time an event in microseconds."""
    requests = [load.request(running.bind, "/tick", b"\n".join(batch), "application/x-ndjson") for batch in batches]
    count = sum(map(len, batches))
    settle()
    before = running.cpu_s()
    started = time.perf_counter()
    result = load.run(running.bind, requests, 2)
    assert set(result.statuses) == {202}, result.statuses
    # What asking costs is the gateway's loss: seldom, then.
    wait(lambda: _indexed(host, running.prefix) >= count, 300, 0.1)
    elapsed = time.perf_counter() - started
    cpu_us = (running.cpu_s() - before) / count * 1e6
    assert host.count(f"{running.prefix}-*") == count
    host.remove(f"{running.prefix}-*")
    return count / elapsed, cpu_us


def _indexed(host: Host, prefix: str) -> int:
    stats = host.ask("GET", f"/{prefix}-*/_stats/indexing?filter_path=_all.primaries.indexing.index_total")
    return int(stats.get("_all", {}).get("primaries", {}).get("indexing", {}).get("index_total", 0))


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return {
        "median": round(median(ordered), 2),
        "low": round(ordered[quarter], 2),
        "high": round(ordered[-1 - quarter], 2),
    }
