"""Deadlines, bounds over all connections, a spool that takes nothing, and how it stops."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from listening import ack, everything, is_listening, listening, pack, pack_entries, spooled

from metronome.intake import Intake
from metronome.listen import server
from metronome.listen.access import ports
from metronome.listen.batch import Door
from metronome.listen.connection import Deadlines
from metronome.listen.counted import Counted
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.spool import Spool

GOOD = pack(["t", 1421884800, {"id": "good"}, {"chunk": "good"}])
SMALL = {"METRONOME_SPOOL_MAX_BYTES": str(24 * 16384)}


class Beside:
    """A listener of this process on a loop of its own, with short deadlines and small bounds."""

    def __init__(self, settings: Settings, spool: Spool, **options: Any) -> None:
        self._settings = settings
        self._listener = server.Listener(
            settings,
            ports(settings),
            Door(settings, Intake(settings, spool, folder=settings.spool_dir), Counted(settings, lambda: None)),
            Metrics(),
            **options,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._wait_for(self._listener.start())

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def connect(self) -> socket.socket:
        host, _, port = self._settings.forward_bind.partition(":")
        return socket.create_connection((host, int(port)), timeout=10)

    def stop(self) -> None:
        self._wait_for(self._listener.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def beside(settings: Settings) -> Iterator[Callable[..., Beside]]:
    """Make a `Beside`: `changed` are settings, the rest are the listener's own options."""
    spool = Spool(settings.spool_dir, role="listen")
    made: list[Beside] = []

    def make(changed: dict[str, Any] | None = None, **options: Any) -> Beside:
        mine = replace(settings, forward_bind=f"127.0.0.1:{free_port()}", **(changed or {}))
        made.append(Beside(mine, spool, **options))
        return made[-1]

    yield make
    for running in made:
        running.stop()
    spool.close()


def is_acked(sender: socket.socket, message: bytes = GOOD, chunk: str = "good") -> bool:
    sender.sendall(message)
    return sender.recv(100) == ack(chunk)


def test_an_idle_connection_is_closed_in_time_and_a_used_one_is_not(beside: Callable[..., Beside]) -> None:
    running = beside(deadlines=Deadlines(idle=1))
    with running.connect() as idle, running.connect() as used:
        began = time.monotonic()
        idle.setblocking(False)
        with pytest.raises(BlockingIOError):
            idle.recv(1)
        idle.settimeout(0.2)
        while time.monotonic() - began < 5:
            assert is_acked(used)
            try:
                assert idle.recv(1) == b""
                break
            except TimeoutError:
                continue
        assert 0.9 < time.monotonic() - began < 3
        assert is_acked(used)


def test_a_message_that_trickles_is_given_up_in_time(beside: Callable[..., Beside]) -> None:
    running = beside(deadlines=Deadlines(message=0.5, farewell=0.1))
    with running.connect() as slow:
        began = time.monotonic()
        slow.settimeout(0.05)
        ended = False
        for byte in GOOD[:-1]:
            slow.sendall(bytes((byte,)))
            try:
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            break
        assert ended
        assert 0.4 < time.monotonic() - began < 1.5


def test_who_does_not_answer_the_helo_is_closed_in_time(beside: Callable[..., Beside]) -> None:
    running = beside({"forward_shared_key": "k"}, deadlines=Deadlines(handshake=0.3, farewell=0.1))
    with running.connect() as silent:
        began = time.monotonic()
        assert everything(silent).startswith(b"\x92\xa4HELO")
        assert time.monotonic() - began < 3


def test_of_too_many_unfinished_messages_the_largest_goes(beside: Callable[..., Beside]) -> None:
    running = beside(unfinished_bytes=4_000_000)
    small = pack(["t", pack_entries((1, {"a": "x" * 9_000})), {"chunk": "small"}])
    with running.connect() as one, running.connect() as two, running.connect() as large:
        for sender in (one, two):
            sender.sendall(small[:-1])
        large.sendall(b"\x93\xa1t\xc6" + (8_000_000).to_bytes(4, "big") + bytes(1_500_000))
        with pytest.raises(ConnectionError):
            for _ in range(100):
                large.sendall(bytes(100_000))
        for sender in (one, two):
            assert is_acked(sender, small[-1:], "small")


