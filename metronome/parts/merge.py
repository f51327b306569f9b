"""Has sets of merged columns (merged.py) made from the parts of closed days, beside the questions that want them.

    a question wants columns or days that no set has     it is answered from the parts
    Merger.want     notes the columns; a thread writes a set that has them (writing.py)
    the next one    finds the set

Making one costs about what a question over all days does. After each the process rests for twenty times as long, so
that days which change all the time cost a twentieth of a core at the most. Of several processes one makes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from metronome.errors import MetronomeError
from metronome.parts.folder import Folder, Part
from metronome.parts.merged import EXISTS, PROGRAM, Key, Manifest, Sets
from metronome.parts.writing import AT, Full, Stopped, Writing

log = logging.getLogger(__name__)

#: The columns of every set: whose, when, and what orders events of one time.
ALWAYS = (AT, Key("received_at", "number"), Key("seq", "number"), Key("_subject", "text"))

#: What a row takes of each kind, in bytes, at the most.
_BYTES = {"number": 8, "text": 4, "flag": 1, EXISTS: 1}

_SHORTEST_REST_S = 10.0
_REST = 20


class Merger:
    """Makes sets as they are wanted, in one process. Safe to use from many threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rests_until = 0.0
        self._wanted: dict[Key, None] = {}
        self._latest: tuple[Key, ...] = ()

    def want(self, folder: Folder, keys: Sequence[Key]) -> None:
        """Note that a question could use these columns of all closed days, and see to it in the background."""
        with self._lock:
            self.note(keys)
            if self._thread is not None or time.monotonic() < self._rests_until:
                return
            # A process that ends waits for it, and it ends with the batch that it has: it is cut off nowhere in DuckDB.
            self._thread = threading.Thread(target=self._run, args=(folder,), name="merge")
            self._thread.start()

    def note(self, keys: Sequence[Key]) -> None:
        """Let these be wanted. Where there isn't room for all columns, what was wanted last is kept."""
        self._latest = tuple(keys)
        self._wanted = dict.fromkeys((*keys, *self._wanted))

    def _run(self, folder: Folder) -> None:
        started = time.monotonic()
        try:
            self.make(folder)
        except (MetronomeError, OSError) as error:
            log.warning("columns of closed days weren't merged; questions read the parts", extra={"why": str(error)})
        finally:
            with self._lock:
                took = time.monotonic() - started
                self._rests_until = time.monotonic() + max(_SHORTEST_REST_S, _REST * took)
                self._thread = None

    def make(self, folder: Folder) -> bool:
        """Make a set with all that was wanted; False where another process does, or parts were dropped meanwhile.

        Raises OSError and PartsUnavailable.
        """
        sets = Sets(folder.root)
        lock = sets.lock()
        if not lock.take():
            return False
        try:
            with self._lock:
                wanted, needed = list(self._wanted), frozenset((*ALWAYS, *self._latest))
            return _make(sets, folder, wanted, needed, self.max_bytes)
        finally:
            lock.release()


def closed(days: Iterable[date]) -> list[date]:
    """The days that are over. Late events still come to them, and make them differ from a set until the next one."""
    today = datetime.now(UTC).date()
    return sorted(day for day in days if day < today)


def _make(sets: Sets, folder: Folder, wanted: Sequence[Key], needed: frozenset[Key], max_bytes: int) -> bool:
    opened = sets.open()
    unfit = set(opened.manifest.unfit) if opened is not None else set()
    had = [column.key for column in opened.manifest.columns] if opened is not None else []
    keys = [key for key in dict.fromkeys((*ALWAYS, *wanted, *had)) if key not in unfit]
    parts = [part for day in closed(folder.days()) if (part := folder.part(day)) is not None]
    for share in (1, 2, 4):
        # How much room texts take shows only when they are written.
        fitting, chosen = _fitting(keys, needed, parts, max_bytes // share)
        # Before any part is opened: what is erased after this takes the new folder along.
        writing = Writing(sets.begin(), fitting, max_bytes)
        try:
            return sets.name(_written(writing, folder, chosen, unfit, 0 if len(chosen) == len(parts) else max_bytes))
        except Full:
            continue
        except (FileNotFoundError, Stopped):
            return False
        finally:
            writing.close()
    return sets.name(Manifest(PROGRAM, sets.begin().name, 0, (), (), tuple(sorted(unfit)), max_bytes))


def _written(writing: Writing, folder: Folder, parts: list[Part], unfit: set[Key], full: int) -> Manifest:
    days = writing.read(folder, {part.day: part for part in parts})
    columns = writing.columns()
    never = tuple(sorted(unfit | writing.unfit))
    return Manifest(PROGRAM, writing.folder.name, writing.rows, tuple(days), tuple(columns), never, full)


def _fitting(
    keys: list[Key], needed: frozenset[Key], parts: list[Part], max_bytes: int
) -> tuple[list[Key], list[Part]]:
    """The columns that are needed, and of the others those that fit beside all days; then the latest days that fit."""
    rows = sum(part.events for part in parts)
    kept = [key for key in keys if key in needed]
    a_row = sum(_BYTES[key.kind] for key in kept)
    for key in keys:
        if key not in needed and rows * (a_row + _BYTES[key.kind]) <= max_bytes:
            kept.append(key)
            a_row += _BYTES[key.kind]
    chosen: list[Part] = []
    for part in reversed(parts):
        max_bytes -= part.events * a_row
        if max_bytes < 0:
            break
        chosen.append(part)
    return kept, chosen[::-1]
