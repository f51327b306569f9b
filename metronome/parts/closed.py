"""Read days: closed ones from merged columns (merged.py) where there are any, all others from their parts (read.py).

Both give the same rows in the same order within a day. A question needs columns for what it wants and for what it asks
about; where the set lacks one of them, the parts answer, and the set has it before long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

import numpy as np

from metronome.parts.columns import Array
from metronome.parts.folder import Folder
from metronome.parts.match import Matching, Met, keys_of
from metronome.parts.merge import Merger, closed
from metronome.parts.merged import Day, Key, Opened, Sets, Texts, files_of
from metronome.parts.read import NONE, WHOLE, Mask, Names, Rows, Values, Wanted, read_together
from metronome.parts.where import All, Between, Where

#: Rows that are looked at at one time.
ROWS = 1_000_000

#: Each row has another of these.
_NOT_READ = ("_id", "_source")

#: `seq` may be larger than a double holds exactly; conditions on it are left to the parts.
_NOT_ASKED = (*_NOT_READ, "seq")

_AT = "@timestamp"

_DTYPES: dict[str, type] = {"number": np.float64, "flag": np.int8, "text": np.int32}

#: Up to so many different texts are handed on as they are; and up to so many times the number of rows.
_SMALL = 1000
_OFTEN = 8


@dataclass(frozen=True)
class Own:
    """The parts that sets are made of, who makes them, and days that are read from elsewhere."""

    folder: Folder
    merger: Merger
    others: Collection[date] = ()


def read_days(
    folder: Names,
    own: Own,
    days: Sequence[date],
    wanted: Sequence[Wanted | Mask],
    where: Where = All(()),  # noqa: B008
) -> Iterator[tuple[Rows, Array]]:
    """As `read.read_together`: rows of days, and the place in `days` of each row's day."""
    found = _open(own, days, wanted, where)
    if found is not None:
        opened, places = found
        yield from _Reading(opened, list(wanted), where).read(places)
        left = [place for place in range(len(days)) if place not in places]
    else:
        left = list(range(len(days)))
    if left:
        numbers = np.array(left, np.int64)
        for rows, of_day in read_together(folder, [days[place] for place in left], wanted, where):
            yield rows, numbers[of_day]


def _open(
    own: Own, days: Sequence[date], wanted: Sequence[Wanted | Mask], where: Where
) -> tuple[Opened, dict[int, Day]] | None:
    """A set that has what is wanted, and the days that may be read from it by their place; None without one."""
    keys = _keys(wanted, where)
    if not own.merger.max_bytes or keys is None:
        return None
    mine = {day: place for place, day in enumerate(days) if day not in own.others}
    opened = Sets(own.folder.root).open()
    if opened is not None and not set(opened.manifest.unfit).isdisjoint(keys):
        return None
    places = {}
    if opened is not None and all(key in opened for key in keys):
        places = _current(own.folder, opened, mine)
        missing = set(closed(mine)) - {days[place] for place in places}
    else:
        missing = set(closed(mine))
    if any(_has_room(day, opened, own.merger.max_bytes) for day in missing):
        own.merger.want(own.folder, keys)
    if opened is None or not places:
        return None
    try:
        opened.map(keys)
    except (OSError, ValueError):
        return None
    return opened, places


def _has_room(day: date, opened: Opened | None, max_bytes: int) -> bool:
    """Whether a set could have the day; where there wasn't room for all, one has the latest days."""
    if opened is None or not opened.manifest.full or opened.manifest.full < max_bytes:
        return True
    return bool(opened.manifest.days) and day > opened.manifest.days[0].day


def _current(folder: Folder, opened: Opened, mine: dict[date, int]) -> dict[int, Day]:
    """The days of the set whose parts are still those that it was made from, in order."""
    found = {}
    for day, one in opened.days.items():
        if day in mine and files_of(folder.part(day)) == one.files:
            folder.note_reading(day)
            found[mine[day]] = one
    return found


def _keys(wanted: Sequence[Wanted | Mask], where: Where) -> list[Key] | None:
    """The columns that a question needs; None where columns can't answer it."""
    asked = [where, *(part for one in wanted if isinstance(one, Mask) for part in one.of)]
    keys = [key for one in asked for key in keys_of(one)]
    values = [one for one in wanted if isinstance(one, Wanted)]
    if any(key.name in _NOT_ASKED for key in keys) or any(one.plain or one.name in _NOT_READ for one in values):
        return None
    return list(dict.fromkeys([*keys, *(Key(one.name, one.kind) for one in values)]))


