"""Tracker: nothing that was tracked is lost quietly or counted twice, whatever the gateway does. Source: semantics, 15."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway, Server, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from keyed import Kept
from live import Live

from metronome.client import Retriever, Tracker
from metronome.client import tracker as tracking
from metronome.errors import BadKey, Refused, StoreUnavailable
from metronome.settings import Settings

ROOT = Path(__file__).parent.parent.parent


class Faulty(Live):
    """A gateway that answers the next posts with these statuses, after it has taken the events where `takes` says so."""

    def __init__(self, gateway: Gateway, home: Path) -> None:
        self.answers: list[tuple[str, str]] = []
        self.away = False
        #: Held while posts are to wait.
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(gateway, home)

    def _application(self, environ: Any, start_response: Callable[..., Any]) -> Any:
        self.gate.wait(60)
        if self.away or self.answers:
            self.posts += 1
            status, body = ("503 Away", "") if self.away else self.answers.pop(0)
            start_response(status, [("Content-Length", str(len(body)))])
            return [body.encode()]
        return super()._application(environ, start_response)

    @property
    def stored(self) -> Counter[str]:
        """How often each item is stored."""
        return Counter(document.get("id", document["event"]) for document in self.gateway.documents())


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Faulty]:
    running = Faulty(gateway, tmp_path)
    yield running
    running.gate.set()
    running.stop()


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PAUSES_S", (0.01, 0.1))


@pytest.fixture
def tracker_for(live: Faulty) -> Iterator[Callable[..., Tracker]]:
    made: list[Tracker] = []

    def make(**options: Any) -> Tracker:
        made.append(Tracker("shop", **{"url": live.url, **options}))
        return made[-1]

    yield make
    live.away = False
    live.gate.set()
    for tracker in made:
        tracker.close(30)


def items(count: int) -> dict[str, int]:
    return {f"i{number}": 1 for number in range(count)}


def track(tracker: Tracker, count: int) -> None:
    for number in range(count):
        tracker.track("view", id=f"i{number}")


def test_events_go_out_in_batches_and_are_what_was_tracked(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for()
    insert_id = tracker.track(
        "buy", id="report", distinct_id="ann", price=9.5, when=datetime(2026, 1, 2, tzinfo=UTC), tags={"a"}
    )
    track(tracker, 250)
    assert tracker.flush(30)
    assert (tracker.delivered, tracker.refused, tracker.dropped, tracker.pending) == (251, 0, 0, 0)
    assert live.posts <= 4
    assert live.stored == {"report": 1, **items(250)}
    (document,) = [one for one in live.gateway.documents() if one["event"] == "buy"]
    kept = {name: document[name] for name in ("app", "id", "distinct_id", "price", "when", "tags", "insert_id")}
    assert kept == {
        "app": "shop", "id": "report", "distinct_id": "ann", "price": 9.5, "when": "2026-01-02T00:00:00+00:00",
        "tags": ["a"], "insert_id": insert_id,
    }  # fmt: skip
    # The client's own agent says nothing of who did it.
    assert not {"is_robot", "browser", "platform"} & set(document)


def test_a_few_events_go_out_after_a_while_without_a_flush(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for(interval_s=0.05)
    track(tracker, 3)
    wait_for(lambda: tracker.delivered == 3, "the events to be sent")
    track(tracker, 1)
    wait_for(lambda: tracker.delivered == 4, "the next one to be sent")


PASSING = [
    pytest.param("503 Service Unavailable", id="the spool is full"),
    pytest.param("429 Too Many Requests", id="too fast"),
    pytest.param("408 Request Timeout", id="too slow"),
    pytest.param("500 Internal Server Error", id="a mistake of the gateway's"),
    pytest.param("502 Bad Gateway", id="a proxy before it"),
    pytest.param("401 Unauthorized", id="a key that isn't known yet"),
    pytest.param("200 OK", id="a page to log in at"),
]


@pytest.mark.parametrize("status", PASSING)
def test_a_batch_is_sent_again_until_it_is_answered(
    live: Faulty, tracker_for: Callable[..., Tracker], status: str
) -> None:
    live.answers += [(status, "<p>no</p>")] * 3
    tracker = tracker_for()
    track(tracker, 5)
    assert tracker.flush(30)
    assert (live.posts, tracker.delivered, live.stored) == (4, 5, items(5))


def test_a_batch_whose_answer_was_lost_is_stored_once(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    live.faults += ["lost answer"]
    tracker = tracker_for()
    track(tracker, 20)
    assert tracker.flush(30)
    assert (live.posts, live.stored) == (2, items(20))


def test_a_retry_after_is_waited_for(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    live.faults += ["busy"]  # it says one second
    tracker = tracker_for()
    started = time.monotonic()
    track(tracker, 1)
    assert tracker.flush(30)
    assert time.monotonic() - started >= 1


def test_a_batch_that_is_too_large_is_sent_in_halves(gateway_for: Callable[..., Gateway], tmp_path: Path) -> None:
    live = Faulty(gateway_for(max_batch_events=10), tmp_path)
    with Tracker("shop", url=live.url) as tracker:
        track(tracker, 65)
        assert tracker.flush(30)
        assert (tracker.delivered, tracker.refused, live.stored) == (65, 0, items(65))
    live.stop()


def test_a_batch_is_bounded_in_bytes(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for(batch_bytes=1000, batch_events=50)
    for number in range(9):
        tracker.track("view", id=f"i{number}", text="x" * 400)
    assert tracker.flush(30)
    assert (live.posts, live.stored) == (9, items(9))


def test_an_event_that_is_refused_is_counted_and_said_and_costs_the_others_nothing(
    live: Faulty, tracker_for: Callable[..., Tracker], caplog: pytest.LogCaptureFixture
) -> None:
    tracker = tracker_for()
    track(tracker, 2)
    tracker.track("view", id="bad", insert_id="with spaces")
    assert tracker.flush(30)
    assert (tracker.delivered, tracker.refused, live.stored) == (2, 1, items(2))
    assert "1 events were refused; the first: insert_id: an insert_id has 1 to 64" in caplog.text


def test_tracking_never_waits_for_the_network(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    live.gate.clear()
    tracker = tracker_for(batch_events=10)
    track(tracker, 500)  # it would take a minute if any of it waited
    assert not tracker.flush(0.05)
    assert tracker.pending == 500
    live.gate.set()
    assert tracker.flush(30)
    assert live.stored == items(500)


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_a_full_queue_drops_the_oldest_and_tells_how_many(
    live: Faulty, tracker_for: Callable[..., Tracker], tmp_path: Path, on_disk: bool
) -> None:
    live.away = True
    tracker = tracker_for(max_queue=50, batch_events=5, **({"folder": tmp_path / "queue"} if on_disk else {}))
    track(tracker, 5)
    wait_for(lambda: live.posts > 0, "the first batch to be under way")
    track(tracker, 120)
    assert (tracker.pending, tracker.dropped) == (50, 75)
    live.away = False
    assert tracker.flush(30)
    # The batch that was under way is kept, and the last 45.
    stored = live.stored
    told = stored.pop("$dropped")
    assert stored == Counter([f"i{n}" for n in range(5)] + [f"i{n}" for n in range(75, 120)])
    # What an attempt tells stays the same until it is delivered, so what is dropped later is told by the next batch.
    notes = [one for one in live.gateway.documents() if one["event"] == "$dropped"]
    assert (sum(one["dropped"] for one in notes), {one["app"] for one in notes}) == (75, {"shop"})
    track(tracker, 1)
    assert tracker.flush(30)
    assert live.stored["$dropped"] == told


def test_many_threads_track_at_once(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for(batch_events=7)

    def work(number: int) -> None:
        for event in range(50):
            tracker.track("view", id=f"t{number}-{event}")
        assert tracker.flush(60)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert live.stored == {f"t{number}-{event}": 1 for number in range(8) for event in range(50)}


def test_a_gateway_that_is_killed_and_starts_again_gets_every_event_once(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    settings = replace(engine_settings, index_prefix=f"k{uuid.uuid4().hex[:10]}")
    running = Server(settings, tmp_path / "home")
    try:
        running.start("serve", "drain")
        running.wait_until_ready()
        with Tracker("killed", url=running.url, batch_events=20, timeout_s=20) as tracker:
            track(tracker, 200)
            wait_for(lambda: tracker.delivered > 0, "the first batch to be delivered")
            running.kill("serve")
            track(tracker, 100)  # the same items once more
            assert not tracker.flush(0.3)
            running.start("serve")
            assert tracker.flush(90)
            assert (tracker.delivered, tracker.dropped) == (300, 0)
        retriever = Retriever("killed", url=running.url)
        wait_for(lambda: retriever.events() == [{"name": "view", "count": 300}], "all 300 to be found", 60)
    finally:
        running.stop()
        remove_indices(elasticsearch, settings)


# --- Synchronous -----------------------------------------------------------------------------------------------------


def test_a_synchronous_tracker_returns_once_the_event_is_on_disk(
    live: Faulty, tracker_for: Callable[..., Tracker]
) -> None:
    live.answers += [("503 Busy", ""), ("500 Oh", "")]
    tracker = tracker_for(sync=True)
    tracker.track("view", id="i0")
    assert (tracker.delivered, live.posts, live.stored) == (1, 3, items(1))


def test_a_synchronous_tracker_raises_what_went_wrong(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for(sync=True, patience_s=0.2)
    with pytest.raises(Refused, match="insert_id: an insert_id has 1 to 64"):
        tracker.track("view", insert_id="with spaces")
    live.answers += [("401 Unauthorized", '{"error": {"message": "this gateway asks for a key"}}')]
    with pytest.raises(BadKey, match="asks for a key"):
        tracker.track("view")
    live.away = True
    with pytest.raises(StoreUnavailable, match="HTTP 503; the event wasn't stored"):
        tracker.track("view")
    with pytest.raises(StoreUnavailable, match="no gateway answers"):
        Tracker(port=free_port(), sync=True, patience_s=0.05).track("view")
    live.away = False
    assert live.stored == {}


def test_a_key_says_who_tracks(gateway_for: Callable[..., Gateway], tmp_path: Path) -> None:
    kept = Kept(gateway_for(open="no"))
    live = Live(kept.gateway, tmp_path)
    _, token = kept.make()
    with pytest.raises(BadKey):
        Tracker(url=live.url, sync=True).track("view")
    Tracker(url=live.url, sync=True, key=token).track("view")
    Tracker(url=live.url, sync=True, username="anybody", password=token).track("view")
    assert len(kept.gateway.documents()) == 2
    live.stop()
    kept.gateway.app.extensions["gate"].rates.close()


# --- The ends of a process -------------------------------------------------------------------------------------------


def run(program: str, live: Live, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that has `url` and `arguments`, with nothing but the client on its path."""
    head = "import os, sys, time, logging\nfrom metronome.client import Tracker\nurl, *arguments = sys.argv[1:]\n"
    return subprocess.run(
        [sys.executable, "-S", "-c", head + program, live.url, *map(str, arguments)],
        env={"PYTHONPATH": str(ROOT / "clients/python"), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_what_waits_at_the_end_of_a_process_is_sent(live: Faulty) -> None:
    ended = run("t = Tracker(url=url)\nfor n in range(30): t.track('view', id=f'i{n}')", live)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert live.stored == items(30)


def test_a_process_ends_though_the_gateway_does_not_answer_and_says_what_was_lost(live: Faulty) -> None:
    live.away = True
    started = time.monotonic()
    ended = run("t = Tracker(url=url, exit_s=0.3)\nt.track('view')", live)
    assert time.monotonic() - started < 60
    assert ended.returncode == 0
    assert "1 events weren't delivered" in ended.stderr


def test_a_forked_child_sends_its_own_events_and_the_parent_its_own(live: Faulty) -> None:
    program = """
t = Tracker(url=url, interval_s=60)
for n in range(3): t.track('view', id=f'parent{n}')
for child in range(2):
    if not os.fork():
        for n in range(3): t.track('view', id=f'child{child}-{n}')
        assert (t.pending, t.delivered) == (3, 0)
        os._exit(0 if t.flush(60) else 1)
assert [os.wait()[1] for _ in range(2)] == [0, 0]
assert t.pending == 3
"""
    ended = run(program, live)
    assert (ended.returncode, ended.stderr) == (0, "")
    expected = [f"parent{n}" for n in range(3)] + [f"child{c}-{n}" for c in range(2) for n in range(3)]
    assert live.stored == Counter(expected)


def test_a_disk_queue_outlives_the_process(live: Faulty, tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    live.away = True
    program = """
t = Tracker(url=url, folder=arguments[0], exit_s=0)
for n in range(int(arguments[1]), int(arguments[2])): t.track('view', id=f'i{n}')
if arguments[3:]: os._exit(9)
"""
    for first, last, *more in ((0, 40), (40, 70, "killed")):
        run(program, live, folder, first, last, *more)
    assert len(list(folder.glob("*.queue"))) >= 1
    live.away = False
    ended = run("t = Tracker(url=url, folder=arguments[0])\nassert t.flush(60)\nprint(t.delivered)", live, folder)
    assert (ended.stdout, ended.stderr) == ("70\n", "")
    assert live.stored == items(70)
    assert run("print(Tracker(url=url, folder=arguments[0]).pending)", live, folder).stdout == "0\n"


def test_a_disk_queue_of_a_living_process_is_its_own(
    live: Faulty, tracker_for: Callable[..., Tracker], tmp_path: Path
) -> None:
    live.away = True
    first = tracker_for(folder=tmp_path / "queue")
    track(first, 3)
    second = tracker_for(folder=tmp_path / "queue")
    assert (first.pending, second.pending) == (3, 0)
    live.away = False
    assert first.flush(30)
    assert first.close(30) and second.close(30)
    assert list((tmp_path / "queue").iterdir()) == []


def test_a_closed_tracker_takes_nothing(tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for()
    assert tracker.close(30)
    with pytest.raises(ValueError, match="the tracker is closed"):
        tracker.track("view")


def test_what_json_does_not_have_is_told_at_once(tracker_for: Callable[..., Tracker]) -> None:
    tracker = tracker_for()
    with pytest.raises(ValueError, match="not JSON compliant"):
        tracker.track("view", price=float("nan"))
    assert tracker.pending == 0


def test_an_insert_id_holds_its_day() -> None:
    minted = [uuid.UUID(tracking.new_id()) for _ in range(1000)]
    assert {(one.version, one.variant) for one in minted} == {(7, uuid.RFC_4122)}
    assert len(set(minted)) == 1000
    assert abs((minted[0].int >> 80) / 1000 - time.time()) < 60


def test_the_clients_log_is_quiet_where_all_is_well(
    live: Faulty, tracker_for: Callable[..., Tracker], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "metronome.client"):
        tracker = tracker_for()
        track(tracker, 3)
        assert tracker.flush(30)
    assert [record for record in caplog.records if record.name == "metronome.client"] == []


def test_a_full_disk_costs_the_event_and_not_the_program(
    live: Faulty, tracker_for: Callable[..., Tracker], tmp_path: Path
) -> None:
    tracker = tracker_for(folder=tmp_path / "queue")
    queue: Any = tracker._queue
    queue._file.execute("PRAGMA query_only = ON")  # what SQLite raises then is what it raises where the disk is full
    track(tracker, 2)
    assert (tracker.pending, tracker.dropped) == (0, 2)
    queue._file.execute("PRAGMA query_only = OFF")
    tracker.track("view", id="later")
    assert tracker.flush(30)
    assert live.stored == {"later": 1, "$dropped": 1}


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="'app' isn't an option of a gateway; there are url, key"):
        Tracker(app="shop")


def test_a_flush_does_not_outlast_the_tracker(live: Faulty, tracker_for: Callable[..., Tracker]) -> None:
    live.away = True
    tracker = tracker_for()
    track(tracker, 1)
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(tracker.flush()))
    waiting.start()
    wait_for(lambda: live.posts > 0, "the flush to begin")
    assert not tracker.close(0)
    waiting.join(30)
    assert (found, tracker.flush()) == ([False], False)
