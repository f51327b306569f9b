"""Real players: npm @maveio/metrics in Chromium, on pages with real videos, and npm phoenix in Node.

They need Node, Debian's `chromium`, PyPI's `playwright`, and `npm install --no-package-lock` in tests/video/players. Where
one of them is missing, the tests are skipped. @maveio/metrics is under the AGPL: nothing of it is in this repository.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import wait_for
from elasticsearch import Elasticsearch
from playing import KEY, Gateway, started

from metronome.settings import Settings

HERE = Path(__file__).parent / "players"
MODULES = HERE / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT = Path(__file__).parents[2]

needs_modules = pytest.mark.skipif(
    not MODULES.is_dir() or shutil.which("node") is None,
    reason="needs Node and real players: run `npm install --no-package-lock` in tests/video/players",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: there is none on the path")

#: A visitor's. Headless Chromium's own has no class of device.
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

FILES = {
    "/page": (HERE / "page.html", "text/html"),
    "/metrics.js": (MODULES / "@maveio/metrics/dist/index.js", "text/javascript"),
    "/clock.webm": (ROOT / "metronome/web/videos/clock.webm", "video/webm"),
}

#: How far what the gateway counts may be from what the page saw, in seconds: an event comes a moment after its cause.
NEAR_S = 0.35


class Site(BaseHTTPRequestHandler):
    """A page of another origin. Videos are served in ranges, without which nothing can be sought."""

    def do_GET(self) -> None:
        file, kind = FILES.get(self.path.partition("?")[0], (None, ""))
        if file is None:
            self.send_error(404)
            return
        data = file.read_bytes()
        given = self.headers.get("Range", "").removeprefix("bytes=")
        first, _, last = given.partition("-")
        start, end = int(first or 0), int(last or len(data) - 1)
        self.send_response(206 if given else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Accept-Ranges", "bytes")
        if given:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.wfile.write(data[start : end + 1])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def gateway(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("players")
    yield from started(replace(engine_settings, index_prefix=f"v{folder.name}x{id(folder)}"), elasticsearch, folder)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(gateway: Gateway, site: str) -> Iterator[Any]:
    """A page with two players, whose socket is open."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(user_agent=AGENT)
        opened.goto(f"{site}/page?socket={quote(f'ws://{gateway.bind}/socket', safe='')}&key={quote(KEY, safe='')}")
        yield opened
        browser.close()


def play(page: Any, player: str, start: float, until: float) -> None:
    page.evaluate(
        f"""async () => {{
            const video = document.getElementById("{player}");
            if (video.readyState < 1) await new Promise((done) => (video.onloadedmetadata = done));
            if ({start} && Math.abs(video.currentTime - {start}) > 0.01) {{
                const sought = new Promise((done) => (video.onseeked = done));
                video.currentTime = {start};
                await sought;
            }}
            await video.play();
            while (video.currentTime < {until} && !video.ended) await new Promise((done) => setTimeout(done, 20));
            video.pause();
        }}"""
    )


def told(page: Any, player: str) -> list[tuple[float, float]]:
    """What the page saw: from "playing" to "pause"."""
    found, start = [], None
    for who, name, position in page.evaluate("seen"):
        if who == player and name == "playing":
            start = position if start is None else start
        elif who == player and start is not None:
            found.append((start, position))
            start = None
    return found


def counted(gateway: Gateway, **properties: Any) -> list[tuple[float, float]]:
    rows = [
        row
        for row in gateway.documents("watch")
        if all(row.get(name.replace("_", ".")) == value for name, value in properties.items())
    ]
    return sorted((row["stretch.from"], row["stretch.to"]) for row in rows)


