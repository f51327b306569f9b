"""A walk through every page of the dashboard in a real browser, on the demo's days, videos and a processed month.

Each page has its figures, keeps axe-core's rules in light and dark, fits a phone and leaves the console silent; each
panel gives its figures as CSV and as PNG. With METRONOME_SCREENSHOTS=1 the walk also makes the pictures of
docs/images, from a whole month.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import pytest
from conftest import Server, remove_indices, wait_for
from elasticsearch import Elasticsearch
from paged import NEEDS_CHROMIUM, Page, chromium, opened  # noqa: F401  (a fixture)

from metronome.client import get
from metronome.counter.reports import months
from metronome.settings import Settings
from metronome.video.demo import sessions

pytestmark = NEEDS_CHROMIUM

PICTURES = Path(__file__).parents[1] / "docs/images" if os.environ.get("METRONOME_SCREENSHOTS") else None

DAYS = 30 if PICTURES else 8

#: Journals, and how often an article of theirs was requested in each of the two months before this one.
JOURNALS = {"Journal of Roads": (7, 11), "Bridges": (4, 2), "Tunnels and Passes": (3, 5)}

MOST_BYTES = 1_600_000

LAST = months.before(months.month_of(datetime.now(UTC)))
MONTHS = (months.before(LAST), LAST)


@dataclass
class Site:
    server: Server
    credentials: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture(scope="module")
def site(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings = replace(engine_settings, index_prefix=f"d{uuid.uuid4().hex[:10]}")
    server = Server(settings, tmp_path_factory.mktemp("site") / "home")
    server.start("serve", "drain", "streams")
    server.wait_until_ready()
    try:
        added = said(
            server, "counter", "customers", "add", "uni", "--name", "Example University", "--network", "198.51.100.0/24"
        )
        said(server, "demo", "--days", str(DAYS))
        said(server, "demo", "video")
        use(server)
        yield Site(server, json.loads(added))
    finally:
        server.stop()
        remove_indices(elasticsearch, settings)


def said(server: Server, *arguments: str) -> str:
    run = server.command(*arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def use(server: Server) -> None:
    """Two months of usage, each by a session of its own, processed once they are stored."""
    for journal, counts in JOURNALS.items():
        for month, count in zip(MONTHS, counts, strict=True):
            for number in range(count):
                posted = {"data": {"type": "counted-usage", "attributes": usage(journal, month, number)}}
                headers = {"Content-Type": "application/json"}
                url = f"{server.url}/_/metrics/events/counted_usage/"
                with urlopen(Request(url, json.dumps(posted).encode(), headers), timeout=30) as answer:
                    assert answer.status == 201
    wait_for(lambda: get(f"{server.url}/ledger", {})["waiting"] == 0, "all usage to be stored")
    for month in MONTHS:
        said(server, "counter", "process", month)


def usage(journal: str, month: str, number: int) -> dict[str, Any]:
    guid = journal.split()[-1].lower()
    return {
        "action_labels": ["view", "download", "web"],
        "item_guid": guid,
        "client_session_id": f"{guid}-{number}",
        "pageview_info": {"page_url": f"https://repo.example/{guid}/file.pdf"},
        "counter": {
            "timestamp": f"{month}-{number + 3:02}T10:01:29Z",
            "ip": f"198.51.100.{number + 1}",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
            "item": {"name": f"On {guid}", "data_type": "Article", "yop": "2024", "access_type": "Open"},
            "title": {"id": f"j-{guid}", "name": journal, "data_type": "Journal"},
        },
    }


#: Name of a page's picture, its address, and the tables of figures that aren't empty on it.
PAGES = {
    "overview": ("", ["Events by day", "People by day", "Views and downloads", "Most viewed items", "Where visitors come from", "Browsers", "What happened", "Downloads by format"]),
    "dashboards": ("#/dashboards", ["Dashboards"]),
    "dashboard": ("#/dashboards?id=shop", ["Purchases", "Active users by day (-30d)"]),
    "items": ("#/items?item=/maps", ["Views by date", "Referers", "Items"]),
    "events": ("#/events?event=purchase", ["Events"]),
    "trend": ("#/trend?ask=1&event=view&event=download&measure=unique", ["Trend"]),
    "funnel": ("#/funnel?ask=1&step=view&step=sign_up&step=purchase&window=14d", ["Funnel"]),
    "retention": ("#/retention?ask=1&periods=14", ["Retention"]),
    "paths": ("#/paths?ask=1&start=view&depth=3", ["Paths"]),
    "people": ("#/people", ["People"]),
    "live": ("#/live", ["Live"]),
    "video": ("#/video?video=clock", ["Plays", "Engagement", "Sources", "Video"]),
    "counter": ("#/counter?customer_id=uni&requestor_id=uni&report=tr", ["Title Report"]),
    "health": ("#/health", ["Health", "Ledger", "Beside the ledger"]),
    "start": ("#/start", []),
}  # fmt: skip

#: The pages that docs/dashboard.md shows.
SHOWN = ("overview", "dashboard", "items", "trend", "funnel", "retention", "paths", "video", "counter", "health")

SHOP = {
    "title": "Shop",
    "tiles": [
        {
            "title": "Purchases",
            "kind": "trend",
            "question": {"series": [{"name": "purchases", "event": "purchase"}], "interval": "day"},
            "show": "trend",
            "wide": True,
        },
        {"metric": "active-users-by-day"},
        {"metric": "top-events"},
        {
            "title": "From view to purchase",
            "kind": "funnel",
            "question": {"steps": [{"event": "view"}, {"event": "sign_up"}, {"event": "purchase"}], "window": "14d"},
            "show": "funnel",
        },
    ],
}


def put(site: Site) -> None:
    body = json.dumps(SHOP).encode()
    with urlopen(Request(f"{site.url}/saved/dashboards/shop", body, method="PUT"), timeout=30) as answer:
        assert answer.status in (200, 201)


def looked_at(page: Page, site: Site, address: str) -> Any:
    """The page of this address, with the key of COUNTER where it asks for one."""
    script = f"sessionStorage.setItem('metronome.counter', {json.dumps(site.credentials['api_key'])})"
    page.context.add_init_script(script)
    return page.open(address)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_full_readable_for_all_and_hands_out_its_figures(browser: Any, site: Site, name: str) -> None:
    address, tables = PAGES[name]
    put(site)
    with opened(browser, site.url, viewport={"width": 1120, "height": 760}, color_scheme="light") as page:
        tab = looked_at(page, site, address)
        if name == "live":
            come(page, site)
        assert [title for title in tables if not page.rows(title)] == []
        if PICTURES and name in SHOWN:
            tab.screenshot(path=PICTURES / f"dashboard-{name}.png")
        for panel in tab.locator(".panel").all():
            title = panel.locator("h3").inner_text()
            assert len(page.file(title, "CSV").decode().splitlines()) > 1, title
            assert page.file(title, "PNG").startswith(b"\x89PNG"), title
        assert page.breaches() == {}
        tab.emulate_media(color_scheme="dark")
        assert page.breaches() == {}, "in dark"
        tab.set_viewport_size({"width": 360, "height": 640})
        widths = "[document.documentElement, ...document.querySelectorAll('.chart')].map(one => one.scrollWidth)"
        wait_for(lambda: max(tab.evaluate(widths)) <= 360, "the page to fit a phone")


def come(page: Page, site: Site) -> None:
    """Post events until the page shows one: it watches only from some moment on."""

    def shown() -> bool:
        with urlopen(Request(f"{site.url}/tick", b'{"id": "/maps/rivers", "app": "demo"}'), timeout=30):
            pass
        page.tab.wait_for_timeout(300)
        return bool(page.rows("Live"))

    wait_for(shown, "an event on the page")
    assert page.rows("Live")[0][1:] == ["view", "/maps/rivers"]


def test_the_figures_of_a_video_are_those_of_the_gateway(browser: Any, site: Site) -> None:
    with opened(browser, site.url) as page:
        page.open("#/video")
        clock = dict(page.rows("Video"))["clock"]
        page.tab.get_by_role("link", name="clock").click()
        page.tab.get_by_role("heading", name="clock").wait_for()
        page.settled()
        asked = next(address for address in page.asked if "/api/v1/plays" in address)
        plays = get(asked, {})["views"]
        assert [(row[0], int(row[1])) for row in page.rows("Plays")] == [
            (row["interval"][:10], row["views"]) for row in plays
        ]
        viewers = [int(row[2]) for row in page.rows("Engagement")]
        assert len(viewers) == 20 and viewers[0] == max(viewers) > viewers[-1] > 0
        sources = {row[0]: int(row[1]) for row in page.rows("Sources")}
        assert len(sources) == 3 and sum(sources.values()) == sum(row["views"] for row in plays)
        assert int(clock) == len(watching("clock")) > sum(sources.values())  # who left at once is no play
        first, *rows = page.file("Sources", "CSV").decode().splitlines()
        assert (first, {row.split(",")[0] for row in rows}) == ("Name,Plays", set(sources))
        page.panel("Sources").get_by_role("button", name="JSON").click()
        shown = page.panel("Sources").locator("> pre").inner_text()
        assert shown.startswith("GET /api/v1/sources?identifier=clock&") and '"sources": [' in shown


def watching(video: str) -> set[str]:
    """The sessions of the demo that watched any of a video, in the thirty days of the page's time zone."""
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=29)
    events = [fact.event for fact in sessions(now.astimezone(UTC), "any")]
    watched = [one for one in events if (one["event"], one["id"]) == ("video.watch", video)]
    return {one["session_id"] for one in watched if datetime.fromisoformat(one["@timestamp"]) >= since}


