"""Saved segments, metrics and dashboards, in all versions: a rule that names one of the ids names nobody instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from metronome.archive.work import Work
from metronome.erasure.rewrite import with_ids_replaced
from metronome.erasure.target import Target, Whose
from metronome.errors import Conflict, NotFound
from metronome.spool.scrub import Scrubbed
from metronome.store.records import Record, Records

KINDS = ("segments", "saved", "versions")

#: What was given by whoever saved it. Ids and times beside it are the gateway's own.
_GIVEN = ("title", "rule", "body")

#: Stands in a rule where an id was. Null would make a rule that can't be read.
NOBODY = "erased"

#: How often a record is read again because it was saved at the same moment.
TRIES = 5


class SavedThings:
    """The saved things of one installation."""

    def __init__(self, work: Work) -> None:
        self._kinds = {kind: Records(work.client, work.settings, kind) for kind in KINDS}

    def erase(self, target: Target) -> dict[str, Scrubbed]:
        """Replace the ids in each record; gives how many records were rewritten, by kind."""
        found: dict[str, Scrubbed] = {}
        for kind, record in self._affected(target):
            self._rewrite(self._kinds[kind], record, target)
            found.setdefault(kind, Scrubbed()).rewritten += 1
        return found

    def left(self, target: Target) -> dict[str, dict[str, int]]:
        """How many records would be rewritten, by kind."""
        found: dict[str, Scrubbed] = {}
        for kind, _ in self._affected(target):
            found.setdefault(kind, Scrubbed()).rewritten += 1
        return {kind: asdict(scrubbed) for kind, scrubbed in found.items()}

    def _affected(self, target: Target) -> Iterator[tuple[str, Record]]:
        for kind, records in self._kinds.items():
            for record in list(records.list()):
                if _without(record.value, target) != record.value:
                    yield kind, record

    def _rewrite(self, records: Records, record: Record, target: Target) -> None:
        for attempt in range(TRIES):
            try:
                records.replace(record, _without(record.value, target))
            except Conflict:
                if attempt == TRIES - 1:
                    raise
            else:
                return
            try:
                record = records.get(record.id)
            except NotFound:
                return


def _without(value: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """The record without the ids of a person. Filters and periods are about events alone."""
    if not isinstance(target, Whose):
        return value
    instead = json.dumps(target.pseudonym or NOBODY).encode()

    def replaced(source: str) -> str:
        return with_ids_replaced(source.encode("utf-8", "surrogatepass"), target.own, instead).decode()

    found = dict(value)
    for name in _GIVEN:
        if name == "rule" and isinstance(value.get(name), str):
            found[name] = replaced(value[name])  # JSON as text
        elif name in value:
            found[name] = json.loads(replaced(json.dumps(value[name])))
    return found
