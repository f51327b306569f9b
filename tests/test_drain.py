"""The drain between real spools and the real Elasticsearch: everything arrives once, whatever dies or is away meanwhile."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from conftest import free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from proxy import Proxy, applied_but_cut, passed, refused, refused_items

from metronome.drain import drain as drain_module
from metronome.drain.drain import Drain
from metronome.drain.sender import Outcome
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.files import spool_files
from metronome.spool.quarantine import Quarantine
from metronome.spool.spool import Spool
from metronome.spool.status import backlog, drain_status
from metronome.store import names
from metronome.store.client import connect


class Yard:
    """A spool folder and drains for it, behind a proxy that isn't started yet."""

    def __init__(self, settings: Settings, elasticsearch: Elasticsearch, proxy: Proxy) -> None:
        self.settings = settings
        self.elasticsearch = elasticsearch
        self.proxy = proxy
        self.folder = settings.spool_dir
        self.running: list[tuple[Drain, threading.Thread]] = []

    def body(self, *names: str) -> bytes:
        index = f"{self.settings.index_prefix}-2026.11.22"
        lines = b""
        for name in names:
            lines += b'{"create":{"_index":"%b","_id":"%b"}}\n' % (index.encode(), name.encode())
            lines += json.dumps({"@timestamp": "2026-11-22T09:30:00.000Z", "id": name}).encode() + b"\n"
        return lines

    def drain(self, *, timeout_s: float = 2) -> Drain:
        """A drain at work in a thread of this process."""
        found = Drain(self.settings, connect(self.settings, timeout_s=timeout_s), Metrics())
        thread = threading.Thread(target=found.run)
        thread.start()
        self.running.append((found, thread))
        return found

    def stop(self) -> None:
        for drain, _ in self.running:
            drain.stop()
        for drain, thread in self.running:
            thread.join(20)
            drain._client.close()
        self.running.clear()

    def arrive(self, names: list[str]) -> None:
        """Wait until the spools are empty, and compare what is stored."""
        wait_for(lambda: backlog(self.folder).requests == 0, "the spools to be empty")
        assert self.stored() == sorted(names)

    def stored(self) -> list[str]:
        pattern = names.pattern(self.settings)
        self.elasticsearch.indices.refresh(index=pattern, allow_no_indices=True)
        # An index that is being made answers 503 for a moment.
        client = self.elasticsearch.options(ignore_status=503)
        found = client.search(index=pattern, size=5000, allow_no_indices=True).body
        return sorted(hit["_id"] for hit in found["hits"]["hits"]) if "hits" in found else []


@pytest.fixture
def yard(settings: Settings, engine_settings: Settings, elasticsearch: Elasticsearch) -> Iterator[Yard]:
    proxy = Proxy(engine_settings.elasticsearch_url, free_port())
    behind = replace(
        settings,
        elasticsearch_url=proxy.url,
        elasticsearch_username=engine_settings.elasticsearch_username,
        elasticsearch_password=engine_settings.elasticsearch_password,
        drain_bulk_bytes=2000,
    )
    found = Yard(behind, elasticsearch, proxy)
    yield found
    found.stop()
    proxy.stop()
    remove_indices(elasticsearch, behind)


@pytest.fixture
def spool(yard: Yard) -> Iterator[Spool]:
    found = Spool(yard.folder)
    yield found
    found.close()


def test_everything_arrives_once_it_is_there_though_elasticsearch_was_away_at_the_start(
    yard: Yard, spool: Spool
) -> None:
    names = [f"n{number}" for number in range(50)]
    yard.drain()
    for name in names:
        spool.append(yard.body(name), 1)
    wait_for(lambda: drain_status(yard.folder)["trouble"], "the trouble to be told")
    assert drain_status(yard.folder)["running"] is True
    assert backlog(yard.folder).events == 50

    yard.proxy.start()

    yard.arrive(names)
    wait_for(lambda: not drain_status(yard.folder)["trouble"], "the trouble to be over")


