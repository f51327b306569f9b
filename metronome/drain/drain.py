"""The one process that empties the spools into Elasticsearch.

    poll        every spool file, in turn, past the last row read
    gather      rows of any file into bodies of about METRONOME_DRAIN_BULK_BYTES
    ship        METRONOME_DRAIN_SENDERS bodies at one time; each thread stays with its body until it is settled
    delete      settled rows, some at a time; and empty files that nobody writes any more
    retry       events that were set aside because their index can't take them, in a thread of its own (retry.py)
templates   ours are installed before an event makes an index, and another one above ours is told (templates.py)

A second drain on the same folder waits for the lock of the first, and takes over when the first is gone. Until then it
publishes nothing. The drain writes its state to `drain.json` once a second, for the health checks.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from elasticsearch import Elasticsearch

from metronome.drain.retry import Retry
from metronome.drain.sender import SHARD_WAIT_S, Outcome, Sender, Stopped
from metronome.drain.sources import Load, Sources
from metronome.drain.templates import Templates
from metronome.errors import MetronomeError, SetupError
from metronome.files import Lock
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.files import make_folder
from metronome.spool.held import Held
from metronome.spool.quarantine import Quarantine
from metronome.spool.status import held, write_drain_status
from metronome.spool.suppressed import Suppressed
from metronome.store.client import check

log = logging.getLogger("metronome.drain")

#: Seconds between two looks of an idle drain. A tick waits half of that on average.
POLL_S = 0.03
SCAN_EVERY_S = 0.5
STATUS_EVERY_S = 1.0
#: So many settled rows are deleted at once. After a crash before that, they are sent once more, and get 409s.
DELETE_EVERY = 32
#: Seconds of rest after an unforeseen error, which is one of our own code.
REST_S = 5.0


class Drain:
    """Empties the spools of a folder until stopped."""

    def __init__(self, settings: Settings, client: Elasticsearch, metrics: Metrics) -> None:
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._folder = settings.spool_dir
        make_folder(self._folder)
        self._stopping = threading.Event()
        self._quarantine = Quarantine(self._folder)
        # Events may be set aside until only half of the reserve is left. So even on a disk so full that no ticks are
        # taken, events for an index that is down can be moved out of the way of the others.
        self._held = Held(
            self._folder, max_bytes=settings.spool_max_bytes, reserve_bytes=settings.disk_reserve_bytes // 2
        )
        self._templates = Templates(client, settings, self._stopping)
        self._sender = Sender(
            client,
            self._quarantine,
            self._held,
            metrics,
            self._stopping,
            shard_wait_s=min(SHARD_WAIT_S, settings.drain_timeout_s / 2),
            prepare=self._templates.install,
            suppressed=Suppressed(self._folder),
        )
        self._retry = Retry(self._sender, self._held, self._quarantine, metrics, settings.drain_bulk_bytes)
        self._sources = Sources(self._folder, self._quarantine, metrics)
        self._shipped: SimpleQueue[tuple[Load, Outcome]] = SimpleQueue()
        self._lock = Lock(self._folder / "drain.lock")
        self._last_status: float | None = None
        self._outcome = Outcome()

    @property
    def outcome(self) -> Outcome:
        """The outcome of all events that were shipped so far."""
        total = Outcome()
        total.add(self._outcome)
        total.add(self._retry.outcome)
        return total

    def stop(self) -> None:
        """Ask `run` to return soon. It still finishes the bodies under way if Elasticsearch answers them."""
        self._stopping.set()

    def run(self, *, until_empty: bool = False) -> None:
        """Ship until stopped, or with `until_empty` until every spool is empty.

        It closes its files and connections at the end, so it can be called only once.
        """
        try:
            self._take_lock()
            self._metrics.publish(self._settings.metrics_dir / "drain")
            self._prepare_store()
            beside = [
                threading.Thread(target=self._retry.run, name="retry"),
                threading.Thread(target=self._templates.watch, name="templates"),
            ]
            for thread in beside:
                thread.start()
            with ThreadPoolExecutor(self._settings.drain_senders, "sender") as pool:
                try:
                    self._loop(pool, until_empty)
                finally:
                    # Threads that wait for Elasticsearch end only if they are told to stop.
                    self._stopping.set()
                    for thread in beside:
                        thread.join()
        except Stopped:
            pass
        finally:
            self._close()

    def _close(self) -> None:
        if self._lock.held:
            self._delete_settled(at_least=1)
            self._write_status(force=True, running=False)
        self._sources.close()
        self._quarantine.close()
        self._metrics.close()
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
        """Wait for Elasticsearch, then install the template, since no event may create an index without it.

        A red cluster is good enough. Events for its missing shards are set aside, and all others get through.
        """
        while True:
            try:
                found = check(self._client)
                self._templates.install()
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

    def _loop(self, pool: ThreadPoolExecutor, until_empty: bool) -> None:
        free = threading.Semaphore(self._settings.drain_senders)
        last_scan, looked_again = 0.0, False
        while not self._stopping.is_set():
            if time.monotonic() - last_scan > SCAN_EVERY_S:
                self._keep_lock()
                self._sources.scan()
                last_scan = time.monotonic()
            self._write_status()
            # Rows are read only once a sender is free, since rows that can't be sent yet would only fill memory.
            if not free.acquire(timeout=0.2):
                continue
            load = self._sources.gather(self._settings.drain_bulk_bytes)
            if not load.rows:
                free.release()
                self._delete_settled(at_least=1)
                if until_empty and not self._sources.under_way and not self._held.indices():
                    if looked_again:
                        return
                    self._sources.scan()
                    looked_again = True
                    continue
                self._stopping.wait(POLL_S)
                continue
            looked_again = False
            pool.submit(self._ship, load, free)
            self._delete_settled(at_least=DELETE_EVERY)

    def _keep_lock(self) -> None:
        """If somebody removed the folder, the lock went with it. Then make the folder again and lock it."""
        if not self._lock.is_in_place():
            log.error("the drain's lock was removed; it is taken again", extra={"folder": str(self._folder)})
            self._lock.release()
            make_folder(self._folder)
            self._take_lock()

    def _ship(self, load: Load, free: threading.Semaphore) -> None:
        """Ship a load in a sender's thread. It tries until the load is settled, since no row may be skipped."""
        while not self._stopping.is_set():
            try:
                self._shipped.put((load, self._sender.ship(load.body, load.events, load.since_ms)))
                break
            except Stopped:
                break
            except Exception as error:
                log.exception("a bulk request failed in an unforeseen way; it is tried again")
                self._sender.trouble = f"unforeseen: {error!r}"
                self._stopping.wait(REST_S)
        free.release()

    def _note_shipped(self) -> None:
        """Tell the sources which loads the senders have queued as settled. Only the main thread may use the sources."""
        while not self._shipped.empty():
            load, outcome = self._shipped.get()
            self._outcome.add(outcome)
            self._sources.settle(load)

    def _delete_settled(self, *, at_least: int) -> None:
        self._note_shipped()
        self._sources.delete_settled(at_least=at_least)

    def _write_status(self, *, force: bool = False, running: bool = True) -> None:
        # The monotonic clock, because a wall clock that is set back would keep the status from being written.
        now = time.monotonic()
        if force or self._last_status is None or now - self._last_status > STATUS_EVERY_S:
            self._last_status = now
            self._quarantine.mend()
            ages = {index: part.age_s for index, part in held(self._folder).items()}
            trouble = self._sender.trouble or self._retry.trouble(ages)
            rivals, oldest_s = self._templates.rivals, self._sender.oldest_s
            write_drain_status(self._folder, running=running, trouble=trouble, rivals=rivals, oldest_s=oldest_s)
