"""Live events and counters: real processes, real Elasticsearch, many watchers."""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Gateway, wait_for
from test_streams import Streaming
from watching import Watching, running

from metronome.errors import NotFound
from metronome.query import Arrival, Positions
from metronome.settings import Settings
from metronome.streams.arrivals import Arrivals, Bases
from metronome.streams.head import Head
from metronome.streams.live import Wanted, condition_of, pieces_of

BUYS = '[{"field": "event", "op": "is", "value": "buy"}]'


@pytest.fixture
def watching(engine_settings: Settings, elasticsearch: Any, tmp_path: Path) -> Iterator[Watching]:
    with running(engine_settings, elasticsearch, tmp_path) as gateway:
        yield gateway


@pytest.fixture
def without_engine(settings: Settings, tmp_path: Path) -> Iterator[Streaming]:
    gateway = Streaming(settings, tmp_path / "home")
    with ExitStack() as opened:
        gateway.opened = opened
        gateway.begin()
        yield gateway
    gateway.stop()


def test_watchers_see_what_every_worker_takes_and_only_what_they_ask_for(watching: Watching) -> None:
    everything = watching.watch().until_it_watches()
    buys = watching.watch(f"/live/events?where={quote(BUYS)}").until_it_watches()
    shop = watching.watch("/live/events?app=shop&robots=all").until_it_watches()
    # A connection stays with one worker; each post here opens another one.
    for n in range(8):
        watching.tick({"id": "x", "insert_id": f"v{n}"}, {"id": "x", "insert_id": f"b{n}", "event": "buy"})
    watching.tick(
        {"id": "x", "insert_id": "robot", "app": "shop", "user_agent": "Googlebot/2.1"},
        {"id": "x", "insert_id": "app", "app": "shop"},
    )
    assert everything.ids(17) == sorted([*(f"{kind}{n}" for kind in "vb" for n in range(8)), "shop:app"])
    assert buys.ids(8) == [f"b{n}" for n in range(8)]
    assert shop.ids(2) == ["shop:app", "shop:robot"]


def test_a_watcher_who_comes_back_misses_nothing_even_after_the_process_began_anew(watching: Watching) -> None:
    first = watching.watch().until_it_watches()
    watching.tick(*({"id": "x", "insert_id": f"a{n}"} for n in range(3)))
    assert first.ids(3) == ["a0", "a1", "a2"]
    watching.kill("streams")
    watching.socket_file.unlink()
    watching.tick({"id": "x", "insert_id": "b", "event": "buy"}, {"id": "x", "insert_id": "late", "ts": "2026-10-01"})
    Streaming.start(watching, "streams")
    wait_for(watching.socket_file.exists, "the streams process to listen")
    # Others watch already: the log doesn't begin where the cursor stands.
    watching.watch().until_it_watches()
    again = watching.watch(**{"Last-Event-ID": first.cursor})
    assert again.ids(2) == ["b", "late"]
    by_parameter = watching.watch(f"/live/events?after={quote(first.cursor)}&where={quote(BUYS)}")
    assert by_parameter.ids(1) == ["b"]
    watching.tick({"id": "x", "insert_id": "c"})
    assert again.ids(1) == ["c"]


def test_a_cursor_that_is_none_says_that_there_is_a_gap(watching: Watching) -> None:
    watcher = watching.watch(**{"Last-Event-ID": "00000000.x=1"})
    assert watcher.next() == ("gap", {"skipped": None})
    watcher.until_it_watches()
    watching.tick({"id": "x", "insert_id": "a"})
    assert watcher.ids(1) == ["a"]


def test_counters_tell_events_subjects_and_names(watching: Watching) -> None:
    watching.tick(
        {"id": "x", "distinct_id": "u1"},
        {"id": "x", "distinct_id": "u1", "event": "buy"},
        {"id": "x", "distinct_id": "u2"},
        {"id": "x", "ts": time.time() - 600, "distinct_id": "u3"},
    )
    watcher = watching.watch("/live/counters")
    wanted = {
        "5m": {"events": 3, "subjects": 2, "by_event": {"view": 2, "buy": 1}},
        "30m": {"events": 4, "subjects": 3, "by_event": {"view": 3, "buy": 1}},
    }
    wait_for(lambda: watcher.next() == ("counters", wanted), "the counters to see all four", timeout_s=60)


