"""All video sockets of the process, and what they share: keys, devices, the journal, what is still to be stored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from metronome.errors import MetronomeError
from metronome.event.fields import Event
from metronome.event.memo import Memo
from metronome.event.privacy import Privacy
from metronome.intake import NO_HORIZON, Origin
from metronome.keyring import KeyFile
from metronome.logs import Sparing
from metronome.streams.hub import Doors
from metronome.streams.video.journal import Journal, Left
from metronome.video.device import Device, classify
from metronome.video.events import Fact, happened, played, watched
from metronome.video.identity import About
from metronome.video.stretches import Parts, Seen, Stretch, closed_at

if TYPE_CHECKING:
    from metronome.streams.video.connection import Connection

log = logging.getLogger("metronome.streams")

#: How often the room looks at its sockets.
TURN_S = 1.0


@dataclass(frozen=True)
class Limits:
    """Times in seconds."""

    #: How often it is noted that the process is alive: so much of a stretch is lost at most if it is killed.
    alive_s: float = 2
    #: A socket that has said nothing for so long is closed (video contract, 2.1). Pongs don't count.
    silent_s: float = 60
    #: A socket with a video playing is pinged after so much silence.
    ping_s: float = 10
    #: A socket that wasn't heard for so long before its end, pongs included, was dead since then.
    dead_s: float = 25


LIMITS = Limits()

#: Most ends of stretches that wait in memory while the spool takes nothing. The journal has all of them.
MAX_WAITING = 100_000


@dataclass(frozen=True)
class Sender:
    """Who sends a channel's events: the agent, which isn't stored, and what the key says."""

    agent: str = ""
    key: str = ""
    app: str = ""

    def origin(self, facts: Mapping[str, Any]) -> Origin:
        own = {"app": self.app} if self.app else {}
        return Origin("video", self.agent or None, key=self.key, facts={**own, **facts}, horizon=NO_HORIZON)


@dataclass
class Ended:
    """Ends of stretches that are to be stored, and the notes that are forgotten then."""

    facts: list[Fact]
    sender: Sender
    notes: list[str]


class Room:
    def __init__(self, doors: Doors, limits: Limits) -> None:
        self._doors = doors
        self.limits = limits
        self._sparing = Sparing()
        self._waiting: list[Ended] = []
        self._devices = Memo[Device](classify, most=4096)
        self.connections: set[Connection] = set()
        self.journal = Journal(doors.settings.home / "videos.db")
        self.keys = KeyFile(doors.settings)
        self.privacy = Privacy(doors.settings.keep_fields, doors.settings.keep_parameters)

    async def device(self, agent: str) -> Device:
        """What an agent says. It is classified in a thread, as that takes milliseconds, and the first one seconds."""
        found = self._devices.get(agent)
        if found is None:
            found = await asyncio.to_thread(self._devices.__getitem__, agent)
        return found

    async def store(self, facts: Iterable[Fact], sender: Sender) -> None:
        """Return once all are on disk; raises as intake does."""
        calls = [self._accept(fact.event, sender.origin(fact.facts)) for fact in facts]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            if error is not None:
                raise error

    async def _accept(self, event: Event, origin: Origin) -> None:
        receipt = await self._doors.batches.accept([event], origin)
        for row in receipt.rejected:
            if (unsaid := self._sparing.turn(str(row["reason"]))) is not None:
                log.warning("an event of a video can't be taken", extra={"reason": row["reason"], "unsaid": unsaid})

    async def store_end(self, ended: Ended) -> None:
        """Store ends of stretches, now or, while that isn't possible, later."""
        try:
            await self.store(ended.facts, ended.sender)
        except MetronomeError as error:
            if (unsaid := self._sparing.turn(str(error))) is not None:
                log.warning("the end of a video can't be stored yet", extra={"problem": str(error), "unsaid": unsaid})
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(ended)
            return
        self.journal.forget(ended.notes)

    async def start(self) -> None:
        """Close what a process that died has left open."""
        left = await self.journal.open(now_ms())
        await asyncio.gather(*(self.store_end(_end_of(one)) for one in left))
        if left:
            log.info("videos that were playing when the process ended are closed", extra={"stretches": len(left)})

    async def run(self) -> None:
        """Look after the sockets until cancelled."""
        alive_at = float("-inf")
        while True:
            waiting, self._waiting = self._waiting, []
            await asyncio.gather(*map(self.store_end, waiting))
            now = time.monotonic()
            if now - alive_at >= self.limits.alive_s:
                alive_at = now
                await self._note_alive()
            for connection in list(self.connections):
                await connection.tend(now)
            await asyncio.sleep(TURN_S)

    async def _note_alive(self) -> None:
        try:
            await self.journal.alive(now_ms())
        except MetronomeError as error:
            if (unsaid := self._sparing.turn(str(error))) is not None:
                log.warning("open videos can't be noted", extra={"problem": str(error), "unsaid": unsaid})


@contextlib.asynccontextmanager
async def opened(doors: Doors) -> AsyncIterator[Room]:
    """The room of a process, until its sockets are closed."""
    room = Room(doors, LIMITS)
    await room.start()
    tasks = [asyncio.create_task(room.run()), asyncio.create_task(room.device("Mozilla/5.0"))]
    try:
        yield room
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(MetronomeError):
            await room.journal.alive(now_ms())
        await room.journal.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def row_of(about: About, sender: Sender, stretch: Stretch, duration: float | None, seen: Seen) -> bytes:
    """What the journal keeps of an open stretch. The agent isn't kept."""
    return orjson.dumps(
        {
            "about": [about.properties, about.facts],
            "sender": [sender.key, sender.app],
            "stretch": [stretch.number, stretch.start_ms, stretch.start],
            "duration": duration,
            "seen": seen.parts,
        }
    )


def _end_of(left: Left) -> Ended:
    """The events of a stretch whose process died, the play among them, since its own event may have been lost."""
    row = orjson.loads(left.row)
    about, stretch, duration = About(*row["about"]), Stretch(*row["stretch"]), row["duration"]
    # How many stretches were closed meanwhile isn't known.
    seen = Seen(Parts((low, high) for low, high in row["seen"]), order=None)
    end = happened(
        about, "disconnect", left.until_ms, insert_id=f"{about.facts['stretch.session']}-end", duration=duration
    )
    facts = [
        played(about, stretch, duration),
        *watched(about, [closed_at(stretch, left.until_ms, duration)], duration, seen),
        Fact(end, {}),
    ]
    key, app = row["sender"]
    return Ended(facts, Sender(key=key, app=app), [left.id])
