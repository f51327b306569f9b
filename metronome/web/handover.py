"""Connections that stay open for long go to the streams process: by SCM_RIGHTS, on a Unix socket in METRONOME_HOME.

The worker has read the head; the other process gets that, what came after it, and the file descriptor. Nothing here
waits: where the other process is away or doesn't keep up, the client gets a 503 and tries again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.streams.head import MAX_REST_BYTES, Head, message, reachable
from metronome.streams.routes import Route
from metronome.web.arriving import Arrived
from metronome.web.connection import Connection
from metronome.web.hosts import host_check
from metronome.web.refusals import Refusal, answer, reply

#: Says whether a client may have a stream: None, or the status and the JSON body of the refusal.
Authorise = Callable[[Head], tuple[int, bytes] | None]

_AWAY: Refusal = (503, "streams_unavailable", "live connections can't be served just now; try again soon")
_EARLY: Refusal = (400, "bad_request", "too much was sent before the connection was accepted")


def of_our_hosts(settings: Settings) -> Authorise:
    """Whoever asks for one of the gateway's own names, as every other request has to."""
    check = host_check(settings)

    def authorise(head: Head) -> tuple[int, bytes] | None:
        try:
            check(head.header("host"))
        except MetronomeError as error:
            return error.status, orjson.dumps(error.body())
        return None

    return authorise


class Handover:
    """Takes a connection out of the worker if it asks for a route of the streams process."""

    def __init__(self, path: Path, routes: Mapping[str, Route], metrics: Metrics, authorise: Authorise) -> None:
        self._path = path
        self._routes = routes
        self._metrics = metrics
        self._authorise = authorise

    def __call__(self, connection: Connection, arrived: Arrived) -> bool:
        """Whether this was such a request; then it is handed over, or refused."""
        route = self._routes.get(arrived.request.path)
        if route is None or arrived.request.method != "GET":
            return False
        head = _head(connection, arrived.request)
        if not route.wants(head):
            return False
        refused = self._authorise(head)
        if refused is not None:
            self._answer(connection, refused[0], reply(*refused))
        elif arrived.body or len(connection.arriving.buffer) > MAX_REST_BYTES:
            self._refuse(connection, _EARLY)
        elif self._give(connection, head):
            connection.taken = True
            self._metrics.requests.labels(arrived.request.path, "handed_over").inc()
        else:
            self._refuse(connection, _AWAY, retry_after_s=2)
        return True

    def _give(self, connection: Connection, head: Head) -> bool:
        data = message(head, bytes(connection.arriving.buffer))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other, reachable(self._path) as name:
                other.setblocking(False)
                other.connect(name)
                return socket.send_fds(other, [data], [connection.sock.fileno()]) == len(data)
        except OSError:
            return False

    def _refuse(self, connection: Connection, refused: Refusal, *, retry_after_s: int | None = None) -> None:
        self._answer(connection, refused[0], answer(refused, retry_after_s=retry_after_s))

    def _answer(self, connection: Connection, status: int, data: bytes) -> None:
        self._metrics.requests.labels("none", str(status)).inc()
        connection.answered(close=True)
        connection.send(data)


def _head(connection: Connection, request: Any) -> Head:
    client = connection.client[0] if isinstance(connection.client, tuple) else ""
    return Head(request.uri, tuple((name.lower(), value) for name, value in request.headers), client)
