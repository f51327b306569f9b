"""Read parts: the columns wanted, of the days wanted, of the events wanted, as numpy arrays.

    read(folder, days, [Wanted("_subject", "text"), Wanted("@timestamp", "number"), Wanted("event", "text")], where)

gives one `Rows` a day, sorted by subject and then in the total order of a subject's events. Only the columns that are
wanted or asked about are read, and of these only the row groups that can hold what `where` wants.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import numpy as np

from metronome.parts import duck
from metronome.parts.columns import Array
from metronome.parts.duck import literal
from metronome.parts.expressions import Expression, Shape, add_functions, shape_of
from metronome.parts.sort import ORDER
from metronome.parts.where import All, Kind, Where

if TYPE_CHECKING:
    from metronome.parts.folder import Part

#: What DuckDB may hold while it reads; the arrays that come out are beside it.
MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Wanted:
    """A property, and the kind of its values that is wanted. With `plain`, text comes as it is rather than as codes."""

    name: str
    kind: Kind
    plain: bool = False


@dataclass(frozen=True)
class Mask:
    """A number a row, of which bit n says whether the row meets the n-th condition; at most 64 of them."""

    of: tuple[Where, ...]


@dataclass(frozen=True)
class Values:
    """A column of a day's rows.

    number    float64, NaN for none; `@timestamp`, `received_at` and `seq` are int64, and NONE for none
    flag      int8: 1, 0, and -1 for none
    mask      uint64
    text      int32: a code, which is a place in `words`, and -1 for none; plain text is an array of objects

    `words` are an array of objects, or of merged columns their `Texts`, which does the same.

    Where `rows` is given, a row may have several values: `rows` says to which row each belongs, ascending, and rows
    without a value aren't in it.
    """

    values: Array
    words: Array | None = None
    rows: Array | None = None


#: No time, or no sequence number. A missing sequence number is the first in the order of events, as this is.
NONE = int(np.iinfo(np.int64).min)

#: Numbers that are whole: int64, and NONE for none.
WHOLE = frozenset(("@timestamp", "received_at", "seq"))


@dataclass(frozen=True)
class Rows:
    """The rows of one day that were wanted."""

    day: date
    count: int
    columns: dict[Wanted | Mask, Values]


class Files(Protocol):
    """The files of a day; they stay readable while they are open."""

    @property
    def paths(self) -> list[str]: ...


class Named(Files, Protocol):
    """The files of a part, with what its version says of them."""

    @property
    def part(self) -> Part: ...


class Names(Protocol):
    """Opens the parts of days, as a Folder does; None where the day has none."""

    def open(self, day: date) -> AbstractContextManager[Named | None]: ...


class Opens(Protocol):
    """Opens the files of a day, as a Folder does; None where the day has none."""

    def open(self, day: date, /) -> AbstractContextManager[Files | None]: ...


def read(
    folder: Opens,
    days: Sequence[date],
    wanted: Sequence[Wanted | Mask],
    where: Where = All(()),  # noqa: B008
) -> Iterator[Rows]:
    """The wanted columns of each day that has a part, in the order of `days`.

    Parts are read as they are; `Builder.update` brings them up to date. A version that is replaced meanwhile is read
    to its end.
    """
    with (
        tempfile.TemporaryDirectory(prefix="metronome-") as temporary,
        duck.connection(Path(temporary), memory_bytes=MEMORY_BYTES) as database,
    ):
        add_functions(database)
        for day in days:
            with folder.open(day) as opened:
                if opened is None:
                    continue
                selection = _Selection(database, opened.paths, list(wanted), where)
                rows = Rows(day, selection.count(), selection.columns())
            yield rows


#: Events that are read at once where several days are alike.
TOGETHER = 500_000

#: Files that are open at one time.
DAYS_TOGETHER = 100

#: Shapes of files by their names, which never come again; the oldest go first.
_SHAPES: dict[str, Shape] = {}
_MOST_SHAPES = 5000


def read_together(
    folder: Names,
    days: Sequence[date],
    wanted: Sequence[Wanted | Mask],
    where: Where = All(()),  # noqa: B008
) -> Iterator[tuple[Rows, Array]]:
    """As `read`, with days that are alike in one answer; beside it the place in `days` of each row's day.

    A day costs a few milliseconds however few events it has, so ninety small ones are quicker together.
    """
    with (
        tempfile.TemporaryDirectory(prefix="metronome-") as temporary,
        duck.connection(Path(temporary), memory_bytes=MEMORY_BYTES) as database,
        ExitStack() as kept,
    ):
        add_functions(database)
        batch = _Batch(database, days, list(wanted), where)
        for number, day in enumerate(days):
            reading = ExitStack()
            kept.push(reading)
            opened = reading.enter_context(folder.open(day))
            if opened is None:
                continue
            files = zip(opened.part.files, opened.paths, strict=True)
            shapes = [_known(database, file.name, path) for file, path in files]
            several = len(opened.paths) > 1
            if batch.opened and (several or not batch.takes(shapes[0])):
                yield batch.read()
            if several:
                selection = _Selection(database, opened.paths, list(wanted), where, shapes)
                rows = Rows(day, selection.count(), selection.columns())
                reading.close()
                yield rows, np.full(rows.count, number)
            else:
                batch.add(number, opened.paths[0], shapes[0], opened.part.events, reading)
        if batch.opened:
            yield batch.read()


class _Batch:
    """Days of one file each that are alike; their files stay open until they are read."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        days: Sequence[date],
        wanted: list[Wanted | Mask],
        where: Where,
    ) -> None:
        self._database, self._days, self._wanted, self._where = database, days, wanted, where
        self.opened: list[tuple[int, str, ExitStack]] = []
        self._shape: Shape | None = None
        self._events = 0

    def takes(self, shape: Shape) -> bool:
        alike = self._shape is not None and (shape.columns, shape.shipped) == (self._shape.columns, self._shape.shipped)
        return alike and self._events < TOGETHER and len(self.opened) < DAYS_TOGETHER

    def add(self, number: int, path: str, shape: Shape, events: int, reading: ExitStack) -> None:
        self.opened.append((number, path, reading))
        self._shape = shape
        self._events += events

    def read(self) -> tuple[Rows, Array]:
        assert self._shape is not None
        numbers = np.array([number for number, *_ in self.opened])
        paths = [path for _, path, _ in self.opened]
        selection = _Selection(self._database, paths, self._wanted, self._where, [self._shape], apart=True)
        columns = selection.columns()
        day = self._days[self.opened[0][0]]
        for *_, reading in self.opened:
            reading.close()
        self.opened, self._events = [], 0
        place = numbers[selection.places]
        return Rows(day, len(place), columns), place


