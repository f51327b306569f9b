"""Saved segments: rules about persons under an id, every version of which stays readable.

    record `best-buyers`       the version that holds, or that it was deleted
    record `best-buyers:3`     an earlier version, never changed

The version that holds is replaced only by who has read it (records.py), so of two writers one is told. The version
before is kept first: a crash between the two leaves a copy, and the next writer finds it there.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import BadQuestion, Conflict, NotFound
from metronome.periods import to_text
from metronome.settings import Settings
from metronome.store.records import Record, Records

_ID = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True)
class Segment:
    """One version of a segment. `rule` is JSON as it was given; `rule` of a deleted one is None."""

    id: str
    version: int
    title: str
    rule: Any
    saved_at: str

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "version": self.version,
            "title": self.title,
            "rule": self.rule,
            "saved_at": self.saved_at,
        }


class Segments:
    """All segments of an installation. Every method may raise StoreUnavailable and the like."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._records = Records(client, settings, "segments")

    def get(self, segment_id: str, version: int | None = None) -> Segment:
        """The version that holds, or an earlier one; raises NotFound."""
        held = self._held(segment_id)
        found = held and _segment(held)
        if found and version not in (None, found.version):
            with contextlib.suppress(NotFound):
                return _segment(self._records.get(_earlier(segment_id, version or 0)))
        elif found and found.rule is not None:
            return found
        which = "" if version is None else f" version {version} of"
        raise NotFound(f"there is no{which} segment {segment_id[:64]!r}; GET /saved/segments lists those there are")

    def list(self) -> list[Segment]:
        """The versions that hold, by id."""
        held = [_segment(record) for record in self._records.list() if ":" not in record.id]
        return [segment for segment in held if segment.rule is not None]

    def put(self, segment_id: str, title: str, rule: Any, now: datetime, expected: int | None = None) -> Segment:
        """Save a new version; raises Conflict if another one than `expected` holds, or was saved at the same time.

        `expected` 0 stands for none.
        """
        if not _ID.fullmatch(segment_id):
            raise BadQuestion(f"{segment_id[:64]!r} can't be an id; take 1 to 64 of a-z, 0-9 and -")
        held = self._held(segment_id)
        before = _segment(held) if held else None
        holds = before.version if before and before.rule is not None else 0
        if expected not in (None, holds):
            raise Conflict(
                f"version {holds} of {segment_id} holds now; read it, and quote that"
                if holds
                else f"there is no segment {segment_id}"
            )
        value = _value(title, rule, before.version + 1 if before else 1, now)
        return _segment(self._replace(segment_id, held, value))

    def delete(self, segment_id: str, now: datetime, expected: int | None = None) -> None:
        """Its versions stay readable. Raises NotFound, Conflict."""
        segment = self.get(segment_id)
        if expected not in (None, segment.version):
            raise Conflict(f"version {segment.version} of {segment_id} holds now; read it, and quote that")
        self._replace(segment_id, self._held(segment_id), _value("", None, segment.version + 1, now))

    def _held(self, segment_id: str) -> Record | None:
        # An id with a colon would be that of an earlier version.
        with contextlib.suppress(NotFound):
            return self._records.get(segment_id) if _ID.fullmatch(segment_id) else None
        return None

    def _replace(self, segment_id: str, held: Record | None, value: Mapping[str, Any]) -> Record:
        if held is None:
            return self._records.create(segment_id, value)
        with contextlib.suppress(Conflict):  # a writer that was cut, or that comes at the same time, has kept it
            self._records.create(_earlier(segment_id, held.value["version"]), held.value)
        return self._records.replace(held, value)


def _earlier(segment_id: str, version: int) -> str:
    return f"{segment_id}:{version}"


def _value(title: str, rule: Any, version: int, now: datetime) -> dict[str, Any]:
    return {"title": title, "rule": json.dumps(rule), "version": version, "saved_at": to_text(now)}


def _segment(record: Record) -> Segment:
    value = record.value
    segment_id = record.id.partition(":")[0]
    return Segment(segment_id, value["version"], value["title"], json.loads(value["rule"]), value["saved_at"])
