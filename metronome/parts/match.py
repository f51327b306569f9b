"""Conditions over columns of numbers: which rows meet one, as expressions.py says it in SQL.

A missing value meets no positive condition. What is the same for all rows is a plain True or False, and costs nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any, Protocol

import numpy as np

from metronome.parts import where as conditions
from metronome.parts.columns import KINDS, Array, float_of
from metronome.parts.merged import EXISTS, Key, Texts
from metronome.parts.read import NONE, WHOLE
from metronome.parts.where import Where

#: Whether each row meets a condition; a plain value is that of all rows.
Met = Array | bool

_PYTHON = {"number": (int, float), "flag": (bool,), "text": (str,)}

#: Numbers that are compared one by one; more of them are looked up in a table.
_FEW = 8

#: By what a number is compared with a bound, the bound first.
_OPERATORS = {"<": operator.gt, "<=": operator.ge, ">": operator.lt, ">=": operator.le}


class Numbers(Protocol):
    """The columns of some rows."""

    def numbers(self, key: Key) -> Array | float: ...

    def texts(self, key: Key) -> Texts: ...


def keys_of(where: Where) -> Iterator[Key]:
    """The columns that tell who meets the condition."""
    if isinstance(where, conditions.All | conditions.Any):
        for one in where.of:
            yield from keys_of(one)
    elif isinstance(where, conditions.Not):
        yield from keys_of(where.of)
    else:
        for kind in _kinds_of(where):
            yield Key(where.name, kind)


def _kinds_of(where: Where) -> tuple[str, ...]:
    if isinstance(where, conditions.Exists):
        return (EXISTS,)
    if isinstance(where, conditions.Is):
        return tuple(kind for kind in KINDS if _of_kind(where.values, kind))
    if isinstance(where, conditions.Outside):
        return KINDS
    return ("number",) if isinstance(where, conditions.Compare | conditions.Between) else ("text",)


def _of_kind(values: tuple[Any, ...], kind: str) -> list[Any]:
    return [value for value in values if type(value) in _PYTHON[kind]]


class Matching:
    """The conditions of one question over some rows. Each is looked at once, however often it is asked."""

    def __init__(self, columns: Numbers) -> None:
        self._columns = columns
        self._met: dict[str, Met] = {}

    def of(self, where: Where) -> Met:
        # As text, since the flag True and the number 1 are equal as values.
        asked = repr(where)
        if asked not in self._met:
            self._met[asked] = self._find(where)
        return self._met[asked]

    def _find(self, where: Where) -> Met:
        if isinstance(where, conditions.All):
            return _all(map(self.of, where.of))
        if isinstance(where, conditions.Any):
            return _any(map(self.of, where.of))
        if isinstance(where, conditions.Not):
            found = self.of(where.of)
            return not found if isinstance(found, bool) else ~found
        if isinstance(where, conditions.Exists):
            return self._test(Key(where.name, EXISTS), lambda there: there != 0)
        if isinstance(where, conditions.Is):
            return _any(self._among(Key(where.name, kind), _of_kind(where.values, kind)) for kind in _kinds_of(where))
        if isinstance(where, conditions.Outside):
            return _any(self._outside(Key(where.name, kind), _of_kind(where.values, kind)) for kind in KINDS)
        if isinstance(where, conditions.Compare):
            return self._compare(where.name, [(where.op, where.value)])
        if isinstance(where, conditions.Between):
            bounds = ((">=", where.gte), ("<=", where.lte), (">", where.gt), ("<", where.lt))
            return self._compare(where.name, [(op, bound) for op, bound in bounds if bound is not None])
        contains = isinstance(where, conditions.Contains)
        text = where.text
        return self._of_text(Key(where.name, "text"), lambda one: text in one if contains else one.startswith(text))

    def _test(self, key: Key, test: Callable[[Any], Any]) -> Met:
        found = test(self._columns.numbers(key))
        return found if isinstance(found, np.ndarray) else bool(found)

    def _compare(self, name: str, bounds: list[tuple[str, float]]) -> Met:
        key = Key(name, "number")
        tests = [self._test(key, partial(_OPERATORS[op], float_of(bound))) for op, bound in bounds]
        return _all((self._there(key), *tests))

    def _there(self, key: Key) -> Met:
        """Whether there is a value of this kind."""
        if key.kind == "number":
            # NaN is the one number that doesn't equal itself.
            return self._test(key, lambda own: own != NONE if key.name in WHOLE else own == own)
        return self._test(key, lambda own: own >= 0)

    def _among(self, key: Key, values: list[Any]) -> Met:
        if key.kind == "text":
            wanted = frozenset(values)
            return self._of_text(key, lambda one: one in wanted)
        numbers = [int(value) if key.kind == "flag" else float_of(value) for value in values]
        return _any(self._test(key, partial(operator.eq, number)) for number in numbers)

    def _outside(self, key: Key, values: list[Any]) -> Met:
        among = self._among(key, values)
        return _all((self._there(key), not among if isinstance(among, bool) else ~among))

    def _of_text(self, key: Key, fits: Callable[[str], bool]) -> Met:
        """The rows whose text fits: the different texts are looked at, not the rows."""
        texts = self._columns.texts(key)
        found = [number for number, text in enumerate(texts.tolist()) if fits(text)]
        if len(found) <= _FEW:
            return _any(self._test(key, partial(operator.eq, number)) for number in found)
        # The last one is found by the number of no text, -1.
        table = np.zeros(len(texts) + 1, bool)
        table[found] = True
        return self._test(key, lambda own: table[own])


def _all(parts: Iterator[Met] | tuple[Met, ...] | map[Met]) -> Met:
    return _together(parts, np.logical_and, True)


def _any(parts: Iterator[Met]) -> Met:
    return _together(parts, np.logical_or, False)


def _together(parts: Any, operation: Any, neutral: bool) -> Met:
    """All parts as one; a part that decides alone ends it."""
    arrays = []
    for part in parts:
        if not isinstance(part, bool):
            arrays.append(part)
        elif part is not neutral:
            return not neutral
    return reduce(operation, arrays) if arrays else neutral
