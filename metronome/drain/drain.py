"""The one process that empties the spools into Elasticsearch.

    poll        every spool file, in turn, past the last row read
    gather      rows of any file into bodies of about METRONOME_DRAIN_BULK_BYTES
    ship        METRONOME_DRAIN_SENDERS bodies at one time; each thread stays with its body until it is settled
    delete      settled rows, some at a time; a file that was left behind, once it is empty

A second drain on the same folder waits for the first one's lock and takes over when it is gone. `drain.json` tells
the health checks once a second how it stands.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from elasticsearch import Elasticsearch

from metronome.drain.bulk import Outcome, Sender, Stopped
from metronome.errors import MetronomeError, SetupError
from metronome.files import Lock
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.files import error_code, make_folder, spool_files
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import Reader, Row, left_behind, remove_file
from metronome.spool.status import write_drain_status
from metronome.store import indices, names
from metronome.store.client import check

log = logging.getLogger("metronome.drain")

#: An idle drain looks this often; a tick waits half of it on average.
POLL_S = 0.03
SCAN_EVERY_S = 0.5
STATUS_EVERY_S = 1.0
#: Rows settled before their deletion is written; a crash before it sends them once more, to 409s.
DELETE_EVERY = 32
#: Rest after what nobody foresaw: a spool file that can't be read, an error in our own code.
REST_S = 5.0


@dataclass(eq=False)
class _Source:
    """One spool file being read: which of its rows are settled but not deleted. Rows are kept here without bodies."""

    reader: Reader
    settled: list[Row] = field(default_factory=list)
    under_way: int = 0
    resting_until: float = 0.0


@dataclass(frozen=True)
class _Load:
    """One bulk body and the rows it is made of."""

    rows: list[tuple[_Source, Row]]
    body: bytes

    @property
    def events(self) -> int:
        return sum(row.events for _, row in self.rows)


class Drain:
    """Empties the spools of a folder until stopped."""

    def __init__(self, settings: Settings, client: Elasticsearch, metrics: Metrics) -> None:
        self._settings = settings
        self._client = client
        self._folder = settings.spool_dir
        make_folder(self._folder)
        self._stopping = threading.Event()
        self._quarantine = Quarantine(self._folder)
        self._sender = Sender(client, self._quarantine, metrics, self._stopping, prepare=self._install_template)
        self._sources: dict[Path, _Source] = {}
        self._shipped: SimpleQueue[tuple[_Load, Outcome]] = SimpleQueue()
        self._lock = Lock(self._folder / "drain.lock")
        self._last_status = 0.0
        self.outcome = Outcome()

    def stop(self) -> None:
        """Ask `run` to return soon; bodies under way are finished if Elasticsearch answers them."""
        self._stopping.set()

    def run(self, *, until_empty: bool = False) -> None:
        """Ship until stopped, or with `until_empty` until every spool is empty. Once only: it closes what it opened."""
        try:
            self._take_lock()
            self._prepare_store()
            with ThreadPoolExecutor(self._settings.drain_senders, "sender") as pool:
                try:
                    self._loop(pool, until_empty)
                finally:
                    # The pool waits for its threads, and these for Elasticsearch unless they are told.
                    self._stopping.set()
        except Stopped:
            pass
        finally:
            if self._lock.held:
                self._delete_settled(at_least=1)
                self._write_status(force=True, running=False)
            for source in self._sources.values():
                source.reader.close()
            self._quarantine.close()
            self._lock.release()

    def _take_lock(self) -> None:
        waiting = False
        while not self._lock.take():
            if not waiting:
                log.warning("another drain empties this folder; waiting", extra={"folder": str(self._folder)})
                waiting = True
            if self._stopping.wait(0.5):
                raise Stopped

    def _prepare_store(self) -> None:
        """Wait for Elasticsearch, then install the template: no event may create an index without it.

        A red cluster will do: what its missing shards refuse is sent again, and the rest gets through.
        """
        while True:
            try:
                found = check(self._client)
                self._install_template()
            except MetronomeError as error:
                if str(error) != self._sender.trouble:
                    log.warning("waiting for Elasticsearch; ticks are kept in the spool", extra={"problem": str(error)})
                    self._sender.trouble = str(error)
                self._write_status()
                if self._stopping.wait(5 if isinstance(error, SetupError) else 0.5):
                    raise Stopped from None
            else:
                log.info("draining", extra={"elasticsearch": found, "folder": str(self._folder)})
                self._sender.trouble = ""
                return

    def _install_template(self) -> None:
        if indices.install(self._client, self._settings):
            log.info("index template installed", extra={"template": names.template_name(self._settings)})

    def _loop(self, pool: ThreadPoolExecutor, until_empty: bool) -> None:
        free = threading.Semaphore(self._settings.drain_senders)
        last_scan = 0.0
        while not self._stopping.is_set():
            if time.monotonic() - last_scan > SCAN_EVERY_S:
                self._scan()
                last_scan = time.monotonic()
            self._write_status()
            # A sender must be free before rows are read: what is read but not sent would only fill memory.
            if not free.acquire(timeout=0.2):
                continue
            load = self._gather()
            if not load.rows:
                free.release()
                self._delete_settled(at_least=1)
                if until_empty and not any(source.under_way for source in self._sources.values()):
                    return
                self._stopping.wait(POLL_S)
                continue
            for source, _ in load.rows:
                source.under_way += 1
            pool.submit(self._ship, load, free)
            self._delete_settled(at_least=DELETE_EVERY)

    def _ship(self, load: _Load, free: threading.Semaphore) -> None:
        """Runs in a sender's thread, and stays with its load whatever happens: rows must not be passed over."""
        while not self._stopping.is_set():
            try:
                self._shipped.put((load, self._sender.ship(load.body, load.events)))
                break
            except Stopped:
                break
            except Exception as error:
                log.exception("a bulk request failed in an unforeseen way; it is tried again")
                self._sender.trouble = f"unforeseen: {error!r}"
                self._stopping.wait(REST_S)
        free.release()

    def _note_shipped(self) -> None:
        """Sources are touched by the main thread only; senders leave word here."""
        while not self._shipped.empty():
            load, outcome = self._shipped.get()
            self.outcome.add(outcome)
            for source, row in load.rows:
                source.settled.append(row)
                source.under_way -= 1

    def _scan(self) -> None:
        """Take up new files; remove those that nobody will write again and that hold nothing any more."""
        files = spool_files(self._folder)
        for path in files:
            if path not in self._sources:
                with contextlib.suppress(sqlite3.Error):
                    self._sources[path] = _Source(Reader(path))
        for path in left_behind(files):
            source = self._sources.get(path)
            if source is None or source.under_way or source.settled:
                continue
            with contextlib.suppress(sqlite3.Error):
                if source.reader.is_empty():
                    source.reader.close()
                    del self._sources[path]
                    remove_file(path)

    def _gather(self) -> _Load:
        """Rows up to the size of a bulk request, fairly from all files."""
        rows: list[tuple[_Source, Row]] = []
        parts: list[bytes] = []
        size, limit = 0, self._settings.drain_bulk_bytes
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
        return _Load(rows, b"".join(parts))

    def _read(self, source: _Source, max_bytes: int) -> list[Row]:
        if time.monotonic() < source.resting_until:
            return []
        try:
            return source.reader.rows(max_bytes)
        except sqlite3.Error as error:
            if error_code(error) == sqlite3.SQLITE_BUSY:
                return []  # its writer has just started and looks after what the last one left
            log.warning("a spool file can't be read", extra={"file": source.reader.path.name, "problem": str(error)})
            source.resting_until = time.monotonic() + REST_S
            return []

    def _set_aside(self, source: _Source, row: Row) -> None:
        """A row whose bytes changed on disk: kept, reported, not sent."""
        place = f"{source.reader.path.name}#{row.id}"
        log.error("a spooled request is damaged; it is in quarantine", extra={"row": place, "events": row.events})
        reason = f"the checksum of a spooled request of {row.events} events doesn't hold"
        try:
            self._quarantine.add_damaged(place, row.body, reason)
        except sqlite3.Error as error:
            # It stays in the spool, for the next start.
            log.warning("the quarantine can't be written", extra={"problem": str(error)})
            return
        source.settled.append(replace(row, body=b""))

    def _delete_settled(self, *, at_least: int) -> None:
        self._note_shipped()
        for source in self._sources.values():
            if len(source.settled) >= at_least:
                settled, source.settled = source.settled, []
                try:
                    source.reader.delete(settled)
                except sqlite3.Error:
                    # Locked for too long or a full disk: some other time.
                    source.settled = settled + source.settled

    def _write_status(self, *, force: bool = False, running: bool = True) -> None:
        now = time.time()
        if force or now - self._last_status > STATUS_EVERY_S:
            self._last_status = now
            write_drain_status(self._folder, now=now, running=running, trouble=self._sender.trouble)
