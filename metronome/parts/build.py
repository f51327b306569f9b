"""Bring a day's part up to date, from nothing or by what is new; and compare it with Elasticsearch.

    current?     the index has given no sequence number since the part was built: nothing is done
    extend       the index has as many documents up to the part's checkpoint as the part: only later ones are fetched
    rebuild      on any doubt: another index of that name, a deleted or replaced document, a damaged file

Later documents go into a further file beside the first. As files of similar size gather, they are merged without
Elasticsearch. So a day has few files, and each document is rewritten a few times at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb
import msgspec
import numpy as np
from elasticsearch import Elasticsearch

from metronome.errors import NotFound, PartsUnavailable, StoreFailed
from metronome.parts import duck
from metronome.parts.duck import parquet
from metronome.parts.folder import FORMAT, File, Folder, Part
from metronome.parts.index import Counters, Documents, Index, Shard, read_counters
from metronome.parts.sort import Sorter
from metronome.settings import Settings
from metronome.store.names import day_index, day_of_index, pattern

#: Files of one day above which they are merged however large they are.
MOST_FILES = 16

#: Files of together more events aren't merged while somebody waits for an answer, unless there are too many.
MERGED_AT_ONCE = 500_000

#: How long to wait for another process that builds the same day.
WAIT_S = 600.0

#: Ids that a verdict names.
SHOWN = 10

#: Memory of DuckDB while a file is only read from its start to its end.
READING_BYTES = 128 * 2**20

Progress = Callable[[int], None]


class Doubt(Exception):
    """The documents that a part was built from may have changed. Only a rebuild is sure to be right."""


@dataclass(frozen=True)
class Verdict:
    """A part beside its index: how many events each has, and ids that only one of them has (the first few)."""

    day: date
    events: int
    in_index: int
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return self.events == self.in_index and not self.missing and not self.surplus


class Builder:
    """Builds parts of one installation. `client` is an `unread` one (store/client.py).

    While `may_go_on` returns False, a build that is under way waits, since intake has priority.
    """

    def __init__(
        self, settings: Settings, client: Elasticsearch, *, may_go_on: Callable[[], bool] = lambda: True
    ) -> None:
        self.settings = settings
        self.client = client
        self._may_go_on = may_go_on
        self.folder = Folder(settings.parts_dir, settings.parts_max_bytes)

    def update(self, day: date, *, one_file: bool = False, progress: Progress = lambda events: None) -> Part | None:
        """The day's part, with every event that was acknowledged before the call; None if the day has no index.

        `progress` is called with the number of events that each page brought. With `one_file` all that came later is
        merged into the first file. Raises PartsUnavailable where another process builds the day for too long.
        """
        index = Index(self.client, day_index(self.settings, day))
        part = self.folder.part(day)
        counters = index.counters()
        if part is not None and counters is not None and self._is_current(part, counters, one_file):
            return part
        with self.folder.lock(day, timeout_s=WAIT_S):
            # The process that held the lock may have built the part in the meantime.
            part, counters = self.folder.part(day), index.counters()
            if counters is None:
                self.folder.drop(day)
                return None
            if part is None or not self._is_current(part, counters, False):
                part = self._build(day, index, part, progress)
            return self._merge(part, one_file=one_file)

    def update_all(self, days: Iterable[date] | None = None) -> dict[date, Part]:
        """The parts of these days, or of all that have an index, as `update` gives them; those without events are left
        out.

        Which of them are current is asked for all at once: closed days cost no request of their own.
        """
        counters = read_counters(self.client, pattern(self.settings))
        named = {day: found for name, found in counters.items() if (day := day_of_index(self.settings, name))}
        parts: dict[date, Part] = {}
        for day in sorted(named) if days is None else days:
            part, found = self.folder.part(day), named.get(day)
            if part is None or found is None or not self._is_current(part, found, False):
                part = self.update(day)
            if part is not None:
                parts[day] = part
        return parts

    def to_fetch(self, day: date) -> int:
        """About how many events an update has to fetch: for a progress bar."""
        part = self.folder.part(day)
        counters = Index(self.client, day_index(self.settings, day)).counters()
        if counters is None:
            return 0
        held = part.events if part is not None and counters.goes_on_from(part.counters) else 0
        return max(0, sum(shard.docs for shard in counters.shards.values()) - held)

    def _is_current(self, part: Part, counters: Counters, one_file: bool) -> bool:
        if one_file and len(part.files) > 1:
            return False
        with self.folder.open(part.day) as opened:
            return opened is not None and counters.same_operations(part.counters)

    def _build(self, day: date, index: Index, part: Part | None, progress: Progress) -> Part:
        """The day's new version: the part with what is new, or all of it."""
        counters = index.counters()
        if counters is None:
            raise PartsUnavailable(f"the index of {day} was deleted meanwhile; ask again")
        index.refresh()
        with self.folder.open(day) as opened:
            if part is not None and opened is not None and counters.goes_on_from(part.counters):
                try:
                    return self._fetch(day, index, counters, part, progress)
                except Doubt:
                    pass  # what follows is the rebuild
        built = self._fetch(day, index, counters, None, progress)
        if part is not None:
            self.folder.forget_merged()
        return built

    def _fetch(self, day: date, index: Index, counters: Counters, part: Part | None, progress: Progress) -> Part:
        """A version with all documents up to the counters' checkpoints; those beyond `part` in one more file."""
        building = self.folder.building(day)
        files = part.files if part is not None else ()
        with Sorter(building) as sorter:
            shards = {
                number: self._gather(index, number, shard, part, sorter, progress)
                for number, shard in sorted(counters.shards.items())
            }
            counters = replace(counters, shards=shards)
            if sorter.events or not files:
                files = (*files, self._write(day, index.name, counters, sorter, building))
        new = Part(FORMAT, day, index.name, counters, files)
        self.folder.replace(new)
        return new

    def _gather(
        self, index: Index, number: str, shard: Shard, part: Part | None, sorter: Sorter, progress: Progress
    ) -> Shard:
        """Give a shard's new documents to the sorter; the shard with the events that the part has of it then."""
        before = part.counters.shards[number] if part is not None else Shard(0, 0, -1, -1, "")
        found = 0
        with index.moment(number) as moment:
            if moment.count(-1, before.checkpoint) != before.events:
                raise Doubt
            expected = moment.count(before.checkpoint, shard.checkpoint)
            for documents in moment.pages(before.checkpoint, shard.checkpoint, may_go_on=self._may_go_on):
                sorter.add(documents)
                found += len(documents.ids)
                progress(len(documents.ids))
        if found != expected:
            raise StoreFailed(f"{index.name} has {expected} documents and gave {found}; its part isn't built from that")
        return replace(shard, events=before.events + found)

    def _write(self, day: date, index: str, counters: Counters, sorter: Sorter, building: Path) -> File:
        """The sorter's documents as a file of the day's folder, which isn't named in a version yet."""
        path = building / "part.parquet"
        ids = sorter.ids_sha256()
        metadata = {
            "format": FORMAT,
            "day": str(day),
            "index": index,
            "events": sorter.events,
            "counters": msgspec.to_builtins(counters),
            "ids_sha256": ids,
        }
        sorter.write(path, metadata)
        return self.folder.take_in(day, path, sorter.events, ids)

    def _merge(self, part: Part, *, one_file: bool) -> Part:
        while count := _to_merge(part.files, one_file=one_file):
            building = self.folder.building(part.day)
            merged, kept = part.files[-count:], part.files[:-count]
            with Sorter(building) as sorter:
                for documents in documents_of([self.folder.path(part.day, file) for file in merged], building):
                    self._wait()
                    sorter.add(documents)
                file = self._write(part.day, part.index, part.counters, sorter, building)
            part = replace(part, files=(*kept, file))
            self.folder.replace(part)
        return part

    def _wait(self) -> None:
        while not self._may_go_on():
            time.sleep(0.1)

    def verify(self, day: date, progress: Progress = lambda events: None) -> Verdict:
        """Compare the day's part with what its index holds of the same operations, id by id.

        Raises NotFound where there is no part. What came after the part was built isn't missing from it.
        """
        index = Index(self.client, day_index(self.settings, day))
        with self.folder.lock(day, timeout_s=WAIT_S), self.folder.open(day) as opened:
            if opened is None:
                raise NotFound(f"there is no part of {day}; build it with `metronome parts build {day}`")
            counters = index.counters()
            building = self.folder.building(day)
            with duck.connection(building) as database:
                database.execute("create temp table theirs (id varchar)")
                if counters is not None and counters.uuid == opened.part.counters.uuid:
                    index.refresh()
                    self._note_ids(index, opened.part, database, progress)
                return _compare(day, opened.paths, database)

    def _note_ids(self, index: Index, part: Part, database: duckdb.DuckDBPyConnection, progress: Progress) -> None:
        for number, shard in part.counters.shards.items():
            with index.moment(number) as moment:
                for documents in moment.pages(-1, shard.checkpoint, sources=False, may_go_on=self._may_go_on):
                    database.register("page", {"id": np.array(documents.ids, dtype=object)})
                    database.execute("insert into theirs select id from page")
                    database.unregister("page")
                    progress(len(documents.ids))


