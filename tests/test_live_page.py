"""`/live` in a real browser: it shows what comes, asks for a key where one is needed, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from watching import Watching, running

from metronome.settings import Settings

playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: there is none on the path")


@pytest.fixture
def watching(engine_settings: Settings, elasticsearch: Any, tmp_path: Path) -> Iterator[Watching]:
    with running(engine_settings, elasticsearch, tmp_path) as gateway:
        yield gateway


@pytest.fixture
def page() -> Iterator[Any]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_page()
        browser.close()


def rows(page: Any) -> list[list[str]]:
    return [row.locator("td").all_inner_texts()[1:4] for row in page.locator("#events tr").all()]


def test_the_page_moves_with_what_comes(watching: Watching, page: Any) -> None:
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{watching.url}/live")
    wait_for(lambda: page.locator("#state").inner_text() == "Connected", "the page to be connected")
    watching.tick({"id": "home", "distinct_id": "u1"}, {"id": "<b>x</b>", "event": "buy"})
    wait_for(lambda: page.locator("#events tr").count() == 2, "both events to be shown")
    assert sorted(rows(page)) == [["buy", "<b>x</b>", ""], ["view", "home", "u1"]]
    counted = page.locator("#counters tr", has_text="events").locator("td")
    wait_for(lambda: counted.all_inner_texts() == ["2", "2"], "the counters to see both")

    page.get_by_role("button", name="Pause").click()
    watching.tick({"id": "unseen"})
    wait_for(lambda: counted.all_inner_texts() == ["3", "3"], "the third to be counted")
    assert len(rows(page)) == 2

    page.get_by_role("textbox", name="Event").fill("buy")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Show").click()
    wait_for(lambda: page.locator("#state").inner_text() == "Connected", "the page to be connected")
    watching.tick({"id": "no"}, {"id": "yes", "event": "buy"})
    wait_for(lambda: rows(page) == [["buy", "yes", ""]], "only the one that is asked for")
    assert problems == []
    assert {url.removeprefix(watching.url).split("?")[0] for url in asked} - {"/favicon.ico"} == {
        "/live", "/live/page.js", "/live/page.css", "/live/events", "/live/counters",
    }  # fmt: skip
