"""A property of one Parquet file as SQL: its column, or if it has none, its values in the documents.

a column of that kind          "props.plan"   "props.plan:text"
no such property in the file   null
only in _source                beyond the columns' limit, a reserved name, a name that differs in case alone
a derived fact                 where a document was shipped, derived from its _source; else the column
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb

from metronome.parts import where as conditions
from metronome.parts.columns import FIXED, KINDS, MAX_COLUMNS, float_of, is_reserved, without_case
from metronome.parts.duck import literal, quoted, unusable
from metronome.parts.shipped import DERIVED, with_facts
from metronome.parts.values import parse
from metronome.parts.where import Where

TYPES = {"number": "DOUBLE", "flag": "BOOLEAN", "text": "VARCHAR"}

_PYTHON = {"number": (int, float), "flag": (bool,), "text": (str,)}

#: Columns that aren't properties of a kind, with their expressions.
_TIMES = {"@timestamp": 'epoch_ms("@timestamp")', "received_at": 'epoch_ms("received_at")'}


#: The part's own columns of text, whatever properties of these names a document has.
_OWN = ("_id", "_source", "_subject")


#: Values of a condition's SQL, in order.
Parameters = list[Any] | None


@dataclass(frozen=True)
class Expression:
    """SQL that gives a value, or with `lists` a list of values; null for none."""

    sql: str
    lists: bool = False


class Shape:
    """What one file has: its columns with their types, and whether it holds shipped documents."""

    def __init__(self, columns: dict[str, str], shipped: bool) -> None:
        self.columns = columns
        self.shipped = shipped
        self._without_case = {without_case(name) for name in columns}

    def value(self, name: str, kind: str) -> Expression:
        """The property's values of a kind."""
        # "@timestamp", "number"    milliseconds
        # "seq", "number"           as whole numbers
        if kind == "number" and name in (*_TIMES, "seq"):
            return Expression(_TIMES.get(name, '"seq"'))
        if name in _OWN:
            return Expression(quoted(name) if kind == "text" else f"null::{TYPES[kind]}")
        stored = self._stored(name, kind)
        if name in DERIVED and self.shipped:
            return _derived(stored, name, kind)
        return stored

    def _stored(self, name: str, kind: str) -> Expression:
        if not is_reserved(name):
            for column in (name, f"{name}:{kind}"):
                found = self.columns.get(column, "")
                if found.removesuffix("[]") == TYPES[kind]:
                    return Expression(quoted(column), found.endswith("[]"))
        if self._in_source(name):
            return Expression(f'source_{kind}s("_source", {literal(name)})', lists=True)
        return Expression(f"null::{TYPES[kind]}")

    def _in_source(self, name: str) -> bool:
        """Whether documents may have the property although it has no column."""
        if name in self.columns and not is_reserved(name):
            return False
        full = len(self.columns) > MAX_COLUMNS - len(KINDS)
        return full or is_reserved(name) or without_case(name) in self._without_case

    def condition(self, where: Where, parameters: Parameters) -> str:
        """A condition as SQL, which is null instead of false where a value is missing.

        Its values become parameters; without a list for them, they are written into the SQL.
        """
        # For a positive condition, null means no. Under `not`, null must be turned into false first.
        if isinstance(where, conditions.All | conditions.Any):
            word, empty = (" and ", "true") if isinstance(where, conditions.All) else (" or ", "false")
            return f"({word.join(self.condition(one, parameters) for one in where.of) or empty})"
        if isinstance(where, conditions.Not):
            return f"(not coalesce({self.condition(where.of, parameters)}, false))"
        if isinstance(where, conditions.Exists):
            tests = [_exists(self.value(where.name, kind)) for kind in KINDS]
            return f"({' or '.join(tests)})"
        return self._test(where, parameters)

    def _test(
        self,
        where: conditions.Is
        | conditions.Outside
        | conditions.Compare
        | conditions.Between
        | conditions.Contains
        | conditions.StartsWith,
        parameters: Parameters,
    ) -> str:
        if isinstance(where, conditions.Is):
            tests = [self._is(where.name, kind, where.values, parameters) for kind in KINDS]
            return f"({' or '.join(test for test in tests if test) or 'false'})"
        if isinstance(where, conditions.Outside):
            outside = [self._outside(where.name, kind, where.values, parameters) for kind in KINDS]
            return f"({' or '.join(outside)})"
        if isinstance(where, conditions.Compare):
            return _each(self.value(where.name, "number"), f"{{}} {where.op} {_parameter(where.value, parameters)}")
        if isinstance(where, conditions.Between):
            bounds = ((">=", where.gte), ("<=", where.lte), (">", where.gt), ("<", where.lt))
            tests = [f"{{0}} {op} {_parameter(bound, parameters)}" for op, bound in bounds if bound is not None]
            return _each(self.value(where.name, "number"), " and ".join(tests) or "{0} is not null")
        word = "contains" if isinstance(where, conditions.Contains) else "starts_with"
        return _each(self.value(where.name, "text"), f"{word}({{}}, {_parameter(where.text, parameters)})")

    def _is(self, name: str, kind: str, values: tuple[Any, ...], parameters: Parameters) -> str:
        wanted = [value for value in values if type(value) in _PYTHON[kind]]
        if not wanted:
            return ""
        among = ", ".join(_parameter(value, parameters) for value in wanted)
        return _each(self.value(name, kind), f"{{}} in ({among})")

    def _outside(self, name: str, kind: str, values: tuple[Any, ...], parameters: Parameters) -> str:
        known = [value for value in values if type(value) in _PYTHON[kind]]
        if not known:
            return _exists(self.value(name, kind))
        among = ", ".join(_parameter(value, parameters) for value in known)
        return _each(self.value(name, kind), f"{{}} not in ({among})")


