"""Every few seconds, in the drain: whom another host has suppressed isn't taken here either, and jobs that were asked
for over HTTP are run.

A job is a record. While it waits it holds the ids that it is about; once it has ended it holds its receipt, which has
none. A drain that was killed leaves it `running`: whoever gets the archive's lease next runs it again.
"""

from __future__ import annotations

import json
import logging
import threading
from contextlib import closing
from contextlib import suppress as without
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metronome.erasure import suppress
from metronome.errors import BadQuestion, Conflict, MetronomeError
from metronome.logs import Sparing
from metronome.periods import to_text
from metronome.settings import Settings
from metronome.spool import scrub, suppressed
from metronome.spool.suppressed import Suppression
from metronome.store.address import Address
from metronome.store.client import connect
from metronome.store.records import Marker, Record, Records

if TYPE_CHECKING:
    from metronome.archive.work import Work

log = logging.getLogger("metronome.erasure")

EVERY_S = 2.0

JOB = "job-"


class Keeper:
    """Looks from `start` to `stop`."""

    def __init__(self, settings: Settings, address: Address | None, *, every_s: float = EVERY_S) -> None:
        self._settings = settings
        self._address = address
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="erasure", daemon=True)
        self._marker: Marker | None = None
        self._sparing = Sparing(every_s=60)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return soon. A job that is under way is left where it is, and is run again."""
        self._stopping.set()

    def _run(self) -> None:
        with closing(connect(self._settings, self._address)) as client:
            records = Records(client, self._settings, "privacy")
            while not self._stopping.wait(self._every_s):
                try:
                    self.look(records)
                except MetronomeError as error:
                    if (unsaid := self._sparing.turn(str(error))) is not None:
                        log.warning("erasures wait", extra={"problem": str(error), "unsaid": unsaid})
                except Exception:
                    log.exception("erasures wait after an unforeseen error")

    def look(self, records: Records) -> None:
        """One turn. Raises what Records raises."""
        marker = records.marker(timeout_s=5)
        if marker is None or marker == self._marker:
            return
        self._take_over(suppress.listed(records))
        waiting = [record for record in records.list() if record.value.get("state") in ("waiting", "running")]
        if not waiting:
            self._marker = marker
            return
        # Only a drain that has something to erase loads what that takes.
        from metronome.archive.work import opened

        with opened(self._settings, self._address, needs_archive=False) as work:
            for record in waiting:
                run(work, records, record)

    def _take_over(self, listed: Suppression) -> None:
        """Suppress here what another host has suppressed, and take what waits of it out of this host's files."""
        folder = self._settings.spool_dir
        if not listed.hashes or suppressed.known(folder, listed.hashes):
            return
        suppressed.write(folder, listed)
        decide = _by_hash(listed)
        scrub.scrub_spools(folder, decide)
        scrub.scrub_quarantine(folder, decide)
        # Copies and parts are made again when they are needed; which of them have such events isn't known by hashes.
        for place in (self._settings.parts_dir, self._settings.archive_dir):
            for path in place.glob("*/*.parquet"):
                path.unlink(missing_ok=True)
            for path in place.glob("*/part.json"):
                path.unlink(missing_ok=True)


def _by_hash(listed: Suppression) -> scrub.Decide:
    def decide(source: bytes) -> bytes | None:
        try:
            event = json.loads(source)
        except ValueError:
            return source
        return None if isinstance(event, dict) and listed.holds(event) else source

    return decide


def ask(records: Records, ids: list[str], mode: str) -> dict[str, Any]:
    """Ask for an erasure; gives the job as `state_of` does."""
    from metronome.erasure.job import check, new_id
    from metronome.erasure.target import Asked

    check(Asked(ids=tuple(ids), mode=mode))
    job = new_id()
    request = json.dumps({"ids": ids, "mode": mode})
    at = to_text(datetime.now(UTC))
    record = records.create(JOB + job, {"what": "job", "state": "waiting", "asked_at": at, "request": request})
    return state_of(record)


def state_of(record: Record) -> dict[str, Any]:
    """A job as `GET /privacy/jobs/<id>` shows it: without an id of anybody."""
    value = record.value
    found = {"job": record.id.removeprefix(JOB), "state": value["state"], "asked_at": value["asked_at"]}
    if value.get("problem"):
        found["problem"] = value["problem"]
    if value.get("receipt"):
        found |= {"ended_at": value["ended_at"], "receipt": json.loads(value["receipt"])}
    return found


def run(work: Work, records: Records, record: Record) -> None:
    """Run a job to its end. One that can't go on just now stays `running`, with the problem, and is tried again."""
    from metronome.erasure.job import Job
    from metronome.erasure.target import Asked

    def no_filters(given: Any) -> Any:
        raise BadQuestion("a filter can't be asked for here")

    asked = json.loads(record.value["request"])
    with without(Conflict):
        record = records.replace(record, {**record.value, "state": "running"})
        try:
            job = Job(work, no_filters)
            receipt = job.run(Asked(tuple(asked["ids"]), asked["mode"]), job=record.id.removeprefix(JOB))
        except MetronomeError as error:
            records.replace(record, {**record.value, "problem": error.message})
            raise
        done = {name: value for name, value in record.value.items() if name not in ("request", "problem")}
        at = to_text(datetime.now(UTC))
        records.replace(record, {**done, "state": "done", "ended_at": at, "receipt": json.dumps(receipt)})
        log.info("a person was erased", extra={"job": record.id.removeprefix(JOB)})