def test_everything_arrives_once_though_elasticsearch_goes_and_comes(yard: Yard, spool: Spool) -> None:
    yard.proxy.start()
    drain = yard.drain()
    names = []
    for round_ in range(3):
        for number in range(40):
            names.append(f"n{round_}.{number}")
            spool.append(yard.body(names[-1]), 1)
            if number == 20:
                yard.proxy.stop()
        yard.proxy.start()
    yard.arrive(names)
    assert drain.outcome.indexed + drain.outcome.duplicate == 120


def test_the_sum_of_outcomes_is_what_was_spooled_though_every_second_request_fails(yard: Yard, spool: Spool) -> None:
    names = [f"n{number}" for number in range(200)]
    for name in names:
        spool.append(yard.body(name), 1)
    yard.proxy.faults.extend([refused(429), passed(), applied_but_cut(reset=True), passed(), refused(503)] * 5)
    yard.proxy.start()
    drain = yard.drain()

    yard.arrive(names)
    yard.stop()
    assert drain.outcome.indexed + drain.outcome.duplicate == 200
    assert drain.outcome.duplicate > 0


def test_many_slots_are_emptied_and_so_is_one_that_appears_later(yard: Yard) -> None:
    yard.proxy.start()
    yard.drain()
    spools = [Spool(yard.folder) for _ in range(3)]
    for number, spool in enumerate(spools):
        spool.append(yard.body(f"a{number}"), 1)
    yard.arrive(["a0", "a1", "a2"])
    spools.append(Spool(yard.folder, role="replay"))
    spools[-1].append(yard.body("late"), 1)
    wait_for(lambda: backlog(yard.folder).requests == 0, "the late one")

    assert yard.stored() == ["a0", "a1", "a2", "late"]
    for spool in spools:
        spool.close()


def test_files_left_behind_are_shipped_and_removed_and_the_newest_stays(yard: Yard, spool: Spool) -> None:
    for name in ("a", "b", "c"):
        spool.append(yard.body(name), 1)
        spool._leave()
    spool.append(yard.body("d"), 1)
    yard.proxy.start()
    yard.drain()

    yard.arrive(["a", "b", "c", "d"])
    wait_for(lambda: len(spool_files(yard.folder)) == 1, "the old files to go")
    assert sorted(path.name for path in yard.folder.glob("web-0.*db*")) == [
        "web-0.4.db",
        "web-0.4.db-shm",
        "web-0.4.db-wal",
    ]
    spool.append(yard.body("e"), 1)
    yard.arrive(["a", "b", "c", "d", "e"])


def test_a_damaged_row_is_set_aside_and_the_others_are_shipped(yard: Yard, spool: Spool) -> None:
    for name in "abcde":
        spool.append(yard.body(name), 1)
    spool.close()
    path = yard.folder / "web-0.1.db"
    path.write_bytes(path.read_bytes().replace(b'"id": "c"', b'"id": "C"'))
    yard.proxy.start()
    yard.drain()

    yard.arrive(["a", "b", "d", "e"])
    yard.stop()
    quarantine = Quarantine(yard.folder)
    (row,) = quarantine.list()
    quarantine.close()
    assert (row.id, row.kind, row.source) == (
        "web-0.1.db#3",
        "damaged",
        yard.body("c").replace(b'"id": "c"', b'"id": "C"'),
    )
    assert row.reason == "the checksum of a spooled request of 1 events doesn't hold"


def test_a_file_whose_first_page_is_damaged_under_its_writer_costs_no_event(yard: Yard, spool: Spool) -> None:
    for name in "abc":
        spool.append(yard.body(name), 1)
    assert spool._db is not None
    spool._db.execute("pragma wal_checkpoint(truncate)")
    with (yard.folder / "web-0.1.db").open("r+b") as file:
        file.write(b"damaged!" * 12)
    yard.proxy.start()
    drain = yard.drain()

    wait_for(lambda: yard.stored() == ["a", "b", "c"], "what was in it")
    wait_for(lambda: list(yard.folder.glob("web-0.1.db.damaged-*")), "the file to be kept aside")
    spool.append(yard.body("d"), 1)
    yard.arrive(["a", "b", "c", "d"])
    yard.stop()
    assert drain.outcome.quarantined == 0


