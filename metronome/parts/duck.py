"""DuckDB as the parts use it: one thread, bounded memory, nothing fetched at run time, and names safely in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from metronome.errors import PartsUnavailable

#: What DuckDB may hold of a build; what doesn't fit goes to its temporary folder.
MEMORY_BYTES = 256 * 2**20


@contextmanager
def connection(
    temporary: Path, *, memory_bytes: int = MEMORY_BYTES, in_order: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory; what exceeds `memory_bytes` goes to the folder `temporary`.

    Without `in_order` it needs less memory, and rows come in no order unless one is asked for.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{memory_bytes // 2**20}MiB",
        "temp_directory": str(temporary),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # Sorted results keep their order in any case. This is about a plain scan, which may come out in any order.
        "preserve_insertion_order": in_order,
        # Arrays of objects are text. To guess their type, DuckDB would look at a thousand and be wrong about the rest.
        "pandas_analyze_sample": 0,
    }
    with _our_errors(), duckdb.connect(":memory:", config=config) as database:
        database.execute("set TimeZone = 'UTC'")
        # Its progress bar would go to our standard output.
        database.execute("set enable_progress_bar = false")
        # By default several row groups wait to be written.
        database.execute("set write_buffer_row_group_count = 1")
        yield database


@contextmanager
def _our_errors() -> Iterator[None]:
    """Turn DuckDB's errors about the machine into ours. Any other error is a mistake of ours and stays unchanged."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise PartsUnavailable("a day part needs more memory than it may have", detail=_first_line(error)) from error
    except (duckdb.IOException, duckdb.SerializationException) as error:
        raise unusable(error) from error


def unusable(error: duckdb.Error) -> PartsUnavailable:
    """The error for a file that can't be read or written, with what helps."""
    return PartsUnavailable(
        "a day part can't be read or written; is the disk full? If not, `metronome parts drop` and ask again: parts "
        "are made anew from Elasticsearch",
        detail=_first_line(error),
    )


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0][:200]


def quoted(name: str) -> str:
    """A column's name in SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL, where a parameter can't stand."""
    return "'" + text.replace("'", "''") + "'"


def parquet(paths: list[str]) -> str:
    """Files as a table in SQL."""
    return f"read_parquet([{', '.join(map(literal, paths))}], union_by_name = true)"
