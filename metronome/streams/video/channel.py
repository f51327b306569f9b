"""One player's channel: what it says becomes events, and stretches of its video."""

from __future__ import annotations

from typing import Any

from metronome.streams.video.room import Ended, Room, Sender, now_ms, row_of
from metronome.video.events import PLAY_REQUEST, REBUFFERED, STARTED, Fact, happened, played, stretch_id, watched
from metronome.video.identity import About
from metronome.video.stretches import Playing, Seen, Watched, duration_of, position_of

#: A player's clock further ahead than this can't be meant (semantics, section 1).
_MAX_AHEAD_MS = 3_600_000

#: Events that the figures of a video read as well, so that they need to say of which video they are.
_OF_QUALITY = (PLAY_REQUEST, STARTED, REBUFFERED)

#: What an event is made of; other properties are kept beside it.
_KNOWN = frozenset(("name", "from", "to", "duration", "timestamp"))

#: Most other properties of an event that are kept.
_MAX_OTHERS = 20


class Channel:
    """A joined topic. `ref` is the join's reference, which all frames of the channel repeat."""

    def __init__(self, room: Room, ref: Any, about: About, sender: Sender) -> None:
        self.ref = ref
        self._room = room
        self._about = about
        self._sender = sender
        self._playing = Playing()
        self._seen = Seen()
        self._duration: float | None = None

    @property
    def is_playing(self) -> bool:
        return bool(self._playing.open)

    async def on_event(self, payload: Any) -> None:
        """Take an event; raises as intake does. What isn't one is ignored."""
        name = payload.get("name") if isinstance(payload, dict) else None
        if not isinstance(name, str) or not name:
            return
        self._duration = duration_of(payload.get("duration")) or self._duration
        at_ms = _time_of(payload.get("timestamp"))
        if name == "play":
            await self._play(payload, at_ms)
        elif name == "pause":
            await self._pause(payload, at_ms)
        else:
            event = self._event(name, at_ms, payload)
            facts = self._about.facts if event["event"] in _OF_QUALITY else {}
            await self._room.store([Fact(event, facts)], self._sender)

    async def close(self, name: str, alive_ms: int) -> None:
        """The player has left, or was heard for the last time at this moment."""
        ended = self._playing.close(alive_ms, self._duration)
        event = happened(self._about, name, alive_ms, duration=self._duration)
        await self._end(ended, Fact(event, {}))

    async def _play(self, payload: dict[str, Any], at_ms: int) -> None:
        start = position_of(payload.get("from"))
        stretch = None if start is None else self._playing.play(start, at_ms)
        if stretch is None:
            await self._room.store([Fact(self._event("play", at_ms, payload), {})], self._sender)
            return
        row = row_of(self._about, self._sender, stretch, self._duration, self._seen)
        await self._room.journal.note(stretch_id(self._about, stretch), row)
        await self._room.store([played(self._about, stretch, self._duration)], self._sender)

    async def _pause(self, payload: dict[str, Any], at_ms: int) -> None:
        event = self._event("pause", at_ms, payload)
        to = position_of(payload.get("to"))
        stretch, ended = (None, None) if to is None else self._playing.pause(to)
        if ended is not None:
            await self._end([ended], Fact(event, {}))
        elif stretch is not None:
            # Nothing was watched. The event says that the stretch is no longer open.
            name = stretch_id(self._about, stretch)
            facts = {"stretch.id": name, "stretch.session": self._about.facts["stretch.session"]}
            await self._room.store_end(Ended([Fact(event, facts)], self._sender, [name]))
        else:
            await self._room.store([Fact(event, {})], self._sender)

    async def _end(self, ended: list[Watched], said: Fact) -> None:
        facts = watched(self._about, ended, self._duration, self._seen)
        notes = [stretch_id(self._about, one.stretch) for one in ended]
        await self._room.store_end(Ended([said, *facts], self._sender, notes))

    def _event(self, name: str, at_ms: int, payload: dict[str, Any]) -> dict[str, Any]:
        position = position_of(payload.get("from" if name == "play" else "to"))
        others = {key: value for key, value in list(payload.items())[:_MAX_OTHERS] if key not in _KNOWN}
        return happened(self._about, name, at_ms, position=position, duration=self._duration, props=others or None)


def _time_of(given: Any) -> int:
    """The time that a player says in ms, of any age; now for what is no time, or one that is still to come."""
    now, told = now_ms(), position_of(given)
    return int(told) if told is not None and 0 <= told <= now + _MAX_AHEAD_MS else now
