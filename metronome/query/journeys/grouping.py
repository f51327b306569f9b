"""Groups by value: the largest by name, the others together, and those without a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from metronome.query.journeys.answers import NONE, OTHER
from metronome.query.journeys.columns import Array, Keys, numbered, ranges
from metronome.query.journeys.questions import MOST_GROUPS


@dataclass(frozen=True)
class Grouped:
    """Pairs of a member and the number of a value that it has; `values` are typed, None for no value."""

    members: Array
    numbers: Array
    values: Sequence[Any]


def paired(members: Array, values: Sequence[tuple[Any, ...]]) -> Grouped:
    """Each member with each of its values."""
    known: dict[Any, int] = {}
    numbers = [known.setdefault(one, len(known)) for of_member in values for one in of_member]
    repeated = np.repeat(members, [len(of_member) for of_member in values])
    return Grouped(repeated, np.array(numbers, np.int64), list(known))


def paired_by_keys(members: Array, keys: Keys, rows: Array) -> Grouped:
    """Each member with each value of its row, or None where the row has none. A key is looked at once."""
    codes, which = numbered(keys.codes[rows])
    of_codes = paired(np.arange(len(codes)), [keys.table[code] or (None,) for code in codes.tolist()])
    lengths = np.bincount(of_codes.members, minlength=len(codes))
    begins = np.cumsum(lengths) - lengths
    places = ranges(begins[which], (begins + lengths)[which])
    return Grouped(np.repeat(members, lengths[which]), of_codes.numbers[places], of_codes.values)


def grouped(found: Grouped) -> Iterator[tuple[Any, Array]]:
    """Names with members, each once: largest first, ties by value, then `$other` for what is beyond, then `$none`."""
    order = np.argsort(found.numbers, kind="stable")
    bounds = np.searchsorted(found.numbers[order], np.arange(len(found.values) + 1))
    members = [found.members[order[low:high]] for low, high in pairwise(bounds)]
    for name, numbers in named(found):
        yield name, np.unique(np.concatenate([members[number] for number in numbers]))


def named(found: Grouped) -> Iterator[tuple[Any, list[int]]]:
    """Names of groups, with the numbers of the values in each."""
    sizes = np.bincount(found.numbers, minlength=len(found.values)).tolist()
    order = sorted(
        (number for number, value in enumerate(found.values) if value is not None),
        key=lambda number: (-sizes[number], found.values[number]),
    )
    for number in order[:MOST_GROUPS]:
        yield found.values[number][1], [number]
    if order[MOST_GROUPS:]:
        yield OTHER, order[MOST_GROUPS:]
    if None in found.values:
        yield NONE, [found.values.index(None)]