def assert_near(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
    assert found == [(pytest.approx(start, abs=NEAR_S), pytest.approx(to, abs=NEAR_S)) for start, to in expected]


@needs_chromium
@needs_modules
def test_the_unmodified_client_plays_pauses_seeks_ends_leaves_and_reloads(
    gateway: Gateway, page: Any, site: str
) -> None:
    play(page, "one", 0, 1.0)
    play(page, "one", 5, 5.8)
    play(page, "one", 11.8, 99)
    seen = told(page, "one")
    assert len(seen) == 3
    wait_for(lambda: len(counted(gateway, id="label one")) >= 3, "three stretches of the first player")
    assert_near(counted(gateway, id="label one"), seen)
    play(page, "two", 2, 2.7)
    wait_for(lambda: counted(gateway, video_number=2), "the second player's stretch")
    assert_near(counted(gateway, video_number=2), told(page, "two"))
    began = time.monotonic()
    # Left while it plays: nothing is sent when a page closes, so that the gateway closes the stretch.
    page.evaluate(
        """async () => {
            const video = document.getElementById("two");
            const sought = new Promise((done) => (video.onseeked = done));
            video.currentTime = 0;
            await sought;
            await video.play();
        }"""
    )
    page.wait_for_function("document.getElementById('two').currentTime > 0.5")
    page.reload()
    left_s = time.monotonic() - began
    rows = wait_for(lambda: [one for one in counted(gateway, video_number=2) if one[0] < 1], "the end of the page")
    assert 0.5 < rows[0][1] < left_s + 1
    play(page, "one", 0, 1.2)
    wait_for(lambda: len(counted(gateway, id="label one")) == 4, "the stretch after the reload")
    # Demonitored, a player says nothing more.
    page.evaluate("one.demonitor()")
    wait_for(lambda: [row for row in gateway.documents("leave") if row.get("id") == "label one"], "the player to leave")
    play(page, "one", 3, 3.4)
    play(page, "two", 7, 7.4)
    wait_for(lambda: [one for one in counted(gateway, video_number=2) if one[0] > 6], "the other player's last stretch")
    assert len(counted(gateway, id="label one")) == 4
    (row,) = ask(gateway, "plays", identifier="label one")["views"]
    assert (row["views"], row["browser"]["chrome"], row["platform"]["linux"], row["device"]["desktop"]) == (2, 2, 2, 2)
    (source,) = ask(gateway, "sources", query={"video": {"number": 1}, "session": {"plan": "free"}})["sources"]
    assert (source["path"], source["host"], source["views"]) == ("http://127.0.0.1/page", "127.0.0.1", 2)


@needs_chromium
def test_the_example_page_is_watched_and_shows_its_figures(gateway: Gateway) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(user_agent=AGENT)
        problems: list[str] = []
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{gateway.url}/videos/")
        clock = "document.querySelector('[data-video=clock] video')"
        page.evaluate(f"{clock}.play()")
        # The page's policy forbids what Playwright's own waiting needs.
        wait_for(lambda: page.evaluate(f"{clock}.currentTime > 1.2"), "the video to play")
        page.evaluate(f"{clock}.pause()")
        position = page.evaluate(f"{clock}.currentTime")
        wait_for(lambda: counted(gateway, id="clock"), "the stretch")
        figures = "document.querySelector('[data-video=clock] .figures').textContent"
        wait_for(lambda: page.evaluate(figures).startswith("1 views"), "the figures to follow")
        assert page.evaluate("document.querySelectorAll('[data-video=clock] .parts i').length") == 25
        browser.close()
    assert problems == []
    assert_near(counted(gateway, id="clock"), [(0, position)])
    said = {row["event"] for row in gateway.documents("play_request", "startup") if row["id"] == "clock"}
    assert said == {"video.play_request", "video.startup"}
    summary = ask(gateway, "video/summary", identifier="clock")["summary"]
    assert summary["plays"] == 1 and 0 <= summary["quality"]["startup_s"] < 20 and summary["duration_s"] == 12.5


@needs_modules
def test_phoenix_joins_leaves_and_joins_again(gateway: Gateway) -> None:
    run = subprocess.run(
        ["node", "phoenix.cjs", f"ws://{gateway.bind}/socket", KEY],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stderr == ""
    assert json.loads(run.stdout) == [
        ["refused", "invalid key"], ["joined", {}], ["closed"], ["joined", {}], ["closed"], ["connected", True],
    ]  # fmt: skip
    assert counted(gateway, id="phoenix") == [(1, 3), (4, 4.5)]


def ask(gateway: Gateway, path: str, **wanted: Any) -> Any:
    from urllib.request import Request, urlopen

    with urlopen(Request(f"{gateway.url}/api/v1/{path}", json.dumps(wanted).encode())) as answer:
        return json.load(answer)
