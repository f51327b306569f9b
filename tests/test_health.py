"""What watches a gateway reads: alive, ready, figures."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from conftest import Gateway, wait_for

from metronome import __version__
from metronome.drain.drain import Drain
from metronome.errors import SpoolFull
from metronome.metrics import Metrics
from metronome.spool.quarantine import Quarantine, Refusal
from metronome.store.client import connect
from metronome.web.app import Opened, create_app


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
            "elasticsearch": "Elasticsearch doesn't answer (ConnectionError)",
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
    quarantine.add([Refusal(b'{"create":{"_index":"x","_id":"1"}}', b"{}", 400, "odd", "x")])
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
        "metronome_spool_append_seconds_count": 2,
        "metronome_spool_requests": 2,
        "metronome_spool_events": 3,
        "metronome_drain_running": 0,
        "metronome_quarantine_events": 0,
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


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_asking_costs_little_however_much_waits(gateway: Gateway, path: str) -> None:
    import time

    for _ in range(20):
        gateway.spool._write([(0, 1, 0, os.urandom(64))] * 10_000)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        gateway.http.get(path)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05
