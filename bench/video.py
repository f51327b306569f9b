"""(h) Video players, without Elasticsearch: messages a second of a core, memory of an idle socket, ticks beside them.

A player's messages have no answer. So each of its rounds is a play, a pause and a heartbeat: the heartbeat's answer
comes once both events and the stretch are on disk.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from bench import load
from bench.events import generate, yesterday
from bench.host import Gateway
from bench.streams import _connect, _handshake, _resident_bytes, _running
from metronome.keys import Key, digest_of, split, to_value
from metronome.settings import Settings
from metronome.store.names import record_index
from metronome.video import sample

PATH = f"/socket/websocket?source_url=http%3A%2F%2Fa.test%2F&key={quote(sample.KEY, safe='')}&vsn=2.0.0"
ACTIVE = 400

#: Players beside a full load, and the rounds that each joins for.
PLAYING = 500
ROUNDS = 5

#: Events of a body of ticks.
BATCH = 500

JOIN = {"identifier": "film", "metadata": {"n": 1}, "source_url": "http://a.test/page", "key": sample.KEY}


def bench(folder: Path, *, runs: int, idle: int = 5000) -> dict[str, Any]:
    """Medians over `runs`."""
    ticks = generate(4000, seed=5, end=yesterday(), days=1, agents=False)
    requests = [load.request("localhost", "/tick", event, "application/json") for event in ticks]
    with _running(folder / "video") as running:
        _make_key(folder / "video")
        pid = running.pids[1]
        with _joined(running, 10):  # the patterns of agents are loaded
            pass
        alone, beside = [], []
        for number in range(runs):
            alone.append(load.run(running.bind, requests, 4).percentile_ms(0.99))
            before = _resident_bytes(pid)
            with _joined(running, idle):
                if not number:
                    socket_bytes = (_resident_bytes(pid) - before) / idle
                beside.append(load.run(running.bind, requests, 4).percentile_ms(0.99))
        messages = [_messages(running, pid, 30) for _ in range(runs)]
        full = _full(running, pid, idle, ticks)
    return {
        "idle": idle,
        "idle_socket_bytes": round(socket_bytes),
        "durable_messages_per_core_s": round(median(messages)),
        "tick_p99_ms": round(median(alone), 2),
        "tick_p99_beside_ms": round(median(beside), 2),
        "p99_ratio": round(median(b / a for a, b in zip(alone, beside, strict=True)), 3),
        "full": full,
    }


def _full(running: Gateway, pid: int, idle: int, ticks: list[bytes]) -> dict[str, float]:
    """Events a second that are taken in batches: alone, and beside idle and playing players. All cores are busy."""
    bodies = [b"\n".join(ticks[start : start + BATCH]) for start in range(0, len(ticks), BATCH)] * 40
    requests = [load.request(running.bind, "/tick", body, "application/x-ndjson") for body in bodies]
    alone = load.run(running.bind, requests, 4)
    with _joined(running, idle):
        done, messages = threading.Event(), 0

        def play() -> None:
            nonlocal messages
            while not done.is_set():
                _messages(running, pid, ROUNDS, PLAYING)
                messages += 3 * ROUNDS * PLAYING

        players = threading.Thread(target=play)
        started = time.perf_counter()
        players.start()
        beside = load.run(running.bind, requests, 4)
        done.set()
        players.join()
        elapsed = time.perf_counter() - started
    assert set(alone.statuses) == set(beside.statuses) == {202}
    rates = [len(bodies) * BATCH / one.elapsed_s for one in (alone, beside)]
    return {
        "active": PLAYING,
        "alone_per_s": round(rates[0]),
        "beside_per_s": round(rates[1]),
        "ratio": round(rates[1] / rates[0], 2),
        "messages_per_s": round(messages / elapsed),
    }


def _make_key(home: Path) -> None:
    """The sample key, where the players' process looks for it: there is no Elasticsearch to keep it in."""
    name, secret = split(sample.KEY)
    key = Key(
        name,
        "bench",
        ("video",),
        datetime.now(UTC),
        publishable=True,
        origins=("*",),
        token=sample.KEY,
        hash=digest_of(secret),
    )
    copy = {"index": record_index(Settings(), "keys"), "rows": [[name, to_value(key), 1, 1]]}
    (home / "keys.json").write_text(json.dumps(copy, default=list))


def _frame(*parts: Any) -> bytes:
    text = json.dumps(parts).encode()
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text  # a mask of zeros changes nothing


@contextmanager
def _joined(running: Gateway, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        sockets = []
        for number in range(count):
            client = opened.enter_context(_connect(running.bind))
            _handshake(client, PATH)
            client.sendall(_frame("1", "1", f"session:{number:021d}", "phx_join", JOIN))
            answer = client.recv(4096)
            assert b'"ok"' in answer, answer
            sockets.append(client)
        yield sockets


def _messages(running: Gateway, pid: int, rounds: int, active: int = ACTIVE) -> float:
    """Messages a second of the players' process's time."""
    with _joined(running, active) as sockets, selectors.DefaultSelector() as selector:
        said = {}
        for number, client in enumerate(sockets):
            topic = f"session:{number:021d}"
            said[client] = (
                _frame("1", "2", topic, "event", {"name": "play", "duration": 60, "from": "3.25"})
                + _frame("1", "3", topic, "event", {"name": "pause", "duration": 60, "to": "6.27"})
                + _frame(None, "4", "phoenix", "heartbeat", {})
            )
            selector.register(client, selectors.EVENT_READ, [rounds])
        before = Gateway("", (pid,), "").cpu_s()
        for client in sockets:
            client.sendall(said[client])
        left = len(sockets)
        while left:
            for key, _ in selector.select():
                answered = key.fileobj
                assert isinstance(answered, socket.socket) and answered.recv(65_536)
                key.data[0] -= 1
                if key.data[0]:
                    answered.sendall(said[answered])
                else:
                    left -= 1
        return 3 * rounds * len(sockets) / (Gateway("", (pid,), "").cpu_s() - before)
