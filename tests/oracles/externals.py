"""External series in a trend, by plain Python: what the figures of points and formulas over them are, from the words.

Source: semantics, section 8: a ratio is computed from totals in each bucket, the total row is the formula on totals,
x / 0 is null, and so is what is computed from null. Query contract, section 2: buckets without points are 0 for count
and sum, else null; groups are the largest by total of the first series, the others together, those without the field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Value = Any


@dataclass(frozen=True)
class Line:
    """A point as the oracle has it: the label of its bucket, its value, its dims."""

    bucket: str
    value: int
    dims: dict[str, Any]


def measured(measure: str, values: Sequence[int]) -> Value:
    if measure == "count":
        return len(values)
    if measure == "sum":
        return sum(values)
    if not values:
        return None
    if measure == "median":
        # The smallest value with at least half of the values at or below it.
        return min(one for one in values if 2 * sum(other <= one for other in values) >= len(values))
    return {"avg": Fraction(sum(values), len(values)), "min": min(values), "max": max(values)}[measure]


def computed(tree: Any, figures: dict[str, Value]) -> Value:
    """The value of ("A", None, None), (2, None, None) or ("+", left, right)."""
    sign, left, right = tree
    if left is None:
        return figures[sign] if isinstance(sign, str) else sign
    a, b = computed(left, figures), computed(right, figures)
    if a is None or b is None or (sign == "/" and b == 0):
        return None
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: Fraction(a) / Fraction(b)}[sign]()


def written(tree: Any) -> str:
    sign, left, right = tree
    return str(sign) if left is None else f"({written(left)} {sign} {written(right)})"


def trend(
    series: dict[str, tuple[str, Sequence[Line]]], tree: Any, buckets: Sequence[str], by: str | None, top: int
) -> list[tuple[list[Any], list[Value], Value]]:
    """(group, values, total) of each group, in the contract's order.

    `$other` and `$none` are shown if any series has a figure there that is neither 0 nor null.
    """

    def row(fits: Callable[[Line], bool]) -> list[dict[str, Value]]:
        """The figures of the series in each bucket, and in all of them together."""

        def figures(inside: Callable[[Line], bool]) -> dict[str, Value]:
            return {
                name: measured(measure, [one.value for one in lines if fits(one) and inside(one)])
                for name, (measure, lines) in series.items()
            }

        return [
            *(figures(lambda one, label=label: one.bucket == label) for label in buckets),
            figures(lambda one: True),
        ]  # type: ignore[misc]

    def shown(group: list[Any], rows: list[dict[str, Value]]) -> tuple[list[Any], list[Value], Value]:
        *values, total = [computed(tree, figures) for figures in rows]
        return group, values, total

    if by is None:
        return [shown([], row(lambda one: True))]
    values = {value for _, lines in series.values() for one in lines for value in _of(one, by)}
    measure, first = next(iter(series.values()))
    size = {value: measured(measure, [one.value for one in first if value in _of(one, by)]) or 0 for value in values}
    ranked = sorted(values, key=lambda value: (-size[value], value))
    named = ranked[:top]
    rows = [shown([value], row(lambda one, value=value: value in _of(one, by))) for value in named]  # type: ignore[misc]
    others = row(lambda one: any(value not in named for value in _of(one, by)))
    none = row(lambda one: not _of(one, by))
    rest = [("$other", others), ("$none", none)]
    return rows + [shown([name], found) for name, found in rest if any(any(one.values()) for one in found)]


def _of(one: Line, by: str) -> list[Any]:
    value = one.dims.get(by)
    return [] if value is None else [value]
