"""(b) Single events: posts a second, and how long one takes with its fsync before the 2xx."""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from bench import load
from bench.events import generate, yesterday
from bench.host import Host, gateway


def bench(host: Host, *, posts: int, runs: int, connections: tuple[int, ...] = (1, 64)) -> dict[str, Any]:
    lines = generate(posts, seed=2, end=yesterday(), days=1)
    figures: dict[str, Any] = {"posts": posts}
    with gateway(host, "single") as running:
        for count in connections:
            rates, p50, p99 = [], [], []
            for number in range(runs + 1):
                some = lines if count > 1 else lines[: posts // 4]
                result = load.run(
                    running.bind,
                    [load.request(running.bind, "/tick", line, "application/json") for line in some],
                    count,
                )
                assert set(result.statuses) == {202}, result.statuses
                if number:
                    rates.append(len(some) / result.elapsed_s)
                    p50.append(result.percentile_ms(0.5))
                    p99.append(result.percentile_ms(0.99))
            figures[f"connections_{count}"] = {
                "posts_per_s": round(median(rates)),
                "p50_ms": round(median(p50), 2),
                "p99_ms": round(median(p99), 2),
            }
            print(f"  {count} connections: {figures[f'connections_{count}']}", file=sys.stderr)
    host.remove("single-*")
    return figures
