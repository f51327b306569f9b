"""A part is sorted in slices of its order: each row is in one of them, and they follow one another."""

from __future__ import annotations

import random
from typing import Any

import duckdb
import pytest

from metronome.parts.slices import cut

SUBJECTS = [None, "", "a", "a\0b", "it's", "ä", "\U0001f600", "\uffee", "u1", "u10", "u2"]
TIMES = [None, -5, 0, 1_769_072_489_000, 1_769_072_489_001]


def place(row: tuple[Any, ...]) -> tuple[Any, ...]:
    subject, at = row
    return subject is None, (subject or "").encode(), at is None, at or 0


@pytest.mark.parametrize(
    "subjects",
    [
        pytest.param(SUBJECTS, id="some without a subject"),
        pytest.param(SUBJECTS[1:], id="all with one"),
        pytest.param([None], id="none with one"),
        pytest.param(["u"], id="all of one subject"),
    ],
)
@pytest.mark.parametrize("seed", range(10))
def test_each_row_is_in_one_slice_and_slices_ascend(subjects: list[str | None], seed: int) -> None:
    rng = random.Random(seed)
    given = [(rng.choice(subjects), rng.choice(TIMES)) for _ in range(rng.choice([1, 5, 400]))]
    with duckdb.connect() as database:
        database.execute('create table t ("_subject" varchar, "@timestamp" bigint)')
        database.executemany("insert into t values (?, ?)", given)
        conditions = cut(database, "t", 6)
        slices = [database.execute(f"select * from t where {one}").fetchall() for one in conditions]
    assert [row for one in slices for row in sorted(one, key=place)] == sorted(given, key=place)
    if len(given) == 400:
        assert len(conditions) >= min(6, len(set(given)))
        assert max(map(len, slices)) < 400


def test_nothing_is_cut_where_one_slice_is_enough_or_nothing_is_there() -> None:
    with duckdb.connect() as database:
        database.execute('create table t ("_subject" varchar, "@timestamp" bigint)')
        assert (cut(database, "t", 1), cut(database, "t", 5)) == (["true"], ["true"])
