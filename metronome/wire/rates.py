"""Rates: how often a caller may send, and how much of that is left, counted by all processes of a host together.

They are in one SQLite file, METRONOME_HOME/rates.db, in WAL mode. It is never synced, since old hits don't matter after
a crash. It has a row for each hit that still counts, so a rate is an exact moving window. If the file can't be used,
nobody is refused: rates are then not kept, and the log says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import math
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import limits

from metronome.logs import Sparing
from metronome.spool.files import error_code, open_notes, transaction

log = logging.getLogger("metronome.web")

#: Seconds for which a process waits while another one writes.
BUSY_S = 1.0

#: Seconds between two clean-ups, which delete expired hits of callers who never came back.
CLEAR_EVERY_S = 60

#: A hit further ahead than this was counted before the clock was set back.
_AHEAD_NS = 10**9

#: The salt is made when the server starts, before its workers are forked. So they share it, and no disk has it.
_SALT = secrets.token_bytes(16)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_TABLE = """
create table if not exists hit (
    name text not null,
    at integer not null,     -- ns, unique for a name
    number integer not null, -- hits of a name are numbered without gaps: last - first + 1 is how many there are
    until integer not null,  -- ns; then it doesn't count any more
    primary key (name, at)
) without rowid
"""

_ADD = "insert into hit values (?, ?, ?, ?)"
#: These are two statements, because in a single one SQLite would read every hit of the name.
_FORGET = "delete from hit where name = ? and at <= ?"
_FORGET_AHEAD = "delete from hit where name = ? and at > ?"
_ENDS = """
select first.at, first.number, last.at, last.number
from (select at, number from hit where name = ?1 order by at limit 1) first,
     (select at, number from hit where name = ?1 order by at desc limit 1) last
"""


@dataclass(frozen=True)
class Usage:
    """The result of one hit. `remaining` more hits are free now; in `reset_s` seconds the oldest stops counting."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int


class Rates:
    """The meter of one process. Give each a rate as text, such as `100/second`."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._sparing = Sparing(every_s=600)
        self._db: sqlite3.Connection | None = None
        self._closed_until = 0.0
        self._cleared = time.monotonic()

    def hit(self, name: str, rate: str) -> Usage:
        """Count one hit of `name` unless that would be more than `rate`. Never raises: see above."""
        amount, period_s = parsed(rate)
        with self._lock:
            try:
                return self._count(self._opened(), name, amount, period_s * 10**9)
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
                return Usage(True, amount, amount, 0)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _count(self, db: sqlite3.Connection, name: str, amount: int, period_ns: int) -> Usage:
        now = self._now_ns()
        with transaction(db):
            ends = db.execute(_ENDS, (name,)).fetchone()
            if ends and (ends[0] <= now - period_ns or ends[2] > now + _AHEAD_NS):
                db.execute(_FORGET, (name, now - period_ns))
                db.execute(_FORGET_AHEAD, (name, now + _AHEAD_NS))
                ends = db.execute(_ENDS, (name,)).fetchone()
            first_at, first, last_at, last = ends or (now, 1, 0, 0)
            count = last - first + 1
            allowed = count < amount
            if allowed:
                at = max(now, last_at + 1)
                db.execute(_ADD, (name, at, last + 1, at + period_ns))
        reset_s = max(1, math.ceil((first_at + period_ns - now) / 10**9))
        return Usage(allowed, amount, max(0, amount - count - allowed), reset_s)

    def _opened(self) -> sqlite3.Connection:
        if time.monotonic() < self._closed_until:
            raise OSError("the file was of no use a moment ago")
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = open_notes(self._path, _TABLE, synchronous="off", timeout_s=BUSY_S)
        elif time.monotonic() - self._cleared > CLEAR_EVERY_S:
            self._cleared = time.monotonic()
            self._db.execute("delete from hit where until <= ?", (self._now_ns(),))
        return self._db

    def _give_up(self, error: Exception) -> None:
        """Leave the file alone for a while. A damaged file is replaced by a new one."""
        if time.monotonic() >= self._closed_until:
            if self._sparing.turn(str(error)) is not None:
                log.error("rates aren't kept", extra={"path": str(self._path), "problem": str(error)})
            self._close()
            if error_code(error) in _DAMAGED:
                for end in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        Path(f"{self._path}{end}").unlink(missing_ok=True)
            self._closed_until = time.monotonic() + 1

    def _close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None


def name_of(address: str) -> str:
    """The name under which a client address is counted. It is a hash, so that no address is written to the disk.

    An IPv6 caller has a whole /64, so a /64 counts as one caller.
    """
    if ":" in address:
        with contextlib.suppress(ValueError):
            address = str(ipaddress.ip_network(f"{address}/64", strict=False))
    return "address " + hashlib.blake2b(address.encode(), key=_SALT, digest_size=12).hexdigest()


@lru_cache(maxsize=256)
def parsed(rate: str) -> tuple[int, int]:
    """(how many, in how many seconds) of a rate such as `100/second` or `5 per 2 minutes`; raises ValueError."""
    found = limits.parse(rate)
    if found.amount < 1:
        raise ValueError(f"{rate!r} lets nobody in")
    return found.amount, found.get_expiry()
