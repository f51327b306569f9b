"""Archived days as a source of answers: the numbers that Elasticsearch gave before, from the parts in the archive.

A question reads which days are archived, and which of them are in Elasticsearch as well, at one moment (`Snapshot`).

    day with a manifest, no index                  the archive holds it
    … and an index that holds all of it            Elasticsearch holds it: the day was restored, or its index kept
    … and any other index                          the archive holds it, and adds what came late: each id counts once

An archiver that deletes an index meanwhile has told of it before; then the question is asked again (asking.py).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from elasticsearch import ApiError, Elasticsearch

from metronome.archive import summary
from metronome.archive.files import Cache
from metronome.archive.manifest import Manifest, PartObject
from metronome.archive.objects import Objects
from metronome.archive.rows import DayMapping, common_of, facts, known_ids, partials_of
from metronome.errors import ArchiveUnavailable, MetronomeError, NotFound, StoreFailed, StoreUnavailable
from metronome.event.fields import Event
from metronome.parts.values import flatten, time_ms
from metronome.periods import Period, from_ms
from metronome.query.partial import Partial
from metronome.query.question import Question
from metronome.store.client import our_errors

#: Answers of days that are remembered in each process.
REMEMBERED = 4096

#: Groups above which an answer isn't remembered.
MOST_GROUPS = 2000

PAGE = 1000


class Memory:
    """Partial answers of archived days, which never change while the day's parts don't."""

    def __init__(self) -> None:
        self._found: OrderedDict[Any, Partial] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Partial | None:
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
        # Whoever adds up partial answers changes them.
        return deepcopy(found)

    def put(self, key: Any, partial: Partial) -> None:
        if len(partial.tallies) > MOST_GROUPS or any(
            len(tally.values) > MOST_GROUPS for tally in partial.tallies.values()
        ):
            return
        with self._lock:
            self._found[key] = replace(deepcopy(partial), archived=dict.fromkeys(partial.archived, 0))
            while len(self._found) > REMEMBERED:
                self._found.popitem(last=False)


@dataclass(frozen=True)
class Snapshot:
    """What is archived at one moment, as a source. `late` are days that have an index with other events as well.

    `all_manifests` has the days too that Elasticsearch holds all of, because they were restored or their index kept.
    """

    manifests: Mapping[date, Manifest]
    all_manifests: Mapping[date, Manifest]
    late: Mapping[date, str]
    objects: Objects
    cache: Cache
    memory: Memory
    client: Elasticsearch
    #: The days that were read, with the bytes that were fetched for each.
    fetched: dict[str, int] = field(default_factory=dict)

    @cached_property
    def _days(self) -> list[date]:
        return sorted(self.manifests)

    def holds(self, period: Period) -> list[Period]:
        found: list[Period] = []
        for day in self._days:
            part = _overlap(_of_day(day), period)
            if part is None:
                continue
            if found and found[-1].end == part.start:
                found[-1] = Period(found[-1].start, part.end)
            else:
                found.append(part)
        return found

    def partials(self, questions: Sequence[Question], *, alone: bool) -> list[Partial]:
        found = [Partial() for _ in questions]
        common = common_of(questions)
        for day in self._days:
            part = _overlap(_of_day(day), questions[0].period)
            if part is None:
                continue
            period = Period() if part == _of_day(day) else part
            asked = [replace(question, period=period) for question in questions]
            for partial, more in zip(found, self._of_day(day, asked, common), strict=True):
                partial.add(more)
        return found

    def _of_day(self, day: date, questions: Sequence[Question], common: Any) -> Iterator[Partial]:
        manifest = self.manifests[day]
        keys = [
            (day, manifest.ids_sha256, tuple(part.sha256 for part in manifest.parts), question, common)
            for question in questions
        ]
        remembered = [None] * len(keys) if day in self.late else [self.memory.get(key) for key in keys]
        if all(partial is not None for partial in remembered):
            yield from (partial for partial in remembered if partial is not None)
            return
        counted = day not in self.late and all(summary.answers(manifest, question) for question in questions)
        needed = [manifest.summary] if counted and manifest.summary else manifest.parts
        with self.opened(day, needed) as (paths, fetched):
            late = self.late_events(day, paths)
            mapping = DayMapping(manifest.mapping.get("properties", {}))
            found = partials_of(questions, paths, mapping, common, late, summarised=counted)
            for key, partial in zip(keys, found, strict=True):
                # What was fetched is told once, by the first question.
                partial.archived[str(day)] = fetched if key is keys[0] else 0
                if day not in self.late:
                    self.memory.put(key, partial)
                yield partial

    @contextmanager
    def opened(self, day: date, parts: Iterable[PartObject] | None = None) -> Iterator[tuple[list[str], int]]:
        """The day's parts, or these objects of it, as paths that stay readable, and how many bytes were fetched.

        Raises ArchiveUnavailable.
        """
        descriptors: list[int] = []
        fetched = 0
        try:
            for part in self.all_manifests[day].parts if parts is None else parts:
                descriptor, more = self._open(day, part)
                descriptors.append(descriptor)
                fetched += more
            self.fetched[str(day)] = self.fetched.get(str(day), 0) + fetched
            yield [f"/proc/self/fd/{number}" for number in descriptors], fetched
        finally:
            for number in descriptors:
                os.close(number)

    def _open(self, day: date, part: PartObject) -> tuple[int, int]:
        for _ in range(3):  # others may make room in the cache between fetching and opening
            try:
                path, fetched = self.cache.path(self.objects, day, part)
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC), fetched
            except FileNotFoundError:
                continue
            except NotFound as error:
                raise Moved(f"{part.key} isn't in the archive any more") from error
            except MetronomeError as error:
                if not isinstance(error, ArchiveUnavailable):
                    raise
                raise self._missing(part == self.all_manifests[day].summary, error) from error
        raise ArchiveUnavailable("the cache of the archive has no room for one day; raise METRONOME_PARTS_MAX_BYTES")

    def _missing(self, summary: bool, error: ArchiveUnavailable) -> ArchiveUnavailable:
        days = named(self._uncached(summary))
        return ArchiveUnavailable(
            f"the archive can't be read just now, and these days are there alone: {days}; ask again, or with "
            "archive=no for the others",
            detail=str(error),
        )

    def _uncached(self, summary: bool) -> list[date]:
        """The days whose summary, or whose parts, aren't in the cache."""
        found = []
        for day, manifest in self.manifests.items():
            needed = [manifest.summary] if summary and manifest.summary else manifest.parts
            if any(not self.cache.has(day, part) for part in needed):
                found.append(day)
        return found

    def late_events(self, day: date, paths: list[str]) -> Iterator[Event]:
        """Events of the day's index that no archived part has, flat and with their facts."""
        if day not in self.late:
            return
        for ids, sources in _pages(self.client, self.late[day]):
            known = known_ids(ids, paths)
            for number, source in zip(ids, sources, strict=True):
                if number not in known:
                    event = facts(flatten(source))
                    at = time_ms(event.get("@timestamp"))
                    yield {**event, "@timestamp": None if at is None else from_ms(at)}


