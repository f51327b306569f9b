"""A day's counted usages as arrays, each with its verdict: whether it counts, and if not, why.

Sessions end at midnight, so all that is unique is unique within a day. Double clicks alone reach across midnight: the
first clicks of the next day are read as well, under the hash that they would have had the day before.

Source: COUNTER R5.1, section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from metronome.counter.about import Uses, uses
from metronome.counter.identities import DOUBLE_CLICK
from metronome.event.memo import Memo
from metronome.parts.columns import Array
from metronome.parts.read import Opens, Wanted, read
from metronome.parts.where import All, Exists, Where

AT = Wanted("@timestamp", "number")
CLICK = Wanted("counter.click", "text")
BEFORE = Wanted("counter.click_before", "text")
SESSION = Wanted("session_id", "text")
ABOUT = Wanted("counter.about", "text")
ROBOT = Wanted("is_robot", "flag")

_COUNTED = Exists("counter.about")

_GAP_MS = int(DOUBLE_CLICK.total_seconds() * 1000)

#: Verdicts, by their numbers in `Day.verdict`.
COUNTS, IS_ROBOT, IS_NOTHING, IS_DOUBLE = range(4)

#: Texts repeat from day to day.
_uses = Memo(uses, most=50_000, longest=10_000)


@dataclass(frozen=True)
class Day:
    """All arrays have a place for each usage; `about` is a place in `abouts`, `session` is a code."""

    at: Array
    session: Array
    about: Array
    abouts: list[Uses]
    verdict: Array
    extra: dict[Wanted, Array]

    @property
    def counted(self) -> Array:
        """The places of the usages that count."""
        return np.flatnonzero(self.verdict == COUNTS)


def load(folder: Opens, day: date, *, where: Where = _COUNTED, extra: Sequence[Wanted] = ()) -> Day | None:
    """The usages of a day, from its part; None where it has none. `extra` are plain columns that are wanted too."""
    wanted = [AT, CLICK, SESSION, ABOUT, ROBOT, *extra]
    for rows in read(folder, [day], wanted, All((_COUNTED, where))):
        if not rows.count:
            return None
        abouts = [_uses[text] for text in rows.columns[ABOUT].words.tolist()]  # type: ignore[union-attr]
        about = rows.columns[ABOUT].values
        at, click = rows.columns[AT].values, rows.columns[CLICK]
        verdict = _verdicts(abouts, about, rows.columns[ROBOT].values)
        words = click.words if click.words is not None else np.empty(0, object)
        _mark_double(verdict, at, click.values, _clickable(abouts)[about], _after(folder, day, words))
        return Day(
            at, rows.columns[SESSION].values, about, abouts, verdict, {one: rows.columns[one].values for one in extra}
        )
    return None


def _verdicts(abouts: list[Uses], about: Array, robot: Array) -> Array:
    means = np.array([bool(one.items or one.search) for one in abouts], bool)[about]
    return np.where(robot == 1, IS_ROBOT, np.where(means, COUNTS, IS_NOTHING)).astype(np.int8)


def _clickable(abouts: list[Uses]) -> Array:
    """Which can be half of a double click; a search never is, whatever else it is."""
    return np.array([one.is_click for one in abouts], bool)


def _mark_double(verdict: Array, at: Array, click: Array, clickable: Array, after: tuple[Array, Array]) -> None:
    """Of two neighbouring clicks at most 30 s apart the earlier is marked; a chain leaves only its last."""
    places = np.flatnonzero((verdict == COUNTS) & clickable & (click >= 0))
    codes = np.concatenate((click[places], after[0]))
    times = np.concatenate((at[places], after[1]))
    order = np.lexsort((times, codes))
    earlier, later = order[:-1], order[1:]
    double = (codes[earlier] == codes[later]) & (times[later] - times[earlier] <= _GAP_MS)
    double = earlier[double]
    verdict[places[double[double < len(places)]]] = IS_DOUBLE


def _after(folder: Opens, day: date, words: Array) -> tuple[Array, Array]:
    """The first clicks of the next day: their codes among this day's `words`, where they are, and their times."""
    wanted = [AT, BEFORE, ABOUT, ROBOT]
    nothing = np.empty(0, np.int64)
    for rows in read(folder, [day + timedelta(days=1)], wanted, Exists(BEFORE.name)):
        if not rows.count or not len(words):
            break
        abouts = [_uses[text] for text in rows.columns[ABOUT].words.tolist()]  # type: ignore[union-attr]
        about = rows.columns[ABOUT].values
        verdict = _verdicts(abouts, about, rows.columns[ROBOT].values)
        before = rows.columns[BEFORE]
        theirs = before.words if before.words is not None else nothing
        place = np.clip(np.searchsorted(words, theirs), 0, len(words) - 1)
        code = np.where(words[place] == theirs, place, -1)[before.values]
        kept = (verdict == COUNTS) & _clickable(abouts)[about] & (code >= 0)
        return code[kept], rows.columns[AT].values[kept]
    return nothing, nothing
