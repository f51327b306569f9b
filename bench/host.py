"""The system under test: a private Elasticsearch, the gateway's processes, and how much processor time they took."""

from __future__ import annotations

import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import load
from metronome.client import is_ready
from metronome.node.node import Node
from metronome.settings import Settings
from metronome.store.address import Address

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Host:
    """What runs: where Elasticsearch is, and the gateway if one is started."""

    settings: Settings
    address: Address

    @property
    def elasticsearch(self) -> str:
        return self.address.url.removeprefix("http://")

    @property
    def headers(self) -> dict[str, str]:
        token = b64encode(f"{self.address.username}:{self.address.password}".encode()).decode()
        return {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request to Elasticsearch, JSON in and out."""
        connection = http.client.HTTPConnection(self.elasticsearch, timeout=300)
        connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def bulk(self, body: bytes) -> bytes:
        """A `_bulk` request as bytes, ready to send."""
        authorization = {"Authorization": self.headers["Authorization"]}
        return load.request(self.elasticsearch, "/_bulk", body, "application/x-ndjson", authorization)

    def count(self, pattern: str) -> int:
        self.ask("POST", f"/{pattern}/_refresh")
        return int(self.ask("GET", f"/{pattern}/_count").get("count", 0))

    def remove(self, pattern: str) -> None:
        for name in self.ask("GET", f"/{pattern}?features=settings"):
            self.ask("DELETE", f"/{name}")


@contextmanager
def running(home: Path, heap: str) -> Iterator[Host]:
    """A fresh private Elasticsearch, gone when the block ends."""
    settings = Settings.from_env(
        {name: os.environ[name] for name in ("METRONOME_NODE_VERSION", "METRONOME_CACHE") if name in os.environ}
    )
    settings = replace(settings, home=home, node_heap=heap, node_port="9500-9599")
    node = Node(settings, say=lambda line: print(line, file=sys.stderr))
    address = node.start()
    try:
        yield Host(settings, address)
    finally:
        node.stop()


@dataclass
class Gateway:
    """`metronome serve` and `drain` as a user runs them."""

    bind: str
    pids: tuple[int, ...]
    prefix: str

    def cpu_s(self) -> float:
        """User and system time of all its processes so far, in seconds."""
        return sum(_cpu_s(pid) for root in self.pids for pid in _tree(root))


@contextmanager
def gateway(host: Host, prefix: str, *, checkout: Path | None = None, **environ: str) -> Iterator[Gateway]:
    """A gateway on a spool of its own, writing to indices of `prefix`; with `checkout`, another version's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "METRONOME_HOME": str(host.settings.home / f"gateway-{prefix}"),
        "METRONOME_BIND": bind,
        "METRONOME_INDEX_PREFIX": prefix,
        "ELASTICSEARCH_URL": host.address.url,
        "ELASTICSEARCH_USERNAME": host.address.username,
        "ELASTICSEARCH_PASSWORD": host.address.password,
        "METRONOME_LOG_LEVEL": "warning",
        **environ,
    }
    if checkout is not None:
        settings["PYTHONPATH"] = str(checkout.resolve())
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "ELASTICSEARCH_"))}
    processes = [
        subprocess.Popen([sys.executable, "-m", "metronome", command], env=plain | settings, cwd=host.settings.home)
        for command in ("serve", "drain")
    ]
    try:
        wait(lambda: is_ready(bind), 30)
        yield Gateway(bind, tuple(process.pid for process in processes), prefix)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def wait(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.02) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s")
        time.sleep(pause_s)


def settle(timeout_s: float = 10) -> None:
    """Let what the run before has left come to an end (writing, merges, compilation), so that all start alike."""
    os.sync()
    deadline = time.monotonic() + timeout_s
    while _busy_share(0.3) > 0.1:
        if time.monotonic() > deadline:
            print("  something else is at work on this machine; the figures suffer from it", file=sys.stderr)
            return


def _busy_share(seconds: float) -> float:
    """Share of the machine's processor time that is used, from 0 to 1, over the next seconds."""

    def idle_and_all() -> tuple[int, int]:
        times = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return times[3] + times[4], sum(times)

    idle, whole = idle_and_all()
    time.sleep(seconds)
    later_idle, later_whole = idle_and_all()
    return 1 - (later_idle - idle) / max(1, later_whole - whole)


def _tree(root: int) -> list[int]:
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return [root]
    return [root, *(pid for child in children for pid in _tree(int(child)))]


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * TICK_S


def facts() -> dict[str, Any]:
    """The machine the figures are from: what one needs to judge them."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "python": platform.python_version(),
        "fdatasync_ms": fdatasync_ms(),
    }


def fdatasync_ms() -> dict[str, float]:
    """What one durable 4 KB write costs on this disk, p50 and p99."""
    path = Path.cwd() / ".fdatasync.tmp"
    times = []
    with path.open("wb") as file:
        for _ in range(300):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    path.unlink()
    times.sort()
    return {"p50": round(times[150], 3), "p99": round(times[297], 3)}
