"""The reading end of the spool (see spool.py): rows in order, whether a file is damaged, and its backlog.

A disk may have changed a file, so nothing that is read from it is trusted. A row whose bytes changed has `intact` set
to False. Anything else that can't be true, such as ids that don't rise or a missing table, raises `Damaged`; then
rescue.py saves the rows that it can find. Every read ends, because ids rise and none is above the last one given.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from metronome.files import identity
from metronome.spool.files import BESIDE, is_damage, slot_and_number, transaction
from metronome.spool.spool import PAGE_BYTES
from metronome.spool.wal import is_damaged

#: Size of the largest possible row, in bytes. A larger length is damage, and no memory is taken for it.
MAX_ROW_BYTES = 256 * 2**20

_SELECT = "select id, received_ms, events, crc, body from request"

# If a disk has changed the tally, it is mended once the file is empty. Until then a wrong tally holds nothing up.
_TAKE = "update tally set requests = max(0, ifnull(requests, 0) - ?), events = max(0, ifnull(events, 0) - ?)"


class Damaged(Exception):
    """A spool file can't be read any further, because bytes outside of the rows' bodies are wrong."""


@dataclass(frozen=True)
class Row:
    """One spooled request: `body` is bulk-ready, `intact` says whether its checksum still holds."""

    id: int
    received_ms: int
    events: int
    body: bytes
    intact: bool


class Reader:
    """The reading end of one spool file. It gives rows in order, past its position. Used by the drain and by status."""

    def __init__(self, path: Path) -> None:
        """Raises Damaged, or sqlite3.Error where there is no such file."""
        self.path = path
        self.position = 0
        if is_damaged(path, PAGE_BYTES):
            raise Damaged("its write-ahead log is damaged")
        # `rw`, so that looking at a file that was just removed doesn't make it anew.
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10)
        self._identity = identity(path)
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
        # A damaged row may claim to hold text although its bytes aren't valid text.
        self._db.text_factory = bytes
        try:
            with self._doubting():
                # Deletions needn't survive a crash (spool.py, Operation), so they cost no fsync.
                self._db.execute("pragma synchronous = normal")
                self._db.execute("pragma secure_delete = off")
        except (sqlite3.Error, Damaged):
            self._db.close()
            raise

    def rows(self, max_bytes: int) -> list[Row]:
        """Rows past the position, up to about `max_bytes` of bodies; the position moves past the last of them.

        Raises Damaged, and then the position stays. The query is closed when this returns: a reader that stands on a
        row would keep the write-ahead log from being copied back.
        """
        found: list[Row] = []
        size, position = 0, self.position
        with self._doubting(), self._snapshot():
            if not self._is_made():
                return []
            newest = self._db.execute("select last_id from tally").fetchone()[0]
            for values in self._db.execute(f"{_SELECT} where id > ? order by id", (position,)):
                row = _row(values)
                if not position < row.id <= newest:
                    raise Damaged(f"id {row.id} comes after {position}, and the last one given is {newest}")
                found.append(row)
                position = row.id
                size += len(row.body)
                if size >= max_bytes:
                    break
        self.position = position
        return found

    def pending(self) -> tuple[int, int, int | None]:
        """(requests, events, oldest `received_ms` or None) of the rows that the file still holds; raises Damaged."""
        with self._doubting():
            if not self._is_made():
                return 0, 0, None
            requests, events = self._db.execute("select requests, events from tally").fetchone()
            oldest = self._db.execute("select received_ms from request order by id limit 1").fetchone()
        if not isinstance(requests, int) or not isinstance(events, int):
            raise Damaged("its tally is no number")
        return max(0, requests), max(0, events), oldest[0] if oldest and _is_count(oldest[0]) else None

    def is_empty(self) -> bool:
        """Whether the file holds no row. Doesn't trust the tally, since an empty file is removed. Raises Damaged."""
        with self._doubting():
            return not self._is_made() or self._db.execute("select 1 from request limit 1").fetchone() is None

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that is read."""
        return self._identity is not None and self._identity == identity(self.path)

    def delete(self, rows: list[Row]) -> None:
        """Delete settled rows; raises Damaged."""
        with self._doubting(), transaction(self._db):
            numbers = [(row.id,) for row in rows]
            found = self._db.executemany("delete from request where id = ?", numbers).rowcount
            if found < len(rows):
                raise Damaged(f"{len(rows) - found} rows that were read can't be found by their ids")
            self._db.execute(_TAKE, (len(rows), sum(row.events for row in rows)))

    def read_again_what_is_left(self) -> None:
        """Go back to the start if rows remain before the position. Mend the tally of a file without rows.

        Call this once every row that was read is settled. A damaged id or tally can hide rows or invent some.
        """
        with self._doubting():
            if not self._is_made():
                return
            first = self._db.execute("select id from request order by id limit 1").fetchone()
            if first is not None and first[0] < 1:
                raise Damaged(f"a row has the id {first[0]}")
            if first is not None and first[0] <= self.position:
                self.position = 0
            elif first is None and self._db.execute("select 1 from tally where requests or events").fetchone():
                with transaction(self._db):
                    self._db.execute(
                        "update tally set requests = 0, events = 0 where not exists (select 1 from request)"
                    )

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Everything read in the block is of one moment, so no row is newer than the last id."""
        self._db.execute("begin")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("rollback")

    @contextlib.contextmanager
    def _doubting(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, TypeError) as error:
            if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
                raise
            raise Damaged(str(error)) from error

    def _is_made(self) -> bool:
        """Whether the writer has made the tables. It makes both at once."""
        names = {row[0] for row in self._db.execute("select name from sqlite_schema")}
        if names and not names >= {b"request", b"tally"}:
            raise Damaged("its tables have other names")
        return bool(names)

    def close(self) -> None:
        self._db.close()


def _row(values: tuple[Any, Any, Any, Any, Any]) -> Row:
    """Make a row of values of any type, since a damaged header may name wrong ones. Body and checksum decide."""
    number, received_ms, events, crc, body = values
    if not isinstance(number, int):
        raise Damaged("a row has no number")
    if not isinstance(body, bytes):
        return Row(number, 0, 0, repr(body).encode(), intact=False)
    if not _is_count(events):
        events = body.count(b"\n") // 2
    received_ms = received_ms if _is_count(received_ms) else 0
    return Row(number, received_ms, events, body, intact=zlib.crc32(body) == crc)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**53


def left_behind(files: list[Path]) -> list[Path]:
    """The files that nobody will write again, because their slot has a newer one. `files` come from `spool_files`."""
    return [path for path, after in pairwise(files) if slot_and_number(path)[0] == slot_and_number(after)[0]]


def remove_file(path: Path) -> None:
    """Remove an empty spool file and the files that SQLite keeps beside it."""
    for beside in reversed(BESIDE):
        path.with_name(path.name + beside).unlink(missing_ok=True)
