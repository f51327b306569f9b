"""Runs of columns become one sorted Parquet file, in memory that doesn't grow with the day.

    pages -> Run -> a table of DuckDB a run, which goes to disk where memory ends
    tables -> union, each column in its final type -> sorted -> Parquet

A day's columns are known only when its last document was read, and a property may be text in one run and numbers in
another; so each run keeps what it found, and the union brings them under one layout.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from metronome.parts import duck
from metronome.parts.columns import Key, Run, layout
from metronome.parts.duck import literal, quoted
from metronome.parts.index import Documents

#: Rows of a row group, fewer where documents are large.
ROW_GROUP = 128 * 1024
ROW_GROUP_BYTES = 64 * 2**20

#: What is gathered before it goes to DuckDB.
RUN_ROWS = 20_000
RUN_BYTES = 12 * 2**20

#: Ids that are put in order at one time.
SLICE = 200_000

#: The total order of one subject's events (semantics, section 1); text by its UTF-8 bytes.
ORDER = '"_subject" nulls last, "@timestamp" nulls last, "seq" nulls first, "received_at" nulls last, "_id"'

_TYPES = {"number": "DOUBLE", "flag": "BOOLEAN", "text": "VARCHAR"}


@dataclass(frozen=True)
class _Table:
    """A run in DuckDB: its number, the invented names of its columns, and which of them hold lists as JSON."""

    number: int
    columns: dict[Key, str]
    lists: frozenset[Key]


class Sorter:
    """Takes documents in any order, writes one sorted file."""

    def __init__(self, temporary: Path, *, memory_bytes: int = duck.MEMORY_BYTES) -> None:
        self.events = 0
        self._bytes = 0
        self._run = Run()
        self._tables: list[_Table] = []
        self._opened = duck.connection(temporary, memory_bytes=memory_bytes)
        self._database = self._opened.__enter__()

    def __enter__(self) -> Sorter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def add(self, documents: Documents) -> None:
        self._run.add(documents.ids, documents.sources)
        self.events += len(documents.ids)
        if self._run.size >= RUN_ROWS or self._run.bytes >= RUN_BYTES:
            self._flush()

    def _flush(self) -> None:
        run, self._run = self._run, Run()
        if not run.size:
            return
        arrays, invented = run.arrays()
        number = len(self._tables)
        lists = frozenset(key for key, pieces in run.columns.items() if pieces.lists)
        self._database.register("run", arrays)
        self._database.execute(f"create temp table run{number} as select * from run")
        self._database.unregister("run")
        self._tables.append(_Table(number, invented, lists))
        self._bytes += run.bytes

    def ids_sha256(self) -> str:
        """SHA-256 of the sorted ids, joined by line feeds."""
        self._flush()
        union = " union all ".join(f"select c0 as id from run{table.number}" for table in self._tables)
        return ids_sha256(self._database, union or "select '' as id limit 0", self.events)

    def write(self, path: Path, metadata: dict[str, Any]) -> None:
        """Write all that was added as one sorted file, durably, with `metadata` under the key `metronome`."""
        self._flush()
        text = literal(json.dumps(metadata, separators=(",", ":")))
        self._database.execute(
            f"copy (select * from ({self._union()}) order by {ORDER}) to {literal(str(path))} (format parquet, "
            f"compression zstd, row_group_size {self._row_group()}, kv_metadata {{metronome: {text}}})"
        )
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def _row_group(self) -> int:
        average = max(1, self._bytes // max(1, self.events))
        return max(2048, min(ROW_GROUP, ROW_GROUP_BYTES // average // 2048 * 2048))

    def _union(self) -> str:
        kinds: dict[str, set[str]] = {}
        lists: set[Key] = set()
        for table in self._tables:
            lists |= table.lists
            for key in table.columns:
                kinds.setdefault(key.name, set()).add(key.kind)
        columns = layout(kinds)
        if not self._tables:
            return _EMPTY
        return " union all ".join(_select(table, columns, lists) for table in self._tables)


#: A part of no events has the fixed columns only.
_EMPTY = (
    'select null::VARCHAR "_id", null::VARCHAR "_source", null::VARCHAR "_subject", null::TIMESTAMPTZ "@timestamp", '
    'null::TIMESTAMPTZ "received_at", null::BIGINT "seq" limit 0'
)


def _select(table: _Table, columns: dict[str, Key], lists: set[Key]) -> str:
    """A run's rows under the day's columns."""
    chosen = ['c0 "_id"', 'c1 "_source"', 'c2 "_subject"']
    chosen += [
        f'make_timestamp(c{n} * 1000)::TIMESTAMPTZ "{name}"' for n, name in ((3, "@timestamp"), (4, "received_at"))
    ]
    chosen.append('c5 "seq"')
    for name, key in columns.items():
        chosen.append(f"{_value(table, key, key in lists)} {quoted(name)}")
    return f"select {', '.join(chosen)} from run{table.number}"


def _value(table: _Table, key: Key, in_list: bool) -> str:
    # not in this run                     null::DOUBLE
    # lists here                          from_json(c7, '["DOUBLE"]')
    # lists in another run, single here   case when c7 is not null then [c7] end
    # single in all                       c7
    kind = _TYPES[key.kind]
    found = table.columns.get(key)
    if found is None:
        return f"null::{kind}{'[]' if in_list else ''}"
    if key in table.lists:
        return f"""from_json({found}, '["{kind}"]')"""
    return f"case when {found} is not null then [{found}] end" if in_list else found


def ids_sha256(database: duckdb.DuckDBPyConnection, ids: str, events: int) -> str:
    """SHA-256 of the ids that a query gives as `id`, sorted by their UTF-8 bytes and joined by line feeds."""
    digest = hashlib.sha256()
    between = b""
    for low, high in pairwise(_cuts(database, ids, events)):
        # The text of a slice is made inside DuckDB: a Python object an id would cost more than all the rest.
        slice_of = f"select string_agg(id, chr(10) order by id) from ({ids})"
        (text,) = database.execute(f"{slice_of} where id >= $1 and ($2 is null or id < $2)", [low, high]).fetchone()  # type: ignore[misc]
        if text is not None:
            digest.update(between + text.encode())
            between = b"\n"
    return digest.hexdigest()


def _cuts(database: duckdb.DuckDBPyConnection, ids: str, events: int) -> list[str | None]:
    """Where to cut sorted ids into slices of about SLICE: the first is the empty text, the last is open."""
    slices = events // SLICE + 1
    if slices == 1:
        return ["", None]
    sample = [
        row[0] for row in database.execute(f"select id from ({ids}) using sample reservoir(2000 rows)").fetchall()
    ]
    sample.sort(key=str.encode)
    return ["", *sorted({sample[len(sample) * n // slices] for n in range(1, slices)}, key=str.encode), None]