def test_a_counter_report_has_a_column_a_month_and_files_for_librarians(browser: Any, site: Site) -> None:
    with opened(browser, site.url) as page:
        tab = page.open("#/counter?report=tr_j3")
        for name, value in site.credentials.items():
            tab.get_by_label(name).fill(value)
        tab.get_by_label("Report").select_option("tr")
        tab.get_by_role("button", name="Apply").last.click()
        tab.get_by_role("heading", name="Title Report").wait_for()
        page.settled()
        assert site.credentials["api_key"] not in tab.url
        assert tab.get_by_text("Months that can be asked for").inner_text().endswith(f"{MONTHS[0]} – {MONTHS[1]}")
        rows = [row for row in page.rows("Title Report") if row[2] == "Total_Item_Requests"]
        expected = [
            [name, "Journal", "Total_Item_Requests", str(first), str(second), str(first + second)]
            for name, (first, second) in JOURNALS.items()
        ]
        assert sorted(rows) == sorted(expected)
        headings = page.file("Title Report", "CSV").decode().splitlines()[0]
        assert headings == f"Title,Data_Type,Metric_Type,{MONTHS[0]},{MONTHS[1]},Total"
        with tab.expect_download() as taken:
            tab.get_by_role("button", name="TSV").click()
        assert "Title Report" in Path(taken.value.path()).read_text("utf-8-sig")
        tab.get_by_role("button", name="JSON").click()
        assert site.credentials["api_key"] not in tab.locator(".panel > pre").inner_text()


