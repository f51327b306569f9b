"""The door in for long connections: one Intake stamps the events of many connections, and one fsync stores them.

An fsync for each message would mean thousands a second. Events that come within GATHER_S are accepted together in a
thread, each with its own origin, and written as one row of the spool. `accept` returns once that row is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from metronome.intake import Intake, Origin, Receipt
from metronome.intake.door import Durable

GATHER_S = 0.02

#: Most calls that become one row. Further calls go into the next row.
MAX_CALLS = 2000


class Gathered:
    """A spool that keeps what it is given until `commit` writes all of it to the real one."""

    def __init__(self, spool: Durable) -> None:
        self._spool = spool
        self._bodies: list[bytes] = []
        self._events = 0

    def append(self, body: bytes, events: int) -> None:
        self._bodies.append(body)
        self._events += events

    def commit(self) -> None:
        """Put all on disk; raises as the spool does. Nothing is kept, whatever happens."""
        bodies, events = self._bodies, self._events
        self._bodies, self._events = [], 0
        if bodies:
            self._spool.append(b"".join(bodies), events)


@dataclass
class _Call:
    events: Sequence[Any]
    origin: Origin
    result: asyncio.Future[Receipt]
    receipt: Receipt | None = None
    error: Exception | None = field(default=None)


class Batches:
    """`intake` writes to `gathered`; one thread at a time uses both."""

    def __init__(self, intake: Intake, gathered: Gathered) -> None:
        self._intake = intake
        self._gathered = gathered
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._calls: list[_Call] = []
        self._gathering: asyncio.Task[None] | None = None

    async def accept(self, events: Sequence[Any], origin: Origin) -> Receipt:
        """As `Intake.accept`: returns once every accepted event is fsynced, and raises what that raises."""
        call = _Call(events, origin, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather())
        # If the caller is cancelled while it waits, its events are still stored.
        return await asyncio.shield(call.result)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._gathering is not None:
            await self._gathering
        self._thread.shutdown()

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        while self._calls:
            await asyncio.sleep(GATHER_S)
            calls, self._calls = self._calls[:MAX_CALLS], self._calls[MAX_CALLS:]
            await loop.run_in_executor(self._thread, self._commit, calls)
            for call in calls:
                _answer(call)
        self._gathering = None

    def _commit(self, calls: list[_Call]) -> None:
        for call in calls:
            try:
                call.receipt = self._intake.accept(call.events, call.origin)
            except Exception as error:
                call.error = error
        try:
            self._gathered.commit()
        except Exception as error:
            for call in calls:
                call.error = call.error or error


def _answer(call: _Call) -> None:
    if call.result.done():
        return
    if call.error is not None:
        call.result.set_exception(call.error)
        # A caller that was cancelled doesn't read the exception, so it is read here; else asyncio logs a warning.
        call.result.exception()
    else:
        assert call.receipt is not None
        call.result.set_result(call.receipt)
