"""A month's figures, added up day by day in DuckDB, which goes to disk where memory ends.

Each counted usage gives rows for its customers, The World among them, and for each item that it counts for. Unique
items are counted a session, item and combination of attributes; unique titles a session, title and combination. A
customer's rows of all days are added up once, when they are read.

DR is counted apart from the rest: there a usage belongs to the database that it is credited to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb
import msgspec
import numpy as np

from metronome.counter.about import Use, Uses
from metronome.counter.day import Day
from metronome.counter.facts import REPORTS, WORLD, Fact, Performance, Report, Subject
from metronome.counter.kept import Portion
from metronome.counter.values import UNIQUE_TITLES
from metronome.parts.columns import Array

#: The columns of counts, each with its metric type.
METRICS = (
    "Searches_Platform",
    "Searches_Automated",
    "Searches_Federated",
    "Searches_Regular",
    "Total_Item_Investigations",
    "Total_Item_Requests",
    "Unique_Item_Investigations",
    "Unique_Item_Requests",
    "Unique_Title_Investigations",
    "Unique_Title_Requests",
    "Limit_Exceeded",
    "No_License",
)

#: What tells rows of one report and customer apart; `parent` and `subject` are ids, empty where there is none.
CELL = ("parent", "subject", "data_type", "yop", "access_type", "access_method")
ORIGIN = ("country", "subdivision", "attributed")
KEYS = ("customer", *CELL, *ORIGIN)

#: Facts are fetched so many rows at a time.
_FETCHED = 5000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Subject).decode

#: A report, the parts of CELL, and what is counted once a session.
Cell = tuple[str, ...]


class Sums:
    """The figures of one month. `database` is a connection of its own."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        keys = ", ".join(f"{name} {'boolean' if name == 'attributed' else 'varchar'}" for name in KEYS)
        counts = ", ".join(f"{metric} bigint default 0" for metric in METRICS)
        database.execute(f"create table sums (report varchar, {keys}, {counts})")
        database.execute(
            "create table subjects (report varchar, parent varchar, subject varchar, last bigint, said varchar)"
        )

    def add(self, day: Day) -> None:
        """Add a day's usages."""
        counted = day.counted
        if not len(counted):
            return
        about, last = day.about[counted], np.full(len(day.abouts), -1, np.int64)
        np.maximum.at(last, about, day.at[counted])
        used = [(code, day.abouts[code]) for code in np.flatnonzero(last >= 0).tolist()]
        self._register_clicks(about, day.session[counted])
        self._register_customers(used)
        for unique in ("Item", "Title"):
            cells, rows = _cells(used, titles=unique == "Title")
            self._add_usage(unique, cells, rows)
        self._add_events(*_denials(used))
        self._add_events(*_searches(used))
        self._describe(used, last)

    def _register_clicks(self, about: Array, session: Array) -> None:
        self._fill("clicks", {"about": about, "session": session}, "about, session, count(*) as n", "group by all")

    def _register_customers(self, used: Sequence[tuple[int, Uses]]) -> None:
        """Whose each usage is: The World's, and those of its customers; and where it came from."""
        origins, rows = _Codes(), []
        for code, one in used:
            for customer in (WORLD, *one.customers):
                attributed = customer != WORLD or bool(one.customers)
                rows.append((code, customer, origins[one.country, one.subdivision, attributed]))
        self._fill("whose", _columns(rows, ("about", "customer", "origin")))
        self._fill("origins", _columns(list(origins), ORIGIN))

    def _add_usage(self, unique: str, cells: list[Cell], rows: list[tuple[int, int, bool]]) -> None:
        """`rows` say which usages (about, request or not) count in which cells.

        A session counts once a cell, wherever it came from: then it counts for the first of these origins, so that the
        sum over all of them holds it once.
        """
        if not rows:
            return
        self._fill("cells", _columns(cells, ("report", *CELL, "unit")))
        self._fill("uses", _columns(rows, ("about", "cell", "request")))
        joined = "clicks join uses using (about) join whose using (about)"
        self._execute(
            "create or replace temp table once as select customer, cell, min(origin) as seen, "
            f"min(origin) filter (request) as asked from {joined} group by customer, cell, session"
        )
        for metric, origin in ((f"Unique_{unique}_Investigations", "seen"), (f"Unique_{unique}_Requests", "asked")):
            self._insert(
                f"select customer, cell, {origin} as origin, count(*) as n from once "
                f"where {origin} is not null group by all",
                metric,
            )
        if unique == "Item":
            for metric, where in (("Total_Item_Investigations", "true"), ("Total_Item_Requests", "request")):
                self._insert(
                    f"select customer, cell, origin, sum(n) as n from {joined} where {where} group by all", metric
                )

    def _add_events(self, cells: list[Cell], rows: list[tuple[int, int, str]]) -> None:
        """`rows` say which metric a usage adds one to, in which cell."""
        if not rows:
            return
        self._fill("cells", _columns(cells, ("report", *CELL, "unit")))
        self._fill("uses", _columns(rows, ("about", "cell", "metric")))
        for metric in sorted({row[2] for row in rows}):
            self._insert(
                "select customer, cell, origin, sum(n) as n from clicks join uses using (about) "
                f"join whose using (about) where metric = '{metric}' group by all",
                metric,
            )

    def _insert(self, counted: str, metric: str) -> None:
        keys = ", ".join(KEYS)
        self._execute(
            f"insert into sums (report, {keys}, {metric}) select report, {keys}, sum(n) from ({counted}) counted "
            f"join cells on cells.place = cell join origins on origins.place = origin group by report, {keys}"
        )

    def _describe(self, used: Sequence[tuple[int, Uses]], last: Array) -> None:
        """Note how subjects were described last."""
        found: dict[tuple[str, str, str], tuple[int, Subject]] = {}

        def note(report: str, parent: str, subject: Subject | None, at: int) -> None:
            if subject is not None and at >= found.get((report, parent, subject.id), (-1,))[0]:
                found[report, parent, subject.id] = at, subject

        for code, one in used:
            at = int(last[code])
            for use in one.items:
                note("TR", "", use.title, at)
                note("IR", use.parent.id if use.parent else "", use.item, at)
                note("parent", "", use.parent, at)
            for database in one.databases:
                note("DR", "", database, at)
        if found:
            rows = [(*key, at, _encode(subject).decode()) for key, (at, subject) in found.items()]
            self._database.register("described", _columns(rows, ("report", "parent", "subject", "last", "said")))
            self._database.execute("insert into subjects select report, parent, subject, last, said from described")
            self._database.unregister("described")

    def _execute(self, query: str) -> None:
        self._database.execute(query)

    def _fill(self, name: str, columns: dict[str, Array], chosen: str = "*", further: str = "") -> None:
        """A temporary table of these columns; `place` is a row's number."""
        columns = {**columns, "place": np.arange(len(next(iter(columns.values()))))} if chosen == "*" else columns
        self._database.register("given", columns)
        self._database.execute(f"create or replace temp table {name} as select {chosen} from given {further}")
        self._database.unregister("given")

    def portions(self) -> Iterator[Portion]:
        """All facts, customer by customer and report by report; each portion is read to its end before the next."""
        self._database.execute(
            "create or replace table latest as select report, parent, subject, arg_max(said, last) as said "
            "from subjects group by all"
        )
        for report in REPORTS:
            for customer, rows in groupby(self._rows(report), key=itemgetter(0)):
                yield customer, report, _facts(report, rows)

    def _rows(self, report: Report) -> Iterator[tuple[Any, ...]]:
        keys = ", ".join(f"sums.{name}" for name in KEYS)
        counts = ", ".join(f"sum({metric})::bigint" for metric in METRICS)
        found = self._database.cursor().execute(
            f"select {keys}, any_value(own.said), any_value(above.said), {counts} from sums "
            "left join latest own on own.report = sums.report and own.parent = sums.parent "
            "and own.subject = sums.subject left join latest above on above.report = 'parent' "
            f"and above.subject = sums.parent where sums.report = '{report}' group by {keys} order by {keys}"
        )
        while rows := found.fetchmany(_FETCHED):
            yield from rows