def test_who_turns_out_to_be_one_person_is_counted_once(watching: Watching) -> None:
    watching.tick({"id": "x", "distinct_id": "visitor"}, {"id": "x", "distinct_id": "jane"})
    watcher = watching.watch("/live/counters")
    wait_for(lambda: watcher.next()[1]["5m"]["subjects"] == 2, "the counters to see two", timeout_s=60)
    watching.tick({"event": "$identify", "distinct_id": "jane", "linked_id": "visitor"})

    def both() -> tuple[int, int]:
        counters = watcher.next()[1]["5m"]
        return counters["events"], counters["subjects"]

    wait_for(lambda: both() == (3, 1), "the counters to see one person", timeout_s=60)


def test_five_hundred_watchers_see_every_event(watching: Watching) -> None:
    """All read with one selector, so that the test costs little beside what it tests."""
    request = f"GET /live/events HTTP/1.1\r\nHost: {watching.bind}\r\nAccept: text/event-stream\r\n\r\n".encode()
    host, _, port = watching.bind.rpartition(":")
    chooser = selectors.DefaultSelector()
    heard: dict[socket.socket, bytearray] = {}
    for _ in range(500):
        watcher = watching.opened.enter_context(socket.create_connection((host, int(port)), timeout=20))
        watcher.sendall(request)
        watcher.setblocking(False)
        heard[watcher] = bytearray()
        chooser.register(watcher, selectors.EVENT_READ)

    def all_have(text: bytes, times: int) -> bool:
        for key, _ in chooser.select(0.05):
            heard[key.fileobj] += key.fileobj.recv(65536)  # type: ignore[index, union-attr]
        return all(said.count(text) >= times for said in heard.values())

    wait_for(lambda: all_have(b"retry: ", 1), "all to watch", timeout_s=60)
    for _ in range(4):
        watching.tick(*({"id": "x"} for _ in range(25)))
    wait_for(lambda: all_have(b"event: event\n", 100), "all events to reach all", timeout_s=60)
    assert {said.count(b"event: event\n") for said in heard.values()} == {100}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (
            "/live/events?where=x",
            400,
            "where: isn't JSON: unexpected character, expected a JSON value: line 1 column 1 (char 0)",
        ),
        ("/live/events?where={}", 400, 'where: a list such as [{"field": "event", "op": "is", "value": "buy"}]'),
        ("/live/events?wher=[]", 400, "wher: isn't a parameter; there are where, app, robots, after"),
        (
            '/live/events?where=[{"field":"person.plan","op":"exists"}]',
            400,
            "where: properties of persons can't be watched; those of events can",
        ),
        ("/live/counters?robots=some", 400, 'robots: there are false (left out), true (only robots) and "all"'),
    ],
)
def test_what_can_not_be_watched_is_refused(without_engine: Streaming, path: str, status: int, said: str) -> None:
    answer = without_engine.events(path)
    assert (answer.status, json.loads(answer.read())["error"]["message"]) == (status, said)


def test_without_elasticsearch_a_watcher_is_told_to_come_later(without_engine: Streaming) -> None:
    answer = without_engine.events("/live/events")
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (503, "store_unavailable")


