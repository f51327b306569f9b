"""Day parts as columns: read day by day, numbered by subject, put in the total order once all are in.

Rows come sorted within a day. So one stable sort by subject and time nearly suffices: `seq`, the time of arrival and
at last the id are looked at only where two rows of a subject have the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np

from metronome.errors import PartsUnavailable
from metronome.parts import where
from metronome.parts.read import NONE, Mask, Rows, Values, Wanted, read
from metronome.parts.where import Where
from metronome.periods import to_ms
from metronome.query.condition import Condition
from metronome.query.journeys.columns import Array, Columns, Keys, by_unit, firsts
from metronome.query.persons.bits import Bits, possible
from metronome.query.persons.facts import Facts
from metronome.query.persons.numbers import AT, NOBODY, RECEIVED, SEQ, SOMEBODY, Persons, coded
from metronome.query.persons.rules import asks_persons, property_of, rules_of
from metronome.query.persons.scene import Scene

KINDS = ("text", "number", "flag")

#: What sorting needs beside what it sorts.
_SORTING = 2.5


@dataclass(frozen=True)
class Wish:
    """What a question reads: `conditions` become bits; without `every`, rows that meet none are left out."""

    where: Condition
    conditions: tuple[Condition, ...]
    subject: str
    every: bool = False
    sessions: bool = False
    fields: tuple[str, ...] = ()
    number: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    #: Only this subject, and with the ids of its events.
    only: str | None = None


@dataclass
class Loaded:
    """Columns, and of each row (by `place`) its day and place there; the ids where they were asked for."""

    columns: Columns
    days: list[date]
    ids: list[str] | None = None

    def document(self, row: int) -> tuple[date, str]:
        """The day whose index holds the row's document, and its id."""
        assert self.ids is not None
        place = int(self.columns.place[row])
        return self.days[place >> 32], self.ids[row]


def load(scene: Scene, wish: Wish) -> Loaded:
    """The columns of a question; raises TooMuch, StoreUnavailable, PartsUnavailable."""
    reader = _Reader(scene, wish)
    for rows, of_day in scene.read(reader.wanted, reader.where):
        reader.take(rows, of_day)
    return reader.loaded()


@dataclass
class _Pieces:
    """A column in pieces, one a day."""

    parts: list[Array] = field(default_factory=list)

    def joined(self, dtype: Any) -> Array:
        return np.concatenate([np.empty(0, dtype), *self.parts]).astype(dtype, copy=False)


