"""Frames that arrive within 20 ms go through the door together, in a thread; then each sender is told.

The event loop only measures frames. A thread does the decoding, the door's steps and the fsync. So a large chunk
doesn't keep the loop from reading other connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from metronome.errors import Busy, Refused
from metronome.intake import Intake, Origin, Receipt, Unreadable
from metronome.listen.counted import Counted
from metronome.listen.forward import read_message
from metronome.listen.framing import Unframed
from metronome.logs import Sparing
from metronome.settings import Settings
from metronome.wire.events import Limits, read_events

log = logging.getLogger("metronome.listen")

_NDJSON = "application/x-ndjson"

FORWARD = "forward"
LINES = "lines"

#: How long a frame waits for others to share its fsync.
LINGER_S = 0.02

#: A batch is committed at once when it has this many bytes; a larger frame is a batch of its own.
BATCH_BYTES = 2**20

#: Bytes of frames that may wait; beyond it nothing more is read.
WAITING_BYTES = 32 * 2**20

#: Bytes of records, and of the values inside them, that become objects at one time.
_OBJECTS_BYTES = 2**20

#: An escaped character takes six bytes in a line and may take two in what is stored; blanks take nothing there.
_LINE_BYTES_PER_STORED = 8

#: A spool that can't take anything is asked again after this long.
RETRY_S = 1.0

#: The events of both dialects are log records, and nobody reads their receipts.
ORIGINS = {dialect: Origin(dialect, shipped=True, untold=True) for dialect in (FORWARD, LINES)}

#: The outcome for a frame's sender: the bytes of its answer (mostly none), or the error that kept the frame out.
Outcome = bytes | Exception


@dataclass
class Frame:
    """A complete message or block of lines that waits for the disk, and whom to tell."""

    dialect: str
    body: bytes
    done: Callable[[Outcome], None]
    #: The answer to the sender once the whole frame is on disk. It is known when the frame has been decoded.
    answer: bytes = b""
    #: How many of the frame's events are on disk. A large frame takes several rows of the spool.
    stored: int = 0
    failure: Exception | None = None

    @property
    def comes_again(self) -> bool:
        """Whether the sender repeats the frame if it gets no answer."""
        return bool(self.answer)

    def events(self, settings: Settings) -> Iterator[tuple[Any, int]]:
        """The events that aren't on disk yet, each with the bytes that it takes here; raises Unframed before the first.

        They are decoded again on each call. A frame that waits is kept as the bytes that came, its smallest form.
        """
        if self.dialect == FORWARD:
            message = read_message(self.body, settings)
            self.answer = message.answer
            yield from message.events(settings, self.stored)
        else:
            for event in read_lines(self.body, settings)[self.stored :]:
                yield event, 0  # these are objects already


class Door:
    """Frames through the intake: read, accept, answer. Safe to use from many threads."""

    def __init__(self, settings: Settings, intake: Intake, counted: Counted) -> None:
        self._settings = settings
        self._intake = intake
        self._counted = counted
        self._sparing = Sparing()

    def commit(self, frames: list[Frame]) -> None:
        """Bring each frame's events to disk. A frame that can't be stored gets its `failure`; the others go on."""
        for dialect in ORIGINS:
            mine = [frame for frame in frames if frame.dialect == dialect]
            for row in self._rows(mine):
                self._accept(row, ORIGINS[dialect])

    def _rows(self, frames: list[Frame]) -> Iterator[list[tuple[Frame, Any]]]:
        """All events, each with its frame, in lists that the door takes; no more of a frame once it has failed."""
        row: list[tuple[Frame, Any]] = []
        size = 0
        for frame in frames:
            frame.failure = None
            try:
                for event, event_bytes in frame.events(self._settings):
                    if len(row) >= self._settings.max_batch_events or (row and size + event_bytes > _OBJECTS_BYTES):
                        yield row
                        row, size = [], 0
                        if frame.failure is not None:
                            break
                    row.append((frame, self._counted.read(event)))
                    size += event_bytes
            except (Unframed, Busy) as error:
                frame.failure = error
        if row:
            yield row

    def _accept(self, row: list[tuple[Frame, Any]], origin: Origin) -> None:
        try:
            receipt = self._intake.accept([event for _, event in row], origin)
        except Exception as error:
            if not isinstance(error, Busy):
                log.exception("unforeseen error")
            for frame, _ in row:
                frame.failure = error
            return
        for frame, _ in row:
            frame.stored += 1
        self._say_refused(receipt, origin.dialect)

    def _say_refused(self, receipt: Receipt, dialect: str) -> None:
        """Tell the operator of refused events, since the sender can't be told."""
        for refused in receipt.rejected[:1]:
            if (unsaid := self._sparing.turn(dialect)) is not None:
                events = {"events": len(receipt.rejected), "quarantined": receipt.quarantined, "unsaid": unsaid}
                log.warning(f"an event wasn't taken: {refused['reason']}", extra={"dialect": dialect, **events})


