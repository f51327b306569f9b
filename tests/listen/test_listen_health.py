"""Whether `metronome listen` runs is told by readyz, figures and doctor, where its ports are wanted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from conftest import Gateway, wait_for
from listening import Listening

from metronome.doctor import Finding, _listen
from metronome.spool.status import listen_runs


def told(gateway: Gateway) -> Any:
    return gateway.http.get("/readyz").json.get("listen")  # type: ignore[union-attr]


def figure(gateway: Gateway) -> list[str]:
    return [line for line in gateway.http.get("/metrics").text.splitlines() if line.startswith("metronome_listen_runn")]


def test_a_listen_process_is_known_to_run_until_it_ends(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(forward_bind="127.0.0.1:1")
    missing = Finding("listen", False, "nothing listens at 127.0.0.1:1; start `metronome up` or `metronome listen`")
    assert (told(gateway), figure(gateway)) == ({"running": False}, ["metronome_listen_running 0.0"])
    assert _listen(gateway.settings) == missing

    listening = Listening(gateway)
    listening.start()
    try:
        wait_for(lambda: told(gateway) == {"running": True}, "it to be known")
        assert figure(gateway) == ["metronome_listen_running 1.0"]
        assert _listen(gateway.settings) == Finding("listen", True, "running, at 127.0.0.1:1")
    finally:
        assert listening.process is not None
        listening.process.send_signal(signal.SIGTERM)
        listening.process.wait(30)
    assert (told(gateway), figure(gateway)) == ({"running": False}, ["metronome_listen_running 0.0"])
    assert _listen(gateway.settings) == missing


def test_one_that_was_killed_is_missed_once_it_is_silent(gateway: Gateway, monkeypatch: Any) -> None:
    monkeypatch.setattr("metronome.spool.status.SILENT_S", 2)
    listening = Listening(gateway)
    listening.start()
    wait_for(lambda: listen_runs(gateway.settings.spool_dir), "it to be known")
    listening.kill()
    wait_for(lambda: not listen_runs(gateway.settings.spool_dir), "it to be missed")


def test_where_no_port_is_wanted_nothing_is_said(gateway: Gateway) -> None:
    assert (told(gateway), figure(gateway)) == (None, [])