class _Reader:
    def __init__(self, scene: Scene, wish: Wish) -> None:
        self._scene, self._wish, self._budget, self._there = scene, wish, scene.budget, scene.there
        self._codes: dict[Any, int] = {}
        self._sessions: dict[str, int] = {}
        self._tables: dict[str, dict[tuple[Any, ...], int]] = {name: {} for name in wish.fields}
        self._pieces: dict[str, _Pieces] = {}
        self._ids: list[str] = []
        conditions = (wish.where, *wish.conditions)
        rules = [rule for condition in conditions for rule in rules_of(condition)]
        properties = {name: found for name in wish.fields if (found := property_of(name)) is not None}
        facts = Facts(scene, rules, properties.values())
        asked = self._by_person or rules or properties
        self._persons = Persons(scene.view, nobody=wish.subject != "person") if asked else None
        self._properties = {
            name: _OfPersons(found, facts, self._persons, self._tables[name])
            for name, found in properties.items()
            if self._persons is not None
        }
        self._bits = Bits(wish.conditions, facts, self._persons)
        # What of `where` asks about persons is looked at row by row, the rest while the parts are read.
        self._kept = Bits((wish.where,), facts, self._persons) if asks_persons(wish.where) else None
        self._of_field = [] if self._by_person else _of_field(wish.subject)
        self._only = scene.view.resolve([wish.only])[0] if wish.only is not None and self._by_person else wish.only
        self.where = where.All(tuple(self._asked()))
        self.wanted = self._wanted()

    @property
    def _by_person(self) -> bool:
        return self._wish.subject == "person"

    def _asked(self) -> Iterator[Where]:
        wish, view = self._wish, self._scene.view
        yield possible(wish.where)
        yield SOMEBODY if self._by_person else where.Exists(_field(wish.subject))
        if self._only is not None and self._by_person:
            yield where.Is("_subject", tuple(view.sent_under(view.ids_of(self._only))))
        if not wish.every and wish.conditions:
            yield where.Any(tuple(map(possible, wish.conditions)))
        for name, bound in (("gte", wish.start), ("lte", wish.end)):
            if bound is not None:
                yield where.Between("@timestamp", **{name: to_ms(bound)})

    def _wanted(self) -> list[Wanted | Mask]:
        wish = self._wish
        found: list[Wanted | Mask] = [AT, SEQ, RECEIVED, *self._bits.wanted, *self._of_field]
        found += self._kept.wanted if self._kept else []
        found += self._persons.wanted if self._persons else []
        names = [name for name in wish.fields if name not in self._properties]
        found += [Wanted(name, kind) for name in names for kind in KINDS]  # type: ignore[arg-type]
        if wish.sessions:
            found.append(Wanted("session_id", "text"))
        if wish.number is not None:
            found.append(Wanted(wish.number, "number"))
        if wish.only is not None:
            found.append(Wanted("_id", "text", plain=True))
        return found

    def take(self, rows: Rows, of_day: Array) -> None:
        """Take the rows of some days in: one row for each subject of an event."""
        person = self._persons.of(rows) if self._persons else None
        place, unit = self._units(rows, person)
        kept = rows.columns[AT].values[place] != NONE
        if self._kept:
            kept &= self._kept.of(rows, person)[0][place]
        if not kept.all():
            place, unit = place[kept], unit[kept]
        self._add("unit", unit.astype(np.int32))
        for name, values in self._columns(rows, of_day, person):
            # Nearly always each row has one person, and all columns stay as they are.
            self._add(name, values if self._by_person and len(place) == rows.count else values[place])
        if self._wish.only is not None:
            ids = rows.columns[Wanted("_id", "text", plain=True)].values
            self._ids += [str(ids[one]) for one in place.tolist()]
        held = sum(part.nbytes for pieces in self._pieces.values() for part in pieces.parts)
        self._budget.hold(int(held * _SORTING))

    def _columns(self, rows: Rows, of_day: Array, person: Array | None) -> Iterator[tuple[str, Array]]:
        """The columns of a question, a value a row."""
        yield "time", rows.columns[AT].values
        yield "seq", rows.columns[SEQ].values
        yield "received", rows.columns[RECEIVED].values
        yield "bits", self._bits.packed(rows, person)
        # The days stand one after another: a row's place in its day counts from the day's first row.
        begins = firsts(of_day)
        in_day = np.arange(rows.count) - np.repeat(begins, np.diff(np.append(begins, rows.count)))
        yield "place", in_day + (of_day << 32)
        for name, table in self._tables.items():
            of_person = self._properties.get(name)
            codes = _keys(rows, name, table) if of_person is None or person is None else of_person.keys(person)
            yield f"key {name}", codes
        if self._wish.sessions:
            found = rows.columns[Wanted("session_id", "text")]
            yield "session", _first_of(rows.count, found, _numbered(found.words, self._sessions))
        if self._wish.number is not None:
            yield "number", _sums(rows, self._wish.number)

    def _add(self, name: str, values: Array) -> None:
        self._pieces.setdefault(name, _Pieces()).parts.append(values)

    def _units(self, rows: Rows, person: Array | None) -> tuple[Array, Array]:
        """Pairs of a row and the number of a subject of it; none of other subjects where only one is wanted."""
        if self._by_person:
            assert person is not None and self._persons is not None
            wanted = person != NOBODY
            if self._only is not None:
                wanted &= np.array([name == self._only for name in self._persons.names] + [False])[person]
            place = np.flatnonzero(wanted)
            return place, person[place]
        pairs = []
        for one in self._of_field:
            place, code, values = values_at(rows.columns[one], one.kind)
            pairs.append((place, self._numbers(values)[code]))
        place, unit = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        kept = unit >= 0
        once = np.unique(np.stack([place[kept], unit[kept]]), axis=1)
        return once[0], once[1]

    def _numbers(self, values: list[Any]) -> Array:
        """The numbers of a day's subjects; -1 where only another one is wanted."""
        only = self._only
        return np.array(
            [
                -1 if only is not None and _name(value) != only else self._codes.setdefault(value, len(self._codes))
                for value in values
            ],
            np.int64,
        )

    def loaded(self) -> Loaded:
        unit, time = self._joined("unit", np.int32), self._joined("time", np.int64)
        order = self._order(unit, time)
        keys = {
            name: Keys(self._joined(f"key {name}", np.int32)[order], list(table) or [()])
            for name, table in self._tables.items()
        }
        columns = Columns(
            self._persons.names if self._by_person and self._persons else [_name(code) for code in self._codes],
            unit[order],
            time[order],
            self._joined("bits", np.uint64)[order],
            self._joined("place", np.int64)[order],
            self._joined("session", np.int32)[order] if self._wish.sessions else None,
            keys,
            self._joined("number", np.float64)[order] if self._wish.number is not None else None,
        )
        ids = [self._ids[one] for one in order.tolist()] if self._wish.only is not None else None
        return Loaded(columns, self._there, ids)

    def _joined(self, name: str, dtype: Any) -> Array:
        return self._pieces.pop(name, _Pieces()).joined(dtype)

    def _order(self, unit: Array, time: Array) -> Array:
        """The rows by subject, then in the total order."""
        # Days come one after another, and each is in order: as a rule the times of a unit rise already.
        order = by_unit(unit)
        units, times = unit[order], time[order]
        alike = units[:-1] == units[1:]
        if (alike & (times[:-1] > times[1:])).any():
            order = np.lexsort((time, unit))
            times = time[order]
        equal = alike & (times[:-1] == times[1:])
        seq, received = self._joined("seq", np.int64), self._joined("received", np.int64)
        if not equal.any():
            return order
        tied = np.concatenate(([False], equal)) | np.concatenate((equal, [False]))
        at = np.flatnonzero(tied)
        rows = order[at]
        # An event that never arrived at intake stands after those that did.
        arrived = np.where(received == NONE, np.iinfo(np.int64).max, received)
        keys = [arrived[rows], seq[rows], time[rows], unit[rows]]
        order[at] = rows[np.lexsort([*self._by_id(rows, keys), *keys])]
        return order

    def _by_id(self, rows: Array, keys: list[Array]) -> list[Array]:
        """The rank of each tied row by its id, where nothing else tells rows apart and a day's own order doesn't."""
        sorted_ = np.lexsort(keys)
        place = self._pieces["place"].joined(np.int64)[rows]
        alike = np.ones(max(len(rows) - 1, 0), bool)
        for key in keys:
            alike &= key[sorted_][1:] == key[sorted_][:-1]
        day = place[sorted_] >> 32
        own = self._by_person and self._persons is not None and not self._persons.merged
        unsure = alike & ((day[1:] != day[:-1]) | (not own))
        if not unsure.any():
            return [place]
        ids = self._read_ids(np.unique(place >> 32).tolist())
        texts = [ids[one >> 32][one & 0xFFFFFFFF].encode() for one in place.tolist()]
        rank = {text: number for number, text in enumerate(sorted(set(texts)))}
        return [np.array([rank[text] for text in texts], np.int64)]

    def _read_ids(self, days: list[int]) -> dict[int, list[str]]:
        wanted = Wanted("_id", "text", plain=True)
        folder = self._scene.days.folder()
        found = {}
        for number in days:
            self._budget.check()
            for rows in read(folder, [self._there[number]], [wanted], self.where):
                found[number] = rows.columns[wanted].values.tolist()
        if len(found) < len(days):
            raise PartsUnavailable("a day part was removed while it was read; ask again")
        return found


