"""The database that the usages of a month are worked out in, and rows of Python as a table there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from metronome.parts import duck
from metronome.parts.columns import Array

#: What DuckDB may hold; what is more goes to disk.
MEMORY_BYTES = 192 * 2**20


@contextmanager
def working() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database for the usages of a month."""
    with (
        tempfile.TemporaryDirectory(prefix="metronome-") as temporary,
        duck.connection(Path(temporary), memory_bytes=MEMORY_BYTES, in_order=False) as database,
    ):
        yield database


@contextmanager
def given(
    database: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[Any, ...]], columns: Sequence[str]
) -> Iterator[None]:
    """While the block runs, the rows are a table of this name. There is at least one row, and no null in any."""
    database.register(name, _arrays(rows, columns))
    try:
        yield
    finally:
        database.unregister(name)


def _arrays(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> dict[str, Array]:
    return {
        name: np.array(values, dtype=object if isinstance(values[0], str) else None)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
