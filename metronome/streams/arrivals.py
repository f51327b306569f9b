"""What arrives in Elasticsearch while somebody watches, read once for all who do.

One task asks for what is new, once a second (`query/arriving.py`). Events go into a log in memory, from which each
watcher reads at its own pace. A watcher that falls behind the log's beginning is closed: it comes back with its cursor.
Intake knows nothing of this. It costs a tick nothing, and events of every worker, host and shipper are seen.

Cursor: the moment after an event, as what has changed since a *base*.

    8f3a5c1e.2026.11.24/0=1234,2026.11.23/0=88

The base is a moment that is kept on disk, so a cursor is short and outlives this process. `resume` gives its moment,
and what has arrived between that and the log's end is read from Elasticsearch: nothing is missed, nothing comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from metronome.errors import MetronomeError, NotFound
from metronome.event.fields import Event
from metronome.files import replace_file
from metronome.logs import Sparing
from metronome.query import Arrival, Arrived, Ask, Moment, Positions

log = logging.getLogger("metronome.streams")

#: Seconds between two looks, and after one that failed.
EVERY_S = 1.0
AFTER_FAILURE_S = 3.0

#: Most bytes of events in the log.
LOG_BYTES = 32 * 2**20

#: Most events that are read for one who comes back. More of them are skipped, and the client is told.
MOST_MISSED = 10_000

#: A base is replaced once cursors name so many shards; the one before it stays valid.
MOST_CHANGED = 64
BASES = 2

_CURSOR = re.compile(r"([0-9a-f]{8})\.((?:[^=,]{1,255}=-?\d{1,18}(?:,|$))*)")


@dataclass(frozen=True)
class Entry:
    """One event in the log: as it is sent, as conditions see it, and the cursor after it."""

    event: Event
    frame: bytes


class Arrivals:
    """The log, and the task that fills it while there are watchers. `ask` is made with the first of them."""

    def __init__(self, make_ask: Callable[[], Ask], path: Path, prefix: str) -> None:
        self._make_ask = make_ask
        self._ask: Ask | None = None
        self._bases = Bases(path, f"{prefix}-")
        self._threads = ThreadPoolExecutor(4, "live")
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._entries: list[Entry] = []
        self._bytes = 0
        #: The number of the log's first entry, since the process began.
        self.first = 0
        #: The moment at the log's end; None until Elasticsearch has told it.
        self._moment: dict[str, int] | None = None
        self._more = asyncio.Event()
        #: Why the last look failed, if it did.
        self._problem: MetronomeError | None = None
        self._sparing = Sparing()

    @property
    def end(self) -> int:
        return self.first + len(self._entries)

    @property
    def cursor(self) -> str:
        """The cursor at the log's end."""
        assert self._moment is not None
        return self._bases.cursor(self._moment)

    def since(self, number: int, most: int) -> list[Entry]:
        """Entries from this number on."""
        start = number - self.first
        return self._entries[start : start + most]

    async def wait(self, number: int) -> None:
        """Return once there is an entry of this number."""
        while self.end <= number:
            await self._more.wait()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While the block runs, the log is filled. Raises StoreUnavailable and the like where that can't begin."""
        self._watchers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._fill())
        try:
            while self._moment is None:
                await self._more.wait()
                if self._problem is not None:
                    raise self._problem
            yield
        finally:
            self._watchers -= 1
            if not self._watchers and self._task is not None:
                self._task.cancel()
                self._task, self._moment = None, None
                self._drop(0)

    async def missed(self, cursor: str) -> tuple[list[Entry], int, int]:
        """What has arrived since the cursor: events up to the log's end, the number there, and how many more there are.

        Raises NotFound for a cursor that can't be read any more.
        """
        after = self._bases.moment(cursor)
        assert self._moment is not None
        until, number = dict(self._moment), self.end
        arrivals = await self.asked(Arrived(after, until, MOST_MISSED + 1))
        if len(arrivals) > MOST_MISSED:
            numbers = sum(last - after.get(shard, -1) for shard, last in until.items() if last > after.get(shard, -1))
            return [], number, numbers
        return list(self._framed(arrivals, dict(after))), number, 0

    async def asked(self, question: Any) -> Any:
        """The answer to one question, from a thread."""
        return (await self.run(lambda ask: ask(question)))[0]

    async def run(self, work: Callable[[Ask], Any]) -> Any:
        """What `work` gives, which runs in a thread and asks its questions there."""
        if self._ask is None:
            self._ask = self._make_ask()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, self._ask)

    async def _fill(self) -> None:
        while True:
            try:
                pause_s = EVERY_S if await self._look() else 0
                self._problem = None
            except MetronomeError as error:
                pause_s, self._problem = AFTER_FAILURE_S, error
                self._wake()
                if (unsaid := self._sparing.turn(str(error))) is not None:
                    log.warning("what arrives can't be watched", extra={"problem": str(error), "unsaid": unsaid})
            await asyncio.sleep(pause_s)

    async def _look(self) -> bool:
        """Take in what is new; says whether that was all of it."""
        now = await self.asked(Positions())
        if self._moment is None:
            self._moment = dict(now)
            self._bases.keep(self._moment)
            self._wake()
            return True
        arrivals = await self.asked(Arrived(dict(self._moment), now, limit=MOST_MISSED))
        for entry in self._framed(arrivals, self._moment):
            self._entries.append(entry)
            self._bytes += len(entry.frame)
        complete = len(arrivals) < MOST_MISSED
        if complete:
            self._moment.update(now)
            self._bases.keep(self._moment)
        self._drop(LOG_BYTES)
        self._wake()
        return complete

    def _framed(self, arrivals: list[Arrival], moment: dict[str, int]) -> Iterator[Entry]:
        """Each event as it is sent. `moment` moves on with them."""
        for one in arrivals:
            moment[one.shard] = one.number
            cursor = self._bases.cursor(moment)
            yield Entry(one.event, b"id: %b\nevent: event\ndata: %b\n\n" % (cursor.encode(), orjson.dumps(one.event)))

    def _drop(self, limit: int) -> None:
        gone = 0
        while self._bytes > limit:
            self._bytes -= len(self._entries[gone].frame)
            gone += 1
        del self._entries[:gone]
        self.first += gone

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


