"""Which paths the streams process serves. A dialect adds a line to ROUTES; the workers hand over what matches one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metronome.streams.head import Head
from metronome.wire.access import Scope


@dataclass(frozen=True)
class Route:
    """A path's handler, named as `module:function` so that only the streams process imports it.

    The function is `async def handler(stream, doors)`: it gets a `websocket.Socket` or an `events.EventStream`, and a
    `hub.Doors`. The connection ends when it returns. `scope` is what its callers need, as `needs` says it of a view.

    `room` is for what all its connections share, as `name=module:function`: an asynchronous context manager that gets
    the `hub.Doors`. It is entered before the first connection is taken, and left after the last handler has ended.
    """

    kind: Literal["websocket", "events"]
    handler: str
    scope: Scope = "read"
    room: str = ""

    def wants(self, head: Head) -> bool:
        """Whether a request for the path asks for the stream; any other is an ordinary request."""
        if self.kind == "websocket":
            return head.header("upgrade").lower() == "websocket"
        return "text/event-stream" in head.header("accept")


#: Path to route.
ROUTES: dict[str, Route] = {
    # Who may join is asked with each join, which brings a key.
    "/socket/websocket": Route(
        "websocket", "metronome.streams.video:serve", "public", room="video=metronome.streams.video:opened"
    ),
    "/live/events": Route("events", "metronome.streams.live:events"),
    "/live/counters": Route("events", "metronome.streams.live:counters"),
}
