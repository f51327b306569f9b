"""The spool files that a drain empties, and the state of their rows.

Each row is read once. It is under way until its body is settled, and then it is deleted together with others. Rows are
kept here without their bodies. Only the drain's main thread uses this module, except for the rescue of damaged files,
which has a thread of its own.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.spool import rescue
from metronome.spool.files import error_code, spool_files
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import Damaged, Reader, Row, left_behind, remove_file

log = logging.getLogger("metronome.drain")

#: Seconds for which a file is left alone if it can't be read or its damaged rows can't be kept anywhere.
REST_S = 5.0


@dataclass(eq=False)
class Source:
    """A spool file that is read, and its rows that are settled but not deleted yet."""

    reader: Reader
    settled: list[Row] = field(default_factory=list)
    under_way: int = 0
    resting_until: float = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.under_way and not self.settled


@dataclass(frozen=True)
class Load:
    """One bulk body and the rows it is made of."""

    rows: list[tuple[Source, Row]]
    body: bytes

    @property
    def events(self) -> int:
        return sum(row.events for _, row in self.rows)

    @property
    def since_ms(self) -> int:
        """When the oldest row was received, in Unix milliseconds."""
        return min((row.received_ms for _, row in self.rows), default=0)


class Sources:
    """The files of one folder."""

    def __init__(self, folder: Path, quarantine: Quarantine, metrics: Metrics) -> None:
        self._folder = folder
        self._quarantine = quarantine
        self._metrics = metrics
        self._sources: dict[Path, Source] = {}
        self._rescue: threading.Thread | None = None

    @property
    def under_way(self) -> bool:
        """Whether a row that was read isn't settled yet, or a file is being rescued."""
        if self._is_rescuing() or rescue.broken_files(self._folder):
            return True
        return any(source.under_way for source in self._sources.values())

    def scan(self) -> None:
        """Take up new files; let go of those that were removed, and remove those that nobody will write again."""
        files = spool_files(self._folder)
        for path, source in list(self._sources.items()):
            if not source.reader.is_in_place():
                # Somebody removed or renamed the file. Its rows that are under way are in memory and will be sent.
                self._drop(path)
        for path in files:
            if path not in self._sources:
                self._open(path)
        self._look_after_idle(set(left_behind(files)))
        if not self._is_rescuing() and rescue.broken_files(self._folder):
            self._rescue = threading.Thread(target=self._rescue_all, daemon=True)
            self._rescue.start()

    def gather(self, limit: int) -> Load:
        """Read rows for one bulk request, fairly from all files. The rows are under way from now on."""
        rows: list[tuple[Source, Row]] = []
        parts: list[bytes] = []
        size = 0
        for source in sorted(self._sources.values(), key=lambda source: source.under_way):
            for row in self._read(source, limit - size):
                if row.intact:
                    rows.append((source, replace(row, body=b"")))
                    parts.append(row.body)
                    size += len(row.body)
                else:
                    self._set_aside(source, row)
            if size >= limit:
                break
        for source, _ in rows:
            source.under_way += 1
        return Load(rows, b"".join(parts))

    def settle(self, load: Load) -> None:
        """Note that all rows of a load are settled."""
        for source, row in load.rows:
            source.settled.append(row)
            source.under_way -= 1

    def delete_settled(self, *, at_least: int) -> None:
        """Delete the settled rows of each file that has `at_least` so many."""
        for path, source in list(self._sources.items()):
            if len(source.settled) >= at_least:
                settled, source.settled = source.settled, []
                try:
                    source.reader.delete(settled)
                except Damaged as damage:
                    self._begin_rescue(path, damage)
                except sqlite3.Error:
                    # The file is locked for too long or the disk is full. The rows are deleted some other time.
                    source.settled = settled + source.settled

    def close(self) -> None:
        if self._rescue is not None:
            self._rescue.join()
        for source in self._sources.values():
            source.reader.close()

    def _open(self, path: Path) -> None:
        try:
            self._sources[path] = Source(Reader(path))
        except Damaged as damage:
            self._begin_rescue(path, damage)
        except sqlite3.Error:
            return  # the file was just removed, or its disk fails; the next scan finds it if it is there

    def _look_after_idle(self, left_behind: set[Path]) -> None:
        for path, source in list(self._sources.items()):
            if not source.is_idle or time.monotonic() < source.resting_until:
                continue
            try:
                source.reader.read_again_what_is_left()
                if path in left_behind and source.reader.is_empty():
                    self._drop(path)
                    remove_file(path)
            except Damaged as damage:
                self._begin_rescue(path, damage)
            except sqlite3.Error:
                continue  # its writer is using it; it is removed some other time

    def _read(self, source: Source, max_bytes: int) -> list[Row]:
        if time.monotonic() < source.resting_until:
            return []
        try:
            return source.reader.rows(max_bytes)
        except Damaged as damage:
            self._begin_rescue(source.reader.path, damage)
        except sqlite3.Error as error:
            if error_code(error) != sqlite3.SQLITE_BUSY:  # if busy, its writer has just started and checks it itself
                self._rest(source, "a spool file can't be read", error)
        return []

    def _set_aside(self, source: Source, row: Row) -> None:
        """Keep, count and report a row whose bytes changed on disk. It isn't sent."""
        place = f"{source.reader.path.name}#{row.id}"
        reason = f"the checksum of a spooled request of {row.events} events doesn't hold"
        try:
            self._quarantine.add_damaged(place, row.body, reason)
        except sqlite3.Error as error:
            # It stays in the spool, and is read again once the file is idle.
            self._rest(source, "the quarantine can't be written", error)
            return
        log.error("a spooled request is damaged; it is in quarantine", extra={"row": place, "events": row.events})
        self._metrics.spool_damaged.inc()
        source.settled.append(replace(row, body=b""))

    def _rest(self, source: Source, what: str, error: Exception) -> None:
        log.warning(what, extra={"file": source.reader.path.name, "problem": str(error)})
        source.resting_until = time.monotonic() + REST_S

    def _begin_rescue(self, path: Path, damage: Damaged) -> None:
        log.error("a spool file is damaged; its rows are rescued", extra={"file": path.name, "problem": str(damage)})
        self._drop(path)
        try:
            rescue.begin(path)
        except OSError as error:
            log.warning("a damaged spool file can't be renamed", extra={"file": path.name, "problem": str(error)})

    def _drop(self, path: Path) -> None:
        source = self._sources.pop(path, None)
        if source is not None:
            source.reader.close()

    def _is_rescuing(self) -> bool:
        return self._rescue is not None and self._rescue.is_alive()

    def _rescue_all(self) -> None:
        for path in rescue.broken_files(self._folder):
            try:
                good, damaged = rescue.finish(path, self._quarantine)
            except (MetronomeError, OSError, sqlite3.Error) as error:
                log.warning("a damaged file can't be rescued yet", extra={"file": path.name, "problem": str(error)})
                time.sleep(REST_S)
                continue
            self._metrics.spool_damaged.inc(damaged)
            log.error("what is whole of a damaged file is spooled again", extra={"requests": good, "damaged": damaged})
