"""The persons of rows, numbered as they come.

The person of an event is who its `distinct_id` is; an event of `/v1` without one is its session's, or that of the user
to whom the session belonged when it was received. All others are of nobody. Source: query contract, section 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metronome.parts import where
from metronome.parts.merged import Texts
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
        self.names: Sequence[str] = []
        #: The texts of the last batch, and the numbers of their persons; None where each is a person of its number.
        self._last: tuple[Any, Array | None] | None = None
        #: Whether any row's person has another id than the row.
        self.merged = False
        self.wanted: list[Wanted | Mask] = [SUBJECT]
        if nobody or view.moves:
            self.wanted += [_SAID, RECEIVED]

    def of(self, rows: Rows) -> Array:
        """The number of each row's person, or NOBODY."""
        found = rows.columns[SUBJECT]
        numbers = np.empty(0, np.int64) if found.words is None else self._of_words(found.words)
        person = found.values.astype(np.int64) if numbers is None else coded(found.values, numbers)
        if _SAID in rows.columns:
            said = rows.columns[_SAID].values
            if found.words is not None and self._view.moves:
                self._move(rows, found.words.tolist(), said, person)
            person[(said & np.uint64(_SOMEBODY)) == 0] = NOBODY
        return person

    def _of_words(self, words: Any) -> Array | None:
        """The numbers of the persons of texts. Batches of merged columns share their texts, which may be many."""
        if self._last is None or self._last[0] is not words:
            self._last = (words, self._known(words))
        return self._last[1]

    def _known(self, words: Any) -> Array | None:
        if not self.names and isinstance(words, Texts) and self._view.unlinked:
            # Nobody has been numbered yet, and texts differ: they are the persons. None of them is looked at.
            self.names = words
            return None
        return self._numbered(words.tolist())

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
        if len(numbers) < len(self.names):
            numbers.update(zip(self.names, range(len(self.names)), strict=True))
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
