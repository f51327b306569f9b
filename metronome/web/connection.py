"""One client's connection in a worker: bytes in, bytes out, and the deadline of its present state.

The socket never blocks. Either the worker's loop has the connection or one thread has it, never both.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metronome.web.arriving import Arrived, Arriving

#: Bytes read at a time: while nothing is known of what comes, and at most within a body of known length.
READ_BYTES = 65_536
MAX_READ_BYTES = 2**20

#: If this many bytes of an answer wait for the client, they are sent before more of the answer is made.
MAX_UNSENT_BYTES = 2**20

#: After an answer that closes the connection, at most this many bytes are still read and dropped, for a limited time.
#: If a socket is closed before its client has sent everything, the connection is reset, and the client never sees the
#: answer.
DRAIN_BYTES = 64 * 2**20
DRAIN_S = 10.0


@dataclass(frozen=True)
class Pace:
    """How slow a client may be, in seconds and bytes a second."""

    #: From a connection's start, or a request's first byte, to the end of the head.
    head_s: float
    #: A body may take so long, and longer by what came of it at `bytes_per_s`; so may the reading of an answer.
    body_s: float
    bytes_per_s: int
    #: Between an answer and the next request.
    keepalive_s: float


class Connection:
    """A socket with what has come and what is to go."""

    def __init__(self, sock: socket.socket, client: Any, arriving: Arriving) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.client = client
        self.server = sock.getsockname()
        self.arriving = arriving
        #: The request that a thread serves, or is to serve.
        self.arrived: Arrived | None = None
        self.unsent = bytearray()
        #: Whether the loop has it and waits for its socket; else a thread has it, or is about to.
        self.watched = False
        #: Whether to close once all is sent; whether another process has the connection now.
        self.closing = False
        self.taken = False
        #: Set once the answer is sent and only the client's end is awaited.
        self.draining = False
        #: Requests that came.
        self.asked = 0
        self._drained = 0
        self._sent = 0
        #: Start of the present state: of waiting, a request's first byte, an answer's first unsent byte, or of closing.
        self.since = time.monotonic()
        #: Bytes that this connection takes of the worker's room for unfinished requests and those being served.
        self.counted = 0
        self.borrowed = 0

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come."""
        return not self.arriving.size and not self.arriving.has_head

    def deadline(self, pace: Pace) -> float:
        """When the connection is to be closed unless something changes, on the clock of `time.monotonic`."""
        if self.draining:
            return self.since + DRAIN_S
        if self.unsent:
            return self.since + pace.body_s + self._sent / pace.bytes_per_s
        if self.idle:
            return self.since + (pace.keepalive_s if self.asked else pace.head_s)
        if not self.arriving.has_head:
            return self.since + pace.head_s
        return self.since + pace.body_s + self.arriving.size / pace.bytes_per_s

    def receive(self) -> bool:
        """Read what is there, without waiting; False if the client has ended or gone."""
        try:
            data = self.sock.recv(min(max(READ_BYTES, self.arriving.missing), MAX_READ_BYTES))
        except BlockingIOError:
            return True
        except OSError:
            return False
        if self.draining:
            self._drained += len(data)
            return bool(data) and self._drained <= DRAIN_BYTES
        if self.idle and self.asked:
            self.since = time.monotonic()
        self.arriving.feed(data)
        return bool(data)

    def next(self) -> bool:
        """Whether a whole request has come; it is `arrived` then. Raises ParseException or BadPayload."""
        self.arrived = self.arriving.next()
        if self.arrived is not None:
            self.asked += 1
            return True
        if self.arriving.awaits_continue:
            self.arriving.awaits_continue = False
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return False

    def wait_readable(self, milliseconds: float) -> bool:
        soon = select.poll()
        soon.register(self.sock, select.POLLIN)
        return bool(soon.poll(milliseconds))

    def answered(self, *, close: bool) -> None:
        """The request that arrived has its answer."""
        self.arrived = None
        self.closing = close
        self.since = time.monotonic()
        self._sent = 0

    def send(self, data: bytes | bytearray) -> None:
        """Send what the client takes now; the rest stays in `unsent`. A client that is gone makes it `closing`."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        try:
            while self.unsent:
                count = self.sock.send(self.unsent)
                del self.unsent[:count]
                self._sent += count
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()
            self.closing = True

    def send_waiting(self, seconds: float) -> None:
        """Send all of it, though the client may be slow. Raises TimeoutError."""
        self.sock.settimeout(seconds)
        try:
            self.sock.sendall(self.unsent)
            self.unsent.clear()
        finally:
            self.sock.setblocking(False)

    def start_draining(self) -> None:
        self.draining = True
        self.since = time.monotonic()
        self.arriving.drop()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


class Outgoing:
    """Stands in for a socket: gunicorn's Response writes to it. It gathers the answer, which is sent in one piece."""

    def __init__(self, connection: Connection, slow_s: float) -> None:
        self._connection = connection
        self._slow_s = slow_s
        self.data = bytearray()
        self.started = False

    def sendall(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > MAX_UNSENT_BYTES:
            self.started = True
            self._connection.unsent += self.data
            self.data.clear()
            self._connection.send_waiting(self._slow_s)

    def recv(self, size: int, flags: int) -> bytes:
        """Look at what the client sends while its request is served; a long question asks whether it is still there."""
        return self._connection.sock.recv(size, flags)

    def send(self, data: bytes) -> int:
        """gunicorn says `100 Continue` here. That was said when the head arrived."""
        return len(data)


#: A function that may take a connection over; returns True if it did.
Taker = Callable[[Connection, Arrived], bool]