def _facts(report: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[Fact]:
    for (parent, _), own in groupby(rows, key=itemgetter(1, 2)):
        several = list(own)
        said, above = several[0][len(KEYS)], several[0][len(KEYS) + 1]
        yield Fact(
            _decode(said) if report != "PR" else None,
            _decode(above) if parent else None,
            tuple(_performance(row) for row in several),
        )


def _performance(row: tuple[Any, ...]) -> Performance:
    counts = {metric: count for metric, count in zip(METRICS, row[len(KEYS) + 2 :], strict=True) if count}
    return Performance(counts, *row[3 : len(KEYS)])


def _columns(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> dict[str, Array]:
    return {
        name: np.array(values, dtype=object if isinstance(values[0], str | bytes) else None)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


class _Codes(dict[tuple[Any, ...], int]):
    """Numbers what it is asked for, in the order in which that comes."""

    def __missing__(self, one: tuple[Any, ...]) -> int:
        self[one] = len(self)
        return self[one]


def _cells(used: Sequence[tuple[int, Uses]], *, titles: bool) -> tuple[list[Cell], list[tuple[int, int, bool]]]:
    """The cells of items (or titles), and which usages count in them."""
    codes, rows = _Codes(), dict[tuple[int, int, bool], None]()
    for code, one in used:
        if one.denial:
            continue
        for use in one.items:
            if titles and use.title_type not in UNIQUE_TITLES:
                continue
            for cell in _reported(one, use, titles=titles):
                rows[code, codes[cell], one.request] = None
    return list(codes), list(rows)


def _reported(one: Uses, use: Use, *, titles: bool = False) -> Iterator[Cell]:
    """The cells of one item of a usage, a report each; with `titles`, those of its title."""
    parent, title = use.parent.id if use.parent else "", use.title.id if use.title else ""
    of = (title,) if titles else (parent, use.item.id)
    unit = "\x1f".join((*of, one.yop, one.access_type))
    own, short = (one.yop, one.access_type, one.access_method), ("", "", one.access_method)
    yield ("PR", "", "", use.platform_type, *short, unit)
    if use.database_type and one.databases:
        yield ("DR", "", one.databases[0].id, use.database_type, *short, unit)
    if use.title_type:
        yield ("TR", "", title, use.title_type, *own, unit)
    if use.item_type and not titles:
        yield ("IR", parent, use.item.id, use.item_type, *own, unit)


def _denials(used: Sequence[tuple[int, Uses]]) -> tuple[list[Cell], list[tuple[int, int, str]]]:
    """A denial isn't in PR, and in DR it is the database's own."""
    codes, rows = _Codes(), []
    for code, one in used:
        if not one.denial:
            continue
        cells = [cell for use in one.items for cell in _reported(one, use) if cell[0] in ("TR", "IR")]
        cells += [_of_database(one, database) for database in one.databases[:1]]
        rows += [(code, codes[cell], one.denial) for cell in cells]
    return list(codes), rows


def _searches(used: Sequence[tuple[int, Uses]]) -> tuple[list[Cell], list[tuple[int, int, str]]]:
    """A search is one of the platform, and one of each database."""
    codes, rows = _Codes(), []
    for code, one in used:
        if one.search:
            rows.append((code, codes["PR", "", "", "Platform", "", "", one.access_method, ""], "Searches_Platform"))
            cells = dict.fromkeys(_of_database(one, database) for database in one.databases)
            rows += [(code, codes[cell], f"Searches_{one.search}") for cell in cells]
    return list(codes), rows


def _of_database(one: Uses, database: Subject) -> Cell:
    return ("DR", "", database.id, database.data_type, "", "", one.access_method, "")
