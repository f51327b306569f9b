"""Long connections end to end: `metronome serve` hands them to `metronome streams`, on one port, and none is lost."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from metronome.settings import Settings
from metronome.spool.status import backlog

LAUNCHER = Path(__file__).parent / "streaming.py"


class Streaming(Server):
    """A server with the routes of streaming.py, and the connections that a test has opened to it."""

    opened: ExitStack

    def start(self, *commands: str) -> None:
        for command in commands:
            with (self.home.parent / f"{command}.log").open("ab") as log:
                self.processes[command] = subprocess.Popen(
                    [sys.executable, str(LAUNCHER), command],
                    env=self.environ,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def begin(self) -> None:
        self.start("serve", "streams")
        self.wait_until_ready()
        wait_for(self.socket_file.exists, "the streams process to listen")

    @property
    def socket_file(self) -> Path:
        return self.home / "streams.sock"

    def websocket(self, path: str, **options: Any) -> ClientConnection:
        address = f"ws://{self.bind}{path}"
        return self.opened.enter_context(connect(address, compression=None, close_timeout=2, **options))

    def events(self, path: str, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.bind, timeout=20)
        self.opened.callback(connection.close)
        connection.request("GET", path, headers={"Accept": "text/event-stream", **headers})
        return self.opened.enter_context(connection.getresponse())

    def workers(self) -> set[str]:
        pid = self.processes["serve"].pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.fixture
def streaming(settings: Settings, tmp_path: Path) -> Iterator[Streaming]:
    """Not started yet; nothing is drained."""
    running = Streaming(settings, tmp_path / "home")
    with ExitStack() as opened:
        running.opened = opened
        yield running
    running.stop()


def echoes(websocket: ClientConnection, text: str) -> bool:
    websocket.send(text)
    return websocket.recv(10) == text


# --- On one port -----------------------------------------------------------------------------------------------


def test_websockets_event_streams_and_ticks_share_a_port(streaming: Streaming) -> None:
    streaming.begin()
    sockets = [streaming.websocket("/test/echo?a=1&b=%C3%A9", additional_headers={"X-Test": "x"}) for _ in range(3)]
    for number, each in enumerate(sockets):
        assert echoes(each, f"hello {number}")
    sockets[0].send(b"\x00\xff")
    assert sockets[0].recv(10) == b"\x00\xff"
    sockets[0].send(iter(["one ", "message ", "in parts"]))
    assert sockets[0].recv(10) == "one message in parts"
    sockets[1].send("head")
    assert json.loads(sockets[1].recv(10)) == ["/test/echo", {"a": "1", "b": "é"}, "x", "127.0.0.1"]
    stream = streaming.events("/test/counter")
    assert (stream.status, stream.headers["Content-Type"], stream.headers["X-Test"]) == (
        200,
        "text/event-stream",
        "yes",
    )
    assert [stream.readline() for _ in range(5)] == [
        b"id: 1\n",
        b"event: count\n",
        b"data: 1\n",
        b"data: of many\n",
        b"\n",
    ]
    again = streaming.events("/test/counter", **{"Last-Event-ID": "41"})
    assert again.readline() == b"id: 42\n"
    posted = http.client.HTTPConnection(streaming.bind, timeout=20)
    posted.request("POST", "/tick", b'{"id": "home"}', {"Content-Type": "application/json"})
    assert posted.getresponse().status == 202
    posted.close()
    assert stat.S_IMODE(streaming.socket_file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "upgrade", "status"),
    [
        pytest.param("/test/echo", "", 404, id="a path of a websocket, asked for as a page"),
        pytest.param("/test/counter", "websocket", 404, id="a path of events, asked for as a websocket"),
        pytest.param("/healthz", "websocket", 400, id="a path of the application, which has no websocket there"),
        pytest.param("/test/none", "websocket", 404, id="a path of nobody"),
        pytest.param("/test/echo", "websocket", 400, id="a handshake without its key"),
        pytest.param("/test/refused", "websocket", 403, id="a handshake that its handler refuses"),
    ],
)
def test_what_is_no_stream_is_an_ordinary_request(streaming: Streaming, path: str, upgrade: str, status: int) -> None:
    streaming.begin()
    connection = http.client.HTTPConnection(streaming.bind, timeout=20)
    streaming.opened.callback(connection.close)
    connection.request("GET", path, headers={"Upgrade": upgrade, "Connection": "upgrade"} if upgrade else {})
    assert connection.getresponse().status == status


def test_a_page_of_another_site_gets_no_stream(streaming: Streaming) -> None:
    streaming.begin()
    stream = streaming.events("/test/counter", Host="evil.example")
    assert (stream.status, json.loads(stream.read())["error"]["code"]) == (421, "misdirected")


def test_frames_sent_right_behind_the_handshake_are_not_lost(streaming: Streaming) -> None:
    streaming.begin()
    handshake = (
        b"GET /test/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    frame = b"\x81\x82\x00\x00\x00\x00hi"
    with socket.create_connection(("127.0.0.1", int(streaming.bind.rpartition(":")[2])), timeout=20) as client:
        client.sendall(handshake + frame * 3)
        answer = b""
        while answer.count(b"\x81\x02hi") < 3:
            answer += client.recv(65_536)
    head, _, frames = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and frames == b"\x81\x02hi" * 3


def test_a_long_path_to_the_home_is_no_hindrance(streaming: Streaming) -> None:
    streaming.home = streaming.home.parent / ("long" * 40) / "home"
    streaming.environ["METRONOME_HOME"] = str(streaming.home)
    streaming.home.mkdir(parents=True)
    streaming.begin()
    assert echoes(streaming.websocket("/test/echo"), "hello")


def test_open_sockets_take_no_connection_of_a_worker(streaming: Streaming) -> None:
    streaming.environ |= {"METRONOME_WORKERS": "1", "METRONOME_CONNECTIONS": "5"}
    streaming.begin()
    sockets = [streaming.websocket("/test/echo") for _ in range(50)]
    assert all(echoes(each, "hello") for each in sockets)


# --- Processes that end ----------------------------------------------------------------------------------------


def test_a_reload_of_the_workers_loses_no_stream(streaming: Streaming) -> None:
    streaming.begin()
    sockets = [streaming.websocket("/test/echo") for _ in range(100)]
    stream = streaming.events("/test/counter")
    assert stream.readline() == b"id: 1\n"
    before = streaming.workers()
    streaming.processes["serve"].send_signal(signal.SIGHUP)
    wait_for(lambda: len(streaming.workers()) == 2 and not before & streaming.workers(), "new workers")
    assert all(echoes(each, "still here") for each in sockets)
    while not (line := stream.readline()).startswith(b"id: "):
        assert line
    assert echoes(streaming.websocket("/test/echo"), "hello")


def test_a_stop_of_the_streams_tells_sockets_to_come_back_and_workers_answer_503_meanwhile(
    streaming: Streaming,
) -> None:
    streaming.begin()
    sockets = [streaming.websocket("/test/echo") for _ in range(20)]
    stream = streaming.events("/test/counter")
    streaming.processes["streams"].terminate()
    assert streaming.processes["streams"].wait(20) == 0
    for each in sockets:
        with pytest.raises(ConnectionClosed) as closed:
            each.recv(10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "the server restarts")
    assert stream.read().endswith(b"\n\n"), "events end as a whole"

    with pytest.raises(InvalidStatus) as refused:
        streaming.websocket("/test/echo")
    response = refused.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.body is not None
    assert json.loads(response.body)["error"] == {
        "status": 503,
        "code": "streams_unavailable",
        "message": "live connections can't be served just now; try again soon",
    }

    streaming.start("streams")
    wait_for(streaming.socket_file.exists, "the streams process to listen")
    assert echoes(streaming.websocket("/test/echo"), "hello")


def test_a_second_streams_process_says_that_one_is_enough(streaming: Streaming) -> None:
    streaming.begin()
    second = subprocess.run(
        [sys.executable, str(LAUNCHER), "streams"], env=streaming.environ, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    assert "one is enough" in second.stderr and "Traceback" not in second.stderr
    assert echoes(streaming.websocket("/test/echo"), "hello")


def test_a_handler_that_fails_ends_its_own_connection_only(streaming: Streaming) -> None:
    streaming.begin()
    other = streaming.websocket("/test/echo")
    with pytest.raises(ConnectionClosed) as closed:
        streaming.websocket("/test/broken").recv(10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
    assert echoes(other, "hello")


# --- The door in -----------------------------------------------------------------------------------------------


def test_what_a_handler_is_told_is_accepted_survives_kill_9(streaming: Streaming) -> None:
    streaming.begin()
    acknowledged: list[str] = []
    lock = threading.Lock()

    def post(number: int) -> None:
        with connect(f"ws://{streaming.bind}/test/ticks", compression=None) as websocket:
            for count in range(1000):
                name = f"e{number}-{count}"
                try:
                    websocket.send(json.dumps({"id": "home", "insert_id": name}))
                    receipt = json.loads(websocket.recv(20))
                except ConnectionClosed:
                    return
                assert receipt == {**receipt, "accepted": 1, "ids": [name]}
                with lock:
                    acknowledged.append(name)

    with ThreadPoolExecutor(20) as pool:
        posts = [pool.submit(post, number) for number in range(20)]
        wait_for(lambda: len(acknowledged) > 300, "acknowledged events")
        streaming.kill("streams")
        for each in posts:
            each.result()
    waiting = backlog(streaming.home / "spool")
    # At most one event a socket was on disk and not yet acknowledged.
    assert len(acknowledged) <= waiting.events <= len(acknowledged) + 20
    assert waiting.requests < waiting.events / 3, "many share an fsync"