@pytest.mark.parametrize("path", ["/live/events", "/live/counters"])
def test_an_ordinary_request_is_told_how_to_ask(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    said = "Accept: this is a stream; ask with Accept: text/event-stream"
    assert (answer.status_code, answer.json["error"]["message"]) == (400, said)


def test_a_key_of_an_application_sees_only_its_events() -> None:
    mine = condition_of(Head("/live/events", (), "", app="shop"))
    assert [mine.holds({"app": app}) for app in ("shop", "other", None)] == [True, False, False]


def test_the_page_loads_from_here_alone(gateway: Gateway) -> None:
    page = gateway.http.get("/live")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    for path in ("/live/page.js", "/live/page.css"):
        assert path in page.text
        assert "http" not in gateway.http.get(path).text.replace("HTTP", "")
    assert "style=" not in page.text and "onclick" not in page.text


# --- The log ---------------------------------------------------------------------------------------------------


class Arriving:
    """In the place of Elasticsearch: what comes is what the test puts in."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, question: Any) -> list[Any]:
        if isinstance(question, Positions):
            return [{"t-2026.11.24/0": len(self.events) - 1}]
        low, high = (moment.get("t-2026.11.24/0", -1) for moment in (question.after, question.until))
        rows = list(enumerate(self.events))[low + 1 : high + 1][: question.limit]
        return [[Arrival("t-2026.11.24/0", number, event) for number, event in rows]]


def run(tmp_path: Path, body: Callable[[Arrivals, Arriving], Any]) -> None:
    source = Arriving()
    asyncio.run(asyncio.wait_for(body(Arrivals(lambda: source, tmp_path / "live.json", "t"), source), 30))


def test_a_watcher_that_falls_behind_the_log_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metronome.streams.arrivals.LOG_BYTES", 1000)
    monkeypatch.setattr("metronome.streams.arrivals.EVERY_S", 0.01)

    async def body(arrivals: Arrivals, source: Arriving) -> None:
        async with arrivals.watched():
            number, cursor = arrivals.end, arrivals.cursor
            source.events += [{"_id": str(n)} for n in range(100)]
            await arrivals.wait(number + 99)
            assert number < arrivals.first < arrivals.end == 100
            entries, at, skipped = await arrivals.missed(cursor)
            assert ([entry.event["_id"] for entry in entries], at, skipped) == ([str(n) for n in range(100)], 100, 0)
        assert (arrivals.first, arrivals.end) == (100, 100)

    run(tmp_path, body)


def test_too_many_missed_events_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metronome.streams.arrivals.MOST_MISSED", 5)
    monkeypatch.setattr("metronome.streams.arrivals.EVERY_S", 0.01)

    async def body(arrivals: Arrivals, source: Arriving) -> None:
        async with arrivals.watched():
            cursor = arrivals.cursor
            source.events += [{"_id": str(n)} for n in range(12)]
            await arrivals.wait(11)
            assert [entry.event["_id"] for entry in arrivals.since(0, 20)] == [str(n) for n in range(12)]
            assert await arrivals.missed(cursor) == ([], 12, 12)

    run(tmp_path, body)


def test_a_cursor_is_a_moment_and_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    bases, start = Bases(path, "t-"), {"t-2026.11.23/0": 7, "t-2026.11.24/0": 5}
    bases.keep(start)
    later = {**start, "t-2026.11.24/0": 9, "t-2026.11.25/0": -1}
    cursor = bases.cursor(later)
    assert cursor.partition(".")[2] == "2026.11.24/0=9,2026.11.25/0=-1"
    assert Bases(path, "t-").moment(cursor) == later
    many = {f"t-2025.{month:02}.{day:02}/0": 1 for month in range(1, 13) for day in range(1, 28)}
    bases.keep(many)
    assert (bases.moment(cursor), bases.moment(bases.cursor(many))) == (later, many)
    # The third base takes the place of the first.
    bases.keep(dict.fromkeys(many, 2))
    with pytest.raises(NotFound):
        bases.moment(cursor)


@pytest.mark.parametrize("cursor", ["", "x", "00000000.", "0000000g.a=1", "../../etc", "00000000.a=1;b=2"])
def test_what_is_no_cursor_is_none(tmp_path: Path, cursor: str) -> None:
    bases = Bases(tmp_path / "live.json", "t-")
    bases.keep({})
    with pytest.raises(NotFound):
        bases.moment(cursor)


def test_watchers_who_want_the_same_share_the_work(tmp_path: Path) -> None:
    asked: list[Any] = []
    head = Head(f"/live/events?where={quote(BUYS)}", (), "")
    where = condition_of(head)
    assert where == condition_of(head) and hash(where) == hash(condition_of(head))

    class Noted:
        def holds(self, event: Any) -> bool:
            asked.append(event["_id"])
            return where.holds(event)

    arrivals = Arrivals(Arriving, tmp_path / "live.json", "t")
    arrivals._bases.keep({})
    kinds = ["buy", "view", "buy"]
    rows = [Arrival("t-x/0", n, {"_id": str(n), "event": kind}) for n, kind in enumerate(kinds)]
    entries = list(arrivals._framed(rows, {}))
    wanted = Wanted(Noted())  # type: ignore[arg-type]
    assert [wanted.pieces(7, entries) for _ in range(3)] == [pieces_of(entries, where)] * 3
    assert asked == ["0", "1", "2"]
