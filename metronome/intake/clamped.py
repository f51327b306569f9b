"""Which day a clamped event was given, so that its retry after midnight is the same document.

A clamped event has no usable time (its clock is more than an hour ahead), so it belongs to the day of its arrival.
A retry on another day would go to another index, where its `_id` is new. So the day of the first arrival is noted:

    METRONOME_HOME/spool/clamped.db     day(id, day)      `_id` of the event to `2026-11-22`, kept for eight days

All workers of a host share the file. It is written only for clamped events that have an insert_id without a day in it.
A note that can't be read or written costs only this protection, never the event.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from datetime import date, timedelta
from pathlib import Path

from metronome.errors import MetronomeError
from metronome.logs import Sparing
from metronome.spool.files import make_folder, open_notes, transaction

log = logging.getLogger("metronome.intake")

#: Senders give up long before: python-logstash-async after a day, the browser when its page is forgotten.
_KEPT = timedelta(days=8)

_SCHEMA = "create table if not exists day (id text primary key, day text not null) without rowid"


class ClampedDays:
    """The notes. One per worker process; safe to use from many threads. Without a folder nothing is noted."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._tidied = ""
        self._sparing = Sparing()

    def settle(self, ids: list[str], today: str) -> list[str]:
        """The day of each event: that of its first arrival, which is today for a new one."""
        if self._folder is None:
            return [today] * len(ids)
        try:
            with self._lock:
                return self._noted(self._folder, ids, today)
        except (OSError, sqlite3.Error, MetronomeError) as error:
            unsaid = self._sparing.turn(str(error))
            if unsaid is not None:
                log.warning("clamped events can't be noted", extra={"problem": str(error), "unsaid": unsaid})
            return [today] * len(ids)

    def _noted(self, folder: Path, ids: list[str], today: str) -> list[str]:
        db = self._db = self._db or _open(folder)
        with transaction(db):
            if self._tidied != today:
                oldest = (date.fromisoformat(today) - _KEPT).isoformat()
                db.execute("delete from day where day < ?", (oldest,))
                self._tidied = today
            db.executemany("insert or ignore into day values (?, ?)", [(name, today) for name in ids])
            return [str(db.execute("select day from day where id = ?", (name,)).fetchone()[0]) for name in ids]


def _open(folder: Path) -> sqlite3.Connection:
    make_folder(folder)
    return open_notes(folder / "clamped.db", _SCHEMA)
