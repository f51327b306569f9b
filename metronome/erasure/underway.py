"""Whom an erasure is about, kept until it has ended.

The links that make several ids one person are events, and go with the others. An erasure that is killed after that and
run again finds the other ids here.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from metronome.erasure.target import Whose
from metronome.errors import NotFound
from metronome.store.records import Record, Records

_NAME = "under-way-"


def begin(records: Records, job: str, whose: Whose) -> None:
    """Keep all ids of the person, under the job's name."""
    kept = {"ids": sorted(whose.ids), "pseudonym": whose.pseudonym, "moves": whose.moves}
    value = {"what": "under way", "job": job, "request": json.dumps(kept)}
    try:
        records.replace(records.get(_NAME + job), value)
    except NotFound:
        records.create(_NAME + job, value)


def with_earlier(records: Records, whose: Whose) -> Whose:
    """The person with the ids of erasures that never ended, and with their pseudonym where there is to be one."""
    ids, pseudonym, moves = set(whose.ids), whose.pseudonym, dict(whose.moves)
    for kept in map(_kept, _of(records, whose.ids)):
        ids |= kept.ids
        moves = {**kept.moves, **moves}
        pseudonym = pseudonym and (kept.pseudonym or pseudonym)
    return Whose(frozenset(ids), pseudonym, moves)


def ids_of(records: Records, given: Collection[str]) -> set[str]:
    """All ids of erasures under way that are about one of these."""
    return {name for record in _of(records, given) for name in _kept(record).ids}


def end(records: Records, whose: Whose) -> None:
    """Nothing is kept any more of erasures that are about one of these ids."""
    for record in _of(records, whose.ids):
        records.delete(record)


def _of(records: Records, ids: Collection[str]) -> list[Record]:
    found = [record for record in records.list() if record.id.startswith(_NAME)]
    return [record for record in found if not _kept(record).ids.isdisjoint(ids)]


def _kept(record: Record) -> Whose:
    kept = json.loads(record.value["request"])
    moves = {name: [(at, other) for at, other in moved] for name, moved in kept["moves"].items()}
    return Whose(frozenset(kept["ids"]), kept["pseudonym"], moves)
