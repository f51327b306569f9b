"""Keeps events whose index can't take them now, apart from the others, so that they hold up no others.

    spool/held/<index>/      a spool of role `held` for each such index, the index's name percent-encoded

Only the drain writes and reads here. An event is on disk here before it is deleted from the spool that it came from.
After a crash in between it is in both places, and is sent twice; Elasticsearch answers 409 to the second copy.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote, unquote

from metronome.spool.files import spool_files
from metronome.spool.reader import Damaged, Reader
from metronome.spool.rescue import broken_files
from metronome.spool.spool import Spool

_FOLDER = "held"


class Held:
    """The spools of all such indices. Each is opened when events are put there or tried again. Used by one drain."""

    def __init__(self, folder: Path, *, max_bytes: int = 8 * 2**30, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        #: Keeps the folder of an index from being removed while events are put there.
        self._lock = threading.Lock()

    def put(self, index: str, body: bytes, events: int, since_ms: int) -> None:
        """Keep events of an index. They are on disk on return. Raises a MetronomeError if they can't be written."""
        options = {"max_bytes": self._max_bytes, "reserve_bytes": self._reserve_bytes}
        with self._lock, contextlib.closing(Spool(self.place(index), role="held", **options)) as spool:
            spool.append(body, events, since_ms=since_ms)

    def indices(self) -> list[str]:
        """Names of the indices for which events wait, or waited lately."""
        return list(held_folders(self._folder))

    def place(self, index: str) -> Path:
        """The folder of an index."""
        return self._folder / _FOLDER / _encoded(index)

    def remove_if_empty(self, index: str) -> bool:
        """Forget an index if no events wait for it any more; returns whether it was forgotten."""
        place = self.place(index)
        with self._lock:
            empty = not broken_files(place) and all(_is_empty(path) for path in spool_files(place))
            if empty:
                for kept in place.glob("*.damaged-*"):
                    kept.rename(self._folder / f"held-{place.name}-{kept.name}")
                shutil.rmtree(place, ignore_errors=True)
            return empty


def _is_empty(path: Path) -> bool:
    with contextlib.suppress(sqlite3.Error, Damaged), contextlib.closing(Reader(path)) as reader:
        return reader.is_empty()
    return False


def held_folders(folder: Path) -> dict[str, Path]:
    """Index to folder, in the order of names. Folders that aren't ours are left out."""
    try:
        return {unquote(place.name): place for place in sorted((folder / _FOLDER).iterdir()) if place.is_dir()}
    except OSError:
        return {}


def _encoded(index: str) -> str:
    # The folder's name must hold no separator, and must not be "." or "..". No index begins with a dot anyway.
    return quote(index, safe="").replace(".", "%2E") if index.startswith(".") else quote(index, safe="") or "%00"
