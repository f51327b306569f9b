"""A browser for tests: Debian's `chromium`, driven by PyPI's `playwright`. Where either is missing, tests are skipped."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: there is none on the path")


@pytest.fixture(scope="module", name="browser")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


class Page:
    """One tab; what its console has complained of is kept."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **options)
        self.tab = self.context.new_page()
        self.url = url
        self.complaints: list[str] = []
        self.asked: list[str] = []
        #: When the last ten files had come, in seconds of the monotonic clock.
        self.taken: deque[float] = deque(maxlen=10)
        self.tab.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))

    def open(self, address: str) -> Any:
        self.tab.goto(f"{self.url}/{address}")
        self.settled()
        return self.tab

    def settled(self) -> None:
        """Wait until the view stands and no panel waits for an answer."""
        self.tab.wait_for_selector("main:has(.view):not(:has([aria-busy=true]))")

    def rows(self, name: str) -> list[list[str]]:
        """The figures of a panel or list, as the table for screen readers has them."""
        script = "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))"
        found: list[list[str]] = self.tab.eval_on_selector(f"table:has(caption:text-is('{name}'))", script)
        return found

    def file(self, panel: str, button: str) -> bytes:
        """What a button of a panel hands to the browser as a file.

        Chromium drops the eleventh download that a page starts within one second (`kBurstDownloadLimit` of its
        `LocalFrame`), and says nothing. No user presses that fast, and so no test does.
        """
        if len(self.taken) == 10:
            soonest = self.taken[0] + 1.1
            self.tab.wait_for_timeout(max(0.0, soonest - time.monotonic()) * 1000)
        with self.tab.expect_download() as download:
            self.panel(panel).get_by_role("button", name=button).click()
        self.taken.append(time.monotonic())
        return Path(download.value.path()).read_bytes()

    def panel(self, title: str) -> Any:
        return self.tab.get_by_role("region", name=title, exact=True).filter(has=self.tab.locator("h3"))

    def breaches(self) -> dict[str, list[str]]:
        """What axe-core finds amiss on the page as it stands: the rule, and the elements."""
        reason = "needs PyPI's axe-playwright-python"
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason)
        found = axe.Axe().run(self.tab).response["violations"]
        return {rule["id"]: [node["html"] for node in rule["nodes"]] for rule in found}


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Page]:
    """A page whose console stays silent, and which asks nobody but the gateway."""
    page = Page(browser, url, **options)
    yield page
    page.context.close()
    assert page.complaints == []
    assert [address for address in page.asked if not address.startswith((url, "data:", "blob:"))] == []
