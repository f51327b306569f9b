"""A scripted HTTP proxy in front of the real Elasticsearch, which plays what goes wrong between us and it.

Without a script it passes everything through. `faults` holds one fault for each `_bulk` request to come; `answers` holds
standing answers to other paths. `bulks` notes the ids that every `_bulk` request brought, in order.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_ID = re.compile(rb'"_id":"([^"]+)"')

#: What Elasticsearch's answers carry.
ELASTIC = {"Content-Type": "application/json", "X-elastic-product": "Elasticsearch"}

Reply = tuple[int, dict[str, str], bytes]


class Proxy:
    """Listens once `start` is called, on a port that is known before."""

    def __init__(self, target: str, port: int) -> None:
        self.target = urlsplit(target)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.faults: deque[Fault] = deque()
        self.answers: dict[str, Reply] = {}
        #: The last body that was sent to each path of `answers`.
        self.asked: dict[str, bytes] = {}
        self.bulks: list[list[str]] = []
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        proxy = self

        class BoundHandler(Handler):
            parent = proxy

        self._server = _Server(("127.0.0.1", self.port), BoundHandler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def forward(self, method: str, path: str, given: Iterable[tuple[str, str]], body: bytes) -> Reply:
        connection = http.client.HTTPConnection(self.target.hostname or "", self.target.port, timeout=60)
        left_out = ("host", "connection", "accept-encoding", "content-length")
        kept = {name: value for name, value in given if name.lower() not in left_out}
        try:
            connection.request(method, path, body=body or None, headers=kept)
            response = connection.getresponse()
            headers = {name: value for name, value in response.headers.items() if name in ELASTIC}
            return response.status, headers, response.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of the play."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    parent: Proxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/_bulk":
            with self.parent.lock:
                self.parent.bulks.append([found.decode() for found in _ID.findall(body)])
                fault = self.parent.faults.popleft() if self.parent.faults else passed()
            fault(self, body)
        elif path in self.parent.answers:
            self.parent.asked[path] = body
            self.reply(*self.parent.answers[path])
        else:
            self.reply(*self.forwarded(body))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def forwarded(self, body: bytes) -> Reply:
        return self.parent.forward(self.command, self.path, self.headers.items(), body)

    def reply(self, status: int, headers: dict[str, str], body: bytes, *, promised: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


Fault = Callable[[Handler, bytes], None]


def error(kind: str, reason: str = "played") -> bytes:
    return json.dumps({"error": {"type": kind, "reason": reason}}).encode()


def passed() -> Fault:
    return lambda handler, body: handler.reply(*handler.forwarded(body))


def refused(status: int, kind: str = "played", *, by: dict[str, str] = ELASTIC) -> Fault:
    """The whole request is answered with `status`; Elasticsearch never sees it."""
    return lambda handler, body: handler.reply(status, by, error(kind))


def refused_above(size: int) -> Fault:
    """413 for a body of more bytes than `size`."""

    def play(handler: Handler, body: bytes) -> None:
        too_large = 413, {"Content-Type": "text/html"}, b"too large"
        handler.reply(*(too_large if len(body) > size else handler.forwarded(body)))

    return play


def refused_items(status: int, kind: str, ids: str, reason: str = "played") -> Fault:
    """Items whose id is one of the letters `ids` fail with `status`; Elasticsearch gets and answers the others."""

    def play(handler: Handler, body: bytes) -> None:
        lines = body.rstrip(b"\n").split(b"\n")
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        fails = [_ID.findall(action)[0].decode() in ids for action, _ in pairs]
        good = b"".join(b"%b\n%b\n" % pair for pair, bad in zip(pairs, fails, strict=True) if not bad)
        answers = iter(json.loads(handler.forwarded(good)[2])["items"] if good else [])
        failure = {"create": {"status": status, "error": {"type": kind, "reason": reason}}}
        items = [failure if bad else next(answers) for bad in fails]
        handler.reply(200, ELASTIC, json.dumps({"errors": True, "items": items}).encode())

    return play


def applied_but(change: Callable[[bytes], bytes]) -> Fault:
    """Elasticsearch stores it; the answer's bytes are changed on the way back."""

    def play(handler: Handler, body: bytes) -> None:
        status, headers, answer = handler.forwarded(body)
        handler.reply(status, headers, change(answer))

    return play


def without_last_item(answer: bytes) -> bytes:
    found = json.loads(answer)
    return json.dumps({**found, "items": found["items"][:-1]}).encode()


def applied_but_cut(*, reset: bool) -> Fault:
    """Elasticsearch stores it; the connection ends in mid-answer, by the book or by a reset."""

    def play(handler: Handler, body: bytes) -> None:
        status, headers, answer = handler.forwarded(body)
        handler.reply(status, headers, answer[: len(answer) // 2], promised=len(answer))
        handler.close_connection = True
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

    return play


def applied_but_silent() -> Fault:
    """Elasticsearch stores it; no answer comes until the client gives up."""

    def play(handler: Handler, body: bytes) -> None:
        handler.forwarded(body)
        handler.connection.recv(1)
        handler.close_connection = True

    return play


def silent_for(index: str) -> Fault:
    """A shard of one index hangs: what is for other indices is stored, and a request with any event for it never answers."""

    def play(handler: Handler, body: bytes) -> None:
        lines = body.rstrip(b"\n").split(b"\n")
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        good = b"".join(b"%b\n%b\n" % pair for pair in pairs if index.encode() not in pair[0])
        answer = handler.forwarded(good) if good else None
        if answer is not None and len(good) == len(body):
            handler.reply(*answer)
            return
        handler.connection.recv(1)
        handler.close_connection = True

    return play
