"""What was saved about a person beside the events.

Segments, metrics and dashboards, in all versions: a rule that names one of the ids names nobody instead. Points of
external series: one with an id among its dims is a number about the person, and goes as an event would.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

from metronome.archive.work import Work
from metronome.erasure.rewrite import with_ids_replaced
from metronome.erasure.suppress import key_of
from metronome.erasure.target import Target, Whose
from metronome.errors import Conflict, NotFound
from metronome.spool.scrub import Scrubbed
from metronome.store.points import Points
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
        self._points = Points(work.client, work.settings)
        self._privacy = Records(work.client, work.settings, "privacy")

    def erase(self, target: Target) -> dict[str, Scrubbed]:
        """Replace the ids in each record; gives how many records and points went or were rewritten, by kind."""
        found: dict[str, Scrubbed] = {}
        for kind, record in self._affected(target):
            self._rewrite(self._kinds[kind], record, target)
            found.setdefault(kind, Scrubbed()).rewritten += 1
        self._points.replace(self._changed(target, found))
        return found

    def left(self, target: Target) -> dict[str, dict[str, int]]:
        """The same numbers, while nothing is changed."""
        found: dict[str, Scrubbed] = {}
        for kind, _ in self._affected(target):
            found.setdefault(kind, Scrubbed()).rewritten += 1
        for _ in self._points_of(target):
            _count_point(found, target)
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

    def _changed(self, target: Target, found: dict[str, Scrubbed]) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """The ids of the points that are to go, each with the document that takes its place; they are counted."""
        for row, dims in self._points_of(target):
            _count_point(found, target)
            yield row["id"], self._renamed(row, dims) if _stays(target) else None

    def _points_of(self, target: Target) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The points with an id among their dims, and the dims without it."""
        if not isinstance(target, Whose):
            return
        for row in self._points.rows():
            dims = json.dumps(row["dims"], ensure_ascii=False)
            without = _with_nobody(dims, target)
            if without != dims:
                yield row, json.loads(without)

    def _renamed(self, row: Mapping[str, Any], dims: dict[str, Any]) -> dict[str, Any]:
        """The point under the pseudonym.

        Its id is a keyed hash of the one that it had: nobody else can make it from the person's id, and an erasure that
        is killed and run again makes the same. Two ids of a person at one time stay two points, so sums stay.
        """
        name = hmac.new(self._key, row["id"].encode(), hashlib.sha256).hexdigest()[:32]
        return {**row, "id": name, "dims": dims}

    @cached_property
    def _key(self) -> bytes:
        return key_of(self._privacy)


def _count_point(found: dict[str, Scrubbed], target: Target) -> None:
    counted = found.setdefault("points", Scrubbed())
    counted.rewritten += _stays(target)
    counted.deleted += not _stays(target)


def _stays(target: Target) -> bool:
    """Whether what is about the person stays, under a pseudonym."""
    return isinstance(target, Whose) and bool(target.pseudonym)


def _with_nobody(source: str, target: Whose) -> str:
    """JSON with the pseudonym, or with the name of nobody, where one of the ids stood."""
    instead = json.dumps(target.pseudonym or NOBODY).encode()
    return with_ids_replaced(source.encode("utf-8", "surrogatepass"), target.own, instead).decode()


def _without(value: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """The record without the ids of a person. Filters and periods are about events alone."""
    if not isinstance(target, Whose):
        return value
    found = dict(value)
    for name in _GIVEN:
        if name == "rule" and isinstance(value.get(name), str):
            found[name] = _with_nobody(value[name], target)  # JSON as text
        elif name in value:
            found[name] = json.loads(_with_nobody(json.dumps(value[name]), target))
    return found
