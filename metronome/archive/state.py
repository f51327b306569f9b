"""What archivers and those who ask tell each other through Elasticsearch: records of the kind `archive`.

    lease            who works on the archive just now, with a term and a deadline
    changes          how often the archive was changed; read before and after each question
    2026-11-03       the index, by its uuid, that holds all which the day's manifest has: a kept or a restored one

The lease makes two archivers wait for each other. What keeps them from harm, should a lease be lost unnoticed, are the
manifests' conditional puts, and that the lease is renewed once more right before an index is deleted.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from elasticsearch import ApiError

from metronome.errors import Busy, Conflict, MetronomeError, NotFound, StoreUnavailable
from metronome.periods import read_time, to_text
from metronome.store.records import Record, Records

#: How long a holder that was killed keeps others waiting, at most.
TERM_S = 20.0

_LEASE = "lease"
_CHANGES = "changes"


#: How long a shard that is being made is waited for: in the moment after the first record.
SHARD_WAIT_S = 5.0


def _get(records: Records, record_id: str) -> Record | None:
    """The record; None if there is none. Waits while the index's shard is being made."""
    deadline = time.monotonic() + SHARD_WAIT_S
    while True:
        try:
            return records.get(record_id)
        except NotFound:
            return None
        except StoreUnavailable as error:
            status = error.__cause__.meta.status if isinstance(error.__cause__, ApiError) else 0
            if status != 503 or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class LeaseLost(Busy):
    """Somebody else took over; what this archiver was doing goes on there."""


class Lease:
    """The right to change the archive, renewed in the background while it is held."""

    def __init__(self, records: Records, *, term_s: float | None = None) -> None:
        self._records = records
        self._term_s = TERM_S if term_s is None else term_s
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._record: Record | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def held(self, *, wait: bool = True, said: Callable[[str], None] = lambda text: None) -> Iterator[bool]:
        """Hold the lease while the block runs; gives whether it is held. Without `wait` a live holder means no."""
        taken = self._take(wait, said)
        renewer = threading.Thread(target=self._keep, name="lease", daemon=True)
        if taken:
            renewer.start()
        try:
            yield taken
        finally:
            self._stop.set()
            if taken:
                renewer.join()
                self._release()

    def renew(self) -> None:
        """Raises LeaseLost where it isn't ours any more."""
        with self._lock:
            if self._record is None:
                raise LeaseLost("another archiver took over; it goes on with what this one was doing")
            try:
                self._record = self._records.replace(self._record, self._value(int(self._record.value["term"])))
            except Conflict:
                self._record = None
                raise LeaseLost("another archiver took over; it goes on with what this one was doing") from None

    def _take(self, wait: bool, said: Callable[[str], None]) -> bool:
        seen: tuple[tuple[int, int], float] | None = None
        while True:
            found = _get(self._records, _LEASE)
            if found is None or self._is_free(found, seen):
                if self._seize(found):
                    return True
                continue
            if not wait:
                return False
            if seen is None:
                said(f"another archiver works ({found.value['holder']}); waiting for it")
            if seen is None or seen[0] != found.version:
                seen = (found.version, time.monotonic())
            time.sleep(min(0.5, self._term_s / 10))

    def _is_free(self, found: Record, seen: tuple[tuple[int, int], float] | None) -> bool:
        """Released, past its deadline, or, whatever the clocks say, not renewed for as long as a term takes."""
        if not found.value["holder"] or read_time(found.value["until"]) < datetime.now(UTC):
            return True
        return seen is not None and seen[0] == found.version and time.monotonic() - seen[1] > self._term_s

    def _seize(self, found: Record | None) -> bool:
        try:
            if found is None:
                self._record = self._records.create(_LEASE, self._value(1))
            else:
                self._record = self._records.replace(found, self._value(int(found.value["term"]) + 1))
        except Conflict:
            return False
        return True

    def _value(self, term: int, *, free: bool = False) -> dict[str, object]:
        until = datetime.now(UTC) + timedelta(seconds=0 if free else self._term_s)
        return {"holder": "" if free else self._holder, "term": term, "until": to_text(until)}

    def _keep(self) -> None:
        while not self._stop.wait(self._term_s / 3):
            try:
                self.renew()
            except LeaseLost:
                return
            except MetronomeError:
                continue  # Elasticsearch may be back before the deadline; whoever deletes renews once more

    def _release(self) -> None:
        with self._lock, suppress(MetronomeError):
            if self._record is not None:
                self._records.replace(self._record, self._value(int(self._record.value["term"]), free=True))


@dataclass(frozen=True)
class Whole:
    """An index that holds everything which a day's manifest has.

    One that is being restored has an empty hash until all is there; the automatic run leaves restored ones alone.
    """

    uuid: str
    ids_sha256: str
    restored: bool = False


class State:
    """The records beside the lease."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def changes(self) -> int:
        """How often the archive was changed."""
        found = _get(self._records, _CHANGES)
        return int(found.value["changes"]) if found else 0

    def note_change(self) -> None:
        """Tell everybody who asks that manifests have changed. To be called before an index goes."""
        while True:
            found = _get(self._records, _CHANGES)
            with suppress(Conflict):
                if found is None:
                    self._records.create(_CHANGES, {"changes": 1})
                else:
                    self._records.replace(found, {"changes": int(found.value["changes"]) + 1})
                return

    def whole(self, day: date) -> Whole | None:
        """Which index holds all that is archived of the day, if one does."""
        found = _get(self._records, str(day))
        if found is None:
            return None
        value = found.value
        return Whole(value["uuid"], value["ids_sha256"], value.get("restored", False))

    def note_whole(self, day: date, whole: Whole) -> None:
        value = {"uuid": whole.uuid, "ids_sha256": whole.ids_sha256, "restored": whole.restored}
        found = _get(self._records, str(day))
        with suppress(Conflict):
            if found is None:
                self._records.create(str(day), value)
            else:
                self._records.replace(found, value)
