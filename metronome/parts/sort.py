"""Runs of columns become one sorted Parquet file, in memory that doesn't grow with the day.

    pages -> Run -> a temporary Parquet file a run, sorted
    all runs, slice by slice (slices.py) -> sorted by DuckDB, which goes to disk where memory ends -> Parquet

A day's columns are known only when its last document was read, and a property may be text in one run and a list in
another; so each run keeps what it found under a name that says how (`c7` single values, `l7` lists as JSON). A scan
reads all runs: a union of as many selects holds a buffer for each, and a million events took more than 400 MB.

A day that doesn't fit into memory is sorted in slices, each by a scan that skips what its runs say is elsewhere. One
sort of all of it goes to disk and comes back several times.
"""

from __future__ import annotations

import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from metronome.errors import PartsUnavailable
from metronome.parts import duck
from metronome.parts.columns import Array, Key, Run, layout
from metronome.parts.duck import literal, quoted
from metronome.parts.index import Documents
from metronome.parts.slices import SAMPLE, cut, evenly

#: Rows of a row group, fewer where documents are large.
ROW_GROUP = 128 * 1024
ROW_GROUP_BYTES = 64 * 2**20

#: Rows that are gathered before they go to DuckDB.
RUN_ROWS = 20_000
RUN_BYTES = 12 * 2**20

#: Rows of a run that are skipped or read together, and the bytes of documents in a slice of the order.
RUN_GROUP = 2048
SLICE_BYTES = 32 * 2**20

#: Ids that are put in order at one time.
SLICE = 200_000

#: The total order of one subject's events (semantics, section 1); text by its UTF-8 bytes.
ORDER = '"_subject" nulls last, "@timestamp" nulls last, "seq" nulls first, "received_at" nulls last, "_id"'

TYPES = {"number": "DOUBLE", "flag": "BOOLEAN", "text": "VARCHAR"}


class Sorter:
    """Takes documents in any order, writes one sorted file."""

    def __init__(self, temporary: Path, *, memory_bytes: int = duck.MEMORY_BYTES) -> None:
        self.events = 0
        self._bytes = 0
        self._run = Run()
        self._temporary = temporary
        self._runs: list[str] = []
        self._places: dict[Key, int] = {}
        self._single: set[Key] = set()
        self._lists: set[Key] = set()
        self._opened = duck.connection(temporary, memory_bytes=memory_bytes, in_order=False)
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
        path = str(self._temporary / f"run-{len(self._runs)}.parquet")
        self._database.register("run", self._named(run))
        self._database.execute(
            f"copy (select * from run order by {ORDER}) to {literal(path)} "
            f"(format parquet, compression lz4_raw, row_group_size {RUN_GROUP})"
        )
        self._database.unregister("run")
        self._runs.append(path)
        self._bytes += run.bytes

    def _named(self, run: Run) -> dict[str, Array]:
        """The run's arrays under names that mean the same in every run."""
        arrays = run.fixed()
        for key, pieces in run.columns.items():
            place = self._places.setdefault(key, len(self._places))
            (self._lists if pieces.lists else self._single).add(key)
            arrays[f"{'l' if pieces.lists else 'c'}{place}"] = pieces.array(key.kind, run.size)
        return arrays

    def ids_sha256(self) -> str:
        """SHA-256 of the sorted ids, joined by line feeds."""
        self._flush()
        return ids_sha256(self._database, f'select "_id" as id from {self._all_runs()}', self.events)

    def write(self, path: Path, metadata: dict[str, Any]) -> None:
        """Write all that was added as one sorted file, durably, with `metadata` under the key `metronome`.

        The file is read back: raises PartsUnavailable where it has other documents than were added.
        """
        self._flush()
        text = literal(json.dumps(metadata, separators=(",", ":")))
        runs = self._all_runs()
        # In the slices' order.
        self._database.execute("set preserve_insertion_order = true")
        slices = cut(self._database, runs, 1 + self._bytes // SLICE_BYTES)
        sorted_rows = " union all ".join(
            f"(select * from ({self._select(f'(from {runs} where {within})')}) order by {ORDER})" for within in slices
        )
        # At level 1 ids and documents take no more room than at zstd's usual 3, and less time.
        self._database.execute(
            f"copy ({sorted_rows}) to {literal(str(path))} (format parquet, compression zstd, compression_level 1, "
            f"row_group_size {self._row_group()}, kv_metadata {{metronome: {text}}})"
        )
        with path.open("rb") as file:
            os.fsync(file.fileno())
        if self._sum(duck.parquet([str(path)])) != self._sum(self._all_runs()):
            raise PartsUnavailable(f"{path} was read back with other documents than were written; check the disk")

    def _sum(self, table: str) -> Any:
        """A checksum over all ids and documents. Their order doesn't change it."""
        query = 'select count(*), sum(hash("_id", "_source")::hugeint)'
        return self._database.execute(f"{query} from {table}").fetchone()

    def _row_group(self) -> int:
        average = max(1, self._bytes // max(1, self.events))
        return max(2048, min(ROW_GROUP, ROW_GROUP_BYTES // average // 2048 * 2048))

    def _all_runs(self) -> str:
        return duck.parquet(self._runs) if self._runs else _NOTHING

    def _select(self, rows: str) -> str:
        """Rows of runs under the day's columns."""
        kinds: dict[str, set[str]] = {}
        for key in self._places:
            kinds.setdefault(key.name, set()).add(key.kind)
        chosen = ['"_id"', '"_source"', '"_subject"']
        chosen += [f'make_timestamp("{name}" * 1000)::TIMESTAMPTZ "{name}"' for name in ("@timestamp", "received_at")]
        chosen.append('"seq"')
        chosen += [f"{self._value(key)} {quoted(name)}" for name, key in layout(kinds).items()]
        return f"select {', '.join(chosen)} from {rows}"

    def _value(self, key: Key) -> str:
        # single values in all runs     c7
        # lists in all runs             from_json(l7, '["DOUBLE"]')
        # lists in some                 coalesce(from_json(l7, '["DOUBLE"]'), case when c7 is not null then [c7] end)
        place = self._places[key]
        if key not in self._lists:
            return f"c{place}"
        lists = f"""from_json(l{place}, '["{TYPES[key.kind]}"]')"""
        if key not in self._single:
            return lists
        return f"coalesce({lists}, case when c{place} is not null then [c{place}] end)"


#: A table without rows, for a day without documents.
_NOTHING = (
    '(select null::VARCHAR "_id", null::VARCHAR "_source", null::VARCHAR "_subject", null::BIGINT "@timestamp", '
    'null::BIGINT "received_at", null::BIGINT "seq" limit 0)'
)


def ids_sha256(database: duckdb.DuckDBPyConnection, ids: str, events: int) -> str:
    """SHA-256 of the ids that a query gives as `id`, sorted by their UTF-8 bytes and joined by line feeds."""
    digest = hashlib.sha256()
    between = b""
    for low, high in pairwise(_cuts(database, ids, events)):
        # DuckDB makes the text of a slice. A Python object for each id would cost more than all the rest.
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
    found = database.execute(f"select id from ({ids}) using sample reservoir({SAMPLE} rows)").fetchall()
    return ["", *evenly([row[0] for row in found], slices, str.encode), None]
