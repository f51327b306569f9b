"""What watches a gateway reads: alive, ready, figures."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from conftest import Gateway, Server, free_port, wait_for
from proxy import ELASTIC, Proxy, error

from metronome import __version__
from metronome.drain.drain import Drain
from metronome.errors import SpoolFull
from metronome.metrics import Metrics
from metronome.spool import suppressed
from metronome.spool.files import spool_files
from metronome.spool.quarantine import Quarantine, Rejection
from metronome.spool.status import write_drain_status
from metronome.spool.suppressed import Suppression
from metronome.store.client import connect
from metronome.web.app import Opened, create_app
from metronome.web.ledger import COVERS


def readyz(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    response = gateway.http.get("/readyz")
    state = response.json
    assert state is not None
    # Other tests' indices may lack their copies.
    state["elasticsearch"] = state["elasticsearch"].replace("yellow", "green")
    return response.status_code, state


def figures(gateway: Gateway) -> dict[str, float]:
    """`name{labels}` to value, of our own series."""
    text = gateway.http.get("/metrics").text
    rows = re.findall(r"^(metronome_[^ ]+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in rows if "_created" not in name and "_bucket" not in name}


def test_a_gateway_is_alive_whatever_else_is_down(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for()
    gateway.spool.failing = True
    response = gateway.http.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "alive", "version": __version__})


WELL = {
    "status": "ready",
    "spool": {"writable": True, "requests": 0, "events": 0, "lag_s": 0.0},
    "elasticsearch": "green",
    "drain": {"running": True, "trouble": ""},
    "quarantined": 0,
}


def test_with_a_drain_at_work_all_is_ready(gateway: Gateway) -> None:
    import threading

    drain = Drain(gateway.settings, gateway.elasticsearch, Metrics())
    thread = threading.Thread(target=drain.run)
    thread.start()
    gateway.accepted({"id": "a"})
    found = wait_for(lambda: readyz(gateway) == (200, WELL) and readyz(gateway), "the whole state to be well")
    drain.stop()
    thread.join(10)

    assert found == (200, WELL)
    assert readyz(gateway) == (200, {**WELL, "status": "degraded", "drain": {"running": False, "trouble": ""}})


def test_without_a_drain_it_is_degraded_and_ticks_are_still_taken(gateway: Gateway) -> None:
    gateway.accepted([{"id": "a"}, {"id": "b"}])
    status, state = readyz(gateway)

    assert 0 <= state["spool"].pop("lag_s") < 30
    assert (status, state) == (
        200,
        {
            "status": "degraded",
            "spool": {"writable": True, "requests": 1, "events": 2},
            "elasticsearch": "green",
            "drain": {"running": False, "trouble": "no drain has run here"},
            "quarantined": 0,
        },
    )


def test_while_elasticsearch_is_away_it_is_degraded_and_says_so(gateway: Gateway) -> None:
    gateway.drain()
    away = connect(replace(gateway.settings, elasticsearch_url="http://127.0.0.1:1"))
    gateway.http = create_app(gateway.settings, Opened(gateway.spool, away)).test_client()

    assert readyz(gateway) == (
        200,
        {
            **WELL,
            "status": "degraded",
            "elasticsearch": "Elasticsearch doesn't answer",
            "drain": {"running": False, "trouble": ""},
        },
    )
    away.close()


def test_while_the_spool_refuses_it_is_unready_and_heals_without_traffic(gateway: Gateway) -> None:
    gateway.drain()
    probe = gateway.spool._probe

    def full() -> None:
        raise SpoolFull("still full")

    gateway.spool.failing = True
    gateway.spool._probe = full  # type: ignore[method-assign]
    status, state = readyz(gateway)
    assert (status, state["status"], state["spool"]["writable"]) == (503, "unready", False)

    gateway.spool._probe = probe  # type: ignore[method-assign]
    status, state = readyz(gateway)
    assert (status, state["status"], state["spool"]["writable"]) == (200, "degraded", True)


def test_what_is_in_quarantine_is_counted(gateway: Gateway) -> None:
    quarantine = Quarantine(gateway.settings.spool_dir)
    quarantine.add([Rejection(b'{"create":{"_index":"x","_id":"1"}}', b"{}", 400, "odd", "x")])
    quarantine.close()

    assert readyz(gateway)[1]["quarantined"] == 1
    assert figures(gateway)["metronome_quarantine_events"] == 1


def test_the_figures_are_those_of_what_happened(gateway: Gateway) -> None:
    gateway.accepted([{"id": "a", "insert_id": "x"}, {"id": "a", "insert_id": "x"}, {"id": "b"}])
    gateway.tick([{"id": "c"}, {"id": "d", "insert_id": "not an id"}, 7])
    gateway.http.get("/nowhere")
    waiting = figures(gateway)
    gateway.drain()
    drained = figures(gateway)

    expected = {
        'metronome_events_accepted_total{dialect="tick"}': 3,
        'metronome_events_duplicate_total{dialect="tick"}': 1,
        'metronome_events_refused_total{dialect="tick",field="insert_id"}': 1,
        'metronome_events_refused_total{dialect="tick",field="other"}': 1,
        'metronome_http_requests_total{route="/tick",status="202"}': 2,
        'metronome_http_requests_total{route="none",status="404"}': 1,
        'metronome_http_request_seconds_count{route="/tick"}': 2,
        'metronome_events_set_aside_total{dialect="tick"}': 2,
        'metronome_spool_append_seconds_count{dialect="tick"}': 2,
        "metronome_spool_requests": 2,
        "metronome_spool_events": 3,
        "metronome_drain_running": 0,
        "metronome_quarantine_events": 2,
    }
    assert {name: waiting[name] for name in expected} == expected
    assert 0 < waiting["metronome_spool_age_seconds"] < 30
    expected = {
        'metronome_bulk_items_total{outcome="indexed"}': 3,
        'metronome_bulk_requests_total{outcome="answered"}': 1,
        "metronome_bulk_request_seconds_count": 1,
        "metronome_spool_requests": 0,
        "metronome_spool_events": 0,
        "metronome_spool_age_seconds": 0,
    }
    assert {name: drained[name] for name in expected} == expected


def ship(gateway: Gateway) -> None:
    """What a drain of its own process does: its figures are its own, and published."""
    Drain(gateway.settings, gateway.elasticsearch, Metrics()).run(until_empty=True)


@pytest.fixture
def published(gateway: Gateway) -> Iterator[Gateway]:
    gateway.metrics.publish(gateway.settings.metrics_dir / "0")
    yield gateway
    gateway.metrics.close()


def test_the_ledger_says_what_became_of_each_accepted_event(published: Gateway) -> None:
    gateway = published
    gateway.accepted([{"id": "a", "insert_id": "x"}, {"id": "a", "insert_id": "x"}, {"id": "b"}])
    gateway.tick([{"id": "c"}, {"id": "d", "insert_id": "not an id"}, 7])
    nothing = {"indexed": 0, "duplicate": 0, "quarantined": 0, "suppressed": 0, "damaged_requests": 0, "difference": 0}
    beside = {"refused": 2, "refused_but_kept": 2, "repeated_in_their_request": 1, "in_quarantine": 2, "covers": COVERS}
    assert gateway.http.get("/ledger").json == {**nothing, **beside, "accepted": 3, "waiting": 3}

    ship(gateway)
    gateway.accepted({"id": "a", "insert_id": "x", "ts": datetime.now(UTC).isoformat()})  # again
    ship(gateway)
    gateway.accepted([{"id": "e"}, {"id": "f"}])
    stored = {"accepted": 6, "indexed": 3, "duplicate": 1, "waiting": 2}
    assert gateway.http.get("/ledger").json == {**nothing, **beside, **stored}


def test_the_ledger_holds_with_events_that_were_refused_damaged_or_an_erased_persons(published: Gateway) -> None:
    gateway = published
    for events in ([{"id": "a", "distinct_id": "ann"}, {"id": "b"}], [{"id": "c"}, {"id": "d"}, {"id": "e"}]):
        gateway.accepted(events)
    key = Suppression(b"k" * 16)
    suppressed.write(gateway.settings.spool_dir, replace(key, hashes=frozenset({key.hash_of("ann")})))
    (file,) = spool_files(gateway.settings.spool_dir)
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("update request set body = replace(body, 'c', 'x') where events = 3")
    ship(gateway)
    found = gateway.http.get("/ledger").json
    assert found is not None
    left = {name: found[name] for name in ("accepted", "indexed", "suppressed", "waiting", "damaged_requests")}
    assert left == {"accepted": 5, "indexed": 1, "suppressed": 1, "waiting": 0, "damaged_requests": 1}
    assert found["difference"] == 3  # the events of the damaged request


def quarantined(gateway: Gateway, events: int) -> Path:
    """The quarantine's file, with some events in it."""
    quarantine = Quarantine(gateway.settings.spool_dir)
    for number in range(events):
        action = b'{"create":{"_index":"x","_id":"%d"}}' % number
        quarantine.add([Rejection(action, b"{}", 400, "odd", "x")])
    quarantine.close()
    return gateway.settings.spool_dir / "quarantine.db"


