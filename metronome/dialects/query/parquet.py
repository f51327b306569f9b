"""An answer's table as a Parquet file, written by DuckDB.

A column has one type: whole numbers, numbers, text or flags where all its values are such, else each value as JSON text
(a group that is a number here and a text there, a list of ids).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from metronome.parts.duck import connection, literal, quoted

#: Largest whole number of a column of 64 bits.
_MOST = 2**63 - 1


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as one file. Without a row it has one column, `nothing`: a Parquet file has at least one."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["nothing"]
    types = {name: _type_of([row.get(name) for row in rows]) for name in names}
    # DuckDB takes names that differ in the case of letters only for the same.
    columns = {f"c{number}": name for number, name in enumerate(names)}
    with tempfile.TemporaryDirectory(prefix="metronome-") as folder:
        given, made = Path(folder, "rows.json"), Path(folder, "rows.parquet")
        with given.open("wb") as file:
            for row in rows:
                shown = {column: _value(row.get(name), types[name]) for column, name in columns.items()}
                file.write(orjson.dumps(shown) + b"\n")
        # JSON stays the text that it is. As a type of its own, DuckDB would write its numbers anew.
        declared = ", ".join(
            f"{column}: {literal(types[name].replace('JSON', 'VARCHAR'))}" for column, name in columns.items()
        )
        chosen = ", ".join(f"{column} as {quoted(name)}" for column, name in _told_apart(columns).items())
        read = f"read_json({literal(str(given))}, format = 'newline_delimited', columns = {{{declared}}})"
        with connection(Path(folder, "more")) as database:
            database.execute(f"copy (select {chosen} from {read}) to {literal(str(made))} (format parquet)")  # noqa: S608
        return made.read_bytes()


def _told_apart(columns: Mapping[str, str]) -> dict[str, str]:
    """Names that no reader takes for one another: a later one of the same letters gets a number behind it."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for column, name in columns.items():
        unique, number = name, 2
        while unique.lower() in used:
            unique, number = f"{name}:{number}", number + 1
        used.add(unique.lower())
        found[column] = unique
    return found


def _type_of(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int}:
        return "BIGINT" if all(value is None or abs(value) <= _MOST for value in values) else "JSON"
    if kinds and kinds <= {int, float}:
        return "DOUBLE"
    return "VARCHAR" if kinds == {str} else "JSON"


def _value(value: Any, kind: str) -> Any:
    return orjson.dumps(value).decode() if kind == "JSON" and value is not None else value
