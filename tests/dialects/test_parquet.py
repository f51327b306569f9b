"""Answers as Parquet files: the same rows as CSV and NDJSON have, under the same names, typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import Gateway

from metronome.dialects.query.parquet import parquet


def read(data: bytes, tmp_path: Path) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """The columns with their types, and the rows, as another reader sees them."""
    (tmp_path / "x.parquet").write_bytes(data)
    found = duckdb.sql(f"select * from read_parquet('{tmp_path}/x.parquet')")
    return list(zip(found.columns, map(str, found.types), strict=True)), found.fetchall()


TABLES: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str]], list[tuple[Any, ...]]]] = {
    "each type has its own": (
        [{"t": "a", "n": 1, "f": 1.5, "b": True, "l": [1]}, {"n": -2, "f": 2, "x": None}],
        [("t", "VARCHAR"), ("n", "BIGINT"), ("f", "DOUBLE"), ("b", "BOOLEAN"), ("l", "VARCHAR"), ("x", "VARCHAR")],
        [("a", 1, 1.5, True, "[1]", None), (None, -2, 2.0, None, None, None)],
    ),
    "mixed values are JSON": ([{"v": "1"}, {"v": 1}, {"v": True}, {"v": 1.10}], [("v", "VARCHAR")], [('"1"',), ("1",), ("true",), ("1.1",)]),
    "text that looks like a date stays text": ([{"d": "2026-11-01"}], [("d", "VARCHAR")], [("2026-11-01",)]),
    "names of the same letters": ([{"A": 1, "a": 2}], [("A", "BIGINT"), ("a:2", "BIGINT")], [(1, 2)]),
    "names with quotation marks": ([{"o'x\"y": "z"}], [("o'x\"y", "VARCHAR")], [("z",)]),
    "a number beyond 64 bits": ([{"n": 2**63}, {"n": 1}], [("n", "VARCHAR")], [(str(2**63),), ("1",)]),
    "no rows": ([], [("nothing", "VARCHAR")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_a_parquet_file(name: str, tmp_path: Path) -> None:
    rows, columns, values = TABLES[name]
    assert read(parquet(rows), tmp_path) == (columns, values)


def test_an_answer_comes_as_parquet_by_parameter_and_by_accept(
    gateway_for: Callable[..., Gateway], tmp_path: Path
) -> None:
    gateway = gateway_for(now=datetime(2026, 10, 7, 9, 30, tzinfo=UTC))
    gateway.accepted([{"id": "x", "insert_id": f"e{n}", "ts": f"2026-10-0{5 + n % 2}", "n": n} for n in range(5)])
    gateway.drain()
    asked = {"series": [{"measure": "sum:n"}], "from": "2026-10-05", "to": "2026-10-06"}
    by_name = gateway.http.post("/query/trend?format=parquet", json=asked)
    by_type = gateway.http.post("/query/trend", json=asked, headers={"Accept": "application/vnd.apache.parquet"})
    assert (by_name.status_code, by_name.content_type) == (200, "application/vnd.apache.parquet")
    columns = [("bucket", "VARCHAR"), ("series", "VARCHAR"), ("value", "BIGINT")]
    assert read(by_name.data, tmp_path) == (columns, [("2026-10-05", "A", 6), ("2026-10-06", "A", 4)])
    assert read(by_type.data, tmp_path) == read(by_name.data, tmp_path)
    rows = gateway.http.post("/query/events?format=ndjson", json={"from": "2026-10-05"}).text.splitlines()
    listed = gateway.http.post("/query/events?format=parquet", json={"from": "2026-10-05"})
    columns, values = read(listed.data, tmp_path)
    place = [name for name, _ in columns].index("_id")
    assert [row[place] for row in values] == [json.loads(row)["_id"] for row in rows]