def damaged(path: Path) -> None:
    path.write_bytes(b"this is no database, but long enough to be looked at as one" * 100)


def without_a_table(path: Path) -> None:
    path.unlink()
    sqlite3.connect(path).close()
    path.touch()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("ruin", [damaged, without_a_table, a_folder])
def test_a_damaged_quarantine_is_a_fact_and_no_error(gateway: Gateway, ruin: Callable[[Path], None]) -> None:
    gateway.accepted({"id": "a"})
    ruin(quarantined(gateway, 1))
    status, state = readyz(gateway)
    assert (status, state["status"], state["quarantined"]) == (200, "degraded", "unreadable")
    found = figures(gateway)
    assert found["metronome_quarantine_readable"] == 0
    assert "metronome_quarantine_events" not in found
    assert gateway.tick({"id": "b"}).status_code == 202


def test_a_gateway_starts_on_a_damaged_quarantine_and_sees_when_it_is_mended(gateway: Gateway) -> None:
    path = quarantined(gateway, 2)
    whole = path.read_bytes()
    damaged(path)
    gateway.http = create_app(gateway.settings, Opened(gateway.spool, gateway.elasticsearch)).test_client()
    assert readyz(gateway)[1]["quarantined"] == "unreadable"
    path.write_bytes(whole)
    assert readyz(gateway)[1]["quarantined"] == 2
    assert figures(gateway)["metronome_quarantine_readable"] == 1


