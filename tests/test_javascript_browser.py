"""The JavaScript client in a real browser, on pages of another origin than the gateway's.

They need Debian's `chromium` and PyPI's `playwright`; where either is missing they are skipped.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from conftest import Gateway, wait_for
from keyed import Kept
from live import Live

playwright = pytest.importorskip("playwright.sync_api", reason="needs PyPI's playwright, which isn't installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: there is none on the path")

#: A visitor's. Headless Chromium's own is on COUNTER's list of robots.
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

#: Longer than an event is its page's own (LEASE in queue.js), in ms.
PAST_THE_LEASE = 50_000


class Watched(Live):
    """A gateway behind a real port that remembers what is posted. `/v1` is answered here as the contract says."""

    def __init__(self, gateway: Gateway, home: Path) -> None:
        #: Each post to /tick and each request to /v1: method, path, query, headers, body.
        self.requests: list[dict[str, Any]] = []
        self.away = False
        self.preflights = 0
        super().__init__(gateway, home)

    def _application(self, environ: Any, start_response: Callable[..., Any]) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.preflights += method == "OPTIONS"
        if method == "OPTIONS" or path.startswith("/apis"):
            return self.gateway.app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        self.requests.append(
            {
                "method": method,
                "path": path,
                "query": environ["QUERY_STRING"],
                "type": environ.get("CONTENT_TYPE"),
                "key": environ.get("HTTP_AUTHORIZATION"),
                "body": body.decode(),
            }
        )
        readable = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "Retry-After")]
        if path.startswith("/v1"):
            start_response("200 OK", [*readable, ("Content-Type", "text/plain")])
            return [b"ok"]
        if self.away:
            start_response("503 Service Unavailable", [*readable, ("Content-Length", "0")])
            return [b""]

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            # A real gateway's 503 may be read by pages. Those that Live makes up lack the headers.
            return start_response(status, [*headers, *(readable if status.startswith("503") else [])], *more)

        return super()._application(environ, start)

    @property
    def sent(self) -> Counter[str]:
        """How often each item came, whatever was answered."""
        return Counter(event["id"] for one in self.requests for event in json.loads(one["body"]))

    def stored(self) -> Counter[str]:
        """How often each item is stored."""
        return Counter(document["id"] for document in self.gateway.documents())


class Site:
    """Pages on a port of their own, all alike: `head` is what they begin with."""

    def __init__(self, head: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(f"<!doctype html><title>page</title>{site.head}".encode())

            def log_message(self, *_: Any) -> None:
                pass

        site = self
        self.head = head
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", f"--user-agent={AGENT}"]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def gate(gateway: Gateway, tmp_path: Path) -> Iterator[Watched]:
    running = Watched(gateway, tmp_path)
    yield running
    running.stop()


@pytest.fixture
def site(gate: Watched) -> Iterator[Site]:
    running = Site(f'<script src="{gate.url}/apis/javascript.js"></script>')
    yield running
    running.stop()


@pytest.fixture
def visitor(browser: Any) -> Iterator[Any]:
    """A visitor's browser: tabs that share cookies and storage with each other and with nobody else."""
    context = browser.new_context()
    yield context
    context.close()


def open_page(visitor: Any, site: Site, gate: Watched, path: str = "/", **options: Any) -> Any:
    page = visitor.new_page()
    page.goto(site.url + path)
    start(page, gate, **options)
    return page


def start(page: Any, gate: Watched, **options: Any) -> None:
    page.evaluate("([url, options]) => { window.m = new Metronome(url, options); }", [gate.url, options])


def tick(page: Any, *items: str) -> None:
    page.evaluate("items => { for (const id of items) m.tick({ id }); }", list(items))


def waiting(page: Any) -> int:
    """How many events wait in the browser."""
    return int(page.evaluate("Object.keys(localStorage).filter(key => key.includes(':e:')).length"))


def wait_until_waiting(page: Any, count: int) -> None:
    def found() -> bool:
        page.wait_for_timeout(20)
        return waiting(page) == count

    wait_for(found, f"{count} events to wait in the browser")


def wait_until_sent(page: Any, gate: Watched, expected: dict[str, int]) -> None:
    """Wait in the browser's own loop, which would stand still otherwise."""

    def found() -> bool:
        page.wait_for_timeout(20)
        return gate.sent == expected

    wait_for(found, f"{expected} to be sent")


