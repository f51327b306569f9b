"""The common part of all long connections: limits on what they send and hold, and how a dead one is found."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from metronome.errors import error_body
from metronome.streams.head import Head

#: Above this a sender waits for its reader, in bytes.
HIGH_WATER = 65_536

#: How long a closed connection's client may take to close its side.
CLOSE_S = 2.0

#: The end of a connection that is still open.
_OPEN = float("inf")


@dataclass(frozen=True)
class Limits:
    """Limits of one connection. A connection past a limit is closed, and the others go on."""

    #: Open connections of the process; more get 503.
    connections: int = 10_000
    #: Largest message of a websocket; more closes it with 1009.
    message_bytes: int = 65_536
    #: Messages a second on average, and twice as many at once. More closes the websocket with 1008.
    messages_per_s: float = 100
    #: Messages that wait for their handler before the connection is read no further.
    queued: int = 32
    #: Limit of what waits for a slow reader, in bytes and seconds. More closes the connection.
    unsent_bytes: int = 2**20
    slow_s: float = 10
    #: A websocket is pinged after half of this silence, and closed after all of it.
    idle_s: float = 60
    #: A stream of events sends something, if only a comment, at least this often.
    comment_s: float = 15
    #: Time for a handler to end after its connection has ended.
    finish_s: float = 20


class Closed(Exception):
    """The connection is gone; there is nobody to send to."""


class Stream(asyncio.Protocol):
    """One handed-over connection. Before it is accepted, its handler may `refuse` it."""

    __slots__ = (
        "_accepted",
        "_gone",
        "_resumed",
        "early",
        "ended",
        "head",
        "heard",
        "limits",
        "said",
        "task",
        "transport",
    )

    def __init__(self, head: Head, early: bytes, limits: Limits) -> None:
        self.head = head
        #: What the client sent after its head.
        self.early = early
        self.limits = limits
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        #: When something was last read and written, and when the connection ended, by `time.monotonic`.
        self.heard = self.said = time.monotonic()
        self.ended = _OPEN
        self._accepted = False
        self._resumed: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None

    # --- For handlers ------------------------------------------------------------------------------------------

    @property
    def accepted(self) -> bool:
        """Whether the request has been answered."""
        return self._accepted

    async def refuse(self, status: int, code: str = "", message: str = "") -> None:
        """Answer the request with an error instead of accepting it: the one error body, or none without a `code`."""
        self.refuse_now(status, orjson.dumps(error_body(status, code, message)) if code else b"")

    # --- For the hub -------------------------------------------------------------------------------------------

    def refuse_now(self, status: int, body: bytes, *, retry_after_s: int | None = None) -> None:
        if self._accepted:
            raise RuntimeError("an accepted connection can't be refused any more")
        self._accepted = True
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close", f"Content-Length: {len(body)}"]
        if body:
            lines.append("Content-Type: application/json")
        if retry_after_s is not None:
            lines.append(f"Retry-After: {retry_after_s}")
        self.push("\r\n".join([*lines, "", ""]).encode() + body)
        self.end()

    def tend(self, now: float) -> None:
        """Called every so often: keep the connection alive, or find that it is dead."""

    def restart(self) -> None:
        """The process is to stop: tell the client, if there is a way, and end."""
        self.end()

    def end(self) -> None:
        """Close once all is sent."""
        if self.transport is not None:
            self.transport.close()

    async def finish(self) -> None:
        """End, and return once the connection is gone: by its client's end, or by ours after CLOSE_S."""
        self.end()
        if self.transport is None:
            return
        self._gone = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._gone
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Close at once; what wasn't sent is dropped."""
        if self.transport is not None:
            self.transport.abort()

    # --- Sending -----------------------------------------------------------------------------------------------

    def push(self, data: bytes) -> None:
        """Send without waiting. Raises Closed; a reader that is too far behind is closed by this."""
        if self.transport is None or self.transport.is_closing():
            raise Closed
        self.transport.write(data)
        self.said = time.monotonic()
        if self.transport.get_write_buffer_size() > self.limits.unsent_bytes:
            self.abort()
            raise Closed

    async def pushed(self, data: bytes) -> None:
        """Send, and wait while the reader is behind. Raises Closed, also when it stays behind too long."""
        self.push(data)
        if self._resumed is None:
            return
        try:
            async with asyncio.timeout(self.limits.slow_s):
                await asyncio.shield(self._resumed)
        except TimeoutError:
            self.abort()
            raise Closed from None

    # --- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.transport = transport

    def pause_writing(self) -> None:
        self._resumed = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        self._resumed = None

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = time.monotonic()
        self.transport = None
        self.resume_writing()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
