"""Care of an archive: what is there, whether it is whole, one part a day, and the end of days past METRONOME_KEEP.

`verify` looks at every object: what it finds wrong is a problem, what no manifest names an orphan that harms nobody.
`compact` folds a day's parts into one and removes orphans; it tells of the new manifest before it removes old parts,
so that whoever asks meanwhile asks again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from metronome.archive import files
from metronome.archive.manifest import NAME, Catalogue, Kept, PartObject
from metronome.archive.state import Lease, State
from metronome.errors import ArchiveDamaged, NotFound
from metronome.files import Lock
from metronome.settings import Settings

Progress = Callable[[int], None]

_TEMPORARY = "run-"
_LOCK = ".lock"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a day, and what lies beside it unnamed."""

    day: date
    events: int
    problems: tuple[str, ...]
    orphans: tuple[str, ...]


@dataclass(frozen=True)
class Compacted:
    """What became of a day's objects."""

    day: date
    parts_before: int
    orphans: int


class Care:
    """Works on one archive. `compact` and `end` need the lease."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._objects = catalogue.objects
        self._cache = files.Cache(settings.archive_dir, settings.parts_max_bytes)

    def verify(self, day: date, *, deep: bool = False, progress: Progress = lambda size: None) -> Finding:
        """Compare the day's objects with its manifest; `deep` reads them."""
        try:
            kept = self._catalogue.get(day)
        except ArchiveDamaged as error:
            return Finding(day, 0, (str(error),), ())
        orphans = tuple(one.key for one in self._catalogue.orphans(day, kept.manifest if kept else None))
        if kept is None:
            return Finding(day, 0, (), orphans)
        there = {one.key: one for one in self._objects.list(self._catalogue.folder(day))}
        problems: list[str] = []
        with self._temporary() as temporary:
            read: list[Path] = []
            for part in kept.manifest.objects:
                found = there.get(part.key)
                if found is None:
                    problems.append(f"{part.key} is missing")
                elif found.bytes != part.bytes:
                    problems.append(f"{part.key} has {found.bytes} bytes instead of {part.bytes}")
                elif deep or found.etag != part.etag:
                    # Another etag may be no more than a copy from elsewhere; the bytes tell.
                    problems += self._problems_of(part, temporary, read if part in kept.manifest.parts else [])
                    progress(part.bytes)
            if deep and not problems:
                problems += _differences(kept, read, temporary)
        return Finding(day, kept.manifest.events, tuple(problems), orphans)

    def _problems_of(self, part: PartObject, temporary: Path, read: list[Path]) -> list[str]:
        path = temporary / part.name
        try:
            files.fetch(self._objects, part, path)
        except (ArchiveDamaged, NotFound) as error:
            return [str(error)]
        read.append(path)
        return []

    def compact(self, day: date, lease: Lease, state: State) -> Compacted | None:
        """Leave one part of the day, and no orphan; None where there is nothing of it."""
        lease.renew()
        kept = self._catalogue.get(day)
        parts = len(kept.manifest.parts) if kept else 0
        if kept is not None and parts > 1:
            kept = self._folded(kept, lease)
            state.note_change()
        orphans = self._catalogue.orphans(day, kept.manifest if kept else None)
        lease.renew()
        for one in orphans:
            self._objects.delete(one.key)
        if kept is None and not orphans:
            return None
        self._cache.forget(day, kept.manifest.objects if kept else ())
        return Compacted(day, parts, len(orphans) - (parts if parts > 1 else 0))

    def _folded(self, kept: Kept, lease: Lease) -> Kept:
        manifest = kept.manifest
        with self._temporary() as temporary:
            paths = []
            for part in manifest.parts:
                paths.append(temporary / part.name)
                files.fetch(self._objects, part, paths[-1])
            folded = files.write_sorted(paths, temporary, {"day": str(manifest.day), "index": manifest.index})
            uploaded = upload(self._catalogue, manifest.day, folded, 0, temporary)
            if files.contents([folded], temporary).ids_sha256 != manifest.ids_sha256:
                raise ArchiveDamaged(f"the parts of {manifest.day} don't have the events that its manifest says")
        lease.renew()
        return self._catalogue.put(replace(manifest, parts=(uploaded,)), kept)

    def end(self, day: date, lease: Lease, state: State) -> bool:
        """Delete the day from the archive for good, the manifest first; says whether there was anything."""
        lease.renew()
        objects = list(self._objects.list(self._catalogue.folder(day)))
        for one in sorted(objects, key=lambda one: not one.key.endswith(NAME)):
            self._objects.delete(one.key)
            if one.key.endswith(NAME):
                state.note_change()
        if objects:
            self._objects.purge(self._catalogue.folder(day), ())
        self._cache.forget(day)
        return bool(objects)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        with temporary_folder(self._settings) as folder:
            yield folder


@contextmanager
def temporary_folder(settings: Settings) -> Iterator[Path]:
    """A folder beside the parts: a day may be larger than what the system's own folder of temporary files holds."""
    root = settings.archive_dir
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=root) as folder, Lock(Path(folder) / _LOCK):
        yield Path(folder)


def remove_left(settings: Settings) -> None:
    """Remove temporary folders whose processes were killed: their locks are free."""
    for folder in settings.archive_dir.glob(f"{_TEMPORARY}*"):
        lock = Lock(folder / _LOCK)
        if folder.is_dir() and lock.take():
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def upload(catalogue: Catalogue, day: date, path: Path, number: int, temporary: Path) -> PartObject:
    """Put a part into the archive and read it back; raises ArchiveUnavailable where that isn't what was put."""
    mine = files.contents([path], temporary)
    part = files.put_checked(
        catalogue.objects, f"{catalogue.folder(day)}part-{number:04}", path, mine.events, temporary, mine
    )
    return replace(part, min_timestamp=mine.min_timestamp, max_timestamp=mine.max_timestamp)


def _differences(kept: Kept, read: list[Path], temporary: Path) -> list[str]:
    found = files.contents(read, temporary)
    manifest = kept.manifest
    problems = []
    if found.events != manifest.events:
        problems.append(f"{found.events} events instead of {manifest.events}")
    if found.ids_sha256 != manifest.ids_sha256:
        problems.append("its ids aren't those of the manifest")
    return problems