def wait_until_none_waits(page: Any) -> None:
    page.wait_for_function("!Object.keys(localStorage).some(key => key.includes(':e:'))")


def test_a_view_of_a_page_of_another_origin_is_counted(visitor: Any, site: Site, gate: Watched) -> None:
    page = open_page(visitor, site, gate, "/shop/shoes?colour=red", interval=50)
    page.evaluate("m.view({ plan: 'free' })")
    wait_until_sent(page, gate, {"/shop/shoes": 1})
    wait_until_none_waits(page)
    assert gate.preflights == 0
    (document,) = gate.gateway.documents()
    seen = ("event", "url", "plan", "seq", "is_robot", "platform", "user_agent")
    assert {name: document.get(name) for name in seen} == {
        "event": "view",
        # No parameter is stored that analytics does not need.
        "url": f"{site.url}/shop/shoes",
        "plan": "free",
        "seq": 1,
        "is_robot": False,
        "platform": "Linux",
        "user_agent": None,
    }
    assert sum(gate.gateway.tock("/shop/shoes")["views"].values()) == 1


def test_a_publishable_key_opens_the_door_for_pages_of_its_site_alone(visitor: Any, site: Site, gate: Watched) -> None:
    _, token = Kept(gate.gateway).make(publishable=True, origins=(site.url,))
    page = open_page(visitor, site, gate, key=token, interval=50)
    tick(page, "with a key")
    wait_until_none_waits(page)
    assert (gate.requests[-1]["key"], gate.requests[-1]["query"]) == (f"Bearer {token}", "")
    tick(page, "on leaving")
    page.goto("about:blank")
    wait_until_sent(page, gate, {"with a key": 1, "on leaving": 1})
    last = gate.requests[-1]
    assert (last["key"], last["query"], last["type"]) == (None, f"key={token}", "text/plain;charset=UTF-8")

    other = Site(site.head)
    stranger = open_page(visitor, other, gate, key=token, interval=50)
    tick(stranger, "stolen")
    wait_until_sent(stranger, gate, {"with a key": 1, "on leaving": 1, "stolen": 1})
    stranger.close()
    other.stop()
    assert gate.stored() == {"with a key": 1, "on leaving": 1}


@pytest.mark.parametrize("way", ["to another site", "to the next page", "reloaded", "closed"])
def test_what_waits_when_a_page_is_left_is_sent_once_and_counted_once(
    visitor: Any, site: Site, gate: Watched, way: str
) -> None:
    page = open_page(visitor, site, gate)
    tick(page, "a", "b", "b")
    if way == "closed":
        page.close(run_before_unload=False)
        page = visitor.new_page()
    elif way == "reloaded":
        page.reload()
    else:
        page.goto("about:blank" if way == "to another site" else f"{site.url}/next")
    wait_until_sent(page, gate, {"a": 1, "b": 2})

    # A later page doesn't send it again while the answer may be on its way …
    page.clock.install()
    page.goto(f"{site.url}/later")
    start(page, gate, interval=50)
    tick(page, "later")
    page.clock.run_for(10_000)
    wait_until_sent(page, gate, {"a": 1, "b": 2, "later": 1})
    # A request whose answer is not read yet would be given up when the page's clock is put forward.
    wait_until_waiting(page, 3)
    # … and once more after that, since nobody saw the answer. It is counted once.
    page.clock.run_for(PAST_THE_LEASE)
    wait_until_sent(page, gate, {"a": 2, "b": 4, "later": 1})
    assert gate.stored() == {"a": 1, "b": 2, "later": 1}
    assert sum(gate.gateway.tock("b")["views"].values()) == 2


HIDE = """() => {
  Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
  dispatchEvent(new PageTransitionEvent("pagehide"));
}"""


def test_a_page_that_is_only_hidden_sends_once_and_sees_the_answer(visitor: Any, site: Site, gate: Watched) -> None:
    page = open_page(visitor, site, gate)
    tick(page, "a", "b")
    page.evaluate(HIDE)
    wait_until_none_waits(page)
    tick(page, "c")
    page.evaluate(HIDE)
    wait_until_none_waits(page)
    assert gate.sent == {"a": 1, "b": 1, "c": 1}
    assert gate.stored() == {"a": 1, "b": 1, "c": 1}


