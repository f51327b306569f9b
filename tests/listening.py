"""`metronome listen` as a real process beside a gateway of this process, and what a sender needs to speak to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from conftest import Gateway, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch

from metronome.settings import Settings
from metronome.spool.files import spool_files
from metronome.spool.reader import Reader

#: What the gateway writes into a document beside the event's own properties.
OURS = ("_index", "_id", "@version", "received_at", "dialect", "insert_id")


class Listening:
    """One `metronome listen` with ports of its own; its spool is drained by `gateway`."""

    def __init__(self, gateway: Gateway, **environ: str) -> None:
        self.gateway = gateway
        self.forward, self.lines, self.lines_udp = free_port(), free_port(), free_port()
        self.log = gateway.settings.home.parent / "listen.log"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("METRONOME_")},
            "METRONOME_HOME": str(gateway.settings.home),
            "METRONOME_INDEX_PREFIX": gateway.settings.index_prefix,
            "ELASTICSEARCH_URL": gateway.settings.elasticsearch_url,
            "ELASTICSEARCH_USERNAME": gateway.settings.elasticsearch_username,
            "ELASTICSEARCH_PASSWORD": gateway.settings.elasticsearch_password,
            "METRONOME_FORWARD_BIND": f"127.0.0.1:{self.forward}",
            "METRONOME_LINES_BIND": f"127.0.0.1:{self.lines}",
            "METRONOME_LINES_UDP_BIND": f"127.0.0.1:{self.lines_udp}",
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "metronome", "listen"], env=self.environ, stdout=log, stderr=log
            )
        wait_for(lambda: self.is_up(), "metronome listen")

    def is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        return is_listening(self.lines) and is_listening(self.forward)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def connect(self, port: int = 0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self.forward), timeout=20)

    def exchange(self, *messages: bytes) -> bytes:
        """Send, say that nothing follows, and give all that is answered."""
        with self.connect() as sender:
            with contextlib.suppress(OSError):  # it may have been shut out already
                for message in messages:
                    sender.sendall(message)
                sender.shutdown(socket.SHUT_WR)
            return everything(sender)

    def spooled(self) -> int:
        """Events in the spool of the process."""
        return spooled(self.gateway.settings)

    def records(self) -> list[dict[str, Any]]:
        """Every document without what the gateway adds."""
        return [{k: v for k, v in row.items() if k not in OURS} for row in self.gateway.documents()]

    def resident_bytes(self) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])


def spooled(settings: Settings) -> int:
    total = 0
    for path in spool_files(settings.spool_dir):
        if path.name.startswith("listen"):
            with contextlib.closing(Reader(path)) as reader:
                total += reader.pending()[1]
    return total


def everything(sender: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset is an end too."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sender.recv(65536):
            parts.append(part)
    return b"".join(parts)


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def listening(
    engine_settings: Settings, elasticsearch: Elasticsearch, folder: Path, **environ: str
) -> Iterator[Listening]:
    """A running `metronome listen` with an index prefix of its own."""
    settings = replace(engine_settings, home=folder / "home", index_prefix=f"t{uuid.uuid4().hex[:10]}")
    gateway = Gateway(settings, elasticsearch)
    running = Listening(gateway, **environ)
    try:
        running.start()
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        gateway.spool.close()
        remove_indices(elasticsearch, settings)


@pytest.fixture(scope="module", name="running")
def opened_listening(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    """One for all tests of a file."""
    with listening(engine_settings, elasticsearch, tmp_path_factory.mktemp("listen")) as found:
        yield found


class Raw:
    """Bytes that stand in a message as they are."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def pack(value: Any) -> bytes:
    """MessagePack; also of what holds `Raw`."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, list):
        return bytes(msgpack.Packer().pack_array_header(len(value))) + b"".join(map(pack, value))
    if isinstance(value, dict):
        pairs = b"".join(pack(key) + pack(inner) for key, inner in value.items())
        return bytes(msgpack.Packer().pack_map_header(len(value))) + pairs
    return bytes(msgpack.packb(value))


def pack_entries(*rows: tuple[Any, Any]) -> bytes:
    """The entries of a packed chunk."""
    return b"".join(pack(list(row)) for row in rows)


def event_time(seconds: int, nanoseconds: int = 0) -> msgpack.ExtType:
    return msgpack.ExtType(0, seconds.to_bytes(4, "big") + nanoseconds.to_bytes(4, "big"))


def ack(chunk: str) -> bytes:
    return bytes(msgpack.packb({"ack": chunk}))
