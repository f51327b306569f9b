"""Archived days beside those of Elasticsearch, for questions about the events themselves.

Journeys read them in order as day parts, listings page by page, and `properties` asks which fields they have.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import orjson

from metronome.archive import files
from metronome.archive.manifest import Manifest
from metronome.archive.rows import DayMapping, known_ids
from metronome.archive.source import Snapshot
from metronome.parts import duck
from metronome.parts.columns import KINDS
from metronome.parts.duck import literal
from metronome.parts.expressions import Shape, add_functions, shape_of
from metronome.parts.folder import FORMAT, File, Folder, Opened, Part
from metronome.parts.index import Counters
from metronome.parts.where import All, Between
from metronome.periods import Period, read_time, to_ms
from metronome.query.condition import Condition
from metronome.query.journeys.wheres import as_where
from metronome.query.kinds import NAMED, TEXTS
from metronome.query.question import Properties, Seen
from metronome.store.documents import MAX_INDEXED

#: Rows that are read at one time.
PAGE = 500

Hit = dict[str, Any]

#: A field's kinds, how many events have it, first and last time in milliseconds.
Field = tuple[frozenset[str], int, int | None, int | None]


class PartsOfBoth:
    """The day parts of Elasticsearch's days, and those of archived days, as one folder that can be read."""

    def __init__(self, folder: Folder, snapshot: Snapshot) -> None:
        self._folder = folder
        self._snapshot = snapshot

    @contextmanager
    def open(self, day: date) -> Iterator[Opened | None]:
        """The day's files, open. Of what came late, the events whose ids are archived already are left out."""
        manifest = self._snapshot.manifests.get(day)
        if manifest is None:
            with self._folder.open(day) as opened:
                yield opened
            return
        with ExitStack() as stack:
            paths, _ = stack.enter_context(self._snapshot.opened(day))
            found = [File(part.sha256, part.bytes, part.events, "") for part in manifest.parts]
            if day in self._snapshot.late:
                late = stack.enter_context(self._folder.open(day))
                for path in late.paths if late is not None else ():
                    path, file = self._new(path, paths[: len(manifest.parts)], stack)
                    paths.append(path)
                    found.append(file)
            descriptors = tuple(int(Path(path).name) for path in paths)
            yield Opened(Part(FORMAT, day, manifest.index, Counters("", {}), tuple(found)), descriptors)

    def _new(self, path: str, archived: list[str], stack: ExitStack) -> tuple[str, File]:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metronome-")))
        made = files.write_new(Path(path), [Path(one) for one in archived], temporary, {})
        descriptor = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        events = files.contents([made], temporary).events
        return f"/proc/self/fd/{descriptor}", File(made.name, made.stat().st_size, events, "")


