"""What one long connection may take: past a limit it is closed, and a neighbour notices nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from streaming import TEST_ROUTES
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from metronome.intake import Intake
from metronome.settings import Settings
from metronome.spool.spool import Spool
from metronome.streams.batches import Batches, Gathered
from metronome.streams.head import Head, message
from metronome.streams.hub import Doors, Hub, listen
from metronome.streams.stream import Limits


class Room:
    """A hub in a thread of this process, behind a port: what a worker does is done here, one connection at a time."""

    def __init__(self, settings: Settings, limits: Limits, opened: ExitStack) -> None:
        self.opened = opened
        self.spool = Spool(settings.spool_dir, role="streams")
        gathered = Gathered(self.spool)
        self.batches = Batches(Intake(settings, gathered), gathered)
        self.hub = Hub(TEST_ROUTES, Doors(self.batches, settings), limits)
        self.path = settings.streams_socket
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self._ready.wait()
        self._port = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self._port.getsockname()[1]}"
        self._doorman = threading.Thread(target=self._hand_over)
        self._doorman.start()

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with contextlib.closing(listen(self.path)) as listener:
            self._ready.set()
            await self.hub.serve(listener, self._stopping)

    def _hand_over(self) -> None:
        while True:
            client, (address, _) = self._port.accept()
            with client:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += (part := client.recv(65_536))
                    if not part:
                        return
                lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
                headers = tuple(
                    (name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:])
                )
                head = Head(lines[0].split(" ")[1], headers, address)
                with socket.socket(socket.AF_UNIX) as other:
                    other.connect(str(self.path))
                    socket.send_fds(other, [message(head, b"")], [client.fileno()])

    def websocket(self, path: str = "/test/echo", **options: Any) -> ClientConnection:
        given = {"compression": None, "ping_interval": None, "close_timeout": 2, **options}
        return self.opened.enter_context(connect(f"ws://{self.address}{path}", **given))

    def raw(self, path: str, *headers: str) -> socket.socket:
        """A plain connection that has sent a request with these headers."""
        host, _, port = self.address.partition(":")
        client = self.opened.enter_context(socket.create_connection((host, int(port)), timeout=20))
        client.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())
        return client

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        host, _, port = self.address.partition(":")
        socket.create_connection((host, int(port))).close()
        self._doorman.join()
        self._port.close()
        self.spool.close()


HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version: 13",
)


@pytest.fixture
def room(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Room]]:
    """Make a room with some limits changed. The home's path is short, as the kernel wants it."""
    made: list[Room] = []
    with ExitStack() as opened:

        def make(**changed: Any) -> Room:
            found = replace(settings, home=tmp_path / "h")
            found.home.mkdir()
            made.append(Room(found, replace(Limits(), **changed), opened))
            return made[-1]

        yield make
    for each in made:
        each.stop()


