"""A part's rows in slices of its order: each is sorted for itself, and one after the other they are in order.

    _subject, @timestamp           the order's first two keys, nulls last
    a cut is a pair of them        ("u42", 1771059749000)
    a slice is a condition         rows at or after one cut and before the next

Where a subject has more events than a slice should, cuts by time are within it: a log without subjects is one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import duckdb

from metronome.parts.duck import literal

#: Rows that are looked at to find the cuts.
SAMPLE = 2000

Cut = tuple[str | None, int | None]

T = TypeVar("T")


def cut(database: duckdb.DuckDBPyConnection, rows: str, count: int) -> list[str]:
    """Conditions of at most `count` slices in ascending order, of about the same size; each row meets one of them.

    `rows` is a table with `_subject` as text and `@timestamp` in milliseconds.
    """
    if count <= 1:
        return ["true"]
    found: list[Cut] = database.execute(
        f'select "_subject", "@timestamp" from {rows} using sample reservoir({SAMPLE} rows)'
    ).fetchall()
    cuts = evenly(found, count, _place)
    return [_within(low, high) for low, high in pairwise([None, *cuts, None])]


def evenly(sample: list[T], count: int, place: Callable[[T], Any]) -> list[T]:
    """Where to cut rows into `count` slices of about the same size, from some of them; fewer where rows are equal."""
    sample = sorted(sample, key=place)
    chosen = {sample[len(sample) * number // count] for number in range(1, count)} if sample else set[T]()
    return sorted(chosen, key=place)


def _place(one: Cut) -> tuple[bool, bytes, bool, int]:
    subject, at = one
    return subject is None, (subject or "").encode(), at is None, at or 0


def _within(low: Cut | None, high: Cut | None) -> str:
    terms = []
    if low is not None:
        terms.append(_at_or_after(low))
    if high is not None:
        terms.append(f"not {_at_or_after(high)}")
    # These say nothing new. But by them DuckDB tells from a file's statistics which rows it need not read.
    if high is not None and high[0] is not None:
        terms.append(f'"_subject" <= {literal(high[0])}')
        if low is not None and low[0] is not None:
            terms.append(f'"_subject" >= {literal(low[0])}')
    return " and ".join(terms) or "true"


def _at_or_after(one: Cut) -> str:
    """Whether a row stands at or after a cut; true or false, never null."""
    subject, at = one
    later = '"@timestamp" is null' if at is None else f'("@timestamp" >= {at} or "@timestamp" is null)'
    if subject is None:
        return f'("_subject" is null and {later})'
    text = literal(subject)
    return f'("_subject" is null or "_subject" > {text} or ("_subject" = {text} and {later}))'
