"""The archive: each affected day is rewritten as one part, and what held the old documents goes in all its versions.

A day goes in the order of an archive run: upload, read back, manifest, word of the change; then everything of the day
that the new manifest doesn't name is removed. Killed in between, the next run removes it, since it looks at all days.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from metronome.archive import files, summary
from metronome.archive.care import temporary_folder, upload
from metronome.archive.manifest import Kept
from metronome.archive.state import Lease, Whole
from metronome.archive.work import Work
from metronome.erasure.target import Target
from metronome.errors import ArchiveDamaged
from metronome.parts import duck
from metronome.parts.build import documents_of
from metronome.parts.duck import parquet
from metronome.parts.folder import FORMAT
from metronome.parts.index import Documents
from metronome.parts.sort import Sorter
from metronome.periods import to_text
from metronome.spool.scrub import Scrubbed


@dataclass
class Rewritten:
    """What became of an archived day: keys of the objects that went, and of the one that is there instead."""

    day: date
    found: Scrubbed = field(default_factory=Scrubbed)
    gone: tuple[str, ...] = ()
    key: str | None = None

    def as_dict(self) -> dict[str, Any]:
        found = {"day": str(self.day), "deleted": self.found.deleted, "rewritten": self.found.rewritten}
        return {**found, "gone": list(self.gone), "instead": self.key}


class Archived:
    """The archived days of one installation; the lease is held by the caller."""

    def __init__(self, work: Work, lease: Lease) -> None:
        self._work = work
        self._lease = lease
        self._catalogue = work.catalogue
        self._cache = files.Cache(work.settings.archive_dir, work.settings.parts_max_bytes)

    def erase(self, target: Target, about: dict[str, Any]) -> Iterator[Rewritten]:
        """Change every day that has something to change; `about` goes into its manifest."""
        days = self._catalogue.all_days()
        for day in days:
            kept = self._catalogue.get(day)
            done = Rewritten(day)
            if kept is not None:
                kept = self._changed(kept, target, about, done)
            # Orphans too: a run that was killed may have left the old documents there.
            named = [one.key for one in kept.manifest.objects] if kept else []
            manifest = [f"{self._catalogue.folder(day)}manifest.json"] if kept else []
            self._work.catalogue.objects.purge(self._catalogue.folder(day), {*named, *manifest})
            self._cache.forget(day, kept.manifest.objects if kept else ())
            if done.gone:
                yield done
        for day in set(self._cache.days()) - set(days):
            self._cache.forget(day)

    def left(self, target: Target) -> dict[date, Scrubbed]:
        """What there is to change, by day."""
        found = {}
        for day in self._catalogue.days():
            kept = self._catalogue.get(day)
            if kept is not None:
                with self._opened(kept) as (paths, temporary):
                    counted = count(paths, target, temporary)
                if counted.deleted or counted.rewritten:
                    found[day] = counted
        return found

    def _changed(self, kept: Kept, target: Target, about: dict[str, Any], done: Rewritten) -> Kept | None:
        with self._opened(kept) as (paths, temporary):
            found = count(paths, target, temporary)
            if not (found.deleted or found.rewritten):
                return kept
            day = kept.manifest.day
            done.found, done.gone = found, tuple(one.key for one in kept.manifest.objects)
            if found.deleted == kept.manifest.events:
                self._work.care.end(day, self._lease, self._work.state)
                return None
            self._lease.renew()
            kept = self._rewritten(kept, paths, target, about, temporary)
        done.key = kept.manifest.parts[0].key
        return kept

    def _rewritten(self, kept: Kept, paths: list[Path], target: Target, about: dict[str, Any], temporary: Path) -> Kept:
        manifest = kept.manifest
        path = temporary / "rewritten.parquet"
        with Sorter(temporary) as sorter:
            for documents in documents_of(paths, temporary):
                sorter.add(_kept(documents, target))
            ids, events = sorter.ids_sha256(), sorter.events
            metadata = {"format": FORMAT, "day": str(manifest.day), "index": manifest.index, "events": events}
            sorter.write(path, {**metadata, "ids_sha256": ids})
        if count([path], target, temporary) != Scrubbed():
            raise ArchiveDamaged(
                f"{manifest.day} was rewritten and still has what is to be erased; nothing was changed"
            )
        uploaded = upload(self._catalogue, manifest.day, path, 0, temporary)
        self._lease.renew()
        erasure = {**about, "at": to_text(datetime.now(UTC))}
        new = replace(
            manifest,
            events=events,
            ids_sha256=ids,
            parts=(uploaded,),
            erasures=(*manifest.erasures, erasure),
            summary=summary.store(self._catalogue, manifest.day, [path], temporary),
        )
        found = self._catalogue.put(new, kept)
        self._note(kept, found)
        return found

    def _note(self, before: Kept, after: Kept) -> None:
        """An index that had all of the day has all of it still: the same documents went from there."""
        state, day = self._work.state, after.manifest.day
        whole = state.whole(day)
        if whole is not None and whole.ids_sha256 == before.manifest.ids_sha256:
            state.note_whole(day, Whole(whole.uuid, after.manifest.ids_sha256, whole.restored))
        state.note_change()

    @contextmanager
    def _opened(self, kept: Kept) -> Iterator[tuple[list[Path], Path]]:
        with temporary_folder(self._work.settings) as temporary:
            yield self._cache.copies(self._catalogue.objects, kept.manifest, temporary), temporary


def count(paths: list[Path], target: Target, temporary: Path) -> Scrubbed:
    """What would change of files. Only documents that may hold what is to go are looked at one by one."""
    found = Scrubbed()
    if not paths:
        return found
    with duck.connection(temporary) as database:
        likely = [f'contains("_source", ${number})' for number in range(1, len(target.needles) + 1)]
        where = " or ".join([*likely, "contains(\"_source\", '\\')"]) if likely else "true"
        cursor = database.execute(
            f'select "_source" from {parquet([str(path) for path in paths])} where {where}', list(target.needles)
        )
        while rows := cursor.fetchmany(2000):
            for (text,) in rows:
                source = text.encode()
                found.take(source, target.decide(source))
    return found


def _kept(documents: Documents, target: Target) -> Documents:
    pairs = zip(documents.ids, map(target.decide, documents.sources), strict=True)
    kept = [(number, source) for number, source in pairs if source is not None]
    return Documents([number for number, _ in kept], [source for _, source in kept])