def _field(subject: str) -> str:
    return "session_id" if subject == "session" else subject


def _of_field(subject: str) -> list[Wanted]:
    """The columns that say whose an event is."""
    return [Wanted(_field(subject), kind) for kind in KINDS]  # type: ignore[arg-type]


def _name(code: tuple[str, Any]) -> str:
    kind, value = code
    if kind == "text":
        return str(value)
    return str(value).lower() if kind == "flag" else str(int(value) if float(value).is_integer() else value)


def _numbered(words: Array | None, known: dict[str, int]) -> Array:
    found = [] if words is None else words.tolist()
    return np.array([known.setdefault(word, len(known)) for word in found], np.int64)


def _first_of(count: int, found: Values, numbers: Array) -> Array:
    """The number of each row's first text; -1 for none."""
    code = coded(found.values, numbers)
    if found.rows is None:
        return code
    first = np.full(count, -1, np.int64)
    begins = firsts(found.rows)
    first[found.rows[begins]] = code[begins]
    return first


def _sums(rows: Rows, name: str) -> Array:
    """The sum of each row's numbers; NaN for none."""
    found = rows.columns[Wanted(name, "number")]
    if found.rows is None:
        return found.values.astype(np.float64)
    sums = np.bincount(found.rows, found.values, minlength=rows.count)
    none = np.bincount(found.rows, minlength=rows.count) == 0
    return np.where(none, np.nan, sums)


