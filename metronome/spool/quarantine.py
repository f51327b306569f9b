"""What Elasticsearch refused for good: the bytes as they were sent, with the reason. Nothing is dropped.

`metronome quarantine list` shows them, `metronome quarantine replay` spools them again. A replay is safe to repeat:
ids were fixed at intake, so what is indexed meanwhile answers 409.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from metronome.spool.files import make_folder, transaction
from metronome.spool.spool import Spool

#: Rows read at one time, and events in one spooled row of a replay.
_PAGE = 500

# Numbers never come back: a replayed event that is refused once more gets a new one, and is safe from the replay's
# deletion of the old.
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

#: The kind of events that intake couldn't take.
UNACCEPTED = "not_accepted"

_INSERT = """
insert or replace into refused (at_ms, doc_index, doc_id, status, kind, reason, action, source)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""

_SELECT = """
select id, at_ms, doc_index, doc_id, status, kind, reason, action, source from refused
where id > ? and id <= ? and at_ms >= ? and instr(lower(kind || ' ' || reason), lower(?)) > 0 order by id limit ?
"""


class Refusal(NamedTuple):
    """A document and why it can't be stored: `action` and `source` are its two bulk lines, unchanged."""

    action: bytes
    source: bytes
    status: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """One document in quarantine. A damaged one has no action: its `id` is the spool file and row it was in."""

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
    """One SQLite file beside the spools; safe across threads and processes."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / "quarantine.db", isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.execute(_SCHEMA)

    def add(self, refusals: list[Refusal]) -> None:
        """Keep each; on disk when this returns. One that is here already gets the newer reason."""
        now = time.time_ns() // 1_000_000
        rows = []
        for action, source, status, kind, reason in refusals:
            rows.append((now, *_target(action), status, kind, reason[:2000], action, source))
        with self._lock, transaction(self._db):
            self._db.executemany(_INSERT, rows)

    def add_damaged(self, place: str, body: bytes, reason: str) -> None:
        """Keep what a spooled request has become; `place` is its file and row, so that it is kept only once."""
        row = (time.time_ns() // 1_000_000, "", place, 0, "damaged", reason, b"", body)
        with self._lock, transaction(self._db):
            self._db.execute(_INSERT, row)

    def add_unaccepted(self, events: Iterable[tuple[bytes, str]]) -> None:
        """Keep what intake couldn't take of a request, as (bytes as they were posted, reason); on disk on return.

        Such an event has no action line, so a replay leaves it here. Posted again, it is kept only once.
        """
        now = time.time_ns() // 1_000_000
        rows = []
        for body, reason in events:
            name = f"posted-{hashlib.blake2b(body, digest_size=16).hexdigest()}"
            rows.append((now, "", name, 422, UNACCEPTED, reason[:2000], b"", body))
        with self._lock, transaction(self._db):
            self._db.executemany(_INSERT, rows)

    def count(self) -> int:
        with self._lock:
            return int(self._db.execute("select count(*) from refused").fetchone()[0])

    def list(self, *, reason: str = "", since_ms: int = 0) -> Iterator[Refused]:
        """Those there are now, oldest first; `reason` is a part of the kind or the reason, any case."""
        with self._lock:
            last, newest = 0, self._db.execute("select coalesce(max(id), 0) from refused").fetchone()[0]
        while last < newest:
            with self._lock:
                rows = self._db.execute(_SELECT, (last, newest, since_ms, reason, _PAGE)).fetchall()
            for row in rows:
                yield Refused(*row)
            last = rows[-1][0] if rows else newest

    def remove(self, numbers: Iterable[int]) -> None:
        with self._lock, transaction(self._db):
            self._db.executemany("delete from refused where id = ?", [(number,) for number in numbers])

    def close(self) -> None:
        self._db.close()


def _target(action: bytes) -> tuple[str, str]:
    create: dict[str, Any] = json.loads(action)["create"]
    return str(create["_index"]), str(create["_id"])


def replay(folder: Path, *, reason: str = "", since_ms: int = 0) -> tuple[int, int]:
    """Spool refused events again, then forget them here; gives how many, and how many are too damaged to send.

    In this order, so that a crash in between sends an event twice rather than never.
    """
    quarantine = Quarantine(folder)
    spool = Spool(folder, role="replay")
    done = damaged = 0
    try:
        rows = quarantine.list(reason=reason, since_ms=since_ms)
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
