"""Keeps events that were refused for good: the bytes as they were sent, with the reason. Nothing is dropped.

The file may be damaged, or its disk full or read-only. Workers and the drain start all the same. A damaged file is
moved aside as `quarantine.db.damaged-<time>`, and a new one is made. If only the file's log is damaged (wal.py), the
new one gets all that was written before the damage, and a row that says how many writes were lost. As long as no file
can be written, `add` raises, and the events stay with their sender.

`metronome quarantine` lists the events, spools them again (replay) or deletes them (drop). A replay is safe to repeat:
ids were fixed at intake, so Elasticsearch answers 409 to an event that it has indexed before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from metronome.files import Identity, identity
from metronome.spool.files import (
    damaged_ending,
    error_code,
    is_damage,
    make_folder,
    move_aside,
    open_notes,
    transaction,
)
from metronome.spool.spool import Spool
from metronome.spool.wal import is_damaged, lost_writes

log = logging.getLogger("metronome.spool")

NAME = "quarantine.db"

#: SQLite's default.
_PAGE_BYTES = 4096

#: Rows read at one time, and events in one spooled row of a replay.
_PAGE = 500

# Row numbers are never used again. A replayed event that is refused once more gets a new number, so the replay doesn't
# delete it when it deletes the old row.
_SCHEMA = """
create table if not exists refused (
    id integer primary key autoincrement,
    at_ms integer not null,
    doc_index text not null,
    doc_id text not null,
    status integer not null,
    kind text not null,
    reason text not null,
    action blob not null,
    source blob not null,
    unique (doc_index, doc_id)
)
"""

#: The kind of refusal for events that intake couldn't take.
UNACCEPTED = "not_accepted"

_INSERT = """
insert or replace into refused (at_ms, doc_index, doc_id, status, kind, reason, action, source)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""

_COPY = "select at_ms, doc_index, doc_id, status, kind, reason, action, source from refused order by id"

_WANTED = "at_ms >= ? and at_ms < ? and instr(lower(kind || ' ' || reason), lower(?)) > 0"

_SELECT = f"""
select id, at_ms, doc_index, doc_id, status, kind, reason, action, source from refused
where id > ? and id <= ? and {_WANTED} order by id limit ?
"""  # noqa: S608 - of constants alone

_SUMMARY = f"select kind, count(*), max(id) from refused where {_WANTED} group by kind order by 2 desc, 1"  # noqa: S608

_DROP = f"delete from refused where id <= ? and {_WANTED}"  # noqa: S608


@dataclass(frozen=True)
class Wanted:
    """Which events of the quarantine: those refused from `since_ms` on and before `before_ms`, in Unix milliseconds.

    `reason` is a part of the kind or of the reason, in any case.
    """

    reason: str = ""
    since_ms: int = 0
    before_ms: int = 2**62

    @property
    def values(self) -> tuple[int, int, str]:
        return self.since_ms, self.before_ms, self.reason


EVERYTHING = Wanted()


class Rejection(NamedTuple):
    """A document and why it can't be stored: `action` and `source` are its two bulk lines, unchanged."""

    action: bytes
    source: bytes
    status: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Quarantined:
    """One document in quarantine. A damaged one has no action; its `id` names the spool file and row it came from."""

    number: int
    at_ms: int
    index: str
    id: str
    status: int
    kind: str
    reason: str
    action: bytes
    source: bytes


