"""Files of archived parts: what is to be uploaded of a day, what came back, and copies of what was read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from metronome.archive.manifest import Manifest, PartObject
from metronome.archive.objects import Objects
from metronome.errors import ArchiveDamaged, ArchiveUnavailable, NotFound
from metronome.parts import duck
from metronome.parts.build import documents_of
from metronome.parts.duck import parquet
from metronome.parts.folder import FORMAT
from metronome.parts.sort import Sorter, ids_sha256
from metronome.periods import from_ms, to_text


@dataclass(frozen=True)
class Contents:
    """What a file says of itself when it is read."""

    events: int
    ids_sha256: str
    min_timestamp: str | None
    max_timestamp: str | None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(paths: Iterable[Path], temporary: Path) -> Contents:
    """Count, ids and times of the events in files, read from their columns."""
    with duck.connection(temporary) as database:
        table = parquet([str(path) for path in paths])
        query = f'select count(*), epoch_ms(min("@timestamp")), epoch_ms(max("@timestamp")) from {table}'
        events, first, last = _one(database, query)
        ids = ids_sha256(database, f'select "_id" as id from {table}', events)
    return Contents(events, ids, *(None if time is None else to_text(from_ms(time)) for time in (first, last)))


def count_new(path: Path, archived: list[Path], temporary: Path) -> int:
    """How many events of a file have an id that no archived file has."""
    if not archived:
        return contents([path], temporary).events
    with duck.connection(temporary) as database:
        (count,) = _one(database, f"select count(*) from ({_new(path, archived)})")
        return int(count)


def _new(path: Path, archived: list[Path]) -> str:
    known = parquet([str(one) for one in archived])
    return (
        f'select "_id", "_source" from {parquet([str(path)])} mine '
        f'where not exists (select 1 from {known} theirs where theirs."_id" = mine."_id")'
    )


def write_new(path: Path, archived: list[Path], temporary: Path, metadata: dict[str, Any]) -> Path:
    """A part of the events whose id no archived file has."""
    chosen = temporary / "chosen.parquet"
    with duck.connection(temporary) as database:
        database.execute(f"copy ({_new(path, archived)}) to {duck.literal(str(chosen))} (format parquet)")
    return write_sorted([chosen], temporary, metadata)


def write_sorted(paths: list[Path], temporary: Path, metadata: dict[str, Any]) -> Path:
    """One part of all documents in files."""
    target = temporary / f"{uuid4().hex}.parquet"
    with Sorter(temporary) as sorter:
        for documents in documents_of(paths, temporary):
            sorter.add(documents)
        about = {"format": FORMAT, **metadata, "events": sorter.events, "ids_sha256": sorter.ids_sha256()}
        sorter.write(target, about)
    return target


def _one(database: duckdb.DuckDBPyConnection, query: str) -> Any:
    return database.execute(query).fetchone()


def fetch(objects: Objects, part: PartObject, path: Path) -> int:
    """Write the object to a file and give its bytes. Raises ArchiveDamaged where it isn't what the manifest says."""
    digest, size = hashlib.sha256(), 0
    new = path.with_name(f"{path.name}.{uuid4().hex[:8]}.new")
    try:
        with new.open("wb") as file:
            for piece in objects.read(part.key):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        if (size, digest.hexdigest()) != (part.bytes, part.sha256):
            raise ArchiveDamaged(
                f"{part.key} isn't what was archived: {size} bytes, SHA-256 {digest.hexdigest()[:16]}…; restore an "
                "older version of the object, or archive the day anew if its index is still there"
            )
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return size


def put_checked(
    objects: Objects, stem: str, path: Path, rows: int, temporary: Path, has: Contents | None = None
) -> PartObject:
    """Store a file under a name that ends in its hash, and read it back. Raises ArchiveUnavailable where it changed.

    `has` is what a part has to be read back with.
    """
    sha256 = sha256_of(path)
    key = f"{stem}-{sha256[:16]}.parquet"
    part = PartObject(key, path.stat().st_size, sha256, rows, None, None, objects.put(key, path))
    back = temporary / "back.parquet"
    try:
        fetch(objects, part, back)
    except (ArchiveDamaged, NotFound) as error:
        raise ArchiveUnavailable("what was uploaded came back changed; the index stays", detail=str(error)) from error
    if has is not None and contents([back], temporary) != has:
        raise ArchiveUnavailable(f"{key} was read back with other events than were written; the index stays")
    back.unlink()
    return part


def days_below(root: Path) -> list[date]:
    """The days that have a folder of their name, ascending."""
    found = []
    for path in root.glob("*-*-*/"):
        with suppress(ValueError):
            found.append(date.fromisoformat(path.name))
    return sorted(found)


class Cache:
    """Copies of archived parts below METRONOME_HOME/archive; the least recently read go first."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        self._max_bytes = max_bytes

    def path(self, objects: Objects, day: date, part: PartObject) -> tuple[Path, int]:
        """The part as a file, and how many bytes were fetched for it. Raises ArchiveUnavailable, ArchiveDamaged."""
        path = self.root / str(day) / f"{part.sha256}.parquet"
        if self._is_there(path, part):
            os.utime(path)
            return path, 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = fetch(objects, part, path)
        self._make_room(path)
        return path, size

    def copies(self, objects: Objects, manifest: Manifest, temporary: Path) -> list[Path]:
        """The day's parts under names of their own in a folder: the cache may make room while they are read."""
        paths = []
        for part in manifest.parts:
            path = temporary / f"copy-{part.name}"
            for again in (True, True, False):
                try:
                    path.hardlink_to(self.path(objects, manifest.day, part)[0])
                except FileNotFoundError:
                    if not again:
                        raise
                else:
                    break
            paths.append(path)
        return paths

    def days(self) -> list[date]:
        """The days that have a folder here, with copies in it or not."""
        return days_below(self.root)

    def has(self, day: date, part: PartObject) -> bool:
        """Whether the part can be read without the archive."""
        return self._is_there(self.root / str(day) / f"{part.sha256}.parquet", part)

    def _is_there(self, path: Path, part: PartObject) -> bool:
        try:
            return path.stat().st_size == part.bytes
        except OSError:
            return False

    def _make_room(self, kept: Path) -> None:
        found = []
        for path in self.root.glob("*/*.parquet"):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes:
                return
            if path != kept:
                path.unlink(missing_ok=True)
                total -= size

    def forget(self, day: date, kept: Iterable[PartObject] = ()) -> None:
        """Remove the copies of a day that its manifest doesn't name."""
        names = {f"{part.sha256}.parquet" for part in kept}
        for path in (self.root / str(day)).glob("*.parquet"):
            if path.name not in names:
                path.unlink(missing_ok=True)
