"""DuckDB as the parts use it: one thread, bounded memory, nothing fetched at run time, and names safely in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

#: What DuckDB may hold of a build; what doesn't fit goes to its temporary folder.
MEMORY_BYTES = 320 * 2**20


@contextmanager
def connection(temporary: Path, *, memory_bytes: int = MEMORY_BYTES) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory; what exceeds `memory_bytes` goes to the folder `temporary`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{memory_bytes // 2**20}MiB",
        "temp_directory": str(temporary),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # Arrays of objects are text. To guess their type, DuckDB would look at a thousand and be wrong about the rest.
        "pandas_analyze_sample": 0,
    }
    with duckdb.connect(":memory:", config=config) as database:
        database.execute("set TimeZone = 'UTC'")
        # By default several row groups wait to be written.
        database.execute("set write_buffer_row_group_count = 1")
        yield database


def quoted(name: str) -> str:
    """A column's name in SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL, where a parameter can't stand."""
    return "'" + text.replace("'", "''") + "'"


def parquet(paths: list[str]) -> str:
    """Files as a table in SQL."""
    return f"read_parquet([{', '.join(map(literal, paths))}], union_by_name = true)"