class Quarantine:
    """One SQLite file beside the spools; safe across threads and processes.

    The file is opened when it is needed. Every method raises sqlite3.Error if the file can't be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        #: A file with a damaged log that was moved aside, until its rows are in the new file; and its lost writes.
        self._left: tuple[Path, int] | None = None

    def add(self, rejections: list[Rejection]) -> None:
        """Keep each refusal. They are on disk on return. An event that is here already gets the newer reason."""
        now = time.time_ns() // 1_000_000
        rows = []
        for action, source, status, kind, reason in rejections:
            rows.append((now, *_target(action), status, kind, reason[:2000], action, source))
        self._insert(rows)

    def add_damaged(self, place: str, body: bytes, reason: str) -> None:
        """Keep the damaged bytes of a spooled request. `place` is its file and row, by which it is kept only once."""
        self._insert([(time.time_ns() // 1_000_000, "", place, 0, "damaged", reason, b"", body)])

    def add_unaccepted(self, events: Iterable[tuple[bytes, str]]) -> None:
        """Keep events that intake couldn't take, as (bytes as they were posted, reason). They are on disk on return.

        Such an event has no action line, so a replay leaves it here. Posted again, it is kept only once.
        """
        now = time.time_ns() // 1_000_000
        rows = []
        for body, reason in events:
            name = f"posted-{hashlib.blake2b(body, digest_size=16).hexdigest()}"
            rows.append((now, "", name, 422, UNACCEPTED, reason[:2000], b"", body))
        self._insert(rows)

    def count(self) -> int:
        with self._open() as db:
            return int(db.execute("select count(*) from refused").fetchone()[0])

    def list(self, wanted: Wanted = EVERYTHING) -> Iterator[Quarantined]:
        """The wanted events in quarantine, oldest first."""
        with self._open() as db:
            last, newest = 0, db.execute("select coalesce(max(id), 0) from refused").fetchone()[0]
        while last < newest:
            with self._open() as db:
                rows = db.execute(_SELECT, (last, newest, *wanted.values, _PAGE)).fetchall()
            for row in rows:
                yield Quarantined(*row)
            last = rows[-1][0] if rows else newest

    def summary(self, wanted: Wanted) -> tuple[dict[str, int], int]:
        """How many wanted events there are by kind of refusal, the largest first; and the newest one's number."""
        with self._open() as db:
            rows = db.execute(_SUMMARY, wanted.values).fetchall()
        return {kind: count for kind, count, _ in rows}, max((newest for *_, newest in rows), default=0)

    def drop(self, wanted: Wanted, newest: int) -> int:
        """Delete the wanted events with numbers up to `newest` for good; gives how many they were."""
        with self._open() as db, transaction(db):
            return db.execute(_DROP, (newest, *wanted.values)).rowcount

    def remove(self, numbers: Iterable[int]) -> None:
        with self._open() as db, transaction(db):
            db.executemany("delete from refused where id = ?", [(number,) for number in numbers])

    def mend(self) -> None:
        """Move the file aside if it is damaged, without waiting until something has to be kept or read.

        A new connection reads the file. An open one may have the page in memory as it was before the damage.
        """
        try:
            _look(self._path, "select 1 from refused limit 1")
        except sqlite3.DatabaseError as error:
            if is_damage(error) and error_code(error) != sqlite3.SQLITE_ERROR:  # that code: the table isn't made yet
                with self._lock:
                    self._set_aside(error)
                if self._left is not None:
                    with self._open():
                        pass

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert rows. If the file turns out to be damaged or was removed, insert them into a new one."""
        for again in (True, False):
            try:
                with self._open() as db, transaction(db):
                    db.executemany(_INSERT, rows)
            except sqlite3.DatabaseError as error:
                if not (again and is_damage(error)):
                    raise
            else:
                if identity(self._path) == self._identity:
                    return
        raise sqlite3.OperationalError("its file is being removed")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The open database. If the block finds it damaged, it is moved aside, and the next call makes a new one."""
        with self._lock:
            if self._db is not None and identity(self._path) != self._identity:
                self.close()
            self._db = self._db or self._connect_anyway()
            try:
                yield self._db
            except sqlite3.DatabaseError as error:
                if is_damage(error):
                    self._set_aside(error)
                raise

    def _connect_anyway(self) -> sqlite3.Connection:
        try:
            db = self._connect()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
            db = self._connect()
        if self._left is not None:
            self._take_over(db, *self._left)
            self._left = None
        return db

    def _take_over(self, db: sqlite3.Connection, kept: Path, lost: int) -> None:
        """Insert what can be read of a file with a damaged log, and a row that counts what can't."""
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(_read_only(kept)) as old:
            rows = old.execute(_COPY)
            while page := rows.fetchmany(_PAGE):
                with transaction(db):
                    db.executemany(_INSERT, page)
        reason = f"{lost} or more writes of refused events were lost with a damaged log"
        with transaction(db):
            db.execute(_INSERT, (time.time_ns() // 1_000_000, "", kept.name, 0, "damaged", reason, b"", b""))

    def _connect(self) -> sqlite3.Connection:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_log(self._path)
        db = open_notes(self._path, _SCHEMA, synchronous="full", timeout_s=10)
        self._identity = identity(self._path)
        return db

    def _set_aside(self, error: Exception) -> None:
        self.close()
        lost = lost_writes(self._path, _PAGE_BYTES) if isinstance(error, _LogDamaged) else 0
        with contextlib.suppress(OSError):
            kept = move_aside(self._path, NAME + damaged_ending())
            log.error("the quarantine is damaged; it was moved aside", extra={"file": kept.name, "problem": str(error)})
            if lost:
                self._left = kept, lost


def quarantined(folder: Path) -> int | None:
    """How many events are in quarantine; None if the file can't be read. Makes no file."""
    try:
        found = _look(folder / NAME, "select count(*) from refused")
    except sqlite3.Error:
        return None
    return int(found[0]) if found else 0


def _look(path: Path, question: str) -> Any:
    """The first row of an answer; None if there is no row or no file."""
    if not path.exists():
        return None
    _check_log(path)
    # The file is opened read-only, so that SQLite doesn't make a removed file again. If no log lies beside the file, it
    # holds everything. SQLite is then told not to make the two files through which processes share a database.
    mode = "mode=ro" if path.with_name(f"{NAME}-wal").exists() else "mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=1)) as db:
        return db.execute(question).fetchone()


class _LogDamaged(sqlite3.DatabaseError):
    """The log of the file is damaged. SQLite would drop what was written after the damage, without a word."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _check_log(path: Path) -> None:
    """Raises _LogDamaged. Costs nothing once this process has looked at the file."""
    if is_damaged(path, _PAGE_BYTES):
        raise _LogDamaged("its log is damaged")


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)


def _target(action: bytes) -> tuple[str, str]:
    create: dict[str, Any] = json.loads(action)["create"]
    return str(create["_index"]), str(create["_id"])


def replay(folder: Path, wanted: Wanted = EVERYTHING) -> tuple[int, int]:
    """Spool wanted events again, then delete them here; gives their number, and how many are too damaged to send.

    The order matters: a crash in between sends an event twice rather than never.
    """
    make_folder(folder)
    quarantine = Quarantine(folder)
    spool = Spool(folder, role="replay")
    done = damaged = 0
    try:
        rows = quarantine.list(wanted)
        while page := list(islice(rows, _PAGE)):
            whole = [row for row in page if row.action]
            if whole:
                spool.append(b"".join(b"%b\n%b\n" % (row.action, row.source) for row in whole), len(whole))
                quarantine.remove([row.number for row in whole])
            done += len(whole)
            damaged += len(page) - len(whole)
    finally:
        spool.close()
        quarantine.close()
    return done, damaged