@dataclass(frozen=True)
class Beside:
    """What listings, fields and journeys ask of archived days (`query.door.Archived`)."""

    snapshot: Snapshot

    def version(self) -> str:
        """Changes when any archived day does."""
        days = [(str(day), found.ids_sha256, *(p.sha256 for p in found.parts)) for day, found in self._manifests()]
        return hashlib.blake2b(orjson.dumps(days), digest_size=8).hexdigest()

    def _manifests(self) -> list[tuple[date, Manifest]]:
        return sorted(self.snapshot.manifests.items())

    def days(self) -> list[date]:
        return [day for day, _ in self._manifests()]

    def fetched(self) -> dict[str, int]:
        return dict(self.snapshot.fetched)

    def folder(self, of: Folder) -> PartsOfBoth:
        return PartsOfBoth(of, self.snapshot)

    def knows(self, hit: Mapping[str, Any]) -> bool:
        """Whether an event that came late is archived as well."""
        for day, index in self.snapshot.late.items():
            if index == hit["_index"]:
                with self.snapshot.opened(day) as (paths, _):
                    return hit["_id"] in known_ids([hit["_id"]], paths)
        return False

    def hits(self, period: Period, after: Sequence[Any] | None, *, newest_first: bool) -> Iterator[Hit]:
        """The events of the period as hits, by `sort`: time and id. `after` is the `sort` of the last one."""
        for days in self._together(period, newest_first):
            with ExitStack() as stack:
                opened = [(found, stack.enter_context(self.snapshot.opened(day))[0]) for day, found in days]
                index_of = {path: found.index for found, paths in opened for path in paths}
                yield from _hits(index_of, period, after, newest_first)

    def _together(self, period: Period, newest_first: bool) -> Iterator[list[tuple[date, Manifest]]]:
        """The days in order of their events' times; days whose times overlap come together."""
        spans = []
        for day, found in self._manifests():
            span = _span(found)
            if span is None or _overlaps(span, period):
                spans.append((span or (float("-inf"), float("inf")), (day, found)))
        spans.sort(key=lambda one: one[0])
        groups: list[list[tuple[date, Manifest]]] = []
        last = float("-inf")
        for (low, high), one in spans:
            if groups and low <= last:
                groups[-1].append(one)
            else:
                groups.append([one])
            last = max(last, high)
        return iter(reversed(groups) if newest_first else groups)

    def late(self) -> list[str]:
        """Indices of archived days, with what came after they were archived."""
        return sorted(self.snapshot.late.values())

    def values(self, where: Condition, period: Period, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Each event that meets `where`, those that came late too, as its values of these names.

        A name that isn't of a field of text is read as a number; times are in ms. What has no value is None.
        """
        with _database() as database:
            for day, manifest in self._manifests():
                span = _span(manifest)
                overlaps = span is None or _overlaps(span, period)
                if not overlaps and day not in self.snapshot.late:
                    continue
                with self.snapshot.opened(day) as (paths, _):
                    for path in paths if overlaps else ():
                        yield from _values(database, path, where, period, names)
                    for event in self.snapshot.late_events(day, paths):
                        at = event["@timestamp"]
                        at_ms = None if at is None else to_ms(at)
                        inside = _overlaps((at_ms, at_ms), period) if at_ms is not None else period == Period()
                        if inside and where.holds(event):
                            yield {name: at_ms if name == "@timestamp" else event.get(name) for name in names}

    def seen(self, question: Seen) -> tuple[int, list[int]]:
        """How many events meet `where`, and the times of the first and last in milliseconds."""
        count, times = 0, list[int]()
        with _database() as database:
            for _, path in self._files(question.period):
                more, *ends = _seen(database, path, question)
                count += more
                times += [ms for ms in ends if ms is not None]
        return count, times

    def properties(self, question: Properties) -> dict[str, Field]:
        """Each field that events of the question have."""
        found: dict[str, Field] = {}
        with _database() as database:
            for manifest, path in self._files(question.period):
                for name, row in _properties(database, path, manifest, question).items():
                    found[name] = _added(found.get(name), row)
        return found

    def _files(self, period: Period) -> Iterator[tuple[Manifest, str]]:
        """The files of days that may have events of the period, each open until the next is asked for."""
        for day, manifest in self._manifests():
            span = _span(manifest)
            if span is None or _overlaps(span, period):
                with self.snapshot.opened(day) as (paths, _):
                    for path in paths:
                        yield manifest, path


def _span(manifest: Manifest) -> tuple[float, float] | None:
    """First and last time of a day's events; None where an event has none."""
    times = [time for part in manifest.parts for time in (part.min_timestamp, part.max_timestamp)]
    if not times or None in times:
        return None
    known = [to_ms(read_time(time)) for time in times if time is not None]
    return min(known), max(known)


def _overlaps(span: tuple[float, float], period: Period) -> bool:
    low, high = span
    return (period.start is None or high >= to_ms(period.start)) and (period.end is None or low < to_ms(period.end))


def _hits(index_of: dict[str, str], period: Period, after: Sequence[Any] | None, newest_first: bool) -> Iterator[Hit]:
    conditions, parameters = _within(period), list[Any]()
    if after is not None:
        parameters += after
        op = "<" if newest_first else ">"
        conditions.append(f'(t {op} $1 or (t = $1 and "_id" {op} $2) or (t is null and $1 is not null))')
    order = "desc" if newest_first else "asc"
    with (
        tempfile.TemporaryDirectory(prefix="metronome-") as temporary,
        duck.connection(Path(temporary)) as database,
    ):
        paths = ", ".join(map(literal, index_of))
        chosen = f'select epoch_ms("@timestamp") as t, "_id", "_source", filename from read_parquet([{paths}], '
        read = f"{chosen}union_by_name = true, filename = true)"
        where = " and ".join(conditions) or "true"
        query = f'select * from ({read}) where {where} order by t {order} nulls last, "_id" {order}'
        cursor = database.execute(query, parameters)
        while rows := cursor.fetchmany(PAGE):
            for t, number, source, path in rows:
                yield {"_index": index_of[path], "_id": number, "_source": orjson.loads(source), "sort": [t, number]}


def _within(period: Period) -> list[str]:
    found = []
    if period.start is not None:
        found.append(f"t >= {to_ms(period.start)}")
    if period.end is not None:
        found.append(f"t < {to_ms(period.end)}")
    return found


def _asked(where: Condition, period: Period) -> All:
    """The condition and the period as the parts' own."""
    bounds = {} if period.start is None else {"gte": to_ms(period.start)}
    bounds |= {} if period.end is None else {"lt": to_ms(period.end)}
    return All((as_where(where), *([Between("@timestamp", **bounds)] if bounds else ())))


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        tempfile.TemporaryDirectory(prefix="metronome-") as temporary,
        duck.connection(Path(temporary)) as database,
    ):
        add_functions(database)
        yield database