class Moved(MetronomeError):
    """A manifest was replaced while it was being used: whoever asks reads it anew."""


@contextmanager
def _or_moved(index: str) -> Iterator[None]:
    """An index that is deleted while it is read is answered with 404, or with 503 by a shard that is going."""
    try:
        with our_errors():
            yield
    except (StoreFailed, StoreUnavailable) as error:
        if isinstance(error.__cause__, ApiError):
            raise Moved(f"{index} went while it was read") from error
        raise


def _pages(client: Elasticsearch, index: str) -> Iterator[tuple[list[str], list[Any]]]:
    with _or_moved(index):
        client.indices.refresh(index=index)
        pit = client.open_point_in_time(index=index, keep_alive="2m")["id"]
    after = None
    try:
        while True:
            with _or_moved(index):
                page = client.search(
                    pit={"id": pit, "keep_alive": "2m"}, size=PAGE, sort=["_shard_doc"], search_after=after
                )
            hits = page["hits"]["hits"]
            if hits:
                yield [hit["_id"] for hit in hits], [hit["_source"] for hit in hits]
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]
    finally:
        with suppress(MetronomeError), our_errors():
            client.options(ignore_status=404).close_point_in_time(id=pit)


def named(days: Sequence[date], most: int = 12) -> str:
    """Days as text, the first few by name."""
    text = ", ".join(map(str, days[:most]))
    return text if len(days) <= most else f"{text} and {len(days) - most} more"


def _of_day(day: date) -> Period:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Period(start, start + timedelta(days=1))


def _overlap(one: Period, other: Period) -> Period | None:
    assert one.start is not None and one.end is not None
    start = one.start if other.start is None else max(one.start, other.start)
    end = one.end if other.end is None else min(one.end, other.end)
    return Period(start, end) if start < end else None