class _Reading:
    """What a question reads of a set."""

    def __init__(self, opened: Opened, wanted: list[Wanted | Mask], where: Where) -> None:
        self._opened, self._wanted = opened, wanted
        self._parts = where.of if isinstance(where, All) else (where,)

    def read(self, places: dict[int, Day]) -> Iterator[tuple[Rows, Array]]:
        stretch: list[tuple[int, Day]] = []
        for place, day in places.items():
            if day.begin == day.end or any(_outside(part, day) for part in self._parts):
                continue
            if stretch and (day.begin != stretch[-1][1].end or day.end - stretch[0][1].begin > ROWS):
                yield self._batch(stretch)
                stretch = []
            stretch.append((place, day))
        if stretch:
            yield self._batch(stretch)

    def _batch(self, stretch: list[tuple[int, Day]]) -> tuple[Rows, Array]:
        """The rows of days that stand one after another."""
        begin, end = stretch[0][1].begin, stretch[-1][1].end
        columns = _Stretch(self._opened, begin, end)
        matching = Matching(columns)
        unsure = [part for part in self._parts if not all(_inside(part, day) for _, day in stretch)]
        chosen = _Chosen(columns, matching, end - begin, matching.of(All(tuple(unsure))))
        edges = np.array([*(day.begin for _, day in stretch), end], np.int64) - begin
        counts = np.diff(edges if chosen.row is None else np.searchsorted(chosen.row, edges))
        of_day = np.repeat(np.array([place for place, _ in stretch], np.int64), counts)
        found = {one: chosen.mask(one) if isinstance(one, Mask) else chosen.values(one) for one in self._wanted}
        return Rows(stretch[0][1].day, chosen.count, found), of_day


def _outside(part: Where, day: Day) -> bool:
    """Whether no event of the day can be within these bounds of time."""
    if not isinstance(part, Between) or part.name != _AT:
        return False
    return (
        (part.gte is not None and day.last_ms < part.gte)
        or (part.gt is not None and day.last_ms <= part.gt)
        or (part.lte is not None and day.first_ms > part.lte)
        or (part.lt is not None and day.first_ms >= part.lt)
    )


def _inside(part: Where, day: Day) -> bool:
    """Whether every event of the day is within these bounds of time. The first time is NONE where one has none."""
    if not isinstance(part, Between) or part.name != _AT or day.first_ms == NONE:
        return False
    return (
        (part.gte is None or day.first_ms >= part.gte)
        and (part.gt is None or day.first_ms > part.gt)
        and (part.lte is None or day.last_ms <= part.lte)
        and (part.lt is None or day.last_ms < part.lt)
    )


class _Stretch:
    """The columns of some rows of a set."""

    def __init__(self, opened: Opened, begin: int, end: int) -> None:
        self._opened, self._span = opened, slice(begin, end)

    def numbers(self, key: Key) -> Array | float:
        found = self._opened.numbers(key)
        return found[self._span] if isinstance(found, np.ndarray) else found

    def texts(self, key: Key) -> Texts:
        return self._opened.texts(key)


class _Chosen:
    """The rows that meet the question's condition; `row` is None for all of them."""

    def __init__(self, columns: _Stretch, matching: Matching, rows: int, met: Met) -> None:
        self._columns, self._matching = columns, matching
        self.row = None if met is True else np.empty(0, np.int64) if met is False else np.flatnonzero(met)
        self.count = rows if self.row is None else len(self.row)

    def _taken(self, found: Array) -> Array:
        return found if self.row is None else found[self.row]

    def mask(self, mask: Mask) -> Values:
        bits = np.zeros(self.count, np.uint64)
        for n, one in enumerate(mask.of):
            met = self._matching.of(one)
            if met is True:
                bits |= np.uint64(1 << n)
            elif met is not False:
                bits |= self._taken(met).astype(np.uint64) << np.uint64(n)
        return Values(bits)

    def values(self, one: Wanted) -> Values:
        key = Key(one.name, one.kind)
        dtype = np.int64 if one.name in WHOLE and one.kind == "number" else _DTYPES[one.kind]
        found = self._columns.numbers(key)
        if isinstance(found, np.ndarray):
            values: Array = self._taken(found).astype(dtype, copy=False)
        else:
            values = np.full(self.count, found).astype(dtype)
        return self._coded(values, self._columns.texts(key)) if one.kind == "text" else Values(values)

    def _coded(self, values: Array, texts: Texts) -> Values:
        """Codes with their texts; of many texts only those that occur, since the others would have to be made too."""
        if len(texts) <= max(_OFTEN * self.count, _SMALL):
            return Values(values, cast(Array, texts))
        used, code = np.unique(values, return_inverse=True)
        none = int(len(used) > 0 and used[0] < 0)
        words = np.array([texts[number] for number in used[none:].tolist()], object)
        return Values((code - none).astype(np.int32), words)
