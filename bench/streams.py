"""(e) HTTP and long connections, without Elasticsearch: what a tick costs, with and without others on the port.

Ticks in batches and one by one, in processor time; another version in turn if there is one. Good clients' times while
others send half a request. Idle websockets' memory, and messages a second of a core.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import load
from bench.events import generate, yardstick_us, yesterday
from bench.host import Gateway, wait
from metronome.client import is_ready

BATCH = 500
IDLE = 2000
SLOW = 200


def bench(folder: Path, *, runs: int, beside: Path | None = None) -> dict[str, Any]:
    """Medians over `runs`, after a warm-up each."""
    events = generate(20_000, seed=5, end=yesterday(), days=1, agents=False)
    yardstick = yardstick_us(events)
    with ExitStack() as opened:
        here = opened.enter_context(_running(folder / "here"))
        gateways = {"": here}
        if beside is not None:
            gateways["beside_"] = opened.enter_context(_running(folder / "beside", beside))
        return {
            "ticks": _ticks(gateways, events, yardstick, runs),
            "slow": _slow(here, events, runs),
            "streams": _streams(here, events, yardstick, runs),
        }


def _ticks(gateways: dict[str, Gateway], events: list[bytes], yardstick: float, runs: int) -> dict[str, float]:
    """Yardsticks an event, in batches and one by one."""
    figures: dict[str, list[float]] = {}
    for number in range(runs + 1):
        for version, running in gateways.items():
            for name, cost in (("batches", _batches(running, events)), ("single", _singles(running, events[:4000], 4))):
                if number:
                    figures.setdefault(version + name, []).append(cost / yardstick)
        print(f"  run {number}: " + ", ".join(f"{n} {v[-1]:.2f}" for n, v in figures.items()), file=sys.stderr)
    found = {name: round(median(values), 2) for name, values in figures.items()}
    for name in ("batches", "single") if len(gateways) > 1 else ():
        pairs = zip(figures[name], figures[f"beside_{name}"], strict=True)
        found[f"{name}_ratio"] = round(median(a / b for a, b in pairs), 3)
    return found


def _batches(running: Gateway, events: list[bytes]) -> float:
    bodies = [b"\n".join(events[start : start + BATCH]) for start in range(0, len(events), BATCH)]
    requests = [load.request(running.bind, "/tick", body, "application/x-ndjson") for body in bodies] * 2
    return _cost_us(running, requests, 2) / BATCH


def _singles(running: Gateway, events: list[bytes], connections: int) -> float:
    requests = [load.request(running.bind, "/tick", event, "application/json") for event in events]
    return _cost_us(running, requests, connections)


def _cost_us(running: Gateway, requests: list[bytes], connections: int) -> float:
    """Processor time of the gateway for a request, in microseconds."""
    before = running.cpu_s()
    result = load.run(running.bind, requests, connections)
    assert set(result.statuses) == {202}, result.statuses
    return (running.cpu_s() - before) / len(requests) * 1e6


def _slow(running: Gateway, events: list[bytes], runs: int) -> dict[str, float]:
    """Times of good clients alone, and beside SLOW others that have sent half a head or half a body."""
    requests = [load.request(running.bind, "/tick", event, "application/json") for event in events[:2000]]
    half = load.request(running.bind, "/tick", events[0], "application/json")
    figures: dict[str, list[float]] = {"p50_ms": [], "p99_ms": [], "slow_p50_ms": [], "slow_p99_ms": []}
    for _ in range(runs):
        for prefix, count in (("", 0), ("slow_", SLOW)):
            with ExitStack() as opened:
                for number in range(count):
                    opened.enter_context(_connect(running.bind)).sendall(half[:60] if number % 2 else half[:-60])
                result = load.run(running.bind, requests, 8)
            figures[prefix + "p50_ms"].append(result.percentile_ms(0.5))
            figures[prefix + "p99_ms"].append(result.percentile_ms(0.99))
    found = {name: round(median(values), 2) for name, values in figures.items()}
    pairs = zip(figures["slow_p99_ms"], figures["p99_ms"], strict=True)
    return {"slow": SLOW, **found, "p99_ratio": round(median(a / b for a, b in pairs), 2)}


def _streams(running: Gateway, events: list[bytes], yardstick: float, runs: int) -> dict[str, float]:
    pid = running.pids[1]
    echo = [_messages(running, pid, "/echo", b'{"a": "message of about the size of a heartbeat"}') for _ in range(runs)]
    durable = [_messages(running, pid, "/ticks", events[0], count=20_000) for _ in range(runs)]
    alone, beside = [], []
    for number in range(runs):
        alone.append(_singles(running, events[:4000], 4))
        with ExitStack() as idle:
            before = _resident_bytes(pid)
            for _ in range(IDLE):
                _handshake(idle.enter_context(_connect(running.bind)), "/echo")
            if not number:  # later ones take up what these leave
                socket_bytes = (_resident_bytes(pid) - before) / IDLE
            beside.append(_singles(running, events[:4000], 4))
    return {
        "idle": IDLE,
        "idle_socket_bytes": round(socket_bytes),
        "echo_per_core_s": round(median(echo)),
        "durable_per_core_s": round(median(durable)),
        "tick_alone": round(median(alone) / yardstick, 2),
        "tick_beside_idle": round(median(beside) / yardstick, 2),
        "tick_ratio": round(median(b / a for a, b in zip(alone, beside, strict=True)), 3),
    }


def _messages(running: Gateway, pid: int, path: str, text: bytes, count: int = 60_000, connections: int = 50) -> float:
    """Messages a second of the streams process's time, each answered before its connection sends the next."""
    frame = b"\x81" + (bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big"))
    frame += bytes(4) + text  # a mask of zeros changes nothing
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        sockets = [opened.enter_context(_connect(running.bind)) for _ in range(connections)]
        for each in sockets:
            _handshake(each, path)
            selector.register(each, selectors.EVENT_READ)
        before = Gateway("", (pid,), "").cpu_s()
        for each in sockets:
            each.sendall(frame)
        left = count
        while left > 0:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                assert key.fileobj.recv(65_536)
                left -= 1
                key.fileobj.sendall(frame)
        return (count - left) / (Gateway("", (pid,), "").cpu_s() - before)


def _connect(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _handshake(client: socket.socket, path: str) -> None:
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert client.recv(4096).startswith(b"HTTP/1.1 101")


def _resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@contextmanager
def _running(home: Path, checkout: Path | None = None) -> Iterator[Gateway]:
    """`serve`, and `streams` where the version has it, without Elasticsearch."""
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "ELASTICSEARCH_"))}
    environ = plain | {
        "METRONOME_HOME": str(home),
        "METRONOME_BIND": bind,
        "METRONOME_LOG_LEVEL": "error",
        "ELASTICSEARCH_URL": "http://127.0.0.1:1",
        "PYTHONPATH": str((checkout or Path.cwd()).resolve()),
    }
    if checkout is None:
        environ["METRONOME_STREAM_MESSAGES_PER_S"] = "1000000"
    commands = (
        [["bench.streamed", "serve"], ["bench.streamed", "streams"]] if checkout is None else [["metronome", "serve"]]
    )
    processes = [subprocess.Popen([sys.executable, "-m", *command], env=environ, cwd=home) for command in commands]
    try:
        wait(lambda: is_ready(bind) and (checkout is not None or (home / "streams.sock").exists()), 30)
        yield Gateway(bind, tuple(process.pid for process in processes), "")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