def test_a_page_that_is_only_hidden_tries_again_after_a_failure(visitor: Any, site: Site, gate: Watched) -> None:
    gate.faults = ["busy"]
    page = open_page(visitor, site, gate)
    tick(page, "a")
    page.evaluate(HIDE)
    wait_until_none_waits(page)
    assert gate.sent == {"a": 2}
    assert gate.stored() == {"a": 1}


def test_a_page_that_is_hidden_while_its_request_is_on_its_way_sends_only_the_rest(
    visitor: Any, site: Site, gate: Watched
) -> None:
    gate.delay_s = 0.5
    page = open_page(visitor, site, gate, batch=2)
    tick(page, "a", "b")
    wait_until_sent(page, gate, {"a": 1, "b": 1})
    tick(page, "c")
    page.evaluate(HIDE)
    wait_until_none_waits(page)
    assert gate.sent == {"a": 1, "b": 1, "c": 1}


def test_a_page_whose_last_request_fails_leaves_its_events_to_the_next(visitor: Any, site: Site, gate: Watched) -> None:
    gate.away = True
    page = open_page(visitor, site, gate)
    tick(page, "a")
    page.goto("about:blank")
    wait_until_sent(page, gate, {"a": 1})
    gate.away = False
    page.clock.install()
    page.goto(site.url)
    start(page, gate, interval=50)
    page.clock.run_for(PAST_THE_LEASE)
    wait_until_sent(page, gate, {"a": 2})
    assert gate.stored() == {"a": 1}


def test_without_keepalive_a_beacon_goes_as_plain_text_with_the_key_in_the_address(
    visitor: Any, site: Site, gate: Watched
) -> None:
    _, token = Kept(gate.gateway).make(publishable=True, origins=(site.url,))
    visitor.add_init_script("delete Request.prototype.keepalive")
    page = open_page(visitor, site, gate, key=token)
    tick(page, "a", "b")
    page.goto("about:blank")
    wait_until_sent(page, gate, {"a": 1, "b": 1})
    beacon = gate.requests[0]
    assert (beacon["type"], beacon["query"], beacon["key"]) == ("text/plain", f"key={token}", None)
    assert gate.preflights == 0
    assert gate.stored() == {"a": 1, "b": 1}


def test_what_no_browser_takes_over_stays_queued_and_goes_with_the_next_page(
    visitor: Any, site: Site, gate: Watched
) -> None:
    visitor.add_init_script("delete Request.prototype.keepalive; navigator.sendBeacon = () => false")
    page = open_page(visitor, site, gate)
    tick(page, "a", "b")
    page.goto(f"{site.url}/next")
    assert (waiting(page), gate.requests) == (2, [])
    start(page, gate, interval=50)
    wait_until_none_waits(page)
    assert gate.sent == gate.stored() == {"a": 1, "b": 1}


def test_of_more_than_a_browser_takes_over_the_rest_stays_queued(visitor: Any, site: Site, gate: Watched) -> None:
    page = open_page(visitor, site, gate, batch=100)
    page.evaluate("for (let at = 0; at < 8; at++) m.tick({ id: `${at}`, text: 'x'.repeat(14000) })")
    page.goto(f"{site.url}/next")
    wait_until_sent(page, gate, dict.fromkeys("0123", 1))
    start(page, gate, interval=50)
    wait_until_sent(page, gate, dict.fromkeys("01234567", 1))
    assert gate.stored() == dict.fromkeys("01234567", 1)


def test_what_happens_offline_is_sent_when_the_browser_is_online_again(visitor: Any, site: Site, gate: Watched) -> None:
    page = open_page(visitor, site, gate, interval=50, batch=2)
    visitor.set_offline(True)
    tick(page, "a", "b", "c")
    page.evaluate(HIDE)
    assert page.evaluate("m.flush()") == 3
    assert gate.requests == []
    visitor.set_offline(False)
    wait_until_none_waits(page)
    assert gate.sent == gate.stored() == {"a": 1, "b": 1, "c": 1}


