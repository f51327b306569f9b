"""The reading end of the spool (see spool.py): rows in order, what of a damaged file can still be read, what waits."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from metronome.spool.files import error_code, last_id, slot_and_number, transaction

_SELECT = "select id, received_ms, events, crc, body from request"

_TAKE = "update tally set requests = requests - ?, events = events - ?"


@dataclass(frozen=True)
class Row:
    """One spooled request: `body` is bulk-ready, `intact` says whether its checksum still holds."""

    id: int
    received_ms: int
    events: int
    body: bytes
    intact: bool


class Reader:
    """The reading end of one spool file: rows in order, past what was read before. Used by the drain, and to look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        # `rw`, so that looking at a file that was just removed doesn't make it anew.
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10)
        # Deletions needn't survive a crash (see Operation above), so they cost no fsync.
        self._db.execute("pragma synchronous = normal")
        self._db.execute("pragma secure_delete = off")

    def rows(self, max_bytes: int) -> list[Row]:
        """Rows past the position, up to about `max_bytes` of bodies; the position moves past the last of them.

        The query is closed when this returns: a reader that stands on a row would keep the write-ahead log from
        being copied back.
        """
        if not self._is_made():
            return []
        found: list[Row] = []
        size = 0
        cursor = self._db.cursor()
        try:
            for values in cursor.execute(f"{_SELECT} where id > ? order by id", (self.position,)):
                found.append(_row(values))
                self.position = found[-1].id
                size += len(found[-1].body)
                if size >= max_bytes:
                    break
        except sqlite3.DatabaseError as error:
            if error_code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            found += self._row_past_damage()
        finally:
            cursor.close()
        return found

    def _row_past_damage(self) -> list[Row]:
        """The next row, looked up by its id: a scan stops at a damaged page, but most rows stand on others."""
        while self.position < last_id(self._db):
            self.position += 1
            try:
                values = self._db.execute(f"{_SELECT} where id = ?", (self.position,)).fetchone()
            except sqlite3.DatabaseError:
                return [Row(self.position, 0, 0, b"", intact=False)]
            if values is not None:
                return [_row(values)]
        return []

    def pending(self) -> tuple[int, int, int | None]:
        """(requests, events, oldest `received_ms` or None) of what the file still holds."""
        if not self._is_made():
            return 0, 0, None
        requests, events = self._db.execute("select requests, events from tally").fetchone()
        oldest = self._db.execute("select received_ms from request order by id limit 1").fetchone()
        return requests, events, oldest[0] if oldest else None

    def is_empty(self) -> bool:
        """Whether it holds no row; asks the rows themselves, since what looks empty is removed."""
        return not self._is_made() or self._db.execute("select 1 from request limit 1").fetchone() is None

    def delete(self, rows: list[Row]) -> None:
        """Forget settled rows. What a damaged page won't let go stays; it would be a duplicate if sent again."""
        try:
            self._delete(rows)
        except sqlite3.DatabaseError as error:
            if error_code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            for row in rows:
                with contextlib.suppress(sqlite3.DatabaseError):
                    self._delete([row])

    def _delete(self, rows: list[Row]) -> None:
        with transaction(self._db):
            self._db.executemany("delete from request where id = ?", [(row.id,) for row in rows])
            self._db.execute(_TAKE, (len(rows), sum(row.events for row in rows)))

    def _is_made(self) -> bool:
        """Whether its writer has got as far as making the tables."""
        return self._db.execute("select 1 from sqlite_schema where name = 'tally'").fetchone() is not None

    def close(self) -> None:
        self._db.close()


def _row(values: tuple[int, int, int, int, bytes]) -> Row:
    number, received_ms, events, crc, body = values
    return Row(number, received_ms, events, body, zlib.crc32(body) == crc)


def left_behind(files: list[Path]) -> list[Path]:
    """Those of `spool_files` that nobody will write again: their slot has a newer one."""
    return [path for path, after in pairwise(files) if slot_and_number(path)[0] == slot_and_number(after)[0]]


def remove_file(path: Path) -> None:
    """Remove an empty spool file and what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
