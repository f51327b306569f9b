"""Days leave Elasticsearch: each is built, uploaded, read back, named in its manifest, and only then deleted.

    1. part       the day as one file, from its index
    2. upload     what no archived part has: all of it, or what came late
    3. read back  the object's bytes, count and ids are those of the file
    4. manifest   replaced by a conditional put; from here on the day is archived
    5. tell       `changes` goes up: whoever asks reads the manifests anew, and relies on the index no more
    6. block      the index takes no more writes; late events wait in the drain, and come into a new index of that day
    7. compare    the index's counters are still those of the part; else the block is lifted and all begins again
    8. delete     the index, after the lease was renewed and manifest and objects were found in their places

A run that ends anywhere, killed or failed, leaves at worst objects that no manifest names, or a block that the next run
lifts or uses.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
from elasticsearch import Elasticsearch

from metronome.archive import files, summary
from metronome.archive.care import temporary_folder, upload
from metronome.archive.manifest import FORMAT, Catalogue, Kept, Manifest, PartObject
from metronome.archive.state import Lease, State, Whole
from metronome.errors import ArchiveDamaged, MetronomeError, PartsUnavailable
from metronome.parts.build import Builder
from metronome.parts.folder import Opened, Part
from metronome.parts.index import Index
from metronome.periods import to_text
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import day_index

#: A day to which late events keep coming is tried so often in one run.
TRIES = 5

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Done:
    """What became of a day: events in the archive, those that this run added, whether the index is gone."""

    day: date
    events: int
    added: int
    bytes: int
    deleted: bool
    problem: str = ""


class Archiver:
    """Archives days. `client` and `builder` lead to the same Elasticsearch; the lease is held by the caller."""

    def __init__(
        self,
        settings: Settings,
        client: Elasticsearch,
        builder: Builder,
        catalogue: Catalogue,
        state: State,
        lease: Lease,
    ) -> None:
        self._settings = settings
        self._client = client
        self._builder = builder
        self._catalogue = catalogue
        self._objects = catalogue.objects
        self._state = state
        self._lease = lease
        self._cache = files.Cache(settings.archive_dir, settings.parts_max_bytes)

    def archive(self, day: date, *, keep_index: bool = False, progress: Progress = lambda events: None) -> Done:
        """Archive one closed day; a day whose index is kept says so, and why where it should have gone."""
        kept = self._catalogue.get(day)
        before = kept.manifest.events if kept else 0
        for _ in range(TRIES):
            self._lease.renew()
            part = self._builder.update(day, one_file=True, progress=progress)
            if part is None:
                return _done(day, kept, before, deleted=False)
            kept = self._store(day, part, kept, keep_index)
            if keep_index:
                return _done(day, kept, before, deleted=False)
            if self._delete(day, part, kept):
                return _done(day, kept, before, deleted=True)
        return _done(day, kept, before, deleted=False, problem="events keep coming for it; its index stays")

    def _store(self, day: date, part: Part, kept: Kept | None, keep_index: bool) -> Kept:
        """Upload what isn't archived of the part, and name it in the manifest."""
        with self._builder.folder.open(day) as opened, temporary_folder(self._settings) as temporary:
            if opened is None or opened.part != part or len(opened.paths) != 1:
                raise PartsUnavailable(f"the part of {day} was replaced meanwhile; run again")
            archived = self._archived(kept)
            mine = temporary / "part.parquet"
            shutil.copyfile(opened.paths[0], mine)
            new = files.count_new(mine, archived, temporary)
            if kept is not None and not new:
                self._note(day, part, kept, keep_index)
                return kept
            if archived and new < part.events:
                mine = files.write_new(mine, archived, temporary, _about(opened))
            uploaded = upload(self._catalogue, day, mine, len(archived), temporary)
            if uploaded.events != new:
                raise ArchiveDamaged(f"{new} events of {day} were to be archived, and the object has {uploaded.events}")
            manifest = self._manifest(day, part, kept, uploaded, [*archived, mine], temporary)
        self._lease.renew()
        found = self._catalogue.put(manifest, kept)
        self._note(day, part, found, keep_index)
        return found

    def _note(self, day: date, part: Part, kept: Kept, keep_index: bool) -> None:
        """Tell that the archive has changed, and whether the index, if it stays, holds all of it.

        An index that is to go mustn't be relied on by anybody who asks from here on.
        """
        if keep_index and part.events == kept.manifest.events:
            self._state.note_whole(day, Whole(part.counters.uuid, kept.manifest.ids_sha256))
        elif self._state.whole(day) is not None:
            self._state.note_whole(day, Whole("", ""))
        self._state.note_change()

    def _archived(self, kept: Kept | None) -> list[Path]:
        """Local copies of the day's archived parts."""
        if kept is None:
            return []
        return [self._cache.path(self._objects, kept.manifest.day, part)[0] for part in kept.manifest.parts]

    def _manifest(
        self, day: date, part: Part, kept: Kept | None, uploaded: PartObject, paths: list[Path], temporary: Path
    ) -> Manifest:
        all_of_it = files.contents(paths, temporary)
        counts = summary.store(self._catalogue, day, paths, temporary)
        mapping = self._mapping(part.index)
        if kept is not None:
            # What came late may have properties that the day hadn't.
            older = kept.manifest.mapping
            properties = {**mapping.get("properties", {}), **older.get("properties", {})}
            mapping = {**mapping, **older, "properties": properties}
            return replace(
                kept.manifest,
                events=all_of_it.events,
                ids_sha256=all_of_it.ids_sha256,
                parts=(*kept.manifest.parts, uploaded),
                mapping=mapping,
                summary=counts,
            )
        created = to_text(datetime.now(UTC))
        return Manifest(
            FORMAT,
            day,
            part.index,
            created,
            all_of_it.events,
            all_of_it.ids_sha256,
            (uploaded,),
            mapping,
            summary=counts,
        )

    def _mapping(self, index: str) -> dict[str, Any]:
        with our_errors():
            found = self._client.indices.get_mapping(index=index).body
        mapping: dict[str, Any] = found[index]["mappings"]
        return mapping

    def _delete(self, day: date, part: Part, kept: Kept) -> bool:
        """Delete the index if it still is what the part was built from; says whether it did."""
        index = Index(self._builder.client, day_index(self._settings, day))
        self._block(index.name, True)
        deleted = False
        try:
            index.refresh()
            counters = index.counters()
            if counters is None or not counters.same_operations(part.counters):
                return False
            self._must_be_in_place(day, kept)
            self._lease.renew()
            with our_errors():
                self._client.indices.delete(index=index.name)
            deleted = True
        finally:
            if not deleted:
                with suppress(MetronomeError):
                    self._block(index.name, False)
        return True

    def _block(self, index: str, on: bool) -> None:
        """Take no more writes, once those under way are done; or take them again."""
        with our_errors():
            if on:
                self._client.indices.add_block(index=index, block="write")
            else:
                self._client.options(ignore_status=404).indices.put_settings(
                    index=index, settings={"index.blocks.write": None}
                )

    def _must_be_in_place(self, day: date, kept: Kept) -> None:
        found = self._catalogue.get(day)
        objects = {one.key: (one.bytes, one.etag) for one in self._objects.list(self._catalogue.folder(day))}
        missing = [part.key for part in kept.manifest.objects if objects.get(part.key) != (part.bytes, part.etag)]
        if found is None or found.manifest != kept.manifest or missing:
            what = ", ".join(missing) or "the manifest"
            raise ArchiveDamaged(f"{day} was archived, but {what} isn't there as it was put; the index stays")


def _about(opened: Opened) -> dict[str, Any]:
    part = opened.part
    return {"day": str(part.day), "index": part.index, "counters": msgspec.to_builtins(part.counters)}


def _done(day: date, kept: Kept | None, before: int, *, deleted: bool, problem: str = "") -> Done:
    manifest = kept.manifest if kept else None
    events = manifest.events if manifest else 0
    return Done(day, events, events - before, manifest.bytes if manifest else 0, deleted, problem)
