"""A day's summary: what a tock asks of it, counted by quarters of an hour, in a small object beside the part.

One row for events that are alike in FIELDS and in their quarter of an hour: `t` (Unix milliseconds, or null), `n` (how
many), and for each field and kind the list of values `v0`, `v1`, … or null. Edges of hours and days fall on quarters in
every time zone. A question that reads no other field is answered from it (rows.py), without the part being fetched.

Documents that never passed intake get their facts when they are read, by the list of robots of that time. A summary is
made once, so one of an older list isn't used.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from metronome.archive import files, links
from metronome.archive.manifest import Catalogue, Manifest, Summary
from metronome.event.agents import ROBOT_LIST
from metronome.parts import duck
from metronome.parts.columns import KINDS
from metronome.parts.duck import literal, parquet
from metronome.parts.expressions import Shape, add_functions, shape_of
from metronome.periods import Every, to_ms
from metronome.query.body import parts_of
from metronome.query.condition import Item
from metronome.query.question import Question, fields_of

#: What tocks ask of, the rest of their blocks but `visitors` included.
FIELDS = ("id", "item_id", "extra.item_id", "event", "is_robot", "format", "referer_page", "status", "country", "app")

#: Edges of hours and longer buckets fall on these in every time zone since 1970, but for a few that lay off by seconds.
QUARTER_MS = 15 * 60 * 1000

_BY_QUARTER = ("hour", "day", "week", "month", "quarter", "year")

#: Names of the columns of values, one for each field and kind.
VALUES = [(f"v{number}", name, kind) for number, (name, kind) in enumerate((f, k) for f in FIELDS for k in KINDS)]


def as_list(shape: Shape, name: str, kind: str) -> str:
    """A property's values as SQL that gives a list, or null."""
    value = shape.value(name, kind)
    return value.sql if value.lists else f"case when {value.sql} is not null then [{value.sql}] end"


def write(paths: list[Path], temporary: Path) -> tuple[Path, int]:
    """The summary of a day's files, and how many rows it has."""
    path = temporary / "summary.parquet"
    with duck.connection(temporary) as database:
        add_functions(database)
        selects = []
        for one in paths:
            shape = shape_of(database, str(one))
            values = ", ".join(f"{as_list(shape, name, kind)} as {column}" for column, name, kind in VALUES)
            quarter = f'epoch_ms("@timestamp") // {QUARTER_MS} * {QUARTER_MS}'
            selects.append(f"select {quarter} as t, {values} from read_parquet({literal(str(one))})")
        names = ", ".join(column for column, _, _ in VALUES)
        # Ordered by item, so that one item's row groups are few.
        query = f"select t, count(*) as n, {names} from ({' union all '.join(selects)}) group by all order by v2, v0, t"
        database.execute(
            f"copy ({query}) to {literal(str(path))} (format parquet, compression zstd, row_group_size 20480)"
        )
        (rows,) = database.execute(f"select count(*) from {parquet([str(path)])}").fetchone()  # type: ignore[misc]
    return path, int(rows)


def store(catalogue: Catalogue, day: date, paths: list[Path], temporary: Path) -> Summary:
    """Make the day's summary and put it into the archive. Raises ArchiveUnavailable where it comes back changed."""
    path, rows = write(paths, temporary)
    put = files.put_checked(catalogue.objects, f"{catalogue.folder(day)}summary", path, rows, temporary)
    return Summary(**vars(put), robots=ROBOT_LIST, links=links.store(catalogue, day, paths, temporary))


def answers(manifest: Manifest, question: Question) -> bool:
    """Whether the question can be answered from the day's summary."""
    if manifest.summary is None or manifest.summary.robots != ROBOT_LIST:
        return False
    if "@timestamp" in question.where.fields() or not set(fields_of(question)) <= set(FIELDS):
        return False
    everies = [grouping for grouping in question.by if isinstance(grouping, Every)]
    edges = [edge for edge in (question.period.start, question.period.end) if edge is not None]
    return all(every.unit in _BY_QUARTER for every in everies) and all(to_ms(edge) % QUARTER_MS == 0 for edge in edges)


def select(path: str, fields: list[str], question: Question, *, timed: bool) -> tuple[str, list[Any]]:
    """The groups of a question as SQL: time, how many, and the values of each field by kind."""
    parameters: list[Any] = []
    wanted = [column for name in fields for column, of, _ in VALUES if of == name]
    conditions = []
    for edge, op in ((question.period.start, ">="), (question.period.end, "<")):
        if edge is not None:
            conditions.append(f"t {op} {to_ms(edge)}")
    for part in parts_of(question.where):
        if isinstance(part, Item):
            conditions.append(_of_item(part.id, parameters))
    time = "t" if timed else "0"
    where = " and ".join(conditions) or "true"
    chosen = ", ".join([f"{time} as t", "sum(n)::BIGINT as n", *wanted])
    grouped = ", ".join([*(["t"] if timed else []), *wanted])
    rest = f" group by {grouped}" if grouped else ""
    return f"select {chosen} from read_parquet({literal(path)}) where {where}{rest}", parameters


def _of_item(item: str, parameters: list[Any]) -> str:
    """Rows that may be the item's: numbers and flags are looked at one by one later."""
    found = []
    for column, name, kind in VALUES:
        if name in ("id", "item_id", "extra.item_id"):
            if kind == "text":
                parameters.append(item)
                found.append(f"list_contains({column}, ${len(parameters)})")
            else:
                found.append(f"{column} is not null")
    return f"({' or '.join(found)})"
