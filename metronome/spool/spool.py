"""The disk queue between HTTP and Elasticsearch: what a 2xx promises is that this file holds the event.

Constraints
    - `append` returns only once its bytes are fsynced. Nothing is acknowledged earlier, nothing later is needed.
    - Requests that arrive together share one fsync (group commit): one thread commits for all who wait; those who
      come meanwhile are the next group, and the first of them commits it.
    - Bytes go in ready for `_bulk` (action line, source line, ...) and come out unchanged: the drain never parses.
    - A failed write leaves its file behind for good. After a failed fsync the kernel may have dropped dirty pages
      and report success the next time, so the writer goes on in a new file; the drain still empties the old one.
    - A file that was removed or renamed under its writer holds nothing that was promised: SQLite writes on into a file
      without a name, so the writer looks after each commit whether the path still leads there. If not, it makes the
      folder and a file again, and commits there before it answers.
    - Some of the disk is left to others: below METRONOME_DISK_RESERVE_BYTES nothing is taken.

Format
    spool/
      web-0.lock            flock held by the worker process that writes slot 0; a dead worker's lock is free again
      web-0.1.db            SQLite, WAL, synchronous=FULL; a new number after a failed write
      drain.lock            flock held by the one drain that ships
      drain.json            what the drain says of itself (see status.py)
      quarantine.db         what Elasticsearch refused for good, with its reason (see quarantine.py)
      held/<index>/         a spool of role `held` for each index that can't take its events now (see held.py)
      *.broken, *.damaged-* damaged files that are being, or were, rescued (see rescue.py)

    request(id, received_ms, events, crc, body)
      one row a request. Ids never come back, so a reader's position (the last id it read) stays true after rows
      are deleted. `crc` is the CRC-32 of `body`: a row that a bad disk changed is set aside, not sent.
    tally(last_id, requests, events)
      one row: the last id given, and what waits. Health checks ask it often, and counting millions of rows is slow.

Operation
    One writer per file, any number of readers. The drain reads rows past its position, ships them, and deletes
    shipped rows now and then in a transaction without fsync. A crash may bring such rows back; they are sent once
    more, and Elasticsearch answers 409 to each, since `_id` was fixed at intake.
    Deleting frees pages inside the file and doesn't overwrite them (some builds of SQLite would). New rows reuse
    these pages, so a file stays as large as its largest backlog, and `max_page_count` bounds it. The drain removes a
    file that was left behind once it is empty; the file's number is never used again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import zlib
from pathlib import Path

from metronome.errors import SetupError, SpoolFull, SpoolUnavailable
from metronome.files import identity
from metronome.spool.files import (
    error_code,
    last_id,
    make_folder,
    slot_and_number,
    spool_files,
    take_slot,
    transaction,
)
from metronome.spool.wal import is_damaged

log = logging.getLogger("metronome.spool")

#: Bodies have tens to hundreds of kilobytes. With larger pages, fewer pages have to be checksummed and linked.
PAGE_BYTES = 16384

#: Frames of the write-ahead log after which a commit also copies it into the database.
CHECKPOINT_PAGES = 1000

#: A full or failing spool counts as writable again once it takes this many bytes.
PROBE_BYTES = 65536

_SCHEMA = """
begin immediate;
create table if not exists request (
    id integer primary key,
    received_ms integer not null,
    events integer not null,
    crc integer not null,
    body blob not null
);
create table if not exists tally (last_id integer not null, requests integer not null, events integer not null);
insert into tally select 0, 0, 0 where not exists (select 1 from tally);
commit;
"""

_INSERT = "insert into request (id, received_ms, events, crc, body) values (?, ?, ?, ?, ?)"

_ADD = "update tally set last_id = ?, requests = requests + ?, events = events + ?"


class _Ticket:
    """One waiting `append`: its row, and whether it is on disk (or why not)."""

    __slots__ = ("done", "failure", "row", "turn")

    def __init__(self, row: tuple[int, int, int, bytes]) -> None:
        self.row = row
        self.done = False
        self.failure: Exception | None = None
        #: The thread waits for this lock. It is released once the row is done, or once this thread has to commit.
        self.turn = threading.Lock()
        self.turn.acquire()


class _Gone(Exception):
    """The file that was written isn't at its path any more."""


