"""JSON lines over TCP and UDP, by plain sockets, by a logging handler and by python-logstash-async as published."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import uuid
from logging.handlers import SocketHandler
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from elasticsearch import Elasticsearch
from listening import Listening, everything, listening, opened_listening  # noqa: F401  (a fixture)
from logstash_async.constants import constants
from logstash_async.formatter import LogstashFormatter
from logstash_async.handler import AsynchronousLogstashHandler

from metronome.listen.framing import Lines, Unframed
from metronome.settings import Settings
from metronome.spool.quarantine import Quarantine

AT = "2015-01-22T00:00:00.000Z"


def send(running: Listening, data: bytes) -> None:
    """Over TCP; the other side closes once all of it is on disk."""
    with running.connect(running.lines) as sender:
        sender.sendall(data)
        sender.shutdown(socket.SHUT_WR)
        assert everything(sender) == b""


def of(running: Listening, test: str) -> list[dict[str, Any]]:
    found = [row for row in running.records() if row.get("test") == test]
    return [{k: v for k, v in row.items() if k not in ("test", "@timestamp")} for row in found]


def numbers(running: Listening, test: str) -> list[int]:
    return sorted(row["n"] for row in of(running, test))


def line(test: str, n: int, **more: Any) -> bytes:
    return json.dumps({"test": test, "n": n, "@timestamp": AT, **more}).encode()


#: Bytes of a connection (`%` stands for the test's name), and which of its lines are events.
STREAMS: dict[str, tuple[list[bytes], list[int]]] = {
    "one line": ([line("%", 1) + b"\n"], [1]),
    "several lines at once": ([b"\n".join(line("%", n) for n in (1, 2, 3)) + b"\n"], [1, 2, 3]),
    "a line in pieces": (
        [line("%", 1)[:9], line("%", 1)[9:] + b"\n" + line("%", 2)[:5], line("%", 2)[5:] + b"\n"],
        [1, 2],
    ),
    "CRLF and blank lines": ([b"\r\n" + line("%", 1) + b"\r\n\r\n" + line("%", 2) + b"\r\n"], [1, 2]),
    "the last line without its end": ([line("%", 1) + b"\n" + line("%", 2)], [1, 2]),
    "the last line cut": ([line("%", 1) + b"\n" + line("%", 2)[:-4]], [1]),
    "a line that isn't JSON": ([line("%", 1) + b"\nnonsense\n" + line("%", 2) + b"\n"], [1, 2]),
    "a line that is no object": ([line("%", 1) + b"\n[1, 2]\n7\n" + line("%", 2) + b"\n"], [1, 2]),
    "a line that isn't UTF-8": ([b'{"n": "\xff"}\n' + line("%", 1) + b"\n"], [1]),
    "a line that is too large": ([line("%", 1, a="x" * 40_000) + b"\n" + line("%", 2) + b"\n"], [2]),
    "a line that is far too large": (
        [line("%", 1) + b"\n" + line("%", 3, a="x" * 400_000) + b"\n" + line("%", 2) + b"\n"],
        [1, 2],
    ),
    "more lines than a request may have": ([b"".join(line("%", n) + b"\n" for n in range(5000))], list(range(5000))),
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_line_that_can_be_taken_is_an_event(running: Listening, name: str) -> None:
    parts, expected = STREAMS[name]
    test = uuid.uuid4().hex
    with running.connect(running.lines) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sender.sendall(part.replace(b"%", test.encode()))
        sender.shutdown(socket.SHUT_WR)
        everything(sender)
    assert numbers(running, test) == expected


def test_lines_that_cannot_be_taken_are_in_the_quarantine(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    with listening(engine_settings, elasticsearch, tmp_path) as alone:
        send(alone, b"nonsense\n[1, 2]\n" + line("large", 1, a="x" * 400_000) + b"\n")
        with contextlib.closing(Quarantine(alone.gateway.settings.spool_dir)) as kept:
            found = sorted(row.reason.partition(":")[0][:20] for row in kept.list())
    assert found == ["a line of 400076 byt", "an event is a JSON o", "the line isn't JSON"]


def test_a_line_is_a_shippers_record_neither_view_nor_download_unless_it_says_so(running: Listening) -> None:
    rows: list[dict[str, Any]] = [{"referer": "https://arcgis.com/x"}, {"accept": "text/html"}, {"format": "csv"}]
    send(running, b"".join(json.dumps({"id": "line", "@timestamp": AT, **row}).encode() + b"\n" for row in rows))
    running.gateway.drain()
    assert running.gateway.tock("line") == {
        "views": {"2015-01-22": 1},
        "downloads": {"csv": 1},
        "referers": {"arcgis.com/x": 1},
    }
    assert {row["dialect"] for row in running.gateway.documents() if row.get("id") == "line"} == {"lines"}


def test_a_line_without_end_is_cut_off_at_the_limit() -> None:
    framer = Lines(1000)
    assert list(framer.feed(b"x" * 900)) == []
    with pytest.raises(Unframed, match="a line of more than 1000 bytes"):
        list(framer.feed(b"x" * 101))
    assert list(Lines(1000).feed(b"x" * 900 + b"\n" + b"y" * 900)) == [b"x" * 900 + b"\n"]


def test_a_connection_that_sends_no_lines_is_closed(running: Listening) -> None:
    with running.connect(running.lines) as sender:
        sent = 0
        try:
            while sent < 100 * 2**20:
                sent += sender.send(b"x" * 2**16)
        except ConnectionError:
            pass
    assert sent < 30 * 2**20


#: Datagrams (`%` stands for the test's name), and which events they hold.
DATAGRAMS: dict[str, tuple[list[bytes], list[int]]] = {
    "an object a datagram": ([line("%", 1), line("%", 2)], [1, 2]),
    "with a line end": ([line("%", 1) + b"\n"], [1]),
    "several lines": ([line("%", 1) + b"\n" + line("%", 2)], [1, 2]),
    "nothing": ([b"", line("%", 1)], [1]),
    "nonsense": ([b"\xff\xfe", b"{", line("%", 1)], [1]),
    "as large as a datagram may be": ([line("%", 1, a="x" * 65_000), line("%", 2, a="x" * 30_000)], [2]),
}


@pytest.mark.parametrize("name", DATAGRAMS)
def test_every_datagram_that_can_be_taken_is_an_event(running: Listening, name: str) -> None:
    datagrams, expected = DATAGRAMS[name]
    test = uuid.uuid4().hex
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram.replace(b"%", test.encode()), ("127.0.0.1", running.lines_udp))
    wait_for(lambda: numbers(running, test) == expected, "the datagrams")


class JsonLinesHandler(SocketHandler):
    """The standard library's handler, with a line of JSON where it would pickle."""

    def makePickle(self, record: logging.LogRecord) -> bytes:
        return json.dumps({"message": record.getMessage(), **record.__dict__["usage"]}).encode() + b"\n"


