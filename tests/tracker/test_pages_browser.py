"""The pages of the applications in a real browser. Source: tracker contract, 2.4.

They need Debian's `chromium` and PyPI's `playwright`; where either is missing they are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from live import Live

playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: there is none on the path")

#: In ms. A busy machine is slow; nothing waits for this long where all is well.
PATIENCE = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    running = Live(gateway, tmp_path)
    yield running
    running.stop()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page on which every error of the console, and every request to elsewhere, is a failure."""
    context = browser.new_context(timezone_id="America/New_York")
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: None if "://127.0.0.1:" in request.url else wrong.append(request.url))
    opened.wrong = wrong
    yield opened
    context.close()
    assert wrong == []


def track(live: Live, *events: dict[str, Any]) -> None:
    assert live.gateway.http.post("/api/track", json=list(events)).json["accepted"] == len(events)
    live.gateway.drain()


def event(time: str, name: str = "login", **properties: Any) -> dict[str, Any]:
    return {"application": "my app/2", "event": name, "time": time, "properties": properties}


MONTHS = (
    event("2025-08-03T10:00:00", plan="free"),
    event("2025-08-04T10:00:00", plan="paid"),
    event("2025-09-05T10:00:00", plan="free"),
    event("2025-10-05T10:00:00", plan="free"),
    event("2025-10-05T11:00:00", name="<b>logout</b>"),
)


def points(page: Any, style: str = "") -> list[str]:
    """What each point of the graph says."""
    return [point.get_attribute("aria-label") for point in page.query_selector_all(f"circle.point{style}")]


def shown(page: Any) -> Any:
    page.wait_for_selector("#state", state="hidden")
    page.wait_for_selector("circle.point")
    return page


def test_from_the_list_to_an_event_split_by_a_property(live: Live, page: Any) -> None:
    track(live, *MONTHS)
    page.goto(live.url + "/applications")
    page.click("text=my app/2")
    assert shown(page).inner_text("h1") == "my app/2"
    rows = [row.inner_text().split("\t") for row in page.query_selector_all("#events tbody tr")]
    assert rows == [["login", "4"], ["<b>logout</b>", "1"]]
    # The times are those of the buckets, wherever the browser is.
    assert points(page, ".s0") == ["login: 2 at 1 Aug 2025", "login: 1 at 1 Sept 2025", "login: 1 at 1 Oct 2025"]
    assert points(page, ".s1")[-1] == "<b>logout</b>: 1 at 1 Oct 2025"

    page.click("#events a:has-text('login')")
    shown(page)
    assert page.inner_text(".chosen strong") == "login"
    page.check("input[name=property][value=plan]")
    page.wait_for_url("**property=plan**")
    shown(page)
    assert page.is_checked("input[name=property][value=plan]")
    legend = [label.inner_text().strip() for label in page.query_selector_all("#legend label")]
    assert legend == ["free", "paid"]
    assert points(page, ".s1") == ["paid: 1 at 1 Aug 2025", "paid: 0 at 1 Sept 2025", "paid: 0 at 1 Oct 2025"]

    page.click("#clear-property")
    page.wait_for_url("**/application/my%20app%2F2?event_name=login")
    page.click("#clear-event")
    page.wait_for_url("**/application/my%20app%2F2")
    page.go_back()
    page.wait_for_url("**event_name=login")


def test_a_series_is_hidden_by_its_toggle_and_a_span_is_zoomed_into(live: Live, page: Any) -> None:
    track(live, *MONTHS)
    page.goto(live.url + "/application/my%20app%2F2")
    shown(page)
    assert page.query_selector_all("#legend input:not(:checked)") == []
    page.uncheck("#legend label:has-text('login') input")
    assert points(page, ".s0") == []
    assert len(points(page, ".s1")) == 3
    page.check("#legend label:has-text('login') input")
    assert len(points(page)) == 6

    box = page.query_selector("#graph").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 90)
    page.mouse.up()
    page.wait_for_selector("#reset-zoom", state="visible")
    assert points(page, ".s0") == ["login: 1 at 1 Oct 2025"]
    page.click("#reset-zoom")
    assert len(points(page)) == 6
    assert not page.is_visible("#reset-zoom")


