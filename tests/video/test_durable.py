"""Stretches on disk: whatever happens to the process, each that was open is closed once, near the truth."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import remove_indices, wait_for
from elasticsearch import Elasticsearch
from playing import TOPIC, Gateway, Player
from websockets.exceptions import ConnectionClosed

from metronome.settings import Settings

#: How far from the truth a stretch may end whose process was killed.
NEAR_S = 10


@pytest.fixture
def gateway(
    settings: Settings, engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> Iterator[Gateway]:
    """Not begun yet."""
    running = Gateway(replace(engine_settings, index_prefix=settings.index_prefix), tmp_path / "home", elasticsearch)
    try:
        with ExitStack() as opened:
            running.opened = opened
            yield running
    finally:
        running.stop()
        remove_indices(elasticsearch, running.settings)


def restart(gateway: Gateway) -> None:
    ready = gateway.log("streams").count("streams ready")
    gateway.start("streams")
    wait_for(lambda: gateway.log("streams").count("streams ready") > ready, "the streams process to listen again")


def playing(gateway: Gateway, count: int) -> list[tuple[Player, float]]:
    """Players that have begun to play at the position of their number, and when."""
    found = []
    for number in range(count):
        player = gateway.player()
        player.join(identifier=f"v{number}")
        player.event("play", duration=3600, **{"from": number})
        found.append((player, time.time()))
    for player, _ in found:
        player.settle()
    return found


def open_stretches(gateway: Gateway) -> int:
    with sqlite3.connect(f"file:{gateway.home}/videos.db?mode=ro", uri=True) as db:
        return int(db.execute("select count(*) from note where id != ''").fetchone()[0])


def test_kill_9_amid_two_hundred_playing_sessions_closes_each_stretch_once(gateway: Gateway) -> None:
    gateway.begin(alive_s=0.5)
    players = playing(gateway, 200)
    # Forty of them pause while the process dies.
    for number, (player, _) in enumerate(players[:40]):
        player.event("pause", to=number + 0.5)
    killed_at = time.time()
    gateway.kill("streams")
    # Whoever closes them is killed too, at once and a little later.
    for pause_s in (0, 0.7):
        gateway.start("streams")
        time.sleep(pause_s)
        gateway.kill("streams")
    restart(gateway)
    wait_for(lambda: open_stretches(gateway) == 0, "the notes to be forgotten")
    rows = gateway.documents("watch")
    assert Counter(row["stretch.from"] for row in rows) == Counter(range(200))
    assert Counter(row["position"] for row in gateway.documents("play")) == Counter(range(200))
    for row in rows:
        number = int(row["stretch.from"])
        truth = 0.5 if number < 40 and row["stretch.elapsed"] == 0.5 else killed_at - players[number][1]
        assert abs(row["stretch.elapsed"] - truth) < NEAR_S, row
        assert row["stretch.to"] == pytest.approx(number + row["stretch.elapsed"])


def test_a_restart_says_1012_and_loses_no_stretch(gateway: Gateway) -> None:
    gateway.begin()
    players = playing(gateway, 5)
    gateway.processes["streams"].send_signal(signal.SIGTERM)
    for player, _ in players:
        with pytest.raises(ConnectionClosed) as error:
            player.hear()
        assert error.value.rcvd is not None and error.value.rcvd.code == 1012
    gateway.processes["streams"].wait(20)
    assert open_stretches(gateway) == 0
    restart(gateway)
    assert Counter(row["stretch.from"] for row in gateway.documents("watch")) == Counter(range(5))
    assert Counter(row["event"] for row in gateway.documents("disconnect")) == {"video.disconnect": 5}


def test_a_reload_of_the_workers_cuts_no_player_off(gateway: Gateway) -> None:
    gateway.begin()
    ((player, _),) = playing(gateway, 1)
    gateway.processes["serve"].send_signal(signal.SIGHUP)
    wait_for(lambda: gateway.log("serve").count("worker ready") > 1, "a new worker")
    player.event("pause", to=2.5)
    player.settle()
    assert gateway.stretches() == [(0, 2.5, 2.5)]


def test_a_player_whose_machine_vanishes_was_there_until_it_was_last_heard(gateway: Gateway) -> None:
    gateway.begin(silent_s=4, ping_s=0.5, dead_s=2)
    ((player, began),) = playing(gateway, 1)
    # The client's process stands still: nothing is acknowledged, and no ping is answered.
    stopped = stop_reading(player)
    rows = wait_for(lambda: gateway.documents("watch"), "the silent socket to be closed")
    assert rows[0]["stretch.elapsed"] < stopped - began + 2
    assert time.time() - began > 3.5


def stop_reading(player: Player) -> float:
    """Let the client answer no more pings."""
    player.socket.protocol.receive_data = lambda data: None  # type: ignore[method-assign]
    return time.time()


DAMAGES: list[Callable[[Path], object]] = [
    pytest.param(lambda path: path.write_bytes(b"no database" * 1000), id="overwritten"),  # type: ignore[list-item]
    pytest.param(lambda path: os.truncate(path, 3000), id="cut"),  # type: ignore[list-item]
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_notes_keep_no_player_out(gateway: Gateway, damage: Callable[[Path], object]) -> None:
    gateway.begin()
    playing(gateway, 2)
    gateway.kill("streams")
    for beside in ("-wal", "-shm"):
        (gateway.home / f"videos.db{beside}").unlink(missing_ok=True)
    damage(gateway.home / "videos.db")
    restart(gateway)
    player = gateway.player()
    assert json.loads(player.join())[4]["status"] == "ok"
    player.event("play", **{"from": 7})
    player.event("pause", to=8)
    player.settle()
    assert (7, 8, 1) in gateway.stretches()


def test_a_play_that_can_not_be_stored_ends_the_channel_and_the_end_of_another_waits(gateway: Gateway) -> None:
    gateway.environ |= {"METRONOME_SPOOL_MAX_BYTES": "300000", "METRONOME_STREAM_MESSAGES_PER_S": "1000000"}
    gateway.begin()
    player = gateway.player()
    player.join(identifier="first")
    player.event("play", **{"from": 1})
    player.settle()
    # Nothing is drained, so that the spool is full sooner or later.
    filler = gateway.player()
    filler.join("session:filler", "5", metadata={f"x{number}": "y" * 300 for number in range(10)})
    for _ in range(200):
        filler.event("seeked", topic="session:filler", join_ref="5", to=1)
    heard = wait_for(lambda: fill(filler), "the spool to be full")
    assert heard == '["5","5","session:filler","phx_error",{}]'
    player.event("pause", to=4)
    player.settle()
    assert open_stretches(gateway) == 1
    wait_for(lambda: gateway.stretches() == [(1, 4, 3)], "the pause to be stored once the spool has room")
    assert player.ask(["3", "9", TOPIC, "phx_leave", {}]).endswith('{"status":"ok","response":{}}]')


def fill(filler: Player) -> str:
    for _ in range(20):
        filler.event("seeked", topic="session:filler", join_ref="5", to=1)
    filler.say([None, "8", "phoenix", "heartbeat", {}])
    heard = filler.hear()
    if "phx_error" in heard:
        return heard
    return ""