def test_heads_of_rows_that_are_damaged_in_whatever_way_stop_nothing(yard: Yard, spool: Spool) -> None:
    for name in "abcdef":
        spool.append(yard.body(name), 1)
    spool.close()
    path = yard.folder / "web-0.1.db"
    image = bytearray(path.read_bytes())
    for name in (b"b", b"d"):
        # The last byte before a body is the type of its value: blob becomes text; with the high bit it is nonsense.
        at = image.index(b'"_id":"%b"' % name)
        at = image.rindex(b'{"create"', 0, at)
        image[at - 4 if name == b"d" else at - 8] ^= 0x41
    path.write_bytes(image)
    yard.proxy.start()
    drain = yard.drain()

    wait_for(lambda: {"a", "c", "e", "f"} <= set(yard.stored()), "the others")
    wait_for(lambda: backlog(yard.folder).requests == 0, "the spools to be empty")
    yard.stop()
    quarantine = Quarantine(yard.folder)
    damaged = [row.kind for row in quarantine.list()]
    quarantine.close()
    assert len(yard.stored()) + len(damaged) >= 6
    assert set(damaged) <= {"damaged"}
    (total,) = [
        value for (name, _), value in drain._metrics.totals().items() if name == "metronome_spool_damaged_total"
    ]
    assert total == len(damaged)


def test_a_clock_that_is_set_back_does_not_freeze_what_the_drain_says_of_itself(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.proxy.start()
    yard.drain()
    wait_for(lambda: drain_status(yard.folder)["running"], "the drain")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)

    wait_for(lambda: drain_status(yard.folder)["at"] < now() - 80_000, "its word after the change", 10)
    assert drain_status(yard.folder)["running"] is True
    monkeypatch.undo()
    assert drain_status(yard.folder)["running"] is True


SAID = [
    pytest.param(0, True, id="just now"),
    pytest.param(-9, True, id="a moment ago"),
    pytest.param(-11, False, id="too long ago"),
    pytest.param(3600, False, id="by a clock that has started anew since: before the host was"),
]


@pytest.mark.parametrize(("when_s", "running"), SAID)
def test_a_drain_runs_if_it_was_heard_of_lately(yard: Yard, when_s: float, running: bool) -> None:
    yard.folder.mkdir(parents=True)
    said = {"at": 0, "monotonic": time.monotonic() + when_s, "pid": 1, "running": True, "trouble": ""}
    (yard.folder / "drain.json").write_text(json.dumps(said))
    assert drain_status(yard.folder) == {**said, "running": running}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"running": true}', '{"running": true, "monotonic": "x"}'])
def test_what_is_no_word_of_a_drain_is_taken_for_none(yard: Yard, text: str) -> None:
    yard.folder.mkdir(parents=True)
    (yard.folder / "drain.json").write_text(text)
    assert drain_status(yard.folder) == {"running": False, "trouble": "no drain has run here"}