def closed_with(websocket: ClientConnection) -> int:
    """The code with which the other side closes, whatever it says before."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            websocket.recv(10)
    assert closed.value.rcvd is not None
    return int(closed.value.rcvd.code)


def echoes(websocket: ClientConnection) -> bool:
    websocket.send("hello")
    return websocket.recv(10) == "hello"


def test_a_message_of_the_largest_size_is_taken_and_one_byte_more_closes(room: Callable[..., Room]) -> None:
    here = room(message_bytes=1000)
    neighbour, loud, parts = here.websocket(), here.websocket(), here.websocket()
    loud.send("x" * 1000)
    assert loud.recv(10) == "x" * 1000
    loud.send("x" * 1001)
    assert closed_with(loud) == 1009
    with contextlib.suppress(ConnectionClosed):
        parts.send("x" * 400 for _ in range(3))
    assert closed_with(parts) == 1009
    assert echoes(neighbour)


def test_messages_faster_than_the_rate_close_and_slower_ones_do_not(room: Callable[..., Room]) -> None:
    here = room(messages_per_s=20)
    neighbour, fast = here.websocket(), here.websocket()
    for _ in range(30):
        assert echoes(neighbour), "a burst may be twice the rate"
    with contextlib.suppress(ConnectionClosed):
        for _ in range(200):
            fast.send("x")
    assert closed_with(fast) == 1008
    assert echoes(neighbour)


def test_pings_count_as_messages_do(room: Callable[..., Room]) -> None:
    here = room(messages_per_s=20)
    neighbour, fast = here.websocket(), here.websocket()
    with contextlib.suppress(ConnectionClosed):
        for _ in range(200):
            fast.ping()
    assert closed_with(fast) == 1008
    assert echoes(neighbour)


@pytest.mark.parametrize("path", ["/test/flood", "/test/torrent"])
def test_a_reader_that_does_not_read_is_closed(room: Callable[..., Room], path: str) -> None:
    here = room(slow_s=0.5, unsent_bytes=200_000)
    neighbour = here.websocket()
    # A small window, so that what isn't read is soon the sender's.
    deaf = socket.socket()
    here.opened.callback(deaf.close)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = here.address.partition(":")
    deaf.connect((host, int(port)))
    lines = [f"GET {path} HTTP/1.1", "Host: x", *(HANDSHAKE if path == "/test/flood" else ()), "", ""]
    deaf.sendall("\r\n".join(lines).encode())
    wait_for(lambda: here.hub.count == 2, "the reader to be there")
    wait_for(lambda: here.hub.count == 1, "the reader to be gone")
    assert echoes(neighbour)


def test_a_sender_whose_handler_does_not_read_waits_and_loses_nothing(room: Callable[..., Room]) -> None:
    """What is too much waits in the kernel, not in our memory."""
    here = room(messages_per_s=1e9, queued=8)
    neighbour = here.websocket()
    quick = here.raw("/test/deaf", *HANDSHAKE)
    assert quick.recv(65_536).startswith(b"HTTP/1.1 101")
    frame = b"\x82\xfe" + (50_000).to_bytes(2, "big") + bytes(4) + bytes(50_000)
    quick.settimeout(0.3)
    with pytest.raises(TimeoutError):
        quick.sendall(frame * 1000)
    assert echoes(neighbour)


def test_messages_that_waited_for_their_handler_are_all_there(room: Callable[..., Room]) -> None:
    here = room(messages_per_s=1e9, queued=8)
    quick = here.websocket("/test/deaf")
    for _ in range(10_000):
        quick.send("x")
    quick.send("how many")
    assert quick.recv(20) == "10001"


def test_a_silent_peer_is_pinged_and_a_dead_one_closed(room: Callable[..., Room]) -> None:
    here = room(idle_s=1.0)
    quiet = here.websocket()  # it answers pings by itself
    dead = here.raw("/test/echo", *HANDSHAKE)
    assert dead.recv(65_536).startswith(b"HTTP/1.1 101")
    assert dead.recv(100) == b"\x89\x00", "a ping"
    with contextlib.suppress(ConnectionResetError):
        while dead.recv(100):
            pass
    wait_for(lambda: here.hub.count == 1, "the dead one to be gone")
    assert echoes(quiet)


def test_a_stream_that_has_nothing_to_say_says_so(room: Callable[..., Room]) -> None:
    here = room(comment_s=0.2, idle_s=1.0)
    stream = here.raw("/test/silent", "Accept: text/event-stream")
    text = b""
    while text.count(b":\n\n") < 3:
        text += stream.recv(65_536)
    assert text.partition(b"\r\n\r\n")[2] == b":\n\n" * 3


def test_a_connection_past_the_limit_gets_503_and_a_place_that_is_left_can_be_taken(room: Callable[..., Room]) -> None:
    here = room(connections=2)
    first, second = here.websocket(), here.websocket()
    with pytest.raises(InvalidStatus) as refused:
        here.websocket()
    response = refused.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert response.body is not None and json.loads(response.body)["error"]["code"] == "too_many_streams"
    assert echoes(first)
    second.close()
    wait_for(lambda: here.hub.count == 1, "the second to be gone")
    assert echoes(here.websocket())


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="half of the lengths"),
        pytest.param(b"\x00\x00\x00\x10\x00\x00\x00\x00{", id="half of the head"),
        pytest.param(b"\x00\x00\x00\x01\x00\x00\x00\x00{", id="no JSON"),
        pytest.param(b"\xff" * 300_000, id="too much"),
    ],
)
def test_a_handover_that_is_none_disturbs_nobody(room: Callable[..., Room], sent: bytes) -> None:
    here = room()
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX) as worker, theirs:
        with ours:
            worker.connect(str(here.path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if sent:
                    socket.send_fds(worker, [sent[:1]], [ours.fileno()])
                    worker.sendall(sent[1:])
        worker.close()
        # Our copy is closed and the other side's too: nothing leaks.
        assert theirs.recv(1) == b""
    assert echoes(here.websocket())


def test_thousands_of_idle_sockets_cost_their_neighbours_nothing(room: Callable[..., Room]) -> None:
    here = room()
    idle = [here.raw("/test/echo", *HANDSHAKE) for _ in range(300)]
    assert all(each.recv(65_536).startswith(b"HTTP/1.1 101") for each in idle)
    started = time.process_time()
    assert all(echoes(here.websocket()) for _ in range(20))
    assert time.process_time() - started < 2
    assert here.hub.count == 320
