"""What is archived of each day: manifests, read and replaced. What no manifest names doesn't exist.

    PREFIX/day=2026-11-03/part-0000-<first 16 of its SHA-256>.parquet
    PREFIX/day=2026-11-03/manifest.json

The first part is the day as it was archived, each further one what came late.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec

from metronome.archive.objects import Object, Objects
from metronome.errors import ArchiveDamaged

#: Version of the layout; a manifest of a later one isn't read.
FORMAT = 1

NAME = "manifest.json"


@dataclass(frozen=True)
class PartObject:
    """One Parquet object; `key` is the whole key, times are ISO 8601 or None where no event has one."""

    key: str
    bytes: int
    sha256: str
    events: int
    min_timestamp: str | None
    max_timestamp: str | None
    etag: str

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


@dataclass(frozen=True)
class Summary(PartObject):
    """The object that has the day's counts (summary.py); `events` are its rows, `robots` is the list that it used.

    `links` is the object that says which ids are one person (links.py), where the day has such events.
    """

    robots: str = ""
    links: PartObject | None = None


@dataclass(frozen=True)
class Manifest:
    """One archived day. `ids_sha256` is of the ids of all parts; `mapping` says how Elasticsearch indexed them."""

    format: int
    day: date
    index: str
    created_at: str
    events: int
    ids_sha256: str
    parts: tuple[PartObject, ...]
    mapping: dict[str, Any] = field(default_factory=dict)
    erasures: tuple[Any, ...] = ()
    summary: Summary | None = None

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def objects(self) -> tuple[PartObject, ...]:
        """The parts, and where there are any the summary and the links."""
        further = (self.summary, self.summary.links) if self.summary else ()
        return (*self.parts, *(one for one in further if one is not None))


@dataclass(frozen=True)
class Kept:
    """A manifest as it was read: replacing it quotes the etag."""

    manifest: Manifest
    etag: str


class Catalogue:
    """The manifests of one archive."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def folder(self, day: date) -> str:
        """What the keys of a day begin with."""
        return f"{self.objects.prefix}day={day}/"

    def days(self) -> dict[date, str]:
        """Every archived day with its manifest's etag, ascending."""
        found = {}
        for one in self.objects.list(f"{self.objects.prefix}day="):
            day = self._day_of(one.key)
            if day is not None and one.key == self.folder(day) + NAME:
                found[day] = one.etag
        return dict(sorted(found.items()))

    def _day_of(self, key: str) -> date | None:
        named = re.fullmatch(r"day=(\d{4}-\d\d-\d\d)/[^/]+", key.removeprefix(self.objects.prefix))
        try:
            return date.fromisoformat(named[1]) if named else None
        except ValueError:
            return None

    def get(self, day: date) -> Kept | None:
        """The day's manifest; None where the day isn't archived. Raises ArchiveDamaged."""
        key = self.folder(day) + NAME
        found = self.objects.get(key)
        return Kept(decode(found[0], key), found[1]) if found else None

    def put(self, manifest: Manifest, instead_of: Kept | None) -> Kept:
        """Replace the day's manifest; raises Conflict where it isn't the one that was read."""
        key = self.folder(manifest.day) + NAME
        etag = self.objects.replace(key, encode(manifest), instead_of.etag if instead_of else None)
        return Kept(manifest, etag)

    def orphans(self, day: date, manifest: Manifest | None) -> list[Object]:
        """What is below the day and in no manifest."""
        named = {part.key for part in manifest.objects} if manifest else set()
        return [
            one for one in self.objects.list(self.folder(day)) if one.key not in named and not one.key.endswith(NAME)
        ]

    def all_days(self) -> list[date]:
        """Every day that has any object, ascending."""
        found = {self._day_of(one.key) for one in self.objects.list(f"{self.objects.prefix}day=")}
        return sorted(day for day in found if day is not None)


def encode(manifest: Manifest) -> bytes:
    """A manifest as JSON, indented for people."""
    found = msgspec.to_builtins(manifest)
    return msgspec.json.format(msgspec.json.encode(found), indent=2)


def decode(body: bytes, key: str) -> Manifest:
    """Raises ArchiveDamaged with the key."""
    try:
        found = msgspec.json.decode(body, type=Manifest)
    except msgspec.DecodeError as error:
        raise ArchiveDamaged(f"{key} can't be read as a manifest", detail=str(error)) from error
    if found.format != FORMAT:
        raise ArchiveDamaged(f"{key} has format {found.format}, which this version doesn't read; update Metronome")
    return found


def parts_in_order(manifest: Manifest) -> Iterator[PartObject]:
    """The parts as they were archived, the first one first."""
    yield from sorted(manifest.parts, key=lambda part: part.name)