def test_offline_the_queue_holds_a_hundred_and_says_how_many_went(visitor: Any, site: Site, gate: Watched) -> None:
    page = open_page(visitor, site, gate)
    visitor.set_offline(True)
    tick(page, *map(str, range(130)))
    assert waiting(page) == 100
    visitor.set_offline(False)
    wait_until_none_waits(page)
    documents = gate.gateway.documents()
    assert sorted(document["seq"] for document in documents) == list(range(31, 131))
    assert sum(document.get("client_dropped", 0) for document in documents) == 30


@pytest.mark.parametrize("fault", ["busy", "lost answer"])
def test_a_reload_while_the_gateway_is_in_trouble_loses_and_doubles_nothing(
    visitor: Any, site: Site, gate: Watched, fault: str
) -> None:
    gate.faults = [fault]
    page = open_page(visitor, site, gate, batch=2)
    tick(page, "a", "b")
    wait_until_sent(page, gate, {"a": 1, "b": 1})
    page.wait_for_function("Object.keys(localStorage).some(key => key.endsWith(':pause'))")
    tick(page, "c")
    page.reload()
    start(page, gate, interval=50)
    tick(page, "d")
    wait_until_none_waits(page)
    assert gate.sent == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert gate.stored() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert sorted(document["seq"] for document in gate.gateway.documents()) == [1, 2, 3, 4]


def test_two_tabs_share_the_queue_and_send_each_event_once(visitor: Any, site: Site, gate: Watched) -> None:
    gate.delay_s = 0.05
    tabs = [open_page(visitor, site, gate, path, interval=30) for path in ("/one", "/two")]
    for tab in tabs:
        tab.evaluate(
            """() => { window.done = (async () => {
                for (let at = 0; at < 40; at++) {
                    m.tick({ id: location.pathname });
                    await new Promise((wake) => setTimeout(wake, 5));
                }
            })(); }"""
        )
    for tab in tabs:
        tab.evaluate("window.done")
        wait_until_none_waits(tab)
    assert gate.sent == gate.stored() == {"/one": 40, "/two": 40}


def test_of_two_tabs_one_takes_over_what_the_other_left(visitor: Any, site: Site, gate: Watched) -> None:
    first, second = (open_page(visitor, site, gate, interval=50) for _ in range(2))
    visitor.set_offline(True)
    tick(first, "a", "b")
    first.goto("about:blank")
    # The page has let go of its events by now; the other one may have them already.
    assert waiting(second) == 2
    visitor.set_offline(False)
    wait_until_none_waits(second)
    assert gate.sent == gate.stored() == {"a": 1, "b": 1}


def test_where_storage_is_forbidden_events_are_sent_all_the_same(visitor: Any, site: Site, gate: Watched) -> None:
    visitor.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    page = open_page(visitor, site, gate, interval=50)
    tick(page, "a")
    wait_until_sent(page, gate, {"a": 1})
    assert page.evaluate("m.flush()") == 0
    assert gate.stored() == {"a": 1}


def test_pages_may_be_kept_for_the_back_button() -> None:
    script = (Path(__file__).parent.parent / "metronome/web/apis/client.js").read_text()
    assert "pagehide" in script
    # A handler of either keeps a page out of the browser's back/forward cache, and phones never call it.
    assert not {"unload", "beforeunload"} & set(script.replace("`", '"').replace("'", '"').split('"'))


def v1(gate: Watched) -> list[tuple[str, Any]]:
    """The requests to /v1: route and value of q. Times are looked at and left out."""
    found = []
    for one in gate.requests:
        assert (one["method"], one["body"]) == ("GET", "")
        data = json.loads(unquote(one["query"].partition("q=")[2]))
        assert parse_qs(one["query"], strict_parsing=True)["q"] == [unquote(one["query"].partition("q=")[2])]
        for event in data.get("events", ()):
            assert event.pop("ts") > 1.6e12
        found.append((one["path"], data))
    return found


def wait_for_v1(page: Any, gate: Watched, count: int) -> list[tuple[str, Any]]:
    def found() -> bool:
        page.wait_for_timeout(20)
        return len(gate.requests) >= count

    wait_for(found, f"{count} requests to /v1")
    return v1(gate)


def cookie(visitor: Any) -> str:
    (found,) = visitor.cookies()
    assert (found["name"], found["path"]) == ("_metricId", "/")
    return str(found["value"])


