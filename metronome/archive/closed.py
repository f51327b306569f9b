"""Which days are closed: past, and with nothing waiting for them in any spool of this installation."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from datetime import date
from pathlib import Path

from metronome.settings import Settings
from metronome.spool.files import spool_files
from metronome.spool.held import held_folders
from metronome.spool.reader import Damaged, Reader
from metronome.store.names import day_of_index

_AT_ONCE = 8 * 2**20


def days_waiting(settings: Settings) -> set[date]:
    """The days of events that are on disk and not in Elasticsearch yet."""
    indices: set[str] = set()
    for path in spool_files(settings.spool_dir):
        indices |= _indices_of(path, settings)
    for index, folder in held_folders(settings.spool_dir).items():
        if any(_indices_of(path, settings) for path in spool_files(folder)):
            indices.add(index)
    return {day for index in indices if (day := day_of_index(settings, index)) is not None}


def _indices_of(path: Path, settings: Settings) -> set[str]:
    # {"create":{"_index":"logstash-2026.11.03","_id":"…"}}    the form that intake writes; blanks don't matter
    named = re.compile(rb'"_index"\s*:\s*"(' + re.escape(settings.index_prefix.encode()) + rb'-[0-9.]{10})"')
    found: set[bytes] = set()
    try:
        with contextlib.closing(Reader(path)) as reader:
            while rows := reader.rows(_AT_ONCE):
                for row in rows:
                    found.update(named.findall(row.body))
    except (sqlite3.Error, Damaged):
        # It was just removed, or it is damaged: then what the drain rescues of it comes late, as a further part.
        pass
    return {name.decode() for name in found}
