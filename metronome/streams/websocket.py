"""A websocket as its handler sees it: accept it, read messages, send some. PyPI `websockets` knows the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from metronome.streams.head import MAX_REST_BYTES
from metronome.streams.stream import Closed, Stream

#: Frames that carry a message or a part of one.
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Socket(Stream):
    """`await accept()`, then `async for message in socket`, `await send(message)`, `await close(code)`."""

    __slots__ = ("_frames", "_messages", "_parts", "_pinged", "_text", "_tokens", "_tokens_at", "_waiting")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        #: The protocol's state. `accept` replaces it by one of an open connection, which begins with the first frame.
        self._frames = ServerProtocol()
        self._messages: deque[str | bytes] = deque()
        #: The frames so far of a message that comes in several frames.
        self._parts: list[bytes] = []
        self._text = True
        self._waiting: asyncio.Future[None] | None = None
        self._tokens = 2 * self.limits.messages_per_s
        self._tokens_at = self.heard
        self._pinged = False

    # --- For handlers ------------------------------------------------------------------------------------------

    async def accept(self) -> None:
        """Answer the handshake. If the request isn't one, tell the client so and raise Closed."""
        # No compression is offered: it takes 64 KB a socket, and a small message can become a very large one.
        response = self._frames.accept(Request(self.head.target, Headers(self.head.headers)))
        self._accepted = True
        self.push(response.serialize())
        if response.status_code != 101:
            self.end()
            raise Closed
        self._frames = ServerProtocol(state=State.OPEN, max_size=self.limits.message_bytes)
        early, self.early = self.early, b""
        if early:
            self.data_received(early)

    async def send(self, message: str | bytes) -> None:
        """Send a message; waits while the client is behind. Raises Closed."""
        if not self._is_open():
            raise Closed
        if isinstance(message, str):
            self._frames.send_text(message.encode())
        else:
            self._frames.send_binary(message)
        await self.pushed(b"".join(self._frames.data_to_send()))

    def ping(self) -> None:
        """Ask whether the client is there. Its answer, like all that it sends, is noted in `heard`."""
        if self._is_open():
            self._frames.send_ping(b"")
            self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._close(code, reason)

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message. Ends when the connection does, in whatever way."""
        while not self._messages:
            if self.transport is None or not self._is_open():
                raise StopAsyncIteration
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        message = self._messages.popleft()
        if len(self._messages) == self.limits.queued // 2 and self.transport is not None:
            self.transport.resume_reading()
        return message

    # --- For the hub -------------------------------------------------------------------------------------------

    def tend(self, now: float) -> None:
        silent_s = now - self.heard
        if silent_s > self.limits.idle_s:
            self.abort()
        elif silent_s > self.limits.idle_s / 2 and not self._pinged:
            self._pinged = True
            self.ping()

    def restart(self) -> None:
        self._close(CloseCode.SERVICE_RESTART, "the server restarts")

    def end(self) -> None:
        self._close(CloseCode.NORMAL_CLOSURE, "")

    def _close(self, code: int, reason: str) -> None:
        if self._is_open():
            self._frames.send_close(code, reason)
            self._flush()
        elif self._frames.state is State.CONNECTING:
            super().end()
        self._wake()

    # --- asyncio.Protocol --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        self._pinged = False
        if self._frames.state is State.CONNECTING:
            self.early += data
            if len(self.early) > MAX_REST_BYTES:
                self.abort()
            return
        self._frames.receive_data(data)
        for frame in self._frames.events_received():
            if isinstance(frame, Frame) and not self._on_frame(frame):
                break
        self._flush()
        if len(self._messages) > self.limits.queued and self.transport is not None:
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._wake()

    def _on_frame(self, frame: Frame) -> bool:
        """Take a frame; False where that closes the connection. Pings count as messages do: each is answered."""
        if not self._spend():
            self._frames.fail(CloseCode.POLICY_VIOLATION, f"more than {self.limits.messages_per_s:g} messages a second")
            return False
        if frame.opcode not in _DATA:
            return True
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return True
        data = b"".join(self._parts)
        self._parts.clear()
        try:
            self._messages.append(data.decode() if self._text else data)
        except UnicodeDecodeError:
            self._frames.fail(CloseCode.INVALID_DATA, "a text message isn't UTF-8")
            return False
        return True

    def _spend(self) -> bool:
        """Take a token for a frame; there are so many a second, and twice as many at once."""
        rate = self.limits.messages_per_s
        self._tokens = min(2 * rate, self._tokens + (self.heard - self._tokens_at) * rate) - 1
        self._tokens_at = self.heard
        return self._tokens >= 0

    def _flush(self) -> None:
        """Send what the protocol has to say, and its end of the connection once it has said Close."""
        data = b"".join(self._frames.data_to_send())
        with contextlib.suppress(Closed, OSError):  # the client is gone; asyncio says so next
            if data:
                self.push(data)
            if self._frames.close_expected() and self.transport is not None and not self.transport.is_closing():
                # What the client still sends is read and dropped: a closed socket would reset the connection.
                self.transport.resume_reading()
                self.transport.write_eof()

    def _is_open(self) -> bool:
        return self._frames.state is State.OPEN

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