def read_lines(block: bytes, settings: Settings) -> list[Any]:
    """The events of JSON lines; one that can't be read is `Unreadable`."""
    lines = block.split(b"\n")
    longest = _LINE_BYTES_PER_STORED * settings.max_event_bytes
    long = [
        Unreadable(f"a line of {len(line)} bytes (METRONOME_MAX_EVENT_BYTES)", line)
        for line in lines
        if len(line) > longest
    ]
    if long:
        block = b"\n".join(line for line in lines if len(line) <= longest)
    # A block is what has come so far, not a request: it is bounded by its bytes alone.
    limits = Limits(len(lines), settings.max_event_bytes)
    try:
        return read_events(block, _NDJSON, limits).events + long
    except Refused:  # a line of very many values: it costs the other lines of the block nothing
        return [event for line in block.split(b"\n") for event in _read_line(line, settings)] + long


def _read_line(line: bytes, settings: Settings) -> list[Any]:
    try:
        return read_events(line, _NDJSON, Limits(settings.max_batch_events, settings.max_event_bytes)).events
    except Refused as error:
        return [Unreadable(error.message, line)]


class Batches:
    """Gathers frames and hands them to the door. For the event loop's thread."""

    def __init__(self, door: Door, *, waiting_bytes: int = WAITING_BYTES, retry_s: float = RETRY_S) -> None:
        self._door = door
        self._waiting_bytes = waiting_bytes
        self._retry_s = retry_s
        self._waiting: deque[Frame] = deque()
        #: Frames that the spool didn't take and no sender repeats, and when they are tried once more.
        self._held: deque[Frame] = deque()
        self._retry_at = 0.0
        self._bytes = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = asyncio.Event()
        self._sparing = Sparing()
        self._thread = ThreadPoolExecutor(1, "door")

    async def put(self, frame: Frame) -> None:
        """Queue the frame for the disk. Waits while the queue has no room."""
        while not self.offer(frame):
            await self._room.wait()

    def offer(self, frame: Frame) -> bool:
        """Queue the frame for the disk if there is room; returns whether there was."""
        if not self._room.is_set():
            return False
        self._waiting.append(frame)
        self._weigh(len(frame.body))
        self._some.set()
        return True

    async def run(self) -> None:
        """Commit batches until `close`, and then what is left."""
        loop = asyncio.get_running_loop()
        while (source := await self._next()) is not None:
            frames = self._taken(source)
            try:
                await loop.run_in_executor(self._thread, self._door.commit, frames)
            except Exception as error:
                log.exception("unforeseen error")
                for frame in frames:
                    frame.failure = error
            again = [frame for frame in frames if not self._is_told(frame)]
            if again:
                self._say_waiting(again)
                if source is self._held or not self._held:
                    self._retry_at = loop.time() + self._retry_s
                self._held.extend(again)
        self._thread.shutdown()

    def close(self) -> None:
        """Take nothing more. `run` ends when every frame in the queue was tried."""
        self._closing.set()
        self._some.set()

    async def _next(self) -> deque[Frame] | None:
        """Wait for frames, and give the queue that holds them, or None at the end."""
        loop = asyncio.get_running_loop()
        while True:
            closing = self._closing.is_set()
            if self._held and (closing or loop.time() >= self._retry_at):
                return self._held
            if self._waiting:
                if self._bytes < BATCH_BYTES and not closing:
                    await asyncio.sleep(LINGER_S)
                return self._waiting
            if closing:
                return None
            self._some.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._retry_at if self._held else None):
                    await self._some.wait()

    def _taken(self, source: deque[Frame]) -> list[Frame]:
        frames: list[Frame] = []
        size = 0
        while source and (not frames or size + len(source[0].body) <= BATCH_BYTES):
            frames.append(source.popleft())
            size += len(frames[-1].body)
        return frames

    def _is_told(self, frame: Frame) -> bool:
        """Tell the sender. False if the frame must be tried again here, since its sender wouldn't repeat it."""
        outcome = frame.answer if frame.failure is None else frame.failure
        if isinstance(outcome, Busy) and not frame.comes_again:
            if not self._closing.is_set():
                return False
            log.error("not stored, since the gateway stops: nobody sends this again", extra={"bytes": len(frame.body)})
        self._weigh(-len(frame.body))
        frame.done(outcome)
        return True

    def _say_waiting(self, frames: list[Frame]) -> None:
        text = f"events wait here: {frames[0].failure}"
        if (unsaid := self._sparing.turn(text)) is not None:
            log.warning(text, extra={"bytes": self._bytes, "unsaid": unsaid})

    def _weigh(self, more: int) -> None:
        self._bytes += more
        if self._bytes < self._waiting_bytes:
            self._room.set()
        else:
            self._room.clear()