def test_pythons_socket_handler_with_json_lines(running: Listening) -> None:
    test = uuid.uuid4().hex
    handler = JsonLinesHandler("127.0.0.1", running.lines)
    logger = logging.Logger("usage")
    logger.addHandler(handler)
    for number in range(50):
        logger.info("download %d", number, extra={"usage": {"test": test, "n": number, "format": "csv"}})
    handler.close()
    wait_for(lambda: numbers(running, test) == list(range(50)), "the handler's records")


@pytest.mark.parametrize("transport", ["TcpTransport", "UdpTransport"])
def test_python_logstash_async_delivers_unmodified(
    running: Listening, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr(constants, "QUEUE_CHECK_INTERVAL", 0.05)
    monkeypatch.setattr(constants, "QUEUED_EVENTS_FLUSH_INTERVAL", 0.05)
    item = uuid.uuid4().hex
    port = running.lines if transport == "TcpTransport" else running.lines_udp
    handler = AsynchronousLogstashHandler(
        "127.0.0.1", port, database_path=None, transport=f"logstash_async.transport.{transport}", ssl_enable=False
    )
    handler.setFormatter(LogstashFormatter(extra_prefix=None))
    logger = logging.Logger("usage")
    logger.addHandler(handler)
    for _ in range(30):
        logger.info("csv", extra={"item_id": item, "format": "csv", "referer": "https://arcgis.com/"})
    logger.info("page", extra={"item_id": item, "accept": "text/html"})
    handler.close()

    def counted() -> Any:
        running.gateway.drain()
        found = running.gateway.tock(item)
        return list(found["views"].values()), found["downloads"], found["referers"]

    wait_for(lambda: counted() == ([1], {"csv": 30}, {"arcgis.com": 30}), "the records")