class Spool:
    """The writing end: one per worker process, opened after the fork, safe to use from many threads."""

    def __init__(self, folder: Path, *, role: str = "web", max_bytes: int = 8 * 2**30, reserve_bytes: int = 0) -> None:
        self.folder = folder
        self.role = role
        self.max_bytes = max_bytes
        self.reserve_bytes = reserve_bytes
        make_folder(folder)
        self.slot, self._lock = take_slot(folder, role)
        self._queue_lock = threading.Lock()
        #: Requests that wait for the next commit; the thread of the first one makes it.
        self._waiting: list[_Ticket] = []
        #: Whether a commit is being made just now.
        self._committing = False
        self._file_lock = threading.Lock()
        self._pid = os.getpid()
        self._db: sqlite3.Connection | None = None
        #: Identities of the open database and its log, to compare with the files at their paths.
        self._identity: tuple[object, object] = (None, None)
        self._path, self._number = self._newest()
        #: Whether the file may hold rows. A file without any needn't be left behind.
        self._used = self._path.exists()
        self.commits = 0
        #: True from a failed write until one succeeds again.
        self.failing = False
        try:
            self._connect()
        except SpoolUnavailable as error:
            # The gateway serves even if the disk is full at start. Ticks get 503 until there is room.
            log.warning("the spool can't be opened; ticks are refused until it can", extra={"problem": error.message})
            self.failing = True

    def append(self, body: bytes, events: int, *, since_ms: int = 0) -> None:
        """Put one request's bulk-ready bytes on disk; returns once they are fsynced.

        `since_ms` says when they were received, if that wasn't now. Raises SpoolFull or SpoolUnavailable; then
        nothing is promised, though a failed fsync may still have reached the disk (sending such a request again is
        harmless: its ids are the same).
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a spool belongs to the process that opened it; open another after a fork")
        ticket = _Ticket((since_ms or time.time_ns() // 1_000_000, events, zlib.crc32(body), body))
        with self._queue_lock:
            self._waiting.append(ticket)
            mine, self._committing = not self._committing, True
        if not mine:
            ticket.turn.acquire()
        if not ticket.done:
            self._commit_waiting()
        if ticket.failure is not None:
            raise ticket.failure

    def is_writable(self) -> bool:
        """Whether the next `append` can succeed. After a failure it tries a write, so it heals without traffic."""
        if self.failing or not self._is_in_place():
            with self._file_lock:
                try:
                    self._probe()
                    self.failing = False
                except Exception as error:
                    self._after_failure(error)
        return not self.failing

    def close(self) -> None:
        with self._file_lock:
            if self._db is not None:
                self._db.close()
                self._db = None
        self._lock.release()

    def _commit_waiting(self) -> None:
        with self._queue_lock:
            group, self._waiting = self._waiting, []
        failure: Exception | None = SpoolUnavailable("the spool was interrupted; send this again")
        try:
            with self._file_lock:
                failure = self._written([ticket.row for ticket in group])
        finally:
            for ticket in group:
                ticket.failure = failure
                ticket.done = True
                ticket.turn.release()
            with self._queue_lock:
                self._committing = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].turn.release()

    def _written(self, rows: list[tuple[int, int, int, bytes]]) -> Exception | None:
        """Commit rows; gives the error for their callers if that fails."""
        failure = None
        try:
            self._write(rows)
        except Exception as error:
            failure = self._after_failure(error)
        self.failing = failure is not None
        return failure

    def _write(self, rows: list[tuple[int, int, int, bytes]]) -> None:
        """Commit rows to a file that can be reached afterwards."""
        self._check_room(sum(len(row[3]) for row in rows))
        self._commit(rows)
        if not self._is_in_place():
            self._start_over()
            self._commit(rows)
            if not self._is_in_place():
                raise _Gone("its files are being removed")

    def _commit(self, rows: list[tuple[int, int, int, bytes]]) -> None:
        db = self._connect()
        with transaction(db):
            last = last_id(db)
            db.executemany(_INSERT, [(last + at, *row) for at, row in enumerate(rows, 1)])
            db.execute(_ADD, (last + len(rows), len(rows), sum(row[1] for row in rows)))
            self._used = True
        self.commits += 1

    def _probe(self) -> None:
        """Put a row in and take it out again in one transaction. It needs room and an fsync, and leaves nothing."""
        self._check_room(PROBE_BYTES)
        if not self._is_in_place():
            self._start_over()
        db = self._connect()
        with transaction(db):
            number = last_id(db) + 1
            db.execute(_INSERT, (number, 0, 0, 0, bytes(PROBE_BYTES)))
            db.execute("delete from request where id = ?", (number,))

    def _after_failure(self, error: Exception) -> Exception:
        """Leave the file if it can't be trusted any more; gives the error for the callers."""
        if isinstance(error, SpoolFull):
            return error
        if error_code(error) == sqlite3.SQLITE_FULL:
            text = "the spool is full: Elasticsearch has been away or slow for long; send this again later"
            return SpoolFull(text, retry_after_s=30)
        self._leave()
        if isinstance(error, SpoolUnavailable):
            return error
        log.warning("the spool can't be written", extra={"problem": str(error), **self._named()})
        return SpoolUnavailable(f"the spool can't be written ({error}); send this again later")

    def _leave(self) -> None:
        """Close the file; the next write opens another, unless this one never held a row."""
        self._close_file()
        if self._used:
            self._number += 1
            self._path = self.folder / f"{self.slot}.{self._number}.db"
            self._used = False

    def _close_file(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _check_room(self, size: int) -> None:
        try:
            disk = os.statvfs(self.folder)
        except OSError:
            return  # the folder is gone; the next write makes it again
        if disk.f_bavail * disk.f_frsize < self.reserve_bytes + size:
            text = f"the disk has less than {self.reserve_bytes >> 20} MB left (METRONOME_DISK_RESERVE_BYTES)"
            raise SpoolFull(f"{text}; send this again later", retry_after_s=30)

    def _is_in_place(self) -> bool:
        """Whether the paths of database and log still lead to the files that are written."""
        return self._db is None or self._identity == self._found()

    def _found(self) -> tuple[object, object]:
        return identity(self._path), identity(self._path.with_name(self._path.name + "-wal"))

    def _start_over(self) -> None:
        """Go on in another file after this one was removed or renamed, and its folder perhaps with it."""
        log.error("a spool file was removed or renamed while it was written; another is used", extra=self._named())
        self._close_file()
        try:
            make_folder(self.folder)
            if not self._lock.is_in_place():
                self._lock.release()
                self.slot, self._lock = take_slot(self.folder, self.role)
        except SetupError as error:
            raise SpoolUnavailable(f"the spool can't be written ({error.message}); send this again later") from error
        self._number = max(self._number, self._newest()[1]) + 1
        self._path = self.folder / f"{self.slot}.{self._number}.db"
        self._used = False

    def _named(self) -> dict[str, str]:
        return {"file": self._path.name}

    def _newest(self) -> tuple[Path, int]:
        named = map(slot_and_number, spool_files(self.folder))
        number = max((number for slot, number in named if slot == self.slot), default=1)
        return self.folder / f"{self.slot}.{number}.db", number

    def _connect(self) -> sqlite3.Connection:
        """The open file. A damaged one is left to the drain, which saves what can be read of it."""
        while self._db is None:
            try:
                self._db = _open_for_writing(self._path, self.max_bytes)
                self._identity = self._found()
            except sqlite3.Error as error:
                if not self._used:
                    raise SpoolUnavailable(f"the spool can't be opened ({error}); send this again later") from error
                log.warning("a spool file can't be written on", extra={"problem": str(error), **self._named()})
                self._leave()
        return self._db


def _open_for_writing(path: Path, max_bytes: int) -> sqlite3.Connection:
    if is_damaged(path, PAGE_BYTES):
        raise sqlite3.DatabaseError("its write-ahead log is damaged")
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        db.execute(f"pragma page_size = {PAGE_BYTES}")
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("pragma secure_delete = off")
        db.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"pragma max_page_count = {max(8, max_bytes // PAGE_BYTES)}")
        # The last writer's fsync may have failed. So the content of its log is written again before anything is added.
        busy, _, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        if busy:
            raise sqlite3.OperationalError("its write-ahead log is in use")
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
