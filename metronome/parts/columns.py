"""Turns documents into columns: which columns a property has, and which values they hold.

A property's values are numbers, flags (true and false) or text. The kinds that occur decide its columns:

    one kind             name
    numbers and text     name (the numbers), name:text
    flags and text       name (the flags), name:text
    numbers and flags    name (the numbers), name:flag
    all three            name (the numbers), name:flag, name:text

A column holds lists if any event has an array there. `null`, `[]` and `{}` are no value, nor is a null in an array or a
number beyond a double's range; arrays in arrays are one array. Nested properties have dotted names.

These stay in `_source` only: what is beyond MAX_COLUMNS, names that a part uses itself (`_subject`, an ending of
`:text` or `:flag`), and of names that differ only in the case of ASCII letters all but the first, since DuckDB, Spark
and Athena can't tell such columns apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from metronome.event.fields import FIELDS, Event
from metronome.parts.values import parse, seq_of, subject_of, time_ms

#: Columns of a part, with those that every part has.
MAX_COLUMNS = 2000

#: What every part has, in this order; the properties follow.
FIXED = ("_id", "_source", "_subject", "@timestamp", "received_at", "seq")

#: The kinds, in the order in which they take a property's own name.
KINDS = ("number", "flag", "text")

_KINDS_OF: dict[type, str] = {int: "number", float: "number", bool: "flag", str: "text"}
_NUMBERS = frozenset((int, float))

_NAMED = {row.name: place for place, row in enumerate(FIELDS)}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, order=True)
class Key:
    """A column before it has a name: the property, and the kind of the values."""

    name: str
    kind: str


def is_reserved(name: str) -> bool:
    """Whether a part uses this name itself, so that a property of this name stays in `_source`."""
    return name in FIXED or name.endswith((":text", ":flag"))


def rank(name: str) -> tuple[int, bytes]:
    """The order in which properties get columns: named fields, then by the UTF-8 bytes of the name."""
    return _NAMED.get(name, len(_NAMED)), name.encode()


def layout(kinds: dict[str, set[str]]) -> dict[str, Key]:
    """The columns, by their names and in their order, of properties with these kinds of values."""
    columns: dict[str, Key] = {}
    taken = {without_case(name) for name in FIXED}
    for name in sorted(kinds, key=rank):
        if is_reserved(name) or without_case(name) in taken:
            continue
        found = [kind for kind in KINDS if kind in kinds[name]]
        if len(FIXED) + len(columns) + len(found) > MAX_COLUMNS:
            break
        taken.add(without_case(name))
        for kind in found:
            columns[name if kind == found[0] else f"{name}:{kind}"] = Key(name, kind)
    return columns


def without_case(name: str) -> bytes:
    """A name as DuckDB tells columns apart: without regard to the case of ASCII letters."""
    return name.encode().lower()


@dataclass
class Pieces:
    """Values of one column, in pieces: rows of the run, and what stands there. Some values may be lists."""

    rows: list[Sequence[int]] = field(default_factory=list)
    values: list[Sequence[Any] | Array] = field(default_factory=list)
    lists: bool = False

    def add(self, rows: Sequence[int], values: Sequence[Any] | Array) -> None:
        self.rows.append(rows)
        self.values.append(values)

    def array(self, kind: str, size: int) -> Array:
        """All values as one array of the run's size, masked where a row has no value. Lists are JSON text."""
        if self.lists or kind == "text":
            found: Array = np.full(size, None, dtype=object)
        else:
            found = np.ma.masked_all(size, dtype=np.float64 if kind == "number" else np.bool_)  # type: ignore[no-untyped-call]
        for rows, values in zip(self.rows, self.values, strict=True):
            if self.lists:
                for row, value in zip(rows, values, strict=True):
                    found[row] = as_json(kind, value)
            else:
                found[np.array(rows)] = np.array(values, dtype=found.dtype)
        return found