def _to_merge(files: tuple[File, ...], *, one_file: bool) -> int:
    """How many of the last files become one; 0 for none."""
    if one_file and len(files) > 1:
        return len(files)
    if len(files) > MOST_FILES:
        return len(files) - 1
    if len(files) > 1:
        older, newer = files[-2].events, files[-1].events
        if newer * 2 >= older and newer + older <= MERGED_AT_ONCE:
            return 2
    return 0


def _compare(day: date, paths: list[str], database: duckdb.DuckDBPyConnection) -> Verdict:
    ours = f"select _id as id from {parquet(paths)}"
    theirs = "select id from theirs"

    def figure(query: str) -> int:
        (found,) = database.execute(query).fetchone()  # type: ignore[misc]
        return int(found)

    def beyond(these: str, those: str) -> tuple[str, ...]:
        query = f"select id from ({these} except all {those}) order by id limit {SHOWN}"
        return tuple(row[0] for row in database.execute(query).fetchall())

    return Verdict(
        day,
        events=figure(f"select count(*) from ({ours})"),
        in_index=figure("select count(*) from theirs"),
        missing=beyond(theirs, ours),
        surplus=beyond(ours, theirs),
    )


def documents_of(paths: list[Path], temporary: Path) -> Iterator[Documents]:
    """The documents of files, page by page."""
    with duck.connection(temporary, memory_bytes=READING_BYTES) as database:
        cursor = database.execute(f"select _id, _source from {parquet([str(path) for path in paths])}")
        while rows := cursor.fetchmany(2000):
            yield Documents([row[0] for row in rows], [row[1].encode() for row in rows])
