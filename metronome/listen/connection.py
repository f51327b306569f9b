"""One connection: reads frames, lets them wait for the disk, answers, and ends in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from metronome.errors import Busy
from metronome.listen.batch import Frame, Outcome
from metronome.listen.framing import Framer, Messages, Unframed
from metronome.listen.handshake import MAX_PING_BYTES, Handshake

_READ_BYTES = 2**16

#: Most bytes that are read and thrown away from a sender that is shut out.
_THROWN_AWAY_BYTES = 2**20


@dataclass(frozen=True)
class Deadlines:
    """Deadlines of a connection, in seconds.

    handshake    until the PING is here
    message      from a message's (or line's) first byte to its last
    answer       until a sender has read what it was told, and what it sent before it closed is on disk
    farewell     until a sender that is shut out has noticed it. What it still sends is thrown away: closing with
                 bytes unread would be a reset, which may destroy the last answers on their way.
    idle         between messages. Senders keep connections for the next event, and the next may be long in coming;
                 the kernel finds those whose other end has gone.
    """

    handshake: float = 10
    message: float = 60
    answer: float = 60
    farewell: float = 2
    idle: float = 3600


class Connection:
    """A TCP connection of a sender.

    put      lets a frame wait for the disk; itself waits while there is no room
    weigh    is told how many more bytes (or fewer) the unfinished message takes
    say      is told what went wrong: its kind, of which there are few, and a text
    """

    def __init__(
        self,
        dialect: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        put: Callable[[Frame], Awaitable[None]],
        framer: Framer,
        deadlines: Deadlines,
        weigh: Callable[[int], None],
        say: Callable[[str, str], None],
    ) -> None:
        self._dialect = dialect
        self._reader = reader
        self._writer = writer
        self._put = put
        self._framer = framer
        self._deadlines = deadlines
        self._weigh = weigh
        self._say = say
        self._now = asyncio.get_running_loop().time
        #: When it last sent anything, and when its unfinished message began.
        self.last_read = self._now()
        self._begun = self.last_read
        #: Bytes of its unfinished message.
        self.held = 0
        self._unanswered = 0
        self._all_answered = asyncio.Event()
        self._ending = False
        #: Whether a frame wasn't taken: then nothing more is answered.
        self._failed = False
        self._outcome = "ended"
        self._reading: asyncio.Timeout | None = None

    @property
    def is_idle(self) -> bool:
        return not self.held and not self._unanswered

    async def serve(self, handshake: Handshake | None) -> str:
        """Serve the connection to its end. Gives `ended`, `unreadable`, `refused`, `late`, `broken` or `untaken`."""
        try:
            if handshake is None or await self._shake(handshake):
                await self._read()
            else:
                self._outcome = "refused"
        except Unframed as error:
            self._outcome = "unreadable"
            self._say("unreadable", str(error))
        except TimeoutError:
            self._outcome = "late"
            self._say("late", "too slow, or idle for too long")
        except OSError:
            self._outcome = "broken"
        await self._close()
        return self._outcome

    def end(self) -> None:
        """Read nothing more; what was read is still brought to disk and answered."""
        self._ending = True
        if self._reading is not None:
            self._reading.reschedule(self._now())

    def abort(self, why: str) -> None:
        """Close it at once."""
        self._say(why, why)
        self._ending = True
        self._outcome = "refused"
        self._hold(0)
        self._writer.transport.abort()

    async def _shake(self, handshake: Handshake) -> bool:
        async with asyncio.timeout(self._deadlines.handshake):
            self._writer.write(handshake.helo())
            framer = Messages(MAX_PING_BYTES)
            while data := await self._reader.read(MAX_PING_BYTES):
                for ping in framer.feed(data):
                    welcome, pong = handshake.pong(ping)
                    self._writer.write(pong)
                    if not welcome:
                        self._say("refused", "refused: the shared key, the user or the password is wrong")
                    return welcome
        return False

    async def _read(self) -> None:
        while data := await self._some_bytes():
            self.last_read = self._now()
            for body in self._framer.feed(data):
                await self._take(body)
            self._hold(self._framer.held)
        rest = b"" if self._ending else self._framer.rest()
        if rest:
            await self._take(rest)

    async def _take(self, body: bytes) -> None:
        self._unanswered += 1
        self._all_answered.clear()
        await self._put(Frame(self._dialect, body, self._tell))
        # The time spent waiting for room doesn't count against the next message.
        self._begun = self._now()

    async def _some_bytes(self) -> bytes:
        """What comes next, none at the end; raises TimeoutError."""
        async with asyncio.timeout(self._deadlines.answer):
            await self._writer.drain()
        deadline = self._begun + self._deadlines.message if self.held else self._now() + self._deadlines.idle
        try:
            async with asyncio.timeout_at(self._now() if self._ending else deadline) as self._reading:
                return await self._reader.read(_READ_BYTES)
        except TimeoutError:
            if self._ending:
                return b""
            raise
        finally:
            self._reading = None

    def _hold(self, held: int) -> None:
        if held and not self.held:
            self._begun = self.last_read
        more, self.held = held - self.held, held
        if more:
            self._weigh(more)

    def _tell(self, outcome: Outcome) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._all_answered.set()
        if self._failed or self._writer.is_closing():
            return
        if isinstance(outcome, bytes):
            self._writer.write(outcome)
            return
        # The sender gets no answer and sees the connection close. It then tries again at once, with its own back-off.
        self._outcome = "unreadable" if isinstance(outcome, Unframed) else "untaken"
        why = str(outcome) if isinstance(outcome, Busy | Unframed) else "something went wrong here"
        self._say(self._outcome, f"not taken: {why}")
        self._failed = True
        self.end()

    async def _close(self) -> None:
        """Answer what was read, then close; a sender that doesn't read its answers is cut off."""
        self._hold(0)
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._deadlines.answer):
                if self._unanswered and not self._failed:
                    await self._all_answered.wait()
                await self._part()
                self._writer.close()
                await self._writer.wait_closed()
                return
        self._writer.transport.abort()

    async def _part(self) -> None:
        """Say that nothing follows, and let the sender notice."""
        if self._writer.is_closing() or not self._writer.can_write_eof():
            return
        self._writer.write_eof()
        left = _THROWN_AWAY_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadlines.farewell):
                while left > 0 and (data := await self._reader.read(_READ_BYTES)):
                    left -= len(data)
