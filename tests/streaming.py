"""Routes of the streams process for tests, and the command with them: `python tests/streaming.py serve` or `streams`."""

from __future__ import annotations

import asyncio
import json

from metronome.cli import main
from metronome.intake import Origin
from metronome.streams.events import EventStream
from metronome.streams.hub import Doors
from metronome.streams.routes import ROUTES, Route
from metronome.streams.websocket import Socket

TEST_ROUTES = {
    "/test/echo": Route("websocket", "streaming:echo"),
    "/test/ticks": Route("websocket", "streaming:ticks"),
    "/test/flood": Route("websocket", "streaming:flood"),
    "/test/deaf": Route("websocket", "streaming:deaf"),
    "/test/torrent": Route("events", "streaming:torrent"),
    "/test/refused": Route("websocket", "streaming:refused"),
    "/test/broken": Route("websocket", "streaming:broken"),
    "/test/counter": Route("events", "streaming:counter"),
    "/test/silent": Route("events", "streaming:silent"),
}


async def echo(socket: Socket, doors: Doors) -> None:
    """What was said; `head` gives what is known of the request."""
    await socket.accept()
    async for message in socket:
        if message == "head":
            head = socket.head
            message = json.dumps([head.path, head.query, head.header("x-test"), head.client])
        await socket.send(message)


async def ticks(socket: Socket, doors: Doors) -> None:
    """Each message is an event; its receipt is the answer."""
    await socket.accept()
    async for message in socket:
        receipt = await doors.batches.accept([json.loads(message)], Origin("test"))
        await socket.send(json.dumps(receipt.as_dict(full=True)))


async def flood(socket: Socket, doors: Doors) -> None:
    await socket.accept()
    while True:
        await socket.send("x" * 10_000)


async def torrent(stream: EventStream, doors: Doors) -> None:
    await stream.accept()
    while True:
        await stream.send("x" * 10_000)


async def deaf(socket: Socket, doors: Doors) -> None:
    """Reads nothing for a while; a message then is answered with how many there were."""
    await socket.accept()
    await asyncio.sleep(1)
    count = 0
    async for message in socket:
        count += 1
        if message == "how many":
            await socket.send(str(count))


async def refused(socket: Socket, doors: Doors) -> None:
    await socket.refuse(403)


async def broken(socket: Socket, doors: Doors) -> None:
    await socket.accept()
    raise ValueError("a handler's own error")


async def counter(stream: EventStream, doors: Doors) -> None:
    await stream.accept({"X-Test": "yes"})
    number = int(stream.head.header("last-event-id") or 0)
    while True:
        number += 1
        await stream.send(f"{number}\nof many", event="count", cursor=str(number))
        await asyncio.sleep(0.02)


async def silent(stream: EventStream, doors: Doors) -> None:
    await stream.accept()
    await asyncio.sleep(3600)


if __name__ == "__main__":
    ROUTES.update(TEST_ROUTES)
    main()
