"""The socket of video players: Phoenix Channels, serializer 2.0.0, over `/socket/websocket`.

    connection.py   one socket: frames in, frames out, which topic is joined
    channel.py      one player: what it says becomes events and stretches
    room.py         all sockets of the process: who has fallen silent, what is still to be stored
    journal.py      which stretches are open, on disk: whoever starts after a crash closes them

`serve` handles a socket, `opened` is its room. Source: video contract, section 2.1.
"""

from __future__ import annotations

from metronome.streams.hub import Doors
from metronome.streams.video.connection import Connection
from metronome.streams.video.room import Room, opened
from metronome.streams.websocket import Socket

__all__ = ["opened", "serve"]


async def serve(socket: Socket, doors: Doors) -> None:
    """One socket, from its handshake to its end."""
    query = socket.head.query
    if not query.get("source_url") or not query.get("vsn", "2.0.0").startswith("2."):
        await socket.refuse(403)
        return
    await socket.accept()
    room: Room = doors.rooms["video"]
    connection = Connection(socket, room, query["source_url"])
    room.connections.add(connection)
    try:
        async for message in socket:
            await connection.on(message)
    finally:
        room.connections.discard(connection)
        await connection.end()
