"""Days of events as parts, from Elasticsearch's indices and from the archive where there is one.

A day may be in both: what came after it was archived is in an index of its own. Both are read then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from elasticsearch import Elasticsearch

from metronome.errors import ArchiveUnavailable
from metronome.parts import index
from metronome.parts.build import Builder
from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.archive.asking import Archive
    from metronome.archive.source import Snapshot


@dataclass(frozen=True)
class Files:
    """The open files of one day."""

    paths: list[str]


class Source:
    """The days of one installation. `client` reads answers; the builder's was connected without `read`."""

    def __init__(self, settings: Settings, client: Elasticsearch, builder: Builder) -> None:
        self._settings = settings
        self._client = client
        self._builder = builder
        self._archive: Archive | None = None
        self._snapshot: Snapshot | None = None
        self._changes = 0

    def days(self, first: date, last: date, done: Callable[[int, int], None]) -> list[date]:
        """The days from one to another that have events, ascending, with their parts brought up to date."""
        self._look_into_archive()
        in_index = [day for day in index.days(self._builder.client, self._settings) if first <= day <= last]
        for number, day in enumerate(in_index):
            self._builder.update(day, progress=lambda events: done(number, len(in_index)))  # noqa: B023 - called at once
            done(number + 1, len(in_index))
        archived = [day for day in (self._snapshot.manifests if self._snapshot else ()) if first <= day <= last]
        return sorted({*in_index, *archived})

    def _look_into_archive(self) -> None:
        if not self._settings.archive:
            return
        from metronome.archive.asking import Archive

        self._archive = self._archive or Archive(self._settings, self._client)
        self._changes = self._archive.changes()
        self._snapshot = self._archive.snapshot(self._changes)

    def check(self) -> None:
        """Raises ArchiveUnavailable where days were archived since `days` was called: some may have been missed."""
        if self._archive is not None and self._archive.changes() != self._changes:
            raise ArchiveUnavailable("days were archived meanwhile; process the month again")

    @contextmanager
    def open(self, day: date) -> Iterator[Files | None]:
        """The day's files, as `parts.read` wants them; None where the day has none."""
        with ExitStack() as kept:
            paths: list[str] = []
            if self._snapshot is not None and day in self._snapshot.manifests:
                paths += kept.enter_context(self._snapshot.opened(day))[0]
            part = kept.enter_context(self._builder.folder.open(day))
            if part is not None and (not paths or self._has_index(day)):
                paths += part.paths
            yield Files(paths) if paths else None

    def _has_index(self, day: date) -> bool:
        """Whether an archived day has an index as well. A part that is left of the index it had is the same events."""
        return self._snapshot is not None and day in self._snapshot.late
