"""Connections that stay open for long go to the streams process: by SCM_RIGHTS, on a Unix socket in METRONOME_HOME.

The worker has read the head. The other process gets the head, the bytes that came after it, and the file descriptor.
Nothing here waits: if the other process is away or doesn't keep up, the client gets a 503 and tries again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Request

from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.streams.head import MAX_REST_BYTES, Head, message, reachable
from metronome.streams.routes import Route
from metronome.web.arriving import Arrived
from metronome.web.connection import Connection
from metronome.web.hosts import host_check
from metronome.web.problems import Problem, answer, reply
from metronome.wire.access import Gate
from metronome.wire.caller import client_address

#: Gives the head with the client's address, key and app; raises BadKey or a similar error if the stream is refused.
Authorise = Callable[[Head, Route], Head]

_AWAY: Problem = (503, "streams_unavailable", "live connections can't be served just now; try again soon")
_EARLY: Problem = (400, "bad_request", "too much was sent before the connection was accepted")


def as_any_request(settings: Settings, gate: Gate) -> Authorise:
    """A stream asks for one of the gateway's own names, and needs a key of its route's scope, as every request does."""
    check_host = host_check(settings)

    def authorise(head: Head, route: Route) -> Head:
        check_host(head.header("host"))
        if route.scope == "public":
            return replace(head, client=client_address(_as_request(head), gate.trusted))
        access = gate.admit(_as_request(head), route.scope, in_query=True)
        return replace(head, client=access.address, key=access.key, app=access.app)

    return authorise


def _as_request(head: Head) -> Request:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": head.path,
        "QUERY_STRING": urlsplit(head.target).query,
        "REMOTE_ADDR": head.client,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in head.headers},
    }
    return Request(environ)


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
        try:
            head = self._authorise(head, route)
        except MetronomeError as error:
            self._answer(connection, error.status, reply(error.status, orjson.dumps(error.body())))
            return True
        if arrived.body or len(connection.arriving.buffer) > MAX_REST_BYTES:
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

    def _refuse(self, connection: Connection, refused: Problem, *, retry_after_s: int | None = None) -> None:
        self._answer(connection, refused[0], answer(refused, retry_after_s=retry_after_s))

    def _answer(self, connection: Connection, status: int, data: bytes) -> None:
        self._metrics.requests.labels("none", str(status)).inc()
        connection.answered(close=True)
        connection.send(data)


def _head(connection: Connection, request: Any) -> Head:
    client = connection.client[0] if isinstance(connection.client, tuple) else ""
    return Head(request.uri, tuple((name.lower(), value) for name, value in request.headers), client)