def _known(database: duckdb.DuckDBPyConnection, name: str, path: str) -> Shape:
    found = _SHAPES.get(name)
    if found is None:
        while len(_SHAPES) >= _MOST_SHAPES:
            _SHAPES.pop(next(iter(_SHAPES)), None)
        found = _SHAPES[name] = shape_of(database, path)
    return found


class _Selection:
    """The wanted rows of a day's files, as SQL; with `apart`, of files of several days that have one shape."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        paths: list[str],
        wanted: list[Wanted | Mask],
        where: Where,
        shapes: list[Shape] | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self._database = database
        self._wanted = wanted
        self._parameters: list[Any] = []
        shapes = shapes or [shape_of(database, path) for path in paths]
        self._apart = apart
        #: With `apart`, the place of each row's file, once `columns` were read.
        self.places: Array = np.empty(0, np.int64)
        self._lists = [
            isinstance(one, Wanted) and any(shape.value(one.name, one.kind).lists for shape in shapes) for one in wanted
        ]
        tables = [f"[{', '.join(map(literal, paths))}]"] if apart else [literal(path) for path in paths]
        self._files = [(table, shape, self._where(shape, where)) for table, shape in zip(tables, shapes, strict=True)]

    def _where(self, shape: Shape, where: Where) -> str:
        return shape.condition(where, self._parameters)

    def count(self) -> int:
        counts = " union all ".join(
            f"select count(*) n from read_parquet({table}) where {condition}" for table, _, condition in self._files
        )
        (found,) = self._database.execute(f"select sum(n) from ({counts})", self._parameters).fetchone()  # type: ignore[misc]
        return int(found)

    def columns(self) -> dict[Wanted | Mask, Values]:
        if not self._wanted:
            return {}
        coded = [isinstance(one, Wanted) and one.kind == "text" and not one.plain for one in self._wanted]
        words = {n: self._words(n) for n in range(len(coded)) if coded[n]}
        single = [n for n in range(len(self._wanted)) if not self._lists[n]]
        found: dict[int, Values] = {}
        if single:
            chosen = ", ".join(
                [*(f"{self._coded(n, words)} as v{n}" for n in single), *(["file"] if self._apart else [])]
            )
            table = self._execute(f"select {chosen} from ({self._rows()})").fetchnumpy()
            if self._apart:
                self.places = np.ma.filled(table["file"], 0).astype(np.int64)
            found |= {n: self._values(n, table[f"v{n}"], words) for n in single}
        for n, lists in enumerate(self._lists):
            if lists:
                found[n] = self._several(n, words)
        return {one: found[n] for n, one in enumerate(self._wanted)}

    def _several(self, n: int, words: dict[int, Array]) -> Values:
        numbered = f"select row_number() over () - 1 as place, v{n} as several from ({self._rows()})"
        each = f"select place, unnest(several) as v{n} from ({numbered})"
        table = self._execute(f"select place, {self._coded(n, words)} as v{n} from ({each})").fetchnumpy()
        values = self._values(n, table[f"v{n}"], words)
        return Values(values.values, values.words, np.asarray(table["place"], dtype=np.int64))

    def _words(self, n: int) -> Array:
        """The different texts of a column, in order; they become a type of DuckDB's, which codes them."""
        value = f"unnest(v{n})" if self._lists[n] else f"v{n}"
        distinct = f"select distinct {value} as word from ({self._rows(only=n)})"
        found = self._execute(f"select word from ({distinct}) where word is not null order by word").fetchall()
        words = np.array([row[0] for row in found], dtype=object)
        if len(words):
            self._database.register("words", {"word": words})
            self._database.execute(f"drop type if exists words{n}")
            self._database.execute(f"create type words{n} as enum (select word from words)")
            self._database.unregister("words")
        return words

    def _coded(self, n: int, words: dict[int, Array]) -> str:
        if n not in words:
            return f"v{n}"
        return f"enum_code(v{n}::words{n})::INTEGER" if len(words[n]) else "null::INTEGER"

    def _values(self, n: int, found: Any, words: dict[int, Array]) -> Values:
        one = self._wanted[n]
        if isinstance(one, Mask):
            return Values(np.ma.filled(found, 0))
        if one.kind == "text":
            if n in words:
                return Values(np.ma.filled(found, -1).astype(np.int32, copy=False), words[n])
            return Values(np.ma.filled(np.ma.asarray(found), None))
        if one.kind == "flag":
            return Values(np.ma.filled(np.ma.asarray(found).astype(np.int8), -1))
        if one.name in WHOLE:
            return Values(np.ma.filled(found, NONE))
        return Values(np.ma.filled(found, np.nan))

    def _rows(self, *, only: int | None = None) -> str:
        """The wanted values of all files as `v0`, `v1`, …, in order."""
        numbers = range(len(self._wanted)) if only is None else [only]
        # A single file is sorted already. Rows of several files have to be sorted together.
        keys = ', "_subject", "@timestamp", "seq", "received_at", "_id"'
        sort = len(self._files) > 1 and only is None
        selects = []
        for table, shape, condition in self._files:
            values = ", ".join(f"{self._value(shape, n)} as v{n}" for n in numbers)
            further = ", file_index as file" if self._apart and only is None else ""
            selects.append(
                f"select {values}{keys if sort else ''}{further} from read_parquet({table}) where {condition}"
            )
        union = " union all ".join(selects)
        return f"select * from ({union}) order by {ORDER}" if sort else union

    def _value(self, shape: Shape, n: int) -> str:
        one = self._wanted[n]
        if isinstance(one, Mask):
            return _bits(shape, one)
        expression: Expression = shape.value(one.name, one.kind)
        if self._lists[n] and not expression.lists:
            return f"case when {expression.sql} is not null then [{expression.sql}] end"
        return expression.sql

    def _execute(self, query: str) -> duckdb.DuckDBPyConnection:
        return self._database.execute(query, self._parameters)


def _bits(shape: Shape, mask: Mask) -> str:
    """The mask as SQL: each condition that holds adds its bit."""
    bits = [f"if({shape.condition(one, None)}, {1 << n}::UBIGINT, 0::UBIGINT)" for n, one in enumerate(mask.of)]
    return " + ".join(bits) or "0::UBIGINT"
