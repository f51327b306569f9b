"""(j) The dashboard in Chromium: the first paint, and ten panels over events of thirty days.

What stands beside it is a program that asks the same ten questions, as many at a time as a browser does. The browser's
own share is loading the scripts, reading the answers and drawing ten charts.
"""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench import load
from bench.events import generate, yesterday
from bench.host import Gateway, Host, gateway, wait

DAYS = 30
BATCH = 2000
PREFIX = "board"

#: Requests that a browser has under way with one host.
AT_A_TIME = 6

#: The panels beside the eight that the first page has.
TILES = [
    {"series": [{"name": "time", "event": "view", "measure": "avg:load_ms"}], "interval": "day"},
    {"series": [{"name": "people", "measure": "unique"}], "by": ["country"], "top": 10, "interval": "day"},
]

_SETTLED = "main:has(.view):not(:has([aria-busy=true]))"
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_BYTES = (
    "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
    ".reduce((sum, one) => sum + one.transferSize, 0)"
)


def bench(host: Host, *, events: int, runs: int) -> dict[str, Any] | None:
    """Medians over `runs`, in seconds; None where there is no browser."""
    with _browser() as browser:
        if browser is None:
            print(
                "  the dashboard isn't measured: it needs `chromium` on the path and PyPI's playwright", file=sys.stderr
            )
            return None
        with gateway(host, PREFIX) as running:
            _fill(host, running, events)
            return {"events": events, **_measured(running, browser, runs)}


def _measured(running: Gateway, browser: Any, runs: int) -> dict[str, Any]:
    first: list[tuple[float, float]] = []
    warm: list[float] = []
    asked: list[float] = []
    alone: list[dict[str, float]] = []
    packed = 0
    for _ in range(runs + 1):
        context = browser.new_context(timezone_id="UTC")
        page = context.new_page()
        questions: list[str] = []
        page.on("request", lambda one, kept=questions: kept.append(one.url) if "/query/" in one.url else None)
        first.append((_shown(running, page), page.evaluate(_PAINTED) / 1000))
        packed = page.evaluate(_BYTES)
        assert len(questions) == 8 + len(TILES), questions
        warm.append(_shown(running, page))
        asked.append(_asked(running, questions[: 8 + len(TILES)]))
        alone.append(_alone(running, questions[: 8 + len(TILES)]))
        context.close()
    # What came first in all has compiled Elasticsearch's code and filled its caches.
    return {
        "panels": 8 + len(TILES),
        "first_paint_s": round(median(paint for _, paint in first[1:]), 2),
        "cold_s": round(first[0][0], 2),
        "fresh_s": round(median(shown for shown, _ in first[1:]), 2),
        "warm_s": round(median(warm[1:]), 2),
        "asked_s": round(median(asked[1:]), 2),
        "ratio": round(median(a / b for a, b in zip(warm[1:], asked[1:], strict=True)), 2),
        "alone_s": {name: round(median(one[name] for one in alone[1:]), 3) for name in alone[0]},
        "bytes": packed,
    }


def _shown(running: Gateway, page: Any) -> float:
    """Seconds from opening the page until its last panel is drawn."""
    page.goto("about:blank")
    started = time.perf_counter()
    page.goto(f"http://{running.bind}/")
    page.wait_for_selector(_SETTLED, timeout=300_000)
    return time.perf_counter() - started


def _asked(running: Gateway, questions: list[str]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        assert set(pool.map(lambda url: _get(running, url), questions)) == {200}
    return time.perf_counter() - started


def _alone(running: Gateway, questions: list[str]) -> dict[str, float]:
    """Seconds that each question takes while no other is asked, the slowest first."""
    found: dict[str, float] = {}
    for url in questions:
        started = time.perf_counter()
        assert _get(running, url) == 200
        found[_name(url)] = time.perf_counter() - started
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _name(url: str) -> str:
    """A question's kind and what tells it from the others: its series, groups and interval."""
    parts = urlsplit(url)
    asked = json.loads(parse_qs(parts.query)["q"][0])
    told = {name: asked[name] for name in ("series", "by", "interval") if name in asked}
    return f"{parts.path.rpartition('/')[2]} {json.dumps(told)}"


def _get(running: Gateway, url: str) -> int:
    connection = http.client.HTTPConnection(running.bind, timeout=300)
    parts = urlsplit(url)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def _fill(host: Host, running: Gateway, events: int) -> None:
    """Post the events, so that the browsers and referers of agents are there, and save the two further panels."""
    for start in range(0, events, 100_000):
        lines = iter(generate(min(100_000, events - start), seed=start, end=yesterday(), days=DAYS, agents=True))
        bodies = iter(lambda: b"\n".join(islice(lines, BATCH)), b"")  # noqa: B023 - it is used up within this turn
        load.run(
            running.bind, [load.request(running.bind, "/tick", body, "application/x-ndjson") for body in bodies], 2
        )
        print(f"  {min(start + 100_000, events):,} events are posted", file=sys.stderr)
    wait(lambda: host.count(f"{PREFIX}-*") == events, timeout_s=600, pause_s=2)
    tiles = [{"title": str(n), "kind": "trend", "question": one, "show": "trend"} for n, one in enumerate(TILES)]
    connection = http.client.HTTPConnection(running.bind, timeout=60)
    body = json.dumps({"title": "Overview", "tiles": tiles})
    connection.request("PUT", "/saved/dashboards/overview", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 201


@contextmanager
def _browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        yield None
        return
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
