"""Saved dashboards in a real browser: made, filled, renamed, shared, changed by two, taken back, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from keyed import Kept
from live import Live
from paged import NEEDS_CHROMIUM, Page, chromium, opened  # noqa: F401  (a fixture)

pytestmark = NEEDS_CHROMIUM

VIEWS = 5

TILE = {
    "title": "Views",
    "kind": "trend",
    "question": {"series": [{"name": "view", "event": "view", "measure": "count"}], "interval": "day", "where": []},
    "show": "trend",
}


@pytest.fixture
def shop(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    gateway.accepted([{"id": f"/item/{number}", "distinct_id": f"v{number}"} for number in range(VIEWS)])
    gateway.drain()
    running = Live(gateway, tmp_path)
    yield running
    running.stop()


@pytest.fixture
def page(browser: Any, shop: Live) -> Iterator[Page]:
    with opened(browser, shop.url) as page:
        yield page


def put(shop: Live, name: str, *tiles: Any, title: str = "Sales", **headers: str) -> None:
    saved = shop.gateway.http.put(f"/saved/dashboards/{name}", json={"title": title, "tiles": tiles}, headers=headers)
    assert saved.status_code in (200, 201), saved.text


def saved(shop: Live, name: str) -> tuple[int, str, list[Any]]:
    """Version, title and tiles."""
    found = shop.gateway.http.get(f"/saved/dashboards/{name}").json
    return found["version"], found["title"], found["tiles"]


def titles(page: Page) -> list[str]:
    page.settled()
    found: list[str] = page.tab.locator(".panel h3").all_inner_texts()
    return found


def test_a_dashboard_is_made_filled_renamed_and_shared(page: Page, browser: Any, shop: Live) -> None:
    tab = page.open("#/dashboards")
    assert "There are no dashboards yet." in tab.locator("main").inner_text()
    tab.get_by_label("Title").fill("Sales, by week")
    tab.get_by_role("button", name="New dashboard").click()
    tab.wait_for_selector("#board:text-is('Sales, by week')")

    page.open("#/trend?ask=1&event=view")
    tab.get_by_text("Add to a dashboard").click()
    tab.get_by_label("Dashboard", exact=True).select_option("Sales, by week")
    tab.get_by_label("Title").fill("Views")
    tab.get_by_role("button", name="Add", exact=True).click()
    tab.wait_for_selector("text=Added.")

    page.open("#/dashboards?id=sales-by-week")
    assert sum(int(row[1]) for row in page.rows("Views")) == VIEWS
    tab.get_by_label("Title").fill("Sales")
    tab.get_by_role("button", name="Rename").click()
    tab.wait_for_selector("#board:text-is('Sales')")
    assert saved(shop, "sales-by-week") == (3, "Sales", [TILE])

    shared = tab.get_by_label("Address to share").input_value()
    with opened(browser, shop.url) as another:
        another.tab.goto(shared)
        another.tab.wait_for_selector("#board")
        assert titles(another) == ["Views"]
        another.open("#/dashboards")
        assert [row[:3] for row in another.rows("Dashboards")] == [["Sales", "1", "3"]]


def test_saved_metrics_are_panels_too_in_the_range_that_they_were_saved_with(page: Page, shop: Live) -> None:
    put(shop, "metrics")
    tab = page.open("#/dashboards?id=metrics&from=-7d")
    for metric in ("Active users by day", "Top events", "From view to download", "Stickiness"):
        tab.get_by_text("Add a metric").click()
        tab.get_by_label("Metric").select_option(metric)
        tab.get_by_role("button", name="Add", exact=True).click()
        tab.get_by_role("heading", name=f"{metric} (-30d)").wait_for()
        page.settled()
    assert sum(int(row[1]) for row in page.rows("Active users by day (-30d)")) == VIEWS
    assert page.rows("Top events (-30d)") == [["view", str(VIEWS)]]
    assert [row[2] for row in page.rows("From view to download (-30d)")] == [str(VIEWS), "0"]
    assert [row[1] for row in page.rows("Stickiness (-30d)")] == ["3.33"]  # each on 1 day of 30
    assert "".join(tab.locator("svg .indicatorlayer text").all_text_contents()) == "3.333"
    assert page.file("Top events (-30d)", "CSV").decode().splitlines()[1].endswith("view,5")


def test_a_panel_that_can_t_be_shown_says_why_and_costs_the_others_nothing(page: Page, shop: Live) -> None:
    put(shop, "odd", {"metric": "nothing"}, {"text": "of another page"}, TILE)
    tab = page.open("#/dashboards?id=odd")
    assert titles(page) == ["nothing", "Panel", "Views"]
    assert tab.locator(".panel > .wrong").all_inner_texts() == [
        "There is no such metric.",
        "This page can't show this panel.",
    ]
    assert sum(int(row[1]) for row in page.rows("Views")) == VIEWS


def test_panels_move_and_go_and_an_older_version_comes_back(page: Page, shop: Live) -> None:
    one, two, three = ({**TILE, "title": title} for title in ("One", "Two", "Three"))
    put(shop, "sales", one, two, three)
    tab = page.open("#/dashboards?id=sales")
    page.panel("Three").get_by_label("Move to the front").click()
    tab.wait_for_selector("[name=version] option:text-is('2')", state="attached")
    assert titles(page) == ["One", "Three", "Two"]
    page.panel("One").get_by_role("button", name="Remove").click()
    tab.wait_for_selector("[name=version] option:text-is('3')", state="attached")
    assert titles(page) == ["Three", "Two"]

    tab.get_by_label("Version").select_option("1")
    tab.get_by_role("button", name="Make it the newest").wait_for()
    assert titles(page) == ["One", "Two", "Three"]
    assert tab.get_by_role("button", name="Remove").count() == 0
    tab.get_by_role("button", name="Make it the newest").click()
    tab.wait_for_selector("[name=version] option:text-is('4')", state="attached")
    assert saved(shop, "sales") == (4, "Sales", [one, two, three])


def test_of_two_who_change_a_dashboard_the_later_is_told_and_overwrites_nothing(browser: Any, shop: Live) -> None:
    put(shop, "sales", TILE)
    page = Page(browser, shop.url)
    tab = page.open("#/dashboards?id=sales")
    put(shop, "sales", TILE, title="Revenue")
    page.panel("Views").get_by_role("button", name="Remove").click()
    told = tab.get_by_role("alert").filter(has_text="Somebody else has changed this dashboard")
    told.wait_for()
    assert saved(shop, "sales") == (2, "Revenue", [TILE])
    told.get_by_role("button", name="Read it again").click()
    tab.wait_for_selector("#board:text-is('Revenue')")

    page.open("#/dashboards")
    tab.get_by_label("Title").fill("Sales")
    tab.get_by_role("button", name="New dashboard").click()
    tab.get_by_text("There is a dashboard of this name already.").wait_for()
    page.context.close()
    assert [said.split("status of ")[1] for said in page.complaints] == ["409 (CONFLICT)"] * 2


def test_a_deleted_dashboard_is_out_of_sight_and_its_versions_stay(browser: Any, shop: Live) -> None:
    put(shop, "sales", TILE)
    page = Page(browser, shop.url)
    tab = page.open("#/dashboards?id=sales")
    asked: list[str] = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    tab.get_by_role("button", name="Delete").click()
    tab.get_by_text("There are no dashboards yet.").wait_for()
    assert asked == ["Delete this dashboard? Its versions stay readable."]
    tab.goto(f"{shop.url}/#/dashboards?id=sales")
    tab.get_by_text("There is no such dashboard.").wait_for()
    page.open("#/dashboards?id=sales&version=1")
    assert titles(page) == ["Views"]
    page.context.close()


def test_a_panel_goes_to_the_overview_and_from_it_again(page: Page, shop: Live) -> None:
    tab = page.open("#/funnel?ask=1&step=view&step=download")
    tab.get_by_text("Add to a dashboard").click()
    tab.get_by_role("button", name="Add", exact=True).click()
    tab.wait_for_selector("text=Added.")
    page.open("")
    page.panel("Funnel").get_by_role("button", name="Remove").click()
    page.panel("Funnel").wait_for(state="detached")
    page.settled()
    assert saved(shop, "overview") == (2, "Overview", [])


def test_what_a_key_may_do_decides(browser: Any, shop: Live) -> None:
    kept = Kept(shop.gateway)
    put(shop, "sales", TILE)
    _, reading = kept.make(scopes=["read"])
    _, bound = kept.make(scopes=["read", "edit"], app="blog")
    page = Page(browser, shop.url)
    tab = page.open("#/dashboards")
    tab.get_by_role("alert").filter(has_text="asks for a key").wait_for()
    assert tab.evaluate("document.activeElement.name") == "key"

    tab.get_by_label("Key").fill(reading)
    tab.get_by_role("button", name="Apply").click()
    tab.get_by_role("link", name="Sales").click()
    tab.wait_for_selector("#board")
    page.settled()
    page.panel("Views").get_by_role("button", name="Remove").click()
    tab.get_by_role("alert").filter(has_text="has no scope edit").wait_for()

    page.open("#/dashboards")
    tab.get_by_label("Key").fill(bound)
    tab.get_by_role("button", name="Apply").click()
    tab.get_by_text("There are no dashboards yet.").wait_for()
    tab.get_by_label("Title").fill("Sales")
    tab.get_by_role("button", name="New dashboard").click()
    tab.wait_for_selector("#board")
    page.context.close()
    assert kept.ask(reading, "/saved/dashboards/sales").json["tiles"] == [TILE]
    assert kept.ask(bound, "/saved/dashboards/sales").json["tiles"] == []
    assert [said for said in page.complaints if "401" not in said and "403" not in said] == []


def test_basic_authentication_opens_the_pages_too(browser: Any, shop: Live) -> None:
    _, token = Kept(shop.gateway).make(scopes=["read"])
    page = Page(browser, shop.url, http_credentials={"username": "any", "password": token})
    page.open("#/dashboards")
    page.tab.get_by_role("link", name="Sign in with a password").click()
    page.tab.wait_for_url("**/applications")
    page.open("")
    assert sum(int(row[1]) for row in page.rows("Events by day")) == VIEWS
    page.context.close()
