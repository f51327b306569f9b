"""How many new days an hour may begin: each is an index, and Elasticsearch can't take a thousand new ones at once.

A day is new if no event for it came lately. Today and yesterday never are. Each new day is noted:

    METRONOME_HOME/spool/days.db     day(day, at, public)     `2026-11-22`, Unix time in seconds, kept for 30 days

All workers of a host share the file. Days that were noted cost a look into a set. Once the hour's days are used up
(METRONOME_NEW_DAYS, METRONOME_NEW_DAYS_PUBLIC), events for further ones are refused and kept in the quarantine. A file
that can't be read or written costs only this protection, never the event.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

from metronome.errors import MetronomeError
from metronome.intake.settle import Unacceptable
from metronome.logs import Sparing
from metronome.settings import Settings
from metronome.spool.files import make_folder, open_notes, transaction

log = logging.getLogger("metronome.intake")

_HOUR_S = 3600
_KEPT_S = 30 * 24 * _HOUR_S

#: Once the days are used up, the file isn't asked again for so long.
_PAUSE_S = 5.0

_SCHEMA = "create table if not exists day (day text primary key, at integer not null, public integer not null)"


class NewDays:
    """The notes. One per worker process; safe to use from many threads. Without a folder any day is taken."""

    def __init__(self, folder: Path | None, settings: Settings) -> None:
        self._folder = folder
        self._most = {False: settings.new_days, True: settings.new_days_public}
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._sparing = Sparing()
        self._known: set[str] = set()
        self._known_on = ""
        self._full_until = {False: 0.0, True: 0.0}

    def known(self, now: datetime) -> set[str]:
        """The days that need no `begin`. They are looked up anew each day, so that the set can't go stale."""
        today = now.date().isoformat()
        if self._known_on != today:
            self._known = {(now.date() + timedelta(days=days)).isoformat() for days in (-1, 0, 1)}
            self._known_on = today
        return self._known

    def begin(self, day: str, now: datetime, *, public: bool) -> None:
        """Note a day that isn't known; raises Unacceptable if the hour's new days are used up."""
        if self._folder is None:
            return
        if time.monotonic() < self._full_until[public]:
            raise self._too_many(public)
        try:
            with self._lock:
                allowed = self._noted(self._folder, day, int(now.timestamp()), public)
        except (OSError, sqlite3.Error, MetronomeError) as error:
            allowed = True
            self._db = None
            unsaid = self._sparing.turn(str(error))
            if unsaid is not None:
                log.warning("new days can't be noted", extra={"problem": str(error), "unsaid": unsaid})
        if not allowed:
            self._full_until[public] = time.monotonic() + _PAUSE_S
            raise self._too_many(public)
        self._known.add(day)

    def _too_many(self, public: bool) -> Unacceptable:
        name = "METRONOME_NEW_DAYS_PUBLIC" if public else "METRONOME_NEW_DAYS"
        return Unacceptable(f"events for more than {self._most[public]} new days came in an hour ({name})", kept=True)

    def _noted(self, folder: Path, day: str, now: int, public: bool) -> bool:
        db = self._db = self._db or _open(folder)
        if db.execute("select 1 from day where day = ? and at > ?", (day, now - _KEPT_S)).fetchone():
            return True
        with transaction(db):
            count = "select count(*) from day where public = ? and at > ?"
            if db.execute(count, (public, now - _HOUR_S)).fetchone()[0] >= self._most[public]:
                return False
            db.execute("delete from day where at <= ?", (now - _KEPT_S,))
            db.execute("insert or replace into day values (?, ?, ?)", (day, now, public))
        return True


def _open(folder: Path) -> sqlite3.Connection:
    make_folder(folder)
    return open_notes(folder / "days.db", _SCHEMA)
