"""What the pages for analysts show is what happened: figures of a small shop's week, in a real browser."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from conftest import Gateway, remove_indices
from elasticsearch import Elasticsearch
from live import Live
from paged import NEEDS_CHROMIUM, Page, chromium, opened  # noqa: F401  (a fixture)

from metronome.settings import Settings

pytestmark = NEEDS_CHROMIUM

#: Who looked, put into the cart and bought: visitor n did the first n % 4 of them.
STEPS = ("view", "cart", "buy")

VISITORS = 24


def visits() -> list[dict[str, Any]]:
    begin = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=4)
    events = []
    for visitor in range(VISITORS):
        for step in range(max(1, visitor % 4)):
            at = begin + timedelta(days=visitor % 3, minutes=10 * visitor + step)
            event = {"ts": at.isoformat(), "distinct_id": f"v{visitor}", "event": STEPS[step], "browser": "Firefox"}
            events.append(
                {**event, "id": f"/item/{visitor % 5}", "referer": "https://arcgis.com/maps", "accept": "text/html"}
            )
    events.append({"id": "/item/1", "event": "download", "format": "csv", "text": "<img src=x onerror=alert(1)>"})
    return events


@pytest.fixture(scope="module")
def shop(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("shop")
    settings = Settings(
        home=home / "home",
        elasticsearch_url=engine_settings.elasticsearch_url,
        elasticsearch_username=engine_settings.elasticsearch_username,
        elasticsearch_password=engine_settings.elasticsearch_password,
        index_prefix=f"t{uuid.uuid4().hex[:10]}",
    )
    gateway = Gateway(settings, elasticsearch, None)
    assert gateway.tick(data=json.dumps(visits()).encode(), content_type="application/json").status_code == 202
    gateway.drain()
    running = Live(gateway, home)
    yield running
    running.stop()
    gateway.spool.close()
    remove_indices(elasticsearch, settings)


@pytest.fixture
def page(browser: Any, shop: Live) -> Iterator[Page]:
    with opened(browser, shop.url) as page:
        yield page


def test_the_overview_has_a_panel_a_question_with_its_chart_and_its_figures(page: Page) -> None:
    tab = page.open("")
    assert tab.title() == "Overview · Metronome"
    assert sum(int(row[1]) for row in page.rows("Events by day")) == len(visits())
    assert page.rows("Downloads by format") == [["csv", "1"]]
    assert tab.locator(".panel .main-svg").count() > 0
    assert page.rows("Browsers")[0] == ["Firefox", str(len(visits()) - 1)]


def test_an_item_is_found_and_shows_its_tock(page: Page) -> None:
    tab = page.open("#/items?search=" + quote("/item/1"))
    tab.get_by_role("link", name="/item/1").click()
    tab.wait_for_selector("#item")
    assert tab.locator("#item").inner_text() == "/item/1"
    expected = [event for event in visits() if event["id"] == "/item/1" and event["event"] == "view"]
    assert sum(int(row[1]) for row in page.rows("Views by date")) == len(expected)
    assert page.rows("Downloads by format") == [["csv", "1"]]


def test_events_are_listed_as_text_whatever_they_hold(page: Page) -> None:
    page.open("#/events?event=download")
    assert len(page.rows("Events")) == 1
    tab = page.tab
    tab.locator("td summary").click()
    assert "<img src=x onerror=alert(1)>" in tab.locator("td pre").inner_text()
    assert tab.locator("td img").count() == 0


def test_a_trend_is_built_and_its_address_holds_it(page: Page) -> None:
    tab = page.open("#/trend")
    tab.fill("[name=event]", "view")
    tab.select_option("[name=measure]", "unique")
    tab.get_by_role("button", name="Apply").last.click()
    tab.wait_for_selector(".panel")
    page.settled()
    assert sum(int(row[1]) for row in page.rows("Trend")) == VISITORS
    address = tab.url
    other = tab.context.new_page()
    other.goto(address)
    other.wait_for_selector(".panel .main-svg")
    tab.go_back()
    tab.wait_for_selector("main:not(:has(.panel))")


def test_a_funnel_counts_who_went_on(page: Page) -> None:
    page.open("#/funnel?ask=1&step=view&step=cart&step=buy")
    counts = [int(row[2]) for row in page.rows("Funnel")]
    assert counts == [
        VISITORS,
        sum(visitor % 4 >= 2 for visitor in range(VISITORS)),
        sum(visitor % 4 >= 3 for visitor in range(VISITORS)),
    ]


def test_retention_and_paths_are_drawn(page: Page) -> None:
    page.open("#/retention?ask=1&periods=3")
    assert sum(int(row[1]) for row in page.rows("Retention")) == VISITORS
    page.open("#/paths?ask=1&start=view")
    moved = sum(visitor % 4 >= 2 for visitor in range(VISITORS))
    assert ["0", "view", "cart", str(moved)] in page.rows("Paths")


def test_health_says_that_ticks_are_taken(page: Page) -> None:
    page.open("#/health")
    assert ["Ticks are taken", "yes"] in page.rows("Health")


def test_figures_leave_as_csv_picture_and_question(page: Page) -> None:
    tab = page.open("#/trend?ask=1&event=view")
    with tab.expect_download() as taken:
        tab.get_by_role("button", name="CSV").click()
    assert "view" in Path(taken.value.path()).read_text()
    with tab.expect_download() as taken:
        tab.get_by_role("button", name="PNG").click()
    assert Path(taken.value.path()).read_bytes().startswith(b"\x89PNG")
    tab.get_by_role("button", name="JSON").click()
    assert json.loads(tab.locator(".panel > pre").inner_text())["kind"] == "trend"


def test_the_pages_speak_another_language_and_wear_other_colours(page: Page) -> None:
    tab = page.open("#/health")
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.select_option("[name=language]", "de")
    assert tab.locator("main h2").inner_text() == "Zustand"
    assert tab.evaluate("document.documentElement.lang") == "de"
    tab.select_option("[name=theme]", "dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_a_phone_has_no_sideways_scroll(browser: Any, shop: Live) -> None:
    phone = Page(browser, shop.url, viewport={"width": 360, "height": 640})
    tab = phone.open("")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    phone.context.close()


def test_a_keyboard_reaches_content_and_navigation(page: Page) -> None:
    tab = page.open("#/health")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to content"
    names = (
        "[...document.querySelectorAll('input, select, textarea')].filter(one => !one.labels.length && !one.ariaLabel)"
    )
    assert tab.evaluate(f"{names}.map(one => one.name)") == []


def test_a_person_has_a_timeline(page: Page) -> None:
    tab = page.open("#/people?person=v3")
    assert [row[1] for row in page.rows("v3")] == ["buy", "cart", "view"]
    assert tab.locator(".facts dd").first.inner_text() == "v3"
    tab = page.open("#/people")
    tab.get_by_role("link", name="v7", exact=True).click()
    tab.wait_for_selector("table:has(caption:text-is('v7'))")


def test_range_and_time_zone_hold_for_every_view(page: Page) -> None:
    tab = page.open("")
    tab.get_by_label("From", exact=True).fill("-7d")
    tab.get_by_label("Time zone").select_option("Asia/Tokyo")
    del page.asked[:]
    tab.get_by_role("button", name="Apply").click()
    tab.wait_for_url("**tz=Asia%2FTokyo")
    page.settled()
    tab.get_by_role("link", name="Items").click()
    tab.wait_for_selector("h2:text-is('Items')")
    page.settled()
    questions = [json.loads(unquote(url.split("?q=")[1])) for url in page.asked if "/query/" in url]
    assert len(questions) == 9
    assert {(question["from"], question["tz"]) for question in questions} == {("-7d", "Asia/Tokyo")}


def test_a_panel_says_that_it_loads_is_empty_is_an_estimate_or_why_there_is_no_answer(page: Page) -> None:
    tab, said = page.tab, page.tab.locator(".panel > .said")
    held: list[Any] = []
    tab.route("**/query/trend**", lambda route: held.append(route))
    tab.goto(f"{page.url}/#/trend?ask=1&event=view")
    tab.get_by_text("Loading …").wait_for()
    answer = held[0].fetch()
    told = answer.json()
    held[0].fulfill(response=answer, json={**told, "meta": {**told["meta"], "exact": False}})
    page.settled()
    today = told["result"]["buckets"][-1]
    assert said.inner_text() == f"estimate · {today}: not complete yet"
    tab.unroute_all()

    page.open("#/trend?ask=1&event=nothing")
    assert said.inner_text().endswith("There is nothing here in this range.")
    page.open("#/trend?ask=1&event=view&formula=A%20%2B")
    assert "formula" in said.inner_text() and "wrong" in str(said.get_attribute("class"))
    assert [text.split("status of ")[1] for text in page.complaints] == ["400 (BAD REQUEST)"]
    page.complaints.clear()
