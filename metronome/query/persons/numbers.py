"""The persons of rows, numbered as they come.

The person of an event is who its `distinct_id` is; an event of `/v1` without one is its session's, or that of the user
to whom the session belonged when it was received. All others are of nobody. Source: query contract, section 1.
"""

from __future__ import annotations

import numpy as np

from metronome.parts import where
from metronome.parts.read import NONE, Mask, Rows, Wanted
from metronome.people.fold import owner_of
from metronome.people.view import View
from metronome.query.journeys.columns import Array

#: Number of nobody.
NOBODY = -1

SUBJECT = Wanted("_subject", "text")
AT, SEQ, RECEIVED = (Wanted(name, "number") for name in ("@timestamp", "seq", "received_at"))

#: Events that are somebody's.
SOMEBODY = where.Any((where.Exists("distinct_id"), where.Is("dialect", ("openmetrics",))))

_IDENTIFIED, _SOMEBODY = 1, 2
_SAID = Mask((where.Exists("distinct_id"), SOMEBODY))


class Persons:
    """`names` are the persons by number. With `nobody`, rows may be of nobody; else the reader has left those out."""

    def __init__(self, view: View, *, nobody: bool) -> None:
        self._view = view
        self._numbers: dict[str, int] = {}
        self.names: list[str] = []
        #: Whether any row's person has another id than the row.
        self.merged = False
        self.wanted: list[Wanted | Mask] = [SUBJECT]
        if nobody or view.moves:
            self.wanted += [_SAID, RECEIVED]

    def of(self, rows: Rows) -> Array:
        """The number of each row's person, or NOBODY."""
        found = rows.columns[SUBJECT]
        words = [] if found.words is None else found.words.tolist()
        person = coded(found.values, self._numbered(words))
        if _SAID in rows.columns:
            said = rows.columns[_SAID].values
            self._move(rows, words, said, person)
            person[(said & np.uint64(_SOMEBODY)) == 0] = NOBODY
        return person

    def _move(self, rows: Rows, words: list[str], said: Array, person: Array) -> None:
        """Give the events of sessions that have moved to whom the session belonged when they were received."""
        moves = self._view.moves
        moved = np.array([word in moves for word in words], bool)
        if not moved.any():
            return
        code = rows.columns[SUBJECT].values
        places = np.flatnonzero((code >= 0) & moved[code] & ((said & np.uint64(_IDENTIFIED)) == 0))
        received = rows.columns[RECEIVED].values[places].tolist()
        owners = [
            owner_of(words[number], 0 if at == NONE else at, moves)
            for number, at in zip(code[places].tolist(), received, strict=True)
        ]
        self.merged |= bool(owners)
        person[places] = self._numbered(owners)

    def _numbered(self, ids: list[str]) -> Array:
        persons = self._view.resolve(ids)
        self.merged |= persons != ids
        numbers = self._numbers
        found = np.array([numbers.setdefault(name, len(numbers)) for name in persons], np.int64)
        if len(numbers) > len(self.names):
            self.names = list(numbers)
        return found


def coded(values: Array, numbers: Array) -> Array:
    """Codes of a batch as the question's own numbers; -1 stays."""
    if not len(numbers):
        return np.full(len(values), -1, np.int64)
    found: Array = np.where(values >= 0, numbers[np.maximum(values, 0)], -1)
    return found
