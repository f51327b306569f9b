"""A part holds each document byte for byte, every property in a typed column, in the total order."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import duckdb
import parts_oracle
import pytest
from part_days import DAY, Days, event, opened_days  # noqa: F401  (a fixture)

from metronome.parts import sort
from metronome.parts.build import Builder
from metronome.parts.folder import Part


def file_of(builder: Builder, part: Part) -> str:
    (file,) = part.files
    return str(builder.folder.path(part.day, file))


def contents(path: str) -> dict[str, list[Any]]:
    """Every column of a file as DuckDB, or any other reader, finds it; times as Unix milliseconds."""
    with duckdb.connect() as database:
        names = [row[0] for row in database.execute("describe select * from read_parquet($1)", [path]).fetchall()]
        chosen = [
            f'epoch_ms("{name}")' if name in ("@timestamp", "received_at") else '"' + name.replace('"', '""') + '"'
            for name in names
        ]
        rows = database.execute(f"select {', '.join(chosen)} from read_parquet($1)", [path]).fetchall()
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


@pytest.mark.parametrize("slice_bytes", [sort.SLICE_BYTES, 500], ids=["sorted at once", "in slices"])
@pytest.mark.parametrize("seed", range(6))
def test_random_documents_are_kept_byte_for_byte_in_typed_columns_and_in_order(
    days: Days, monkeypatch: pytest.MonkeyPatch, slice_bytes: int, seed: int
) -> None:
    monkeypatch.setattr(sort, "SLICE_BYTES", slice_bytes)
    rng = random.Random(seed)
    days.write([parts_oracle.random_source(rng) for _ in range(150)])
    assert len(days.written) > 100
    part = days.builder.update(DAY)
    found, wanted = contents(file_of(days.builder, part)), parts_oracle.table(days.written)
    assert list(found)[:6] == parts_oracle.FIXED
    assert set(found) == set(wanted)
    for name in wanted:
        assert (name, found[name]) == (name, wanted[name])


def test_a_part_says_what_it_was_built_from(days: Days) -> None:
    days.write([event(second, n=second) for second in range(5)])
    part = days.builder.update(DAY)
    with duckdb.connect() as database:
        path = file_of(days.builder, part)
        rows = database.execute("select key, value from parquet_kv_metadata($1)", [path]).fetchall()
        types = dict(database.execute("select name, logical_type from parquet_schema($1)", [path]).fetchall())
        (codec,) = database.execute("select any_value(compression) from parquet_metadata($1)", [path]).fetchone()
    metadata = json.loads(dict(rows)[b"metronome"])
    stats = days.client.indices.stats(index=days.index(), level="shards")["indices"][days.index()]
    (shard,) = stats["shards"]["0"]
    assert metadata == {
        "format": 1,
        "day": "2026-11-03",
        "index": days.index(),
        "events": 5,
        "counters": {
            "uuid": stats["uuid"],
            "shards": {
                "0": {
                    "docs": metadata["counters"]["shards"]["0"]["docs"],
                    "deleted": 0,
                    "max_seq_no": 4,
                    "checkpoint": 4,
                    "history": shard["commit"]["user_data"]["history_uuid"],
                    "events": 5,
                }
            },
        },
        "ids_sha256": hashlib.sha256("\n".join(sorted(days.written)).encode()).hexdigest(),
    }
    assert codec == "ZSTD"
    assert "isAdjustedToUTC=1" in types["@timestamp"] and "isAdjustedToUTC=1" in types["received_at"]


def test_a_day_without_events_has_a_part_of_the_fixed_columns(days: Days) -> None:
    (number,) = days.write([event(1)])
    days.delete(number)
    part = days.builder.update(DAY)
    assert (part.events, contents(file_of(days.builder, part))) == (0, {name: [] for name in parts_oracle.FIXED})
    assert part.files[0].ids_sha256 == hashlib.sha256(b"").hexdigest()


def test_a_day_without_an_index_has_no_part(days: Days) -> None:
    assert days.builder.update(DAY) is None
    days.write([event(1)])
    assert days.builder.update(DAY) is not None
    days.client.indices.delete(index=days.index())
    assert days.builder.update(DAY) is None
    assert days.folder.days() == []


def test_names_beyond_the_columns_limit_stay_in_the_document(days: Days) -> None:
    days.write([event(n, **{f"p{n:02}{m:03}": m for m in range(220)}) for n in range(10)])
    part = days.builder.update(DAY)
    found = contents(file_of(days.builder, part))
    names = sorted(f"p{n:02}{m:03}" for n in range(10) for m in range(220))
    assert list(found) == [*parts_oracle.FIXED, *names[: 2000 - 6]]
    assert sorted(found["_source"]) == sorted(days.written.values())