def _parameter(value: Any, parameters: Parameters) -> str:
    value = float_of(value) if type(value) is int else value
    if parameters is None:
        # What stands in a test is formatted once more.
        return _constant(value).replace("{", "{{").replace("}", "}}")
    parameters.append(value)
    return f"${len(parameters)}"


def _constant(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"'{value!r}'::DOUBLE"
    return "(" + " || chr(0) || ".join(map(literal, value.split("\0"))) + ")"


def _each(expression: Expression, test: str) -> str:
    """A test of a value, or of any of a list's."""
    if expression.lists:
        return f"(len(list_filter({expression.sql}, lambda one: {test.format('one')})) > 0)"
    return f"({test.format(expression.sql)})"


def _exists(expression: Expression) -> str:
    return f"(len({expression.sql}) > 0)" if expression.lists else f"({expression.sql} is not null)"


def _derived(stored: Expression, name: str, kind: str) -> Expression:
    """The stored value where intake stamped the document, else what its source says."""
    found = f'shipped_{kind}s("_source", {literal(name)})'
    own = stored.sql if stored.lists else f"[{stored.sql}]"
    if stored.lists:
        return Expression(f'case when "received_at" is not null then {own} else {found} end', lists=True)
    return Expression(f'case when "received_at" is not null then {stored.sql} else {found}[1] end')


def add_functions(database: duckdb.DuckDBPyConnection) -> None:
    """Functions that read a property of a document where it has no column: `source_texts(_source, name)` and so on."""
    text = duckdb.type("VARCHAR")
    for kind, sql_type in TYPES.items():
        for word, read in (("source", parse), ("shipped", lambda source: with_facts(parse(source)))):
            database.create_function(f"{word}_{kind}s", _finder(kind, read), [text, text], duckdb.list_type(sql_type))


def _finder(kind: str, read: Callable[[bytes], dict[str, Any]]) -> Callable[[str, str], Any]:
    def find(source: str, name: str) -> list[Any]:
        value = read(source.encode()).get(name)
        several = value if type(value) is list else [value]
        found: list[Any] = [one for one in several if type(one) in _PYTHON[kind]]
        if kind == "number":
            found = [number for number in map(float_of, found) if abs(number) != float("inf")]
        return found

    return find


def shape_of(database: duckdb.DuckDBPyConnection, path: str) -> Shape:
    """A file's shape, read from its footer."""
    try:
        described = database.execute(f"describe select * from read_parquet({literal(path)})").fetchall()
    except duckdb.InvalidInputException as error:  # it isn't Parquet, whatever its name says
        raise unusable(error) from error
    columns = {str(row[0]): str(row[1]) for row in described}
    (unstamped,) = database.execute(
        "select coalesce(bool_or(coalesce(stats_null_count, num_values) > 0), false) "
        f"from parquet_metadata({literal(path)}) "
        "where path_in_schema = 'received_at'"
    ).fetchone()  # type: ignore[misc]
    return Shape(columns, bool(unstamped))


__all__ = ["FIXED", "Expression", "Shape", "add_functions", "shape_of"]
