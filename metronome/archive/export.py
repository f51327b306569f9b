"""Events to a file, from wherever they are: indices, the archive, or both where a day's events came late.

    ndjson     the documents as they are, one a line
    csv        a column a property, `_id` first; ordered by time
    parquet    a day part's layout, of all days together

Both ends of the period are included. An id that is in the archive and in an index is given once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import IO

from metronome.archive import files
from metronome.archive.care import temporary_folder
from metronome.archive.manifest import Catalogue
from metronome.archive.restore import Wanted, chosen, meets
from metronome.parts import duck, index
from metronome.parts.build import Builder
from metronome.parts.duck import literal, parquet
from metronome.parts.folder import FORMAT
from metronome.parts.index import Documents
from metronome.parts.sort import Sorter
from metronome.periods import Period
from metronome.query import All, Between, Condition
from metronome.settings import Settings

FORMATS = ("ndjson", "csv", "parquet")

Progress = Callable[[int], None]


class Exporter:
    """Exports of one installation; `catalogue` is None where there is no archive."""

    def __init__(self, settings: Settings, builder: Builder, catalogue: Catalogue | None) -> None:
        self._settings = settings
        self._builder = builder
        self._catalogue = catalogue

    def export(
        self,
        period: Period,
        form: str,
        target: IO[bytes],
        where: Condition | None = None,
        progress: Progress = lambda events: None,
    ) -> int:
        """Write the events of the period that meet `where`; gives how many there were."""
        wanted = _within(period, where)
        if form == "ndjson":
            count = 0
            for _, source in self.documents(period, wanted, progress):
                target.write(line_of(source))
                count += 1
            return count
        with temporary_folder(self._settings) as temporary:
            path, count = self._sorted(period, wanted, temporary, progress)
            if form == "csv":
                path = _as_csv(path, temporary)
            with path.open("rb") as file:
                shutil.copyfileobj(file, target, 2**20)
        return count

    def _sorted(self, period: Period, wanted: Wanted | None, temporary: Path, progress: Progress) -> tuple[Path, int]:
        path = temporary / "sorted.parquet"
        with Sorter(temporary) as sorter:
            for number, source in self.documents(period, wanted, progress):
                sorter.add(Documents([number], [source]))
            about = {"format": FORMAT, "events": sorter.events, "ids_sha256": sorter.ids_sha256()}
            sorter.write(path, about)
        return path, sorter.events

    def documents(
        self, period: Period, wanted: Wanted | None, progress: Progress = lambda events: None
    ) -> Iterator[tuple[str, bytes]]:
        """The documents of the days of a period that are wanted: `_id` and source."""
        for day in self._days(period):
            with ExitStack() as stack:
                temporary = stack.enter_context(temporary_folder(self._settings))
                archived = self._archived(day, temporary)
                self._builder.update(day, one_file=True)
                opened = stack.enter_context(self._builder.folder.open(day))
                paths = list(archived)
                if opened is not None:
                    mine = [Path(path) for path in opened.paths]
                    paths += [files.write_new(path, archived, temporary, {}) for path in mine] if archived else mine
                for document in chosen(paths, temporary, wanted) if paths else ():
                    progress(1)
                    yield document

    def _days(self, period: Period) -> list[date]:
        """Every day of the period that has events anywhere; a document may lie in the day beside its own."""
        found = set(index.days(self._builder.client, self._settings))
        if self._catalogue is not None:
            found |= set(self._catalogue.days())
        first = period.start.date() if period.start else min(found, default=date.min)
        last = period.end.date() if period.end else max(found, default=date.min)
        return sorted(day for day in found if first <= day <= last)

    def _archived(self, day: date, temporary: Path) -> list[Path]:
        kept = self._catalogue.get(day) if self._catalogue is not None else None
        if kept is None or self._catalogue is None:
            return []
        cache = files.Cache(self._settings.archive_dir, self._settings.parts_max_bytes)
        return cache.copies(self._catalogue.objects, kept.manifest, temporary)


def _within(period: Period, where: Condition | None) -> Wanted | None:
    parts = [where] if where is not None else []
    if period != Period():
        parts.append(Between("@timestamp", gte=period.start, lt=period.end))
    return meets(All(*parts)) if parts else None


def line_of(source: bytes) -> bytes:
    """The document as one line: as it is, unless there are line feeds between its values."""
    if b"\n" in source:
        source = json.dumps(json.loads(source), ensure_ascii=False, separators=(",", ":")).encode()
    return source + b"\n"


def _as_csv(path: Path, temporary: Path) -> Path:
    target = temporary / "events.csv"
    with duck.connection(temporary) as database:
        ordered = f'select * exclude ("_source", "_subject") from {parquet([str(path)])} order by "@timestamp", "_id"'
        database.execute(f"copy ({ordered}) to {literal(str(target))} (format csv, header)")
    return target