def _values(
    database: duckdb.DuckDBPyConnection, path: str, where: Condition, period: Period, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    shape = shape_of(database, path)
    parameters: list[Any] = []
    condition = shape.condition(_asked(where, period), parameters)
    found = [shape.value(name, "text" if NAMED.get(name) in TEXTS else "number") for name in names]
    columns = ", ".join(f"{one.sql}[1]" if one.lists else one.sql for one in found)
    cursor = database.execute(f"select {columns} from read_parquet({literal(path)}) where {condition}", parameters)
    while rows := cursor.fetchmany(PAGE):
        for row in rows:
            yield dict(zip(names, row, strict=True))


def _seen(database: duckdb.DuckDBPyConnection, path: str, question: Seen) -> Any:
    """How many events of a file meet `where`, first and last time."""
    parameters: list[Any] = []
    condition = shape_of(database, path).condition(_asked(question.where, question.period), parameters)
    time = 'epoch_ms("@timestamp")'
    query = f"select count(*), min({time}), max({time}) from read_parquet({literal(path)}) where {condition}"
    return database.execute(query, parameters).fetchone()


def _properties(
    database: duckdb.DuckDBPyConnection, path: str, manifest: Manifest, question: Properties
) -> dict[str, Field]:
    mapping = DayMapping(manifest.mapping.get("properties", {}))
    names = [name for name in mapping.properties if mapping.kind(name) != "none"]
    shape = shape_of(database, path)
    parameters: list[Any] = []
    condition = shape.condition(_asked(question.where, question.period), parameters)
    # Which fields a document has is what it says itself; derived facts aren't among them.
    stored = Shape(shape.columns, shipped=False)
    rows = database.execute(_about(path, stored, mapping, names, condition), parameters).fetchall()
    return {
        names[n]: (frozenset((mapping.kind(names[n]),)), events, first, last)
        for n, events, first, last in rows
        if events
    }


def _about(path: str, shape: Shape, mapping: DayMapping, names: list[str], condition: str) -> str:
    """One row a name: its place, how many events have it, and their first and last time."""
    columns = [f"{_exists(shape, mapping, name)} as e{n}" for n, name in enumerate(names)]
    table = (
        f'select epoch_ms("@timestamp") as t, {", ".join(columns)} from read_parquet({literal(path)}) where {condition}'
    )
    each = [
        f"select {n}, count(*) filter (e{n}), min(t) filter (e{n}), max(t) filter (e{n}) from chosen"
        for n in range(len(names))
    ]
    return f"with chosen as materialized ({table}) {' union all '.join(each)}"


def _exists(shape: Shape, mapping: DayMapping, name: str) -> str:
    """Whether an index of this mapping has a value of the property."""
    kind = mapping.kind(name)
    kinds = ("number",) if kind == "number" else KINDS
    tests = []
    for one in kinds:
        value = shape.value(name, one)
        if one == "text" and name not in NAMED:
            fits = f"length(x) <= {MAX_INDEXED}"
            tests.append(
                f"len(list_filter({value.sql}, lambda x: {fits})) > 0"
                if value.lists
                else f"length({value.sql}) <= {MAX_INDEXED}"
            )
        else:
            tests.append(f"len({value.sql}) > 0" if value.lists else f"{value.sql} is not null")
    return f"coalesce({' or '.join(f'coalesce({test}, false)' for test in tests)}, false)"


def _added(one: Field | None, other: Field) -> Field:
    if one is None:
        return other
    firsts = [ms for ms in (one[2], other[2]) if ms is not None]
    lasts = [ms for ms in (one[3], other[3]) if ms is not None]
    return one[0] | other[0], one[1] + other[1], min(firsts, default=None), max(lasts, default=None)