def test_a_file_that_is_no_spool_holds_up_no_other(yard: Yard, spool: Spool) -> None:
    (yard.folder / "web-9.1.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    spool.append(yard.body("a"), 1)
    yard.proxy.start()
    yard.drain()

    wait_for(lambda: yard.stored() == ["a"], "the good file's row")


def test_of_two_drains_one_ships_and_the_other_takes_over_when_it_is_gone(yard: Yard, spool: Spool) -> None:
    yard.proxy.start()
    first = yard.drain()
    wait_for(lambda: drain_status(yard.folder)["running"], "the first")
    second = yard.drain()
    for number in range(20):
        spool.append(yard.body(f"a{number}"), 1)
    wait_for(lambda: backlog(yard.folder).requests == 0, "the first to ship")
    assert (first.outcome.indexed, second.outcome) == (20, Outcome())

    first.stop()
    spool.append(yard.body("b"), 1)
    wait_for(lambda: second.outcome.indexed == 1, "the second to ship")
    assert len(yard.stored()) == 21


def test_a_drain_that_waits_for_another_ends_when_it_is_stopped(yard: Yard) -> None:
    yard.proxy.start()
    yard.drain()
    wait_for(lambda: drain_status(yard.folder)["running"], "the first")
    second = yard.drain()
    second.stop()
    yard.running[1][1].join(5)

    assert not yard.running[1][1].is_alive()
    assert drain_status(yard.folder)["running"], "the first one's status is its own"


def test_a_drain_that_is_stopped_while_elasticsearch_is_away_ends_at_once_and_keeps_all(
    yard: Yard, spool: Spool
) -> None:
    yard.proxy.start()
    spool.append(yard.body("a"), 1)
    yard.proxy.faults.extend([refused(503)] * 1000)
    drain = yard.drain()
    wait_for(lambda: len(yard.proxy.bulks) > 2, "some tries")
    drain.stop()
    yard.running[0][1].join(5)

    assert not yard.running[0][1].is_alive()
    assert backlog(yard.folder).requests == 1
    assert drain_status(yard.folder)["running"] is False


def test_what_nobody_foresaw_is_tried_again_and_stops_nothing(
    yard: Yard, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "REST_S", 0.2)
    yard.proxy.start()
    drain = Drain(yard.settings, connect(yard.settings), Metrics())
    ship = drain._sender.ship
    broken = ["a bug"]

    def failing(body: bytes, events: int, since_ms: int) -> Outcome:
        if broken and b'"a"' in body:
            raise KeyError(broken.pop())
        return ship(body, events, since_ms)

    drain._sender.ship = failing  # type: ignore[method-assign]
    for name in "ab":
        spool.append(yard.body(name), 1)
    drain.run(until_empty=True)
    drain._client.close()

    assert yard.stored() == ["a", "b"]
    assert backlog(yard.folder).requests == 0


def test_rows_whose_deletion_was_not_written_are_duplicates_the_next_time(yard: Yard, spool: Spool) -> None:
    for name in "abc":
        spool.append(yard.body(name), 1)
    yard.proxy.start()
    crashed = Drain(yard.settings, connect(yard.settings), Metrics())
    crashed._delete_settled = lambda *, at_least: crashed._note_shipped()  # type: ignore[method-assign]
    crashed.run(until_empty=True)
    crashed._client.close()
    assert backlog(yard.folder).requests == 3

    after = yard.drain()
    yard.arrive(["a", "b", "c"])
    assert after.outcome == Outcome(duplicate=3)


def test_a_request_that_waits_does_not_hold_up_the_other_sender(yard: Yard, spool: Spool) -> None:
    yard.proxy.faults.extend([refused_items(503, "unavailable_shards_exception", "a")] * 3)
    yard.proxy.start()
    for name in "abcdef":
        spool.append(yard.body(name) + yard.body(name * 20), 2)
    yard.drain()

    wait_for(lambda: len(yard.stored()) >= 11, "all but one")
    yard.arrive(sorted([*"abcdef", *(name * 20 for name in "abcdef")]))


def test_memory_is_bounded_by_the_bulk_size_however_much_waits(
    yard: Yard, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.settings = replace(yard.settings, drain_bulk_bytes=500_000)
    for number in range(400):
        spool.append(yard.body(f"n{number}")[:-2] + b',"text":"%b"}\n' % (b"x" * 100_000), 1)
    yard.proxy.faults.extend([refused(503)] * 10_000)
    yard.proxy.start()
    tracemalloc.start()
    yard.drain()
    wait_for(lambda: len(yard.proxy.bulks) > 4, "some tries")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Two senders; a body is held as rows, joined, as sent and (here, by the proxy) as received.
    assert peak < 12 * 500_000
    yard.proxy.faults.clear()
