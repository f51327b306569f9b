"""One video socket: frames `[join_ref, ref, topic, event, payload]` in and out, and the channels that are joined.

Source: video contract, sections 2.1 and 4; Phoenix 1.7, `Phoenix.Socket`.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

import orjson

from metronome.errors import BadKey, MetronomeError
from metronome.event.agents import judged
from metronome.keys import Key
from metronome.streams.video.channel import Channel
from metronome.streams.video.room import Room, Sender, now_ms
from metronome.streams.websocket import Socket
from metronome.video.identity import About, about, fits, page_of
from metronome.wire.caller import is_within

log = logging.getLogger("metronome.streams")

#: Most players of one page.
MAX_CHANNELS = 100

_MAX_TOPIC = 128

INVALID_KEY = "invalid key"
MISSING = "missing parameters and/or invalid host"
BOT = "bot"
CRASHED = "join crashed"

_OK = {"status": "ok", "response": {}}


class NotJoined(Exception):
    """A join is refused; the text is the reason that the player is told."""


class Connection:
    def __init__(self, socket: Socket, room: Room, source_url: str) -> None:
        self._socket = socket
        self._room = room
        self._source_url = source_url
        self._agent = socket.head.header("user-agent")
        self._channels: dict[str, Channel] = {}
        #: When a whole message came last. `socket.heard` tells of pongs too.
        self._said = time.monotonic()

    async def on(self, message: str | bytes) -> None:
        """Take a message. Raises Closed if the socket is gone."""
        # While it is being taken the player is waiting, not silent.
        self._said = float("inf")
        try:
            await self._take(message)
        finally:
            self._said = time.monotonic()

    async def _take(self, message: str | bytes) -> None:
        frame = _frame(message)
        if frame is None:
            await self._socket.close(1003, "a message is a JSON array: join_ref, ref, topic, event, payload")
            return
        join_ref, ref, topic, event, payload = frame
        channel = self._channels.get(topic)
        if topic == "phoenix" and event == "heartbeat":
            await self._reply(None, ref, topic, _OK)
        elif topic.startswith("session:") and event == "phx_join" and len(topic) <= _MAX_TOPIC:
            await self._join(join_ref, ref, topic, payload)
        elif channel is None:
            await self._answer_stranger(join_ref, ref, topic, event)
        elif join_ref is not None and join_ref != channel.ref:
            return  # it was meant for an earlier join of the topic
        elif event == "phx_leave":
            await self._leave(ref, topic, channel)
        elif event == "event":
            await self._tell(topic, channel, payload)

    async def tend(self, now: float) -> None:
        """Called every second: close a silent socket, and ask one that plays whether it is alive."""
        limits = self._room.limits
        if now - self._said > limits.silent_s:
            await self._socket.close(1000)
        elif any(one.is_playing for one in self._channels.values()) and now - self._socket.heard > limits.ping_s:
            self._socket.ping()

    async def end(self) -> None:
        """The socket is gone: all its channels end, at the last moment at which the player was known to be there."""
        silent_s = time.monotonic() - self._socket.heard
        alive_ms = now_ms() - (int(silent_s * 1000) if silent_s > self._room.limits.dead_s else 0)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close("disconnect", alive_ms)

    async def _join(self, join_ref: Any, ref: Any, topic: str, payload: Any) -> None:
        before = self._channels.pop(topic, None)
        if before is not None:
            await before.close("leave", now_ms())
            await self._send(before.ref, before.ref, topic, "phx_close", {})
        try:
            channel = await self._channel(join_ref, topic, payload)
        except NotJoined as refused:
            await self._reply(join_ref, ref, topic, {"status": "error", "response": {"reason": str(refused)}})
            return
        self._channels[topic] = channel
        await self._reply(join_ref, ref, topic, _OK)

    async def _channel(self, join_ref: Any, topic: str, payload: Any) -> Channel:
        try:
            said, sender = await self._said_by(topic, payload)
        except (NotJoined, MetronomeError) as error:
            raise NotJoined(CRASHED if isinstance(error, MetronomeError) else str(error)) from None
        except Exception:
            log.exception("a player's join failed")
            raise NotJoined(CRASHED) from None
        return Channel(self._room, join_ref, said, sender)

    async def _said_by(self, topic: str, payload: Any) -> tuple[About, Sender]:
        payload = payload if isinstance(payload, dict) else {}
        names = ("identifier", "metadata", "session_data")
        identifier, metadata, session_data = (payload.get(name) for name in names)
        page = page_of(payload.get("source_url") or self._source_url)
        token = payload.get("key")
        if not isinstance(token, str) or not token or page is None or (identifier is None and metadata is None):
            raise NotJoined(MISSING)
        if not all(map(fits, (identifier, metadata, session_data))) or len(self._channels) >= MAX_CHANNELS:
            raise NotJoined(MISSING)
        key = self._key(token)
        device = await self._room.device(self._agent)
        if device.is_bot:
            raise NotJoined(BOT)
        said = about(
            identifier=identifier,
            metadata=metadata,
            session_data=session_data,
            page=page,
            key=key.id,
            session=topic.partition(":")[2],
            join=_new_id(),
            device=device,
            privacy=self._room.privacy,
        )
        families = judged[self._agent]
        said.properties.update({name: families[name] for name in ("browser", "platform") if name in families})
        return said, Sender(self._agent, key.id, key.app)

    def _key(self, token: str) -> Key:
        try:
            key = self._room.keys.find(token)
        except BadKey:
            raise NotJoined(INVALID_KEY) from None
        origin = self._socket.head.header("origin").lower()
        wrong_origin = key.origins and "*" not in key.origins and origin not in key.origins
        wrong_network = key.networks and not is_within(self._socket.head.client, key.parsed_networks)
        if key.grants.isdisjoint(("video", "write")) or wrong_origin or wrong_network:
            raise NotJoined(INVALID_KEY)
        return key

    async def _answer_stranger(self, join_ref: Any, ref: Any, topic: str, event: str) -> None:
        # phx_leave on a topic that isn't joined     it is left already
        # anything else                              nobody is there to take it
        if event == "phx_leave":
            await self._reply(join_ref, ref, topic, _OK)
        else:
            await self._reply(None, ref, topic, {"status": "error", "response": {"reason": "unmatched topic"}})

    async def _leave(self, ref: Any, topic: str, channel: Channel) -> None:
        del self._channels[topic]
        await channel.close("leave", now_ms())
        await self._reply(channel.ref, ref, topic, _OK)
        await self._send(channel.ref, channel.ref, topic, "phx_close", {})

    async def _tell(self, topic: str, channel: Channel, payload: Any) -> None:
        try:
            await channel.on_event(payload)
        except MetronomeError as error:
            # What was said isn't on disk. The player joins again, and meanwhile the spool may take events again.
            log.warning("a video's channel ends", extra={"problem": str(error)})
            del self._channels[topic]
            await channel.close("disconnect", now_ms())
            await self._send(channel.ref, channel.ref, topic, "phx_error", {})

    async def _reply(self, join_ref: Any, ref: Any, topic: str, payload: dict[str, Any]) -> None:
        await self._send(join_ref, ref, topic, "phx_reply", payload)

    async def _send(self, *frame: Any) -> None:
        await self._socket.send(orjson.dumps(list(frame)).decode())


def _frame(message: str | bytes) -> list[Any] | None:
    """The five parts of a frame; None for anything else."""
    try:
        frame = orjson.loads(message) if isinstance(message, str) else None
    except ValueError:
        return None
    if not isinstance(frame, list) or len(frame) != 5 or not all(isinstance(part, str) for part in frame[2:4]):
        return None
    return frame if all(part is None or isinstance(part, str | int) for part in frame[:2]) else None


def _new_id() -> str:
    """An id that is part of an `insert_id`."""
    return secrets.token_urlsafe(16)