class Run:
    """Documents gathered as columns, page by page. The caller decides how many it holds."""

    def __init__(self) -> None:
        self.size = 0
        self.bytes = 0
        self.columns: dict[Key, Pieces] = {}
        self._ids: list[str] = []
        self._sources: list[str] = []
        self._subjects: list[str | None] = []
        self._times: dict[str, list[Array]] = {"@timestamp": [], "received_at": []}
        self._seqs: list[int | None] = []

    def add(self, ids: Sequence[str], sources: Sequence[bytes]) -> None:
        """Take a page: ids, and the sources of the same documents."""
        events = list(map(parse, sources))
        self._ids += ids
        self._sources += [source.decode() for source in sources]
        self._subjects += map(subject_of, events, sources)
        for name, pieces in self._times.items():
            pieces.append(times([event.get(name) for event in events]))
        self._seqs += [seq_of(event["seq"]) if "seq" in event else None for event in events]
        self._add_properties(events)
        self.size += len(events)
        self.bytes += sum(map(len, sources))
        self._forget_what_has_no_place()

    def _add_properties(self, events: list[Event]) -> None:
        """Events of one shape together: then a column is one `zip`, and its kind one look at a set of types."""
        shapes: dict[tuple[str, ...], list[int]] = {}
        for row, event in enumerate(events):
            shapes.setdefault(tuple(event), []).append(row)
        for names, rows in shapes.items():
            columns = zip(*[events[row].values() for row in rows], strict=True)
            placed = [self.size + row for row in rows]
            for name, values in zip(names, columns, strict=False):
                if not is_reserved(name):
                    self._add_values(name, placed, values)

    def _add_values(self, name: str, rows: Sequence[int], values: Sequence[Any]) -> None:
        types = set(map(type, values))
        if type(None) in types:
            kept = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
            if not kept:
                return
            rows, values = zip(*kept, strict=True)
            types.discard(type(None))
        kinds = {_KINDS_OF.get(found, "list") for found in types}
        if kinds == {"number"}:
            self._add_numbers(name, rows, doubles(values))
        elif len(kinds) == 1 and "list" not in kinds:
            self._pieces(name, kinds.pop()).add(rows, values)
        else:
            self._add_mixed(name, rows, values)

    def _add_numbers(self, name: str, rows: Sequence[int], numbers: Array) -> None:
        finite = np.isfinite(numbers)
        if finite.all():
            self._pieces(name, "number").add(rows, numbers)
        elif finite.any():
            self._pieces(name, "number").add(np.array(rows)[finite].tolist(), numbers[finite])

    def _add_mixed(self, name: str, rows: Sequence[int], values: Sequence[Any]) -> None:
        for row, value in zip(rows, values, strict=True):
            several = value if type(value) is list else [value]
            for kind in KINDS:
                found = [one for one in several if _KINDS_OF[type(one)] == kind]
                if kind == "number":
                    found = [one for one in found if -math.inf < float_of(one) < math.inf]
                if found:
                    pieces = self._pieces(name, kind)
                    pieces.lists |= type(value) is list
                    pieces.add((row,), (found if type(value) is list else found[0],))

    def _pieces(self, name: str, kind: str) -> Pieces:
        return self.columns.setdefault(Key(name, kind), Pieces())

    def _forget_what_has_no_place(self) -> None:
        """With far more names than columns, keep only those that can get one: memory stays flat."""
        if len(self.columns) > 4 * MAX_COLUMNS:
            names = set(sorted({key.name for key in self.columns}, key=rank)[: 2 * MAX_COLUMNS])
            self.columns = {key: pieces for key, pieces in self.columns.items() if key.name in names}

    def fixed(self) -> dict[str, Array]:
        """The columns that every part has; times are Unix milliseconds."""
        return {
            "_id": _objects(self._ids),
            "_source": _objects(self._sources),
            "_subject": _objects(self._subjects),
            "@timestamp": _joined(self._times["@timestamp"]),
            "received_at": _joined(self._times["received_at"]),
            "seq": _masked(np.int64, self._seqs),
        }


def float_of(number: float) -> float:
    """A number as a double; infinite beyond its range."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def doubles(numbers: Sequence[float]) -> Array:
    """Numbers as doubles; infinite beyond their range."""
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        return np.array(list(map(float_of, numbers)))


def times(values: list[Any]) -> Array:
    """Stored times as Unix milliseconds, masked where there is none."""
    # "2026-11-22T09:30:00.123Z"    what intake and most shippers store; all others one by one
    if all(type(value) is str and value[4:20:3] == "--T::." and value[23:] == "Z" for value in values):
        try:
            found = np.array([value[:23] for value in values], dtype="datetime64[ms]")
        except ValueError:
            pass
        else:
            return np.ma.array(found.astype(np.int64))
    return _masked(np.int64, [time_ms(value) for value in values])


def _joined(pieces: list[Array]) -> Array:
    joined: Array = np.ma.concatenate(pieces)  # type: ignore[no-untyped-call]
    return joined


def _masked(dtype: Any, values: list[Any]) -> Array:
    mask = [value is None for value in values]
    return np.ma.array([0 if value is None else value for value in values], mask=mask, dtype=dtype)


def _objects(values: Iterable[Any]) -> Array:
    return np.array(values, dtype=object)


def as_json(kind: str, value: Any) -> str:
    several = value if type(value) is list else [value]
    return orjson.dumps([float_of(one) for one in several] if kind == "number" else several).decode()