def test_at_the_limit_the_longest_idle_makes_room(
    beside: Callable[..., Beside], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_ENOUGH_S", 0)
    running = beside({"listen_connections": 3})
    with running.connect() as one, running.connect() as two, running.connect() as three:
        assert [is_acked(sender) for sender in (two, one, three)] == [True, True, True]
        with running.connect() as newcomer:
            assert is_acked(newcomer)
            assert everything(two) == b""
            assert [is_acked(sender) for sender in (one, three)] == [True, True]


def test_a_full_spool_means_no_ack_and_a_closed_connection_until_there_is_room(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    with listening(engine_settings, elasticsearch, tmp_path, **SMALL) as alone:
        acked = 0
        for number in range(100):
            entries = pack_entries(*[(1421884800, {"id": "full", "format": "csv", "text": "x" * 200})] * 50)
            with alone.connect() as sender:
                sender.sendall(pack(["t", entries, {"chunk": f"full-{number}"}]))
                started = time.monotonic()
                answer = everything(sender) if acked < number else sender.recv(100)
            if answer:
                acked += 1
                continue
            assert time.monotonic() - started < 5, "the sender has to notice soon"
            break
        else:
            pytest.fail("the spool never was full")
        assert acked > 3
        alone.gateway.drain()
        assert alone.gateway.tock("full")["downloads"] == {"csv": 50 * acked}
        wait_for(lambda: alone.exchange(GOOD) == ack("good"), "room in the spool")


def test_what_nobody_would_send_again_waits_for_room(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    room = {"METRONOME_SPOOL_MAX_BYTES": str(100 * 16384)}
    with listening(engine_settings, elasticsearch, tmp_path, **room) as alone:
        line = b'{"id": "waits", "format": "csv", "text": "%b"}\n' % (b"x" * 200)
        with alone.connect(alone.lines) as sender, alone.connect() as messages:
            sending = threading.Thread(target=sender.sendall, args=(line * 10_000,))
            sending.start()
            for _ in range(50):
                messages.sendall(pack(["t", 1421884800, {"id": "waits", "format": "csv"}]))
            wait_for(lambda: "events wait here" in alone.log.read_text(), "a full spool")
            with alone.connect() as other:
                # It has a chunk, so it can come again; as large as what waits, it finds no room either.
                other.sendall(
                    pack(
                        ["t", pack_entries(*[(1421884800, {"id": "other", "text": "x" * 400})] * 2000), {"chunk": "o"}]
                    )
                )
                assert everything(other) == b""

            def all_there() -> bool:
                alone.gateway.drain()
                return bool(alone.gateway.tock("waits")["downloads"] == {"csv": 10_050})

            wait_for(all_there, "all of it", 60)
            sending.join()


def test_it_stops_in_order_with_all_it_read_on_disk_and_answered(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    with listening(engine_settings, elasticsearch, tmp_path) as alone:
        opened = [alone.connect() for _ in range(20)]
        for number, sender in enumerate(opened):
            sender.sendall(pack(["t", 1421884800, {"id": "last"}, {"chunk": f"last-{number}"}]))
        wait_for(lambda: alone.spooled() > 0, "the first batch")
        assert alone.stop() == 0
        answers = [everything(sender) for sender in opened]
        assert answers == [ack(f"last-{number}") for number in range(20)]
        assert alone.spooled() == 20
        for sender in opened:
            sender.close()


def test_a_heartbeat_from_another_gateways_port_is_not_answered(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    with (
        listening(engine_settings, elasticsearch, tmp_path) as alone,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        gateway.bind(("127.0.0.2", alone.forward))
        gateway.sendto(b"\0", ("127.0.0.1", alone.forward))
        sender.settimeout(10)
        sender.sendto(b"\0", ("127.0.0.1", alone.forward))
        assert sender.recv(10) == b"\0"  # it has passed the first
        gateway.setblocking(False)
        with pytest.raises(BlockingIOError):
            gateway.recv(10)


def test_up_starts_it_where_it_has_ports_and_says_so(
    engine_settings: Settings, elasticsearch: Elasticsearch, settings: Settings, tmp_path: Path
) -> None:
    mine = replace(engine_settings, index_prefix=settings.index_prefix)
    up = Server(mine, tmp_path / "home")
    port = free_port()
    up.environ["METRONOME_FORWARD_BIND"] = f"127.0.0.1:{port}"
    try:
        up.start("up")
        wait_for(lambda: is_listening(port), "the forward port", 60)
        up.wait_until_ready()
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sender:
            sender.sendall(GOOD)
            assert sender.recv(100) == ack("good")
        wait_for(lambda: spooled(replace(mine, home=up.home)) == 0, "the drain")
    finally:
        up.stop()
        remove_indices(elasticsearch, mine)
    assert f"forward protocol: 127.0.0.1:{port}" in (tmp_path / "up.log").read_text()
    assert not is_listening(port)


def test_up_refuses_ports_that_let_everybody_in(settings: Settings, tmp_path: Path) -> None:
    up = Server(settings, tmp_path / "home")
    up.environ["METRONOME_FORWARD_BIND"] = "0.0.0.0:24224"
    run = up.command("up")
    assert run.returncode == 1
    assert "METRONOME_FORWARD_BIND: everybody could send to 0.0.0.0:24224" in run.stderr
