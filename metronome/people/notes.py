"""Which user a session was said to be a moment ago: what Elasticsearch can't know yet, for all workers of a host.

    METRONOME_HOME/people.db     said(session, user, at)      kept for a minute, never synced

It serves the warning of `/v1/setUserId` alone. A note that can't be read or written costs that warning, nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from pathlib import Path

from metronome.errors import MetronomeError
from metronome.logs import Sparing
from metronome.spool.files import open_notes

log = logging.getLogger("metronome.people")

KEPT_S = 60.0

_SCHEMA = "create table if not exists said (session text primary key, user text not null, at real not null)"


class Notes:
    """Safe to use from many threads and processes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._sparing = Sparing()

    def user_of(self, session: str) -> str | None:
        rows = self._run("select user from said where session = ? and at > ?", (session, time.time() - KEPT_S))
        return str(rows[0][0]) if rows else None

    def note(self, session: str, user: str) -> None:
        now = time.time()
        self._run("delete from said where at < ?", (now - KEPT_S,))
        self._run("insert or replace into said values (?, ?, ?)", (session, user, now))

    def _run(self, statement: str, values: tuple[str | float, ...]) -> list[tuple[str]]:
        try:
            with self._lock:
                self._db = self._db or open_notes(self._file, _SCHEMA, synchronous="off", timeout_s=1)
                return self._db.execute(statement, values).fetchall()
        except (OSError, sqlite3.Error, MetronomeError) as error:
            if (unsaid := self._sparing.turn(str(error))) is not None:
                log.warning("who a session was can't be noted", extra={"problem": str(error), "unsaid": unsaid})
            return []

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
                self._db = None