class Bases:
    """The moments that cursors are told from: the latest ones, in a file of METRONOME_HOME, the newest last."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        #: What the names of all indices begin with; cursors leave it out.
        self._prefix = prefix
        self._known: dict[str, dict[str, int]] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._known = {str(name): dict(moment) for name, moment in json.loads(path.read_text()).items()}

    def keep(self, moment: Moment) -> None:
        """Make a new base where there is none, or where cursors from the newest one have become long."""
        if self._known and len(self._changed(moment)) <= MOST_CHANGED:
            return
        self._known[secrets.token_hex(4)] = dict(moment)
        self._known = dict(list(self._known.items())[-BASES:])
        try:
            replace_file(self._path, json.dumps(self._known))
        except OSError as error:
            log.warning("cursors of live events won't outlive this process", extra={"problem": str(error)})

    def cursor(self, moment: Moment) -> str:
        changed = (f"{shard.removeprefix(self._prefix)}={number}" for shard, number in self._changed(moment).items())
        return f"{list(self._known)[-1]}.{','.join(changed)}"

    def moment(self, cursor: str) -> dict[str, int]:
        """The reverse of `cursor`; raises NotFound where it isn't one of ours, or its base is gone."""
        read = _CURSOR.fullmatch(cursor)
        if not read or read[1] not in self._known:
            raise NotFound("this cursor can't be read any more")
        changed = (part.rpartition("=") for part in read[2].split(",") if part)
        return {**self._known[read[1]], **{self._prefix + shard: int(number) for shard, _, number in changed}}

    def _changed(self, moment: Moment) -> dict[str, int]:
        base = list(self._known.values())[-1]
        return {shard: number for shard, number in moment.items() if base.get(shard) != number}