def test_looking_makes_no_file(gateway: Gateway) -> None:
    for events in (0, 2):
        if events:
            quarantined(gateway, events)
        before = sorted(gateway.settings.spool_dir.iterdir())
        assert readyz(gateway)[1]["quarantined"] == events
        assert figures(gateway)["metronome_quarantine_events"] == events
        assert sorted(gateway.settings.spool_dir.iterdir()) == before


def test_the_count_is_right_while_the_quarantine_is_open_and_written(gateway: Gateway) -> None:
    quarantine = Quarantine(gateway.settings.spool_dir)
    for number in range(3):
        quarantine.add([Rejection(b'{"create":{"_index":"x","_id":"%d"}}' % number, b"{}", 400, "odd", "x")])
        assert readyz(gateway)[1]["quarantined"] == number + 1
    quarantine.close()


def test_no_open_route_repeats_what_elasticsearch_or_the_drain_said_but_the_log_does(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    inside = "shard [logstash-2026.11.22][0] on 10.1.2.3:9300 is away"
    write_drain_status(gateway.settings.spool_dir, running=True, trouble=f"503 {inside}")
    proxy = Proxy(gateway.settings.elasticsearch_url, free_port())
    proxy.answers["/_cluster/health"] = (503, ELASTIC, error(inside))
    proxy.answers[f"/{gateway.settings.index_prefix}-*/_search"] = (503, ELASTIC, error(inside))
    proxy.start()
    client = connect(replace(gateway.settings, elasticsearch_url=proxy.url))
    gateway.http = create_app(gateway.settings, Opened(gateway.spool, client)).test_client()

    status, state = readyz(gateway)
    assert (status, state["elasticsearch"]) == (200, "Elasticsearch can't answer just now")
    assert state["drain"] == {"running": True, "trouble": "the drain can't deliver just now; its log says why"}
    answers = [gateway.http.get(path).text for path in ("/readyz", "/metrics", "/healthz", "/", "/tock/a.json")]
    client.close()
    proxy.stop()
    assert [text for text in answers if "10.1.2.3" in text or "shard" in text or proxy.url in text] == []

    ready = [record for record in caplog.records if record.message == "Elasticsearch doesn't say how it is"]
    assert [inside in getattr(record, "problem", "") for record in ready] == [True]
    asked = [record.message for record in caplog.records if getattr(record, "path", "") == "/tock/a.json"]
    assert asked == [f"Elasticsearch can't answer just now (503 {inside})"]


def test_the_figures_of_now_are_there_once_whichever_worker_is_asked(server: Server) -> None:
    """A worker that ended must leave no figure behind: a `drain_running 0` of its own would set off the alarm."""
    wait_for(lambda: "metronome_drain_running 1.0" in _metrics(server), "the drain to be seen")
    asked = [_metrics(server) for _ in range(20)]
    names = ("drain_running", "spool_requests", "spool_events", "spool_age_seconds", "quarantine_events")
    found = {name: {len(re.findall(rf"^metronome_{name}\b", text, re.MULTILINE)) for text in asked} for name in names}
    assert found == {name: {1} for name in names}
    assert "pid=" not in "".join(asked)


def _metrics(server: Server) -> str:
    with urlopen(f"{server.url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_asking_costs_little_however_much_waits(gateway: Gateway, path: str) -> None:
    for _ in range(20):
        gateway.spool._write([(0, 1, 0, os.urandom(64))] * 10_000)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        gateway.http.get(path)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05
