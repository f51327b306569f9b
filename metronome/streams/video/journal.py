"""Which stretches are open, on disk: `METRONOME_HOME/videos.db`.

    note(id, row, until)    one row for each open stretch, with all that its events need, and one row, with the empty
                            id, whose `until` is when this process was last alive

A stretch is noted before its play is stored, and forgotten after its end is. So a process that starts finds the
stretches that a dead one left open, each with the time until which it was known to be played. `until` is written into
them before the new process says that it is alive, so that a second crash changes nothing. Times are Unix time in ms.

Notes of many channels share a transaction and its fsync, as events do (`streams/batches.py`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar, TypeVarTuple, Unpack

from metronome.errors import SpoolUnavailable
from metronome.spool.files import damaged_ending, is_damage, move_aside, open_notes, transaction
from metronome.streams.batches import GATHER_S

log = logging.getLogger("metronome.streams")

_SCHEMA = "create table if not exists note (id text primary key, row blob, until integer) without rowid"

_ALIVE = ""

_Given = TypeVarTuple("_Given")
_Result = TypeVar("_Result")


class Left(NamedTuple):
    """A stretch that a process left open when it died."""

    id: str
    row: bytes
    until_ms: int


class Journal:
    """The notes of this process. `open` is called first, everything else from the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._notes: list[tuple[str, bytes]] = []
        self._forgotten: list[str] = []
        self._next: asyncio.Future[None] | None = None
        self._gathering: asyncio.Task[None] | None = None

    async def open(self, now_ms: int) -> list[Left]:
        """Open the file; gives the stretches that were left open. A damaged file is moved aside."""
        return await self._run(self._open, now_ms)

    async def note(self, name: str, row: bytes) -> None:
        """Return once it is on disk; raises SpoolUnavailable."""
        self._notes.append((name, row))
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather())
        await asyncio.shield(self._next)

    def forget(self, names: Iterable[str]) -> None:
        """Forget them with the next transaction. If that doesn't come, they are closed a second time, under one id."""
        self._forgotten += names

    async def alive(self, now_ms: int) -> None:
        """Note that this process and its sockets are alive; raises SpoolUnavailable."""
        forgotten, self._forgotten = self._forgotten, []
        try:
            await self._run(self._write, [], forgotten, now_ms)
        except SpoolUnavailable:
            self._forgotten += forgotten
            raise

    async def close(self) -> None:
        if self._gathering is not None:
            await self._gathering
        await self._run(self._close)
        self._thread.shutdown()

    async def _gather(self) -> None:
        while self._next is not None:
            await asyncio.sleep(GATHER_S)
            done, self._next = self._next, None
            notes, self._notes = self._notes, []
            forgotten, self._forgotten = self._forgotten, []
            try:
                await self._run(self._write, notes, forgotten, None)
            except SpoolUnavailable as error:
                self._forgotten += forgotten
                done.set_exception(error)
                done.exception()  # read here, since every waiter may have been cancelled
            else:
                done.set_result(None)
        self._gathering = None

    async def _run(self, work: Callable[[Unpack[_Given]], _Result], *given: *_Given) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    # --- In the thread -----------------------------------------------------------------------------------------

    def _open(self, now_ms: int) -> list[Left]:
        try:
            return self._read(now_ms)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise SpoolUnavailable("the notes on open videos can't be opened", detail=str(error)) from error
            aside = move_aside(self._path, self._path.name + damaged_ending())
            log.exception("the notes on open videos were damaged, and are set aside", extra={"path": str(aside)})
            return self._read(now_ms)

    def _read(self, now_ms: int) -> list[Left]:
        db = self._db = open_notes(self._path, _SCHEMA, synchronous="full")
        with transaction(db):
            alive = db.execute("select until from note where id = ?", (_ALIVE,)).fetchone()
            until_ms = alive[0] if alive else now_ms
            db.execute("update note set until = ? where until is null", (until_ms,))
        rows = db.execute("select id, row, until from note where id != ? order by id", (_ALIVE,)).fetchall()
        return [Left(*row) for row in rows]

    def _write(self, notes: list[tuple[str, bytes]], forgotten: list[str], alive_ms: int | None) -> None:
        assert self._db is not None
        try:
            with transaction(self._db):
                self._db.executemany("insert or replace into note values (?, ?, null)", notes)
                self._db.executemany("delete from note where id = ?", [(name,) for name in forgotten])
                if alive_ms is not None:
                    self._db.execute("insert or replace into note values (?, null, ?)", (_ALIVE, alive_ms))
        except sqlite3.Error as error:
            raise SpoolUnavailable("open videos can't be noted", detail=str(error)) from error

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
