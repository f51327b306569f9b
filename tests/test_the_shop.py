"""docs/shop.md, played in a real browser on real processes: every figure of the page is what the gateway answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest
from conftest import wait_for
from test_javascript_browser import AGENT, CHROMIUM, Site
from watching import Watching, running

from metronome.client.http import post, send
from metronome.settings import Settings

playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: there is none on the path")

PAGE = (Path(__file__).parent.parent / "docs/shop.md").read_text()


#: What the page shows of an answer.
FIGURES: dict[str, Callable[[Any], Any]] = {
    "funnel": lambda result: [[step["name"], step["count"]] for step in result["steps"]],
    "retention": lambda result: [cohort["returned"] for cohort in result["cohorts"]],
    "paths": lambda result: [[link["from"], link["to"], link["count"]] for link in result["links"]],
    "timeline": lambda result: [event["event"] for event in result["events"]],
    "trend": lambda result: [result["series"][0]["values"], result["series"][0]["total"]],
}


def recent(text: str) -> str:
    """The page's two days are the last two that are over: what is about a day that goes on isn't final."""
    today = datetime.now(UTC).date()
    days = {"2026-11-01": today - timedelta(days=2), "2026-11-02": today - timedelta(days=1)}
    return re.sub("2026-11-0[12]", lambda found: days[found[0]].isoformat(), text)


def blocks(kind: str) -> list[tuple[str, str]]:
    """(what stands behind the kind, the text) of each such block of the page."""
    found: list[tuple[str, str]] = re.findall(rf"```js(?:on)? {kind} ?([a-z]*)\n(.*?)```", recent(PAGE), re.DOTALL)
    return found


@pytest.fixture
def shop(engine_settings: Settings, elasticsearch: Any, tmp_path: Path) -> Iterator[Watching]:
    archive = f"file://{tmp_path}/archive"
    with running(engine_settings, elasticsearch, tmp_path, METRONOME_ARCHIVE=archive) as gateway:
        yield gateway


@pytest.fixture
def site(shop: Watching) -> Iterator[Site]:
    head = f'''<script>window.openMetricUrl = "{shop.url}"; window._om = [];</script>
        <script src="{shop.url}/apis/javascript/client.js"></script>'''
    served = Site(head)
    yield served
    served.stop()


def play(site: Site) -> None:
    """Each visit is a browser of its own; its clock says what the page says."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        pages: dict[str, Any] = {}
        ((_, visits),) = blocks("visits")
        for line in visits.splitlines():
            at, device, call = re.split(r" +", line, maxsplit=2)
            if device not in pages:
                pages[device] = browser.new_context(user_agent=AGENT).new_page()
                pages[device].goto(site.url)
            pages[device].clock.set_fixed_time(at)
            done = f"new Promise((done) => openMetrics.{call[:-1]}, (...answer) => done(answer)))"
            assert pages[device].evaluate(done) == [None, "ok"]
        browser.close()


def asked(shop: Watching, block: str = "ask") -> list[tuple[str, Any]]:
    found = []
    for kind, question in blocks(block):
        answer = post(f"{shop.url}/query/{kind}", question.encode())
        found.append((kind, FIGURES[kind](answer["result"])))
    return found


def test_the_shop(shop: Watching, site: Site) -> None:
    watcher = shop.watch().until_it_watches()
    play(site)
    seen = [watcher.next()[1]["event"] for _ in range(8)]
    assert sorted(seen) == sorted([*(["view"] * 4), "cart", "buy", *(["$identify"] * 2)])

    ((_, points),) = blocks("points")
    put(shop, "/saved/series/ads", b'{"title": "Advertising", "unit": "currency:EUR"}')
    put(shop, "/saved/series/ads/points", points.encode())
    *figures, archived = [json.loads(text) for _, text in blocks("figures")]
    expected = [(kind, found) for (kind, _), found in zip(blocks("ask"), figures, strict=True)]
    wait_for(lambda: asked(shop) == expected, "all figures of the page", timeout_s=20)

    # The first day leaves Elasticsearch, and comes back.
    (before,) = re.findall("archive run --before ([0-9-]+)", recent(PAGE))
    (day,) = re.findall("metronome restore ([0-9-]+)", recent(PAGE))
    for command in (("archive", "run", "--before", before), ("restore", day)):
        run = shop.command(*command)
        assert run.returncode == 0, run.stdout + run.stderr
        if command[0] == "archive":
            assert asked(shop, "archived") == [("trend", archived)]
        assert asked(shop) == expected


def posting(shop: Watching, path: str, body: bytes, method: str = "POST") -> Request:
    return Request(shop.url + path, body, {"Content-Type": "application/json"}, method=method)


def put(shop: Watching, path: str, body: bytes) -> None:
    assert send(posting(shop, path, body, "PUT"), 20).status in (200, 201)