def test_the_time_range_changes_the_buckets(live: Live, page: Any) -> None:
    track(live, *MONTHS[-2:])
    page.goto(live.url + "/application/my%20app%2F2")
    shown(page)
    assert page.input_value("#time-range") == "1mon"
    options = [option.inner_text() for option in page.query_selector_all("#time-range option")]
    assert options == ["Hour", "Day", "Week", "Month"]
    page.select_option("#time-range", "1h")
    page.wait_for_selector("circle.point[aria-label*='11:00']")
    assert points(page, ".s1") == ["login: 1 at 5 Oct 2025, 10:00", "login: 0 at 5 Oct 2025, 11:00"]


def test_a_point_can_be_reached_by_keyboard_and_says_its_label_value_and_time(live: Live, page: Any) -> None:
    track(live, MONTHS[0])
    page.goto(live.url + "/application/my%20app%2F2")
    shown(page)
    page.focus("#time-range")
    page.keyboard.press("Tab")
    page.wait_for_selector("#tooltip", state="visible")
    assert page.inner_text("#tooltip") == "login: 1 at 1 Aug 2025"
    page.keyboard.press("Tab")
    page.wait_for_selector("#tooltip", state="hidden")
    page.hover("circle.point")
    assert page.inner_text("#tooltip") == "login: 1 at 1 Aug 2025"


def test_the_same_figures_are_a_table(live: Live, page: Any) -> None:
    track(live, *MONTHS)
    page.goto(live.url + "/application/my%20app%2F2")
    shown(page)
    page.click("#numbers summary")
    rows = [row.inner_text().split("\t") for row in page.query_selector_all("#numbers tr")]
    assert rows == [
        ["Time", "login", "<b>logout</b>"], ["1 Aug 2025", "2", "0"], ["1 Sept 2025", "1", "0"], ["1 Oct 2025", "1", "1"],
    ]  # fmt: skip


def test_a_failure_is_told_and_the_loading_sign_goes(live: Live, page: Any) -> None:
    page.route(
        "**/api/application/**",
        lambda route: route.fulfill(status=503, json={"error": {"message": "Elasticsearch is away"}}),
    )
    page.goto(live.url + "/application/a")
    page.wait_for_selector("#error", state="visible")
    assert page.inner_text("#error") == "The figures couldn't be loaded: Elasticsearch is away"
    assert not page.is_visible("#state")
    page.wrong[:] = [text for text in page.wrong if "503" not in text]


def test_an_application_without_events_says_so(live: Live, page: Any) -> None:
    page.goto(live.url + "/application/nobody")
    page.wait_for_selector("#state", state="hidden")
    assert page.inner_text("#graph") == "There are no events to show."


def test_every_control_has_a_name_and_text_can_be_read_in_dark_and_light(live: Live, page: Any) -> None:
    track(live, *MONTHS)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(live.url + "/application/my%20app%2F2?event_name=login")
        shown(page)
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input, select, button, a')]"
            ".filter(one => !(one.labels?.[0]?.textContent || one.textContent).trim()).length"
        )
        assert unnamed == 0
        # WCAG 2.2 AA asks for 4.5:1.
        assert page.evaluate(CONTRAST, ["body", "body"]) >= 4.5
        assert page.evaluate(CONTRAST, ["#events th", "body"]) >= 4.5
        assert page.evaluate(CONTRAST, ["a", "body"]) >= 4.5
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= 360")


#: The contrast of a text with what is behind it.
CONTRAST = """([text, ground]) => {
  const light = (selector, name) => {
    const parts = getComputedStyle(document.querySelector(selector))[name].match(/[0-9.]+/g).slice(0, 3);
    const [r, g, b] = parts.map(part => part / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(text, "color"), light(ground, "backgroundColor")].sort((a, b) => b - a);
  return (a + 0.05) / (b + 0.05);
}"""
