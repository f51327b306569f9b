"""One erasure from its beginning to its receipt. It may be killed at any moment; run again, it does what is left.

    1. whom           a person's ids, by all links there are, and those of an erasure that was killed
    2. suppress       none of them is taken any more; what the drain had under way is waited for
    3. spool          spools and quarantine of this host
    4. Elasticsearch  all indices, those of days to come included
    5. archive        each affected day is rewritten; old objects go in all their versions
    6. saved          segments, metrics and dashboards that name an id
    7. parts          day parts, copies of archived parts, notes
    8. verify         everything is looked through once more, and nothing may be found
    9. receipt        what was found where, signed

The archive's lease is held all the time, so that no day moves between two places that are looked at one after another.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from metronome.archive.state import Lease
from metronome.archive.work import Work
from metronome.erasure import local, receipt, suppress, underway
from metronome.erasure.archived import Archived
from metronome.erasure.indices import Indices
from metronome.erasure.saved import SavedThings
from metronome.erasure.target import Asked, Events, Target, Whose
from metronome.errors import BadQuestion, StoreFailed
from metronome.people import People
from metronome.periods import to_text
from metronome.query import Condition
from metronome.spool.scrub import Scrubbed
from metronome.store.names import day_of_index
from metronome.store.records import Records

#: Version of receipts.
FORMAT = 1

#: Most ids of one erasure.
MOST_IDS = 2000

MODES = ("erase", "anonymise")

Said = Callable[[str], None]

#: Makes a condition of a filter as `/query` takes it.
ToCondition = Callable[[Any], Condition]


@dataclass
class Found:
    """What was found, by place."""

    spool: Scrubbed = field(default_factory=Scrubbed)
    quarantine: Scrubbed = field(default_factory=Scrubbed)
    elasticsearch: dict[str, Scrubbed] = field(default_factory=dict)
    archive: list[dict[str, Any]] = field(default_factory=list)
    saved: dict[str, Scrubbed] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def new_id() -> str:
    return secrets.token_hex(8)


def check(asked: Asked) -> None:
    """Raises BadQuestion for what can't be meant."""
    if len(asked.ids) > MOST_IDS:
        raise BadQuestion(f"at most {MOST_IDS} ids at a time", field="distinct_ids")
    if any(not name.strip() for name in asked.ids):
        raise BadQuestion("an id isn't empty", field="distinct_ids")
    if asked.mode not in MODES:
        raise BadQuestion(f"mode: one of {', '.join(MODES)}", field="mode")
    if not (asked.ids or asked.name or asked.where is not None or asked.start or asked.end):
        raise BadQuestion("say what is to be erased: ids, a filter, a period, or a field")


def person_of(work: Work, given: Sequence[str], pseudonym: str = "") -> Whose:
    """The people who have these ids, with all their ids by every link there is."""
    people = People(work.settings, work.client, work.links)
    try:
        ids = {name for one in given for name in people.ids(one)} | set(given)
        moves = people.moves()
    finally:
        people.stop()
    return Whose(frozenset(ids), pseudonym, {name: moved for name, moved in moves.items() if name in ids})


class Job:
    """An erasure of one installation. `to_condition` reads filters."""

    def __init__(self, work: Work, to_condition: ToCondition, said: Said = lambda text: None) -> None:
        self._work = work
        self._settings = work.settings
        self._records = Records(work.client, work.settings, "privacy")
        self._to_condition = to_condition
        self._said = said

    def run(self, asked: Asked, *, job: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Erase, and give the receipt; with `dry_run` what would be found, and nothing is changed."""
        check(asked)
        job = job or new_id()
        asked_at = to_text(datetime.now(UTC))
        lease = self._work.lease()
        with lease.held(said=self._said):
            target = self._target(asked, job)
            if dry_run:
                return {"dry_run": True, "found": self._left(target, lease)}
            if isinstance(target, Whose):
                underway.begin(self._records, job, target)
            hashes = self._suppressed(asked, target, job)
            found = self._erased(target, lease, {"job": job, "mode": asked.mode})
            self._said("verifying")
            left = self._left(target, lease)
            if any(left.values()):
                raise StoreFailed("some of it was found again after it was erased; run again", detail=json.dumps(left))
            if isinstance(target, Whose):
                underway.end(self._records, target)
        keyed = replace(suppress.listed(self._records), key=suppress.key_of(self._records))
        content = {
            "receipt": FORMAT,
            "job": job,
            "mode": asked.mode,
            "what": asked.described(hashes, keyed.hash_of),
            "suppressed": bool(hashes),
            "asked_at": asked_at,
            "done_at": to_text(datetime.now(UTC)),
            "installation": {"index_prefix": self._settings.index_prefix, "archive": self._settings.archive},
            "found": found.as_dict(),
            "verified": {
                "spool, quarantine": "every event read again",
                "elasticsearch": "every index searched again, days to come included",
                "archive": "every archived day read again; objects that were rewritten were read back from the archive",
                "saved": "every segment, metric and dashboard, in all versions, and every point read again",
                "parts": "every day part read again",
                "left": 0,
            },
        }
        return receipt.signed(content, self._settings.home)

    def _target(self, asked: Asked, job: str) -> Target:
        if not asked.ids:
            where = None if asked.where is None else self._to_condition(asked.where)
            return Events(asked.period, where, asked.name)
        ids = {*asked.ids, *underway.ids_of(self._records, asked.ids)}
        whose = person_of(self._work, sorted(ids), f"anonymous-{job}" if asked.mode == "anonymise" else "")
        # Run again after it was killed, an erasure has the same pseudonym.
        return underway.with_earlier(self._records, whose)

    def _suppressed(self, asked: Asked, target: Target, job: str) -> list[str]:
        if not isinstance(target, Whose):
            return []
        self._said("suppressing")
        keyed = suppress.add(self._records, self._settings.spool_dir, target.ids, job)
        local.wait_for_drain(self._settings.spool_dir, time.monotonic())
        return sorted(map(keyed.hash_of, target.ids))

    def _erased(self, target: Target, lease: Lease, about: dict[str, Any]) -> Found:
        found = Found()
        self._said("spool and quarantine")
        here = local.scrub_spools(self._settings.spool_dir, target.decide)
        found.spool, found.quarantine = here["spool"], here["quarantine"]
        self._said("Elasticsearch")
        Indices(self._work).erase(target, found.elasticsearch)
        self._said("archive")
        touched: set[date] = {day for name in found.elasticsearch if (day := day_of_index(self._settings, name))}
        for done in Archived(self._work, lease).erase(target, about):
            found.archive.append(done.as_dict())
            touched.add(done.day)
            self._said(f"{done.day} was rewritten in the archive")
        self._said("saved things")
        found.saved = SavedThings(self._work).erase(target)
        self._said("day parts")
        found.parts = [str(day) for day in local.drop_parts(self._work, target, touched)]
        local.forget_notes(self._settings.home)
        return found

    def _left(self, target: Target, lease: Lease) -> dict[str, Any]:
        """What there is to change, by place; nothing is changed."""
        counted: dict[str, Any] = defaultdict(dict)
        for place, found in local.count_here(self._settings.spool_dir, target.decide).items():
            if found != Scrubbed():
                counted[place] = asdict(found)
        counted["elasticsearch"] = {name: asdict(found) for name, found in Indices(self._work).left(target).items()}
        days = Archived(self._work, lease).left(target)
        counted["archive"] = {str(day): asdict(found) for day, found in days.items()}
        counted["saved"] = SavedThings(self._work).left(target)
        return dict(counted)