def test_calls_queued_before_the_script_are_made_when_it_has_come(visitor: Any, site: Site, gate: Watched) -> None:
    calls = [
        ["event", "login", {"page": "/home & + 100% café 日本"}],
        ["setUserId", "u 1&x"],
        ["setUserProperties", {"first-name": "jane"}],
        ["setSessionProperties", {"campaign": "tv"}],
        ["clearSession"],
        ["event", "again"],
    ]
    preload = f"<script>window._om = {json.dumps(calls)}; window.openMetricUrl = {json.dumps(gate.url)};</script>"
    site.head = preload + site.head.replace("javascript.js", "javascript/client.js")
    page = visitor.new_page()
    page.goto(site.url)
    page.evaluate("_om.push(['event', 'later'])")
    found = wait_for_v1(page, gate, 5)
    second = cookie(visitor)
    first = next(data["sessionId"] for path, data in found if path == "/v1/setUserId")
    assert first != second
    expected = [
        ("/v1/events", {"events": [{"name": "login", "props": calls[0][2]}], "sessionId": first}),
        ("/v1/setUserId", {"uid": "u 1&x", "sessionId": first}),
        ("/v1/setUserProps", {"props": {"first-name": "jane"}, "sessionId": first}),
        ("/v1/setSessionProps", {"props": {"campaign": "tv"}, "sessionId": first}),
        ("/v1/events", {"events": [{"name": "again"}, {"name": "later"}], "sessionId": second}),
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_a_session_lasts_from_page_to_page_and_its_cookie_for_long(visitor: Any, site: Site, gate: Watched) -> None:
    page = visitor.new_page()
    sessions = []
    for path in ("/one", "/two/three"):
        page.goto(site.url + path)
        sessions.append(page.evaluate("url => new OpenMetrics(url).sessionId", gate.url))
    assert sessions == [cookie(visitor)] * 2
    # Browsers cut it to 400 days.
    assert visitor.cookies()[0]["expires"] > page.evaluate("Date.now() / 1000") + 390 * 86_400


def test_the_first_event_goes_at_once_then_one_request_a_second_or_at_five(
    visitor: Any, site: Site, gate: Watched
) -> None:
    page = visitor.new_page()
    page.clock.install()
    page.goto(site.url)
    page.evaluate("url => { window.o = new OpenMetrics(url); }", gate.url)

    def log(*names: str) -> None:
        page.evaluate("names => names.forEach(name => o.logEvent(name))", list(names))

    def batches(count: int) -> list[str]:
        return ["".join(event["name"] for event in data["events"]) for _, data in wait_for_v1(page, gate, count)]

    log("a")
    assert batches(1) == ["a"]
    page.clock.pause_at(page.evaluate("Date.now()") + 2_000)
    log("b")
    assert batches(2) == ["a", "b"]
    log("c", "d", "e", "f")
    page.clock.run_for(900)
    assert batches(2) == ["a", "b"]
    page.clock.run_for(200)
    assert batches(3) == ["a", "b", "cdef"]
    log("g", "h", "i", "j", "k", "l")
    assert batches(4) == ["a", "b", "cdef", "ghijk"]
    page.goto("about:blank")
    assert batches(5) == ["a", "b", "cdef", "ghijk", "l"]


def test_callbacks_tell_what_became_of_a_call_and_destroy_ends_it(visitor: Any, site: Site, gate: Watched) -> None:
    page = visitor.new_page()
    page.goto(site.url)
    answers = page.evaluate(
        """async ([url, nobody]) => {
            const answered = (call) => new Promise((resolve) => call((...answer) => resolve(answer)));
            const [good, bad] = [new OpenMetrics(url), new OpenMetrics(nobody)];
            const found = [
                await answered((done) => good.logEvent("a", { b: 1 }, done)),
                await answered((done) => good.setUserId("u", done)),
                await answered((done) => bad.logEvent("a", done)),
                await answered((done) => bad.setUserProperties({}, done)),
            ];
            const last = answered((done) => good.logEvent("last", done));
            good.destroy();
            return [...found, await last, await answered((done) => good.logEvent("late", done))];
        }""",
        [gate.url, f"{site.url}:1/no"],
    )
    assert answers == [[None, "ok"], [None, "ok"], [True], [True], [None, "ok"], [True]]
    assert [data["events"][0]["name"] for path, data in v1(gate) if path == "/v1/events"] == ["a", "last"]