def _keys(rows: Rows, name: str, table: dict[tuple[Any, ...], int]) -> Array:
    """The number of each row's values in the table, which grows."""
    columns = [values_at(rows.columns[Wanted(name, kind)], kind) for kind in KINDS]  # type: ignore[arg-type]
    codes = np.full(rows.count, table.setdefault((), len(table)), np.int64)
    if not any(rows.columns[Wanted(name, kind)].rows is not None for kind in KINDS):  # type: ignore[arg-type]
        for place, code, values in columns:
            numbers = np.array([table.setdefault((value,), len(table)) for value in values], np.int64)
            codes[place] = numbers[code]
        return codes
    each: dict[int, dict[Any, None]] = {}
    for place, code, values in columns:
        for row, one in zip(place.tolist(), code.tolist(), strict=True):
            each.setdefault(row, {})[values[one]] = None
    for row, found in each.items():
        codes[row] = table.setdefault(tuple(found), len(table))
    return codes


class _OfPersons:
    """The numbers of persons' values of a property in the table of all such values; an event of nobody has none."""

    def __init__(self, name: str, facts: Facts, persons: Persons, table: dict[tuple[Any, ...], int]) -> None:
        self._name, self._facts, self._persons, self._table = name, facts, persons, table
        self._codes: list[int] = []
        self._none = table.setdefault((), len(table))

    def keys(self, person: Array) -> Array:
        names = self._persons.names[len(self._codes) :]
        values = [self._facts.values(self._name, one) for one in names]
        self._codes += [self._table.setdefault(one, len(self._table)) for one in values]
        # The last one is found by the number of nobody, -1.
        return np.array([*self._codes, self._none], np.int64)[person]


def values_at(found: Values, kind: str) -> tuple[Array, Array, list[Any]]:
    """Places of values: the row, the code, and what the codes stand for, typed."""
    if kind == "text":
        there = found.values >= 0
        code = found.values[there]
        values: list[Any] = [("text", word) for word in ([] if found.words is None else found.words.tolist())]
    else:
        whole = found.values.dtype.kind == "i"
        there = found.values >= 0 if kind == "flag" else found.values != NONE if whole else ~np.isnan(found.values)
        different, code = np.unique(found.values[there], return_inverse=True)
        values = [("flag", bool(one)) if kind == "flag" else ("number", _plain(one)) for one in different.tolist()]
    place = np.flatnonzero(there) if found.rows is None else found.rows[there]
    return place, code, values


def _plain(number: float) -> float | int:
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number
