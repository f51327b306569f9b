"""A proxy in front of an S3 that plays one fault: refusals, cuts, silence, other bodies than were stored."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Faults:
    """Passes everything through, but what `rule` (a method, and what befalls it) says. Objects only: keys with a part."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.rule: tuple[str, dict[str, Any]] | None = None
        self.released = threading.Event()
        parent = self

        class Bound(Handler):
            faults = parent

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Faults:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        method, fault = self.faults.rule or ("", {})
        fault = fault if method == self.command and ".parquet" in self.path else {}
        if self.faults.released.is_set():  # a kept connection outlives the server
            self.close_connection = True
            return None
        if "status" in fault:
            return self.answer(fault["status"], {}, b"<Error><Code>SlowDown</Code><Message>no</Message></Error>")
        if fault.get("silent"):
            self.faults.released.wait(30)
            self.close_connection = True
            return None
        if fault.get("cut") and method == "PUT":
            self.close_connection = True
            return None
        status, headers, answer = self.forward(body)
        if fault.get("changed") and len(answer) > 100:
            answer = answer[:50] + bytes([answer[50] ^ 1]) + answer[51:]
        return self.answer(status, headers, answer, cut=bool(fault.get("cut")))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.faults.target.hostname or "", self.faults.target.port, timeout=30)
        try:
            headers = dict(self.headers.items())
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        pass