def test_the_ledger_of_the_page_adds_up(browser: Any, site: Site) -> None:
    with opened(browser, site.url) as page:
        page.open("#/health")
        rows = page.rows("Ledger")
        assert [row[0] for row in rows][::6] == ["Accepted", "Difference"]
        accepted, *parts = (int(row[1].replace(",", "")) for row in rows)
        assert accepted == sum(parts) > 1000


def test_one_request_a_panel_and_a_light_page(browser: Any, site: Site) -> None:
    with opened(browser, site.url) as page:
        tab = page.open("")
        asked = [address for address in page.asked if "/query/" in address]
        assert (len(asked), len(set(asked))) == (tab.locator(".panel").count(),) * 2
        entries = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        assert 0 < tab.evaluate(f"{entries}.reduce((sum, one) => sum + one.transferSize, 0)") < MOST_BYTES


def test_no_text_of_any_page_lacks_its_translation(browser: Any, site: Site) -> None:
    put(site)
    with opened(browser, site.url) as page:
        page.context.add_init_script("localStorage.setItem('metronome.language', 'de')")
        for address, _ in PAGES.values():
            tab = looked_at(page, site, address)
            assert tab.evaluate("document.documentElement.lang") == "de"
        assert tab.evaluate("import('/dashboard/text.js').then((text) => [...text.untranslated])") == []


def test_a_trend_is_built_with_the_keyboard_alone(browser: Any, site: Site) -> None:
    with opened(browser, site.url) as page:
        tab = page.open("")
        reach(page, "Trend")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("h2:focus:text-is('Trend')")
        page.settled()
        reach(page, "Event 1")
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab.keyboard.type("purchase")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".panel")
        page.settled()
        assert page.rows("Trend")
        assert tab.evaluate("document.activeElement.tagName") == "H2"
        reach(page, "Data")
        tab.keyboard.press("Space")
        assert tab.locator(".panel details[open] table").is_visible()


def reach(page: Page, name: str) -> None:
    """Press Tab until the element with this name has the focus."""
    named = "(one => one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent)(document.activeElement)"
    for _ in range(60):
        page.tab.keyboard.press("Tab")
        if page.tab.evaluate(named) == name:
            return
    pytest.fail(f"Tab doesn't reach {name!r}")
