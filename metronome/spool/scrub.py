"""Takes events out of spools and quarantine, and their bytes out of the files: what SQLite has deleted stays in a file
until its pages are used again.

Rows stay, with fewer events in them or none, since the drain counts on finding the rows that it has read. Workers and
drain may go on meanwhile: each change is a short transaction of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metronome.errors import SpoolUnavailable
from metronome.spool.files import error_code, spool_files, transaction
from metronome.spool.held import held_folders
from metronome.spool.quarantine import NAME as QUARANTINE

#: Gives an event's source as it should be: the same bytes, other bytes, or None where it should go.
Decide = Callable[[bytes], bytes | None]

#: How long a file's other users are waited for.
WAIT_S = 30.0


@dataclass
class Scrubbed:
    """Events that went, and events that were rewritten."""

    deleted: int = 0
    rewritten: int = 0

    def take(self, before: bytes, after: bytes | None) -> None:
        self.deleted += after is None
        self.rewritten += after is not None and after != before


def scrub_spools(folder: Path, decide: Decide) -> Scrubbed:
    """Change what waits in all spools of a folder, those of held events too. Raises SpoolUnavailable."""
    done = Scrubbed()
    places = [folder, *held_folders(folder).values()]
    for path in (path for place in places for path in spool_files(place)):
        with _opened(path) as db:
            if not db.execute("select 1 from sqlite_schema where name = 'request'").fetchone():
                continue
            for (number,) in db.execute("select id from request order by id").fetchall():
                _scrub_row(db, number, decide, done)
            _rewrite(db)
    return done


def _scrub_row(db: sqlite3.Connection, number: int, decide: Decide, done: Scrubbed) -> None:
    row = db.execute("select body, crc, events from request where id = ?", (number,)).fetchone()
    if row is None or type(row[0]) is not bytes or zlib.crc32(row[0]) != row[1]:
        return  # shipped meanwhile; or damaged, and then the drain keeps what is left of it in quarantine
    body, found = _scrubbed(row[0], decide)
    if not (found.deleted or found.rewritten):
        return
    with transaction(db):
        changed = db.execute(
            "update request set body = ?, crc = ?, events = ? where id = ?",
            (body, zlib.crc32(body), row[2] - found.deleted, number),
        ).rowcount
        if changed:
            db.execute("update tally set events = max(0, events - ?)", (found.deleted,))
    done.deleted += found.deleted
    done.rewritten += found.rewritten


def _scrubbed(body: bytes, decide: Decide) -> tuple[bytes, Scrubbed]:
    """A bulk body without what should go."""
    # {"create":{…}}\n{…}\n
    lines = body.split(b"\n")
    kept: list[bytes] = []
    found = Scrubbed()
    for action, source in zip(lines[0::2], lines[1::2], strict=False):
        after = decide(source)
        found.take(source, after)
        if after is not None:
            kept += (action, after)
    return b"".join(line + b"\n" for line in kept), found


def scrub_quarantine(folder: Path, decide: Decide) -> Scrubbed:
    """Change what is in quarantine, and files that were set aside as damaged. Raises SpoolUnavailable."""
    done = Scrubbed()
    if (folder / QUARANTINE).exists():
        with _opened(folder / QUARANTINE) as db:
            rows = db.execute("select id, source from refused").fetchall()
            for number, source in rows:
                after = decide(source)
                done.take(source, after)
                if after is None:
                    db.execute("delete from refused where id = ?", (number,))
                elif after != source:
                    db.execute("update refused set source = ? where id = ?", (after, number))
            _rewrite(db)
    return done


def forget(path: Path, statement: str) -> None:
    """Run a statement on a small file of notes, if there is one, and take the bytes of what it deletes out of it."""
    if path.exists():
        with _opened(path) as db:
            with contextlib.suppress(sqlite3.OperationalError):  # the table isn't made yet
                db.execute(statement)
            _rewrite(db)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=WAIT_S)) as db:
            yield db
    except sqlite3.Error as error:
        if path.exists():
            raise SpoolUnavailable(f"{path.name} can't be changed just now; run again", detail=str(error)) from error


def _rewrite(db: sqlite3.Connection) -> None:
    """Make the file and its log anew, of what is in the tables alone."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            db.execute("vacuum")
            busy, _, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        except sqlite3.OperationalError as error:
            if error_code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            busy = 1
        if not busy:
            return
        if time.monotonic() > deadline:
            raise SpoolUnavailable("a spool's file is in use all the time; run again")
        time.sleep(0.05)


def count(folder: Path, decide: Decide) -> dict[str, Scrubbed]:
    """What there is to change in spools and quarantine."""
    found = {"spool": Scrubbed(), "quarantine": Scrubbed()}
    places = [folder, *held_folders(folder).values()]
    for path in (path for place in places for path in spool_files(place)):
        with _opened(path) as db:
            if db.execute("select 1 from sqlite_schema where name = 'request'").fetchone():
                for (body,) in db.execute("select body from request"):
                    if type(body) is bytes:
                        _, more = _scrubbed(body, decide)
                        found["spool"].deleted += more.deleted
                        found["spool"].rewritten += more.rewritten
    if (folder / QUARANTINE).exists():
        with _opened(folder / QUARANTINE) as db:
            for (source,) in db.execute("select source from refused"):
                found["quarantine"].take(source, decide(source))
    return found
