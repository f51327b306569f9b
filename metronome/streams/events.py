"""A stream of server-sent events as its handler sees it (HTML Living Standard, "Server-sent events")."""

from __future__ import annotations

from metronome.streams.stream import Stream

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n"
    # Without this header, nginx would buffer events.
    b"X-Accel-Buffering: no\r\n"
)


class EventStream(Stream):
    """`await accept()`, then `await send(data, event=…, cursor=…)` as often as there is something to say.

    The handler is cancelled when the client goes away.
    """

    __slots__ = ()

    async def accept(self, headers: dict[str, str] | None = None) -> None:
        """Answer the request; `headers` are added to the usual ones, such as those of CORS."""
        self._accepted = True
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        await self.pushed(_HEAD + more.encode("latin-1") + b"\r\n")

    async def send(self, data: str, *, event: str = "", cursor: str = "") -> None:
        """Send an event; waits while the client is behind. Raises Closed.

        A client that comes back sends `cursor` as Last-Event-ID. Neither it nor `event` has line ends.
        """
        lines = [f"id: {cursor}"] if cursor else []
        if event:
            lines.append(f"event: {event}")
        lines += [f"data: {line}" for line in data.split("\n")]
        await self.pushed(("\n".join(lines) + "\n\n").encode())

    def tend(self, now: float) -> None:
        if self._accepted and now - self.said > self.limits.comment_s:
            self.push(b":\n\n")

    def data_received(self, data: bytes) -> None:
        """Drop what the client sends, since nothing is expected from it here."""

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        # After the handler has ended, the connection waits for this; see `finish`.
        if self.task is not None and self._gone is None:
            self.task.cancel()
