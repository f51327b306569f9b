"""The gateway's commands with two routes to measure: `python -m bench.streamed streams`."""

from __future__ import annotations

import orjson

from metronome.cli import main
from metronome.intake import Origin
from metronome.streams.hub import Doors
from metronome.streams.routes import ROUTES, Route
from metronome.streams.websocket import Socket


async def echo(socket: Socket, doors: Doors) -> None:
    """What was said."""
    await socket.accept()
    async for message in socket:
        await socket.send(message)


async def ticks(socket: Socket, doors: Doors) -> None:
    """Each message is an event; the answer comes once it is on disk."""
    await socket.accept()
    async for message in socket:
        receipt = await doors.batches.accept([orjson.loads(message)], Origin("bench"))
        await socket.send(orjson.dumps(receipt.as_dict(full=True)))


if __name__ == "__main__":
    ROUTES["/echo"] = Route("websocket", "bench.streamed:echo")
    ROUTES["/ticks"] = Route("websocket", "bench.streamed:ticks")
    main()
