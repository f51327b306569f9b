"""This machine: spools and quarantine, day parts, copies of archived parts, and notes of who was who a moment ago."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from metronome.archive.care import remove_left
from metronome.archive.files import days_below
from metronome.archive.work import Work
from metronome.erasure.archived import count
from metronome.erasure.target import Target
from metronome.errors import StoreUnavailable
from metronome.files import Lock
from metronome.spool import scrub
from metronome.spool.scrub import Decide, Scrubbed
from metronome.spool.status import drain_status

#: How long bodies that the drain has under way are waited for.
WAIT_S = 120.0


def scrub_spools(folder: Path, decide: Decide) -> dict[str, Scrubbed]:
    """Spools and quarantine. Whoever is to go is suppressed before, so nothing comes after."""
    return {"spool": scrub.scrub_spools(folder, decide), "quarantine": scrub.scrub_quarantine(folder, decide)}


def count_here(folder: Path, decide: Decide) -> dict[str, Scrubbed]:
    """What there is to change in spools and quarantine."""
    return scrub.count(folder, decide)


def wait_for_drain(folder: Path, since: float) -> None:
    """Wait until the drain has nothing under way that it had begun at `since` (by the monotonic clock).

    Such a body may have held events that are suppressed by now. Raises StoreUnavailable.
    """
    deadline = time.monotonic() + WAIT_S
    while _is_draining(folder):
        status = drain_status(folder)
        oldest = status.get("oldest_s")
        if status.get("monotonic", 0) > since and (oldest is None or oldest > since):
            return
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                "the drain still sends what it had read before; run again once Elasticsearch takes it"
            )
        time.sleep(0.05)


def _is_draining(folder: Path) -> bool:
    lock = Lock(folder / "drain.lock")
    if not (folder / "drain.lock").exists():
        return False
    free = lock.take()
    lock.release()
    return not free


def forget_notes(home: Path) -> None:
    """Who a session was said to be within the last minute."""
    scrub.forget(home / "people.db", "delete from said")


def drop_parts(work: Work, target: Target, touched: Iterable[date]) -> list[date]:
    """Remove the day parts that have something of it, and what killed builders left; gives the days.

    They are made again from Elasticsearch when they are next needed.
    """
    folder, wanted = work.builder.folder, set(touched)
    dropped = []
    for day in days_below(folder.root):
        with folder.lock(day, timeout_s=600):
            building = folder.building(day)
            is_affected = day in wanted
            if not is_affected and target.needles:
                with folder.open(day) as opened:
                    paths = [Path(path) for path in opened.paths] if opened is not None else []
                    is_affected = opened is None or count(paths, target, building) != Scrubbed()
            if is_affected:
                folder.drop(day)
                dropped.append(day)
    # Also where nothing was dropped: a run that was killed may have got as far as the parts.
    folder.forget_merged()
    remove_left(work.settings)
    return dropped
