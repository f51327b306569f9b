"""Archived days as people know them: the links of each day, and a person's events.

Links are kept in an object of their own, so that a process which starts needn't fetch whole days to know who is whom.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from metronome.archive import files
from metronome.archive.manifest import Catalogue, Manifest, PartObject
from metronome.event.fields import Event
from metronome.event.identity import LINKS
from metronome.parts import duck
from metronome.parts.duck import literal, parquet
from metronome.parts.values import parse

if TYPE_CHECKING:
    from metronome.archive.asking import Archive
    from metronome.archive.source import Snapshot


def write(paths: list[Path], temporary: Path) -> tuple[Path, int]:
    """The links of a day's files as a file, and how many there are."""
    path = temporary / "links.parquet"
    likely = " or ".join(f'contains("_source", {literal(name)})' for name in LINKS)
    with duck.connection(temporary) as database:
        found = database.execute(
            f'select "_id", "_source" from {parquet([str(one) for one in paths])} where {likely}'
        ).fetchall()
        links = [row for row in found if parse(row[1].encode()).get("event") in LINKS]
        database.execute('create table links ("_id" varchar, "_source" varchar)')
        if links:
            database.executemany("insert into links values (?, ?)", links)
        database.execute(f'copy (select * from links order by "_id") to {literal(str(path))} (format parquet)')
    return path, len(links)


class Further:
    """What `metronome.people` asks for of archived days."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def versions(self) -> dict[str, str]:
        """Each archived day that has links, with a text that changes when they do. Raises ArchiveUnavailable."""
        found = {}
        for day, manifest in self._snapshot().all_manifests.items():
            links = _links_of(manifest)
            if links is not None:
                found[str(day)] = links.sha256
        return found

    def links(self, day: str) -> list[tuple[str, Event]]:
        """The links of a day: `_id` and event."""
        snapshot = self._snapshot()
        for held, manifest in snapshot.all_manifests.items():
            links = _links_of(manifest)
            if str(held) == day and links is not None:
                with snapshot.opened(held, [links]) as (paths, _):
                    return list(_documents(paths, "true", []))
        return []

    def events(self, ids: Collection[str]) -> Iterator[tuple[str, str, Event]]:
        """Events under these ids in days that Elasticsearch doesn't hold: day, `_id`, event."""
        snapshot = self._snapshot()
        for day in sorted(snapshot.manifests):
            with snapshot.opened(day) as (paths, _):
                for number, event in _documents(paths, '"_subject" in (select unnest($1))', [sorted(ids)]):
                    yield str(day), number, event

    def _snapshot(self) -> Snapshot:
        return self._archive.snapshot(self._archive.changes())


def _links_of(manifest: Manifest) -> PartObject | None:
    return manifest.summary.links if manifest.summary else None


def _documents(paths: list[str], where: str, parameters: list[object]) -> Iterator[tuple[str, Event]]:
    with duck.connection(Path(os.devnull)) as database:
        query = f'select "_id", "_source" from {parquet(paths)} where {where}'
        cursor = database.execute(query, parameters)
        while rows := cursor.fetchmany(2000):
            for number, source in rows:
                yield number, parse(source.encode())


def store(catalogue: Catalogue, day: date, paths: list[Path], temporary: Path) -> PartObject | None:
    """Put a day's links into the archive; None where it has none."""
    path, count = write(paths, temporary)
    if not count:
        return None
    return files.put_checked(catalogue.objects, f"{catalogue.folder(day)}links", path, count, temporary)
