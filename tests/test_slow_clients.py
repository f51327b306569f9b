"""Clients that are slow to send, slow to read or send too much: each gets its answer or its end, the others wait for none."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Server, wait_for

from metronome.settings import Settings

HEAD = b"POST /tick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TICK = HEAD + b'Content-Length: 14\r\n\r\n{"id": "home"}'
#: What slow clients have sent when they stop.
UNFINISHED = {
    "nothing": b"",
    "half a request line": b"POST /ti",
    "half a head": HEAD[:-2],
    "no body": HEAD + b"Content-Length: 1000\r\n\r\n",
    "half a body": HEAD + b"Content-Length: 1000\r\n\r\n" + b"[" * 500,
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\n[[",
    "a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[[\r\n",
}
TOO_LARGE = {
    "status": 413,
    "code": "too_large",
    "message": "the body is larger than 10485760 bytes; send smaller batches",
}
TOO_SLOW = {
    "status": 408,
    "code": "request_timeout",
    "message": "the request took too long to arrive; send it again on a new connection",
}


class Small(Server):
    """A server, and the connections that a test has opened to it."""

    opened: ExitStack


@pytest.fixture
def small(settings: Settings, tmp_path: Path) -> Iterator[Small]:
    """One worker of four threads that waits two seconds for heads and bodies; not started yet. Nothing is drained."""
    running = Small(settings, tmp_path / "home")
    running.environ |= {
        "METRONOME_WORKERS": "1",
        "METRONOME_THREADS": "4",
        "METRONOME_HEADER_TIMEOUT_S": "2",
        "METRONOME_BODY_TIMEOUT_S": "2",
        "METRONOME_MIN_BYTES_PER_S": "1000000",
    }
    with ExitStack() as opened:
        running.opened = opened
        yield running
    running.stop()


def begin(server: Small) -> None:
    server.start("serve")
    server.wait_until_ready()


def connect(server: Small) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", int(server.bind.rpartition(":")[2])), timeout=20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.opened.enter_context(client)
    return client


def posts(server: Small, count: int) -> Counter[int]:
    """Post ticks, each on a connection of its own; how often each status came."""
    found: Counter[int] = Counter()
    for _ in range(count):
        connection = http.client.HTTPConnection(server.bind, timeout=20)
        connection.request("POST", "/tick", b'{"id": "home"}', {"Content-Type": "application/json"})
        found[connection.getresponse().status] += 1
        connection.close()
    return found


def rest(client: socket.socket) -> bytes:
    """All that is still to be read, up to the end."""
    return b"".join(iter(lambda: client.recv(65_536), b""))


def answer(client: socket.socket) -> tuple[bytes, dict[str, object]]:
    """The head and the error of an answer that closes its connection."""
    head, _, body = rest(client).partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    return head, json.loads(body)["error"]


def spooled(server: Small) -> int:
    connection = http.client.HTTPConnection(server.bind, timeout=20)
    connection.request("GET", "/readyz")
    count = json.loads(connection.getresponse().read())["spool"]["events"]
    connection.close()
    return int(count)


# --- Slow to send ----------------------------------------------------------------------------------------------


def test_good_clients_are_answered_while_200_others_do_not_finish(small: Small) -> None:
    small.environ |= {"METRONOME_HEADER_TIMEOUT_S": "20", "METRONOME_BODY_TIMEOUT_S": "20"}
    begin(small)
    slow = [connect(small) for _ in range(200)]
    for number, client in enumerate(slow):
        client.sendall(list(UNFINISHED.values())[number % len(UNFINISHED)])
    started = time.monotonic()
    assert posts(small, 200) == {202: 200}
    connection = http.client.HTTPConnection(small.bind, timeout=20)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    # Of the slow ones' 20 s not half has passed: nobody had to wait until one was closed.
    assert time.monotonic() - started < 10
    assert select.select(slow, [], [], 0)[0] == []


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.parametrize("trickles", [False, True], ids=["stops", "goes on bit by bit"])
def test_a_client_that_takes_too_long_is_told_and_closed(small: Small, sent: bytes, trickles: bool) -> None:
    begin(small)
    with connect(small) as client:
        client.sendall(sent)
        while trickles and not select.select([client], [], [], 0.2)[0]:
            client.sendall(b"[" if b"\r\n\r\n" in sent else b"x")
        if not sent and not trickles:
            assert rest(client) == b"", "who has said nothing is told nothing"
        else:
            assert answer(client)[1] == TOO_SLOW
    assert (posts(small, 1), spooled(small)) == ({202: 1}, 1)


def test_a_large_body_has_the_time_that_its_size_takes(small: Small) -> None:
    small.environ["METRONOME_MIN_BYTES_PER_S"] = "1000"
    begin(small)
    with connect(small) as client:
        client.sendall(HEAD + b"Connection: close\r\nContent-Length: 6014\r\n\r\n" + b" " * 3000)
        # Past METRONOME_BODY_TIMEOUT_S alone, as seen from a client that was closed by it.
        with connect(small) as other:
            other.sendall(HEAD + b"Content-Length: 10\r\n\r\n")
            assert answer(other)[1] == TOO_SLOW
        client.sendall(b" " * 3000 + b'{"id": "home"}')
        assert rest(client).startswith(b"HTTP/1.1 202 ")


def test_an_idle_connection_is_closed_in_its_time_and_one_at_work_is_not(small: Small) -> None:
    small.environ["METRONOME_KEEPALIVE_S"] = "2"
    begin(small)
    with connect(small) as client:
        for _ in range(2):
            client.sendall(TICK)
            assert client.recv(65_536).startswith(b"HTTP/1.1 202 ")
        assert rest(client) == b""


def test_past_the_limit_of_connections_the_slowest_make_room(small: Small) -> None:
    small.environ |= {"METRONOME_CONNECTIONS": "20", "METRONOME_HEADER_TIMEOUT_S": "60"}
    begin(small)
    with connect(small) as kept:
        kept.sendall(TICK)
        assert kept.recv(65_536).startswith(b"HTTP/1.1 202 ")
        slow = [connect(small) for _ in range(50)]
        for client in slow:
            client.sendall(b"POST /ti")
        assert posts(small, 50) == {202: 50}
        kept.sendall(TICK)
        assert kept.recv(65_536).startswith(b"HTTP/1.1 202 "), "an idle connection goes after the unfinished ones"


def test_bodies_that_do_not_finish_take_no_more_memory_than_there_is_room_for(small: Small) -> None:
    small.environ["METRONOME_BODY_TIMEOUT_S"] = "60"
    begin(small)
    (worker,) = (
        Path(f"/proc/{small.processes['serve'].pid}/task/{small.processes['serve'].pid}/children").read_text().split()
    )
    before = resident_bytes(worker)
    slow = [connect(small) for _ in range(30)]
    for client in slow:
        client.sendall(HEAD + b"Content-Length: 9000000\r\n\r\n" + b" " * 8_900_000)
    # All 30 were read, 267 MB; the oldest had to go.
    refused = answer(slow[0])
    assert refused[0].startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1" in refused[0]
    assert refused[1]["code"] == "busy"
    assert resident_bytes(worker) - before < 150 * 2**20
    assert posts(small, 5) == {202: 5}


def resident_bytes(pid: str) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


# --- Slow to read ----------------------------------------------------------------------------------------------


def test_clients_that_do_not_read_their_answers_hold_no_thread_and_are_closed(small: Small) -> None:
    small.environ["METRONOME_MIN_BYTES_PER_S"] = "100000000"
    begin(small)
    ended = select.poll()
    deaf = [connect(small) for _ in range(10)]
    for client in deaf:
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
        ended.register(client, 0)
    assert posts(small, 50) == {202: 50}
    wait_for(lambda: len(ended.poll(0)) == len(deaf), "all to be closed by the server")


# --- Too much --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_413_reaches_a_sender_that_reads_nothing_before_it_has_sent_all(small: Small, chunked: bool) -> None:
    begin(small)
    piece = b" " * 1_000_000
    with connect(small) as client:
        client.sendall(
            HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 30000000\r\n\r\n")
        )
        for _ in range(30):
            client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            client.sendall(b"0\r\n\r\n")
        head, error = answer(client)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert error == TOO_LARGE
    assert (posts(small, 1), spooled(small)) == ({202: 1}, 1)


def test_other_refusals_reach_their_senders_too(small: Small) -> None:
    begin(small)
    with connect(small) as client:
        client.sendall(HEAD.replace(b"/tick", b"/nothing") + b"Content-Length: 30000000\r\n\r\n")
        client.sendall(b" " * 30_000_000)
        assert answer(client)[1]["status"] == 404


def test_who_sends_without_end_is_closed(small: Small) -> None:
    begin(small)
    with connect(small) as client, pytest.raises((ConnectionResetError, BrokenPipeError)):
        client.sendall(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
        while True:
            client.sendall(b" " * 1_000_000)


@pytest.mark.parametrize(
    ("length", "first"),
    [pytest.param(14, b"HTTP/1.1 100 Continue\r\n\r\n", id="it may come"), pytest.param(30_000_000, b"HTTP/1.1 413 ", id="it is too large")],
)  # fmt: skip
def test_a_client_that_asks_first_is_told_whether_to_send_its_body(small: Small, length: int, first: bytes) -> None:
    begin(small)
    with connect(small) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
        said = client.recv(65_536)
        assert said.startswith(first)
        if length == 14:
            assert said == first
            client.sendall(b'{"id": "home"}')
            assert client.recv(65_536).startswith(b"HTTP/1.1 202 ")


# --- What could be read in two ways ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(HEAD + b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="a length and chunks"),
        pytest.param(HEAD + b"Content-Length: 14\r\nContent-Length: 0\r\n\r\n", id="two lengths"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x\r\n\r\n", id="a chunk of no length"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\ne\r\n{\"id\": \"home\"}0\r\n\r\n", id="a chunk without its end"),
        pytest.param(HEAD.replace(b"/tick", b"/tick?id=home") + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", id="chunks in capitals with a query"),
        pytest.param(HEAD.replace(b"/tick", b"/tick?id=home").replace(b"application/json", b"multipart/form-data; boundary=x") + b"Content-Length: 5\r\n\r\n--x\r\n", id="a broken form with a query"),
        pytest.param(HEAD.replace(b"Host: localhost", b"Host: localhost\nX: y") + b"Content-Length: 2\r\n\r\n{}", id="LF alone in a header"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_a_400_and_nothing_after_it_is_served(small: Small, sent: bytes) -> None:
    begin(small)
    with connect(small) as client:
        client.sendall(sent + TICK)
        client.shutdown(socket.SHUT_WR)
        answers = re.findall(rb"HTTP/1\.1 (\d+)", rest(client))
    if (b"0\r\n\r\n" in sent[-7:] and b"Chunked" in sent) or b"--x" in sent:
        # These can be told from what follows; only their body is no event.
        assert answers == [b"400", b"202"]
        assert spooled(small) == 1
    else:
        assert answers == [b"400"]
        assert spooled(small) == 0


def test_many_good_clients_together_are_all_answered(small: Small) -> None:
    """More at once than there are threads, some of them cut into pieces."""
    begin(small)
    results: list[Counter[int]] = []
    pieces = [connect(small) for _ in range(20)]
    for client in pieces:
        client.sendall(TICK[:30])
    threads = [threading.Thread(target=lambda: results.append(posts(small, 20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for client in pieces:
        client.sendall(TICK[30:])
    for thread in threads:
        thread.join()
    assert [client.recv(65_536)[:12] for client in pieces] == [b"HTTP/1.1 202"] * 20
    assert sum(results, Counter()) == {202: 160}
    wait_for(lambda: spooled(small) == 180, "all to be counted")
