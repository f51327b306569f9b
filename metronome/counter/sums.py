"""A month's figures, added up day by day in DuckDB, which goes to disk where memory ends.

Each counted usage counts for its customers, The World among them, and in a cell of each report that holds its item. A
cell is a line of a report and a unit: what is counted once a session there. Unique items are counted a session, item
and combination of attributes; unique titles a session, title and combination.

What a usage counts in is worked out once a month for everything that was used (`learn`), so a day is joins of numbers.

DR is counted apart from the rest: there a usage belongs to the database that it is credited to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb
import msgspec

from metronome.counter.about import Use, Uses, Whose
from metronome.counter.day import COUNTS
from metronome.counter.facts import REPORTS, WORLD, Fact, Performance, Report, Subject
from metronome.counter.kept import Portion
from metronome.counter.tables import given
from metronome.counter.values import UNIQUE_TITLES

#: The metric types, in the order of a fact's counts. In tables a metric is its place here.
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
_PLACES = {metric: place for place, metric in enumerate(METRICS)}

#: What tells lines of one report apart; `parent` and `subject` are ids, empty where there is none.
LINE = ("report", "parent", "subject", "data_type", "yop", "access_type", "access_method")
ORIGIN = ("country", "subdivision", "attributed")

#: The attributes of a Performance, in its order.
_ATTRIBUTES = (*LINE[3:], *ORIGIN)

#: How many columns of a row of facts come before the counts.
_FIXED = 4 + len(_ATTRIBUTES)

#: Facts are fetched so many rows at a time.
_FETCHED = 20_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Subject).decode

#: The parts of LINE, and the unit.
Cell = tuple[str, ...]

#: Tables that say which cells what was used counts in, each with what it says beside.
_ITEMS, _TITLES, _EVENTS = "items", "titles", "events"


class Sums:
    """The figures of one month. `database` is a connection of its own, with the table `usages` of each day (day.py)."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._customers, self._origins, self._subjects = _Codes(), _Codes(), 0
        for table in (
            f"lines (line integer, {', '.join(f'{name} varchar' for name in LINE)})",
            "cells (cell integer, line integer, unit varchar)",
            f"{_ITEMS} (what integer, cell integer, line integer, request boolean)",
            f"{_TITLES} (what integer, cell integer, line integer, request boolean)",
            f"{_EVENTS} (what integer, cell integer, line integer, metric utinyint)",
            "whose (who integer, customer integer, origin integer)",
            "subjects (number integer, report varchar, parent varchar, subject varchar, said varchar)",
            "described (what integer, number integer)",
            "used (what integer, ms bigint)",
            "sums (customer integer, line integer, origin integer, metric utinyint, n integer)",
        ):
            database.execute(f"create table {table}")

    def learn(self, used: Sequence[tuple[int, Uses]]) -> None:
        """Note what these count in, each under its number."""
        self._learn(_ITEMS, "request", *_cells(used, titles=False))
        self._learn(_TITLES, "request", *_cells(used, titles=True))
        self._learn(_EVENTS, "metric", *_denials(used))
        self._learn(_EVENTS, "metric", *_searches(used))
        self._describe(used)

    def learn_whose(self, known: Sequence[tuple[int, Whose]]) -> None:
        """Note whose these are, each under its number: The World's, and those of their customers."""
        rows = []
        for number, one in known:
            for customer in (WORLD, *one.customers):
                attributed = customer != WORLD or bool(one.customers)
                origin = self._origins[one.country, one.subdivision, attributed]
                rows.append((number, self._customers[customer,], origin))
        with given(self._database, "new", rows, ("who", "customer", "origin")):
            self._execute("insert into whose select who, customer, origin from new")

    def _learn(self, table: str, third: str, cells: list[Cell], rows: list[tuple[int, int, Any]]) -> None:
        """`rows` say what counts in which of the cells, and how; lines and cells that are new get numbers."""
        if not rows:
            return
        line = ", ".join(LINE)
        numbered = [(*cell, place) for place, cell in enumerate(cells)]
        with (
            given(self._database, "new_cells", numbered, (*LINE, "unit", "place")),
            given(self._database, "new", rows, ("what", "place", third)),
        ):
            self._execute(
                f"insert into lines select (select count(*) from lines) + row_number() over () - 1, {line} "
                f"from (select distinct {line} from new_cells) anti join lines using ({line})"
            )
            self._execute(
                "create or replace temp table units as select place, line, unit from new_cells "
                f"join lines using ({line})"
            )
            self._execute(
                "insert into cells select (select count(*) from cells) + row_number() over () - 1, line, unit "
                "from units anti join cells using (line, unit)"
            )
            self._execute(
                f"insert into {table} select what, cell, line, {third} from new join units using (place) "
                "join cells using (line, unit)"
            )

    def _describe(self, used: Sequence[tuple[int, Uses]]) -> None:
        """Note how these describe their subjects."""
        subjects, rows = _Codes(), dict[tuple[int, int], None]()

        def note(number: int, report: str, parent: str, subject: Subject | None) -> None:
            if subject is not None:
                place = subjects[report, parent, subject.id, _encode(subject).decode()]
                rows[number, self._subjects + place] = None

        for number, one in used:
            for use in one.items:
                note(number, "TR", "", use.title)
                note(number, "IR", use.parent.id if use.parent else "", use.item)
                note(number, "parent", "", use.parent)
            for database in one.databases:
                note(number, "DR", "", database)
        if rows:
            numbered = [(self._subjects + place, *subject) for subject, place in subjects.items()]
            with given(self._database, "new", numbered, ("number", "report", "parent", "subject", "said")):
                self._execute("insert into subjects select * from new")
            with given(self._database, "new", list(rows), ("what", "number")):
                self._execute("insert into described select * from new")
            self._subjects += len(subjects)

    def add(self) -> None:
        """Add the day that is in `usages`."""
        self._execute(
            "create or replace temp table clicks as select what, who, session, count(*) as n from usages "
            f"where verdict = {COUNTS} group by what, who, session"
        )
        self._execute(f"insert into used select what, max(ms) from usages where verdict = {COUNTS} group by what")
        self._add_unique(_ITEMS, "Item")
        self._add_unique(_TITLES, "Title")
        self._insert("Total_Item_Investigations", f"sum(n) as n from {_joined(_ITEMS)}")
        self._insert("Total_Item_Requests", f"sum(n) as n from {_joined(_ITEMS)} where request")
        self._insert("", f"metric, sum(n) as n from {_joined(_EVENTS)}")

    def _add_unique(self, table: str, unique: str) -> None:
        """A session counts once a cell, wherever it came from.

        It counts for the first of its origins there, so that the sum over all of them holds it once.
        """
        self._execute(
            "create or replace temp table once as select customer, line, cell, min(origin) as seen, "
            f"min(origin) filter (request) as asked from {_joined(table)} group by customer, line, cell, session"
        )
        for metric, origin in (("Investigations", "seen"), ("Requests", "asked")):
            self._insert(
                f"Unique_{unique}_{metric}",
                f"count(*) as n from (select customer, line, {origin} as origin from once where {origin} is not null)",
            )

    def _insert(self, metric: str, counted: str) -> None:
        """Add counts, by customer, line and origin, of one metric or, with an empty one, of each that they say."""
        said = f"{_PLACES[metric]} as metric, " if metric else ""
        self._execute(f"insert into sums by name select customer, line, origin, {said}{counted} group by all")

    def _execute(self, query: str) -> None:
        self._database.execute(query)

    def portions(self) -> Iterator[Portion]:
        """All facts, customer by customer and report by report; each portion is read to its end before the next."""
        if not self._customers:
            return
        self._rank()
        for report in REPORTS:
            metrics = self._metrics(report)
            for customer, rows in groupby(self._rows(report, metrics) if metrics else (), key=itemgetter(0)):
                yield customer, report, _facts(rows, metrics)

    def _rank(self) -> None:
        """Put lines and origins into the order of facts, and beside each line how its subjects were described last."""
        with given(self._database, "new", [(n, *one) for one, n in self._customers.items()], ("customer", "id")):
            self._execute("create table customers as select customer, id from new")
        with given(self._database, "new", [(n, *one) for one, n in self._origins.items()], ("origin", *ORIGIN)):
            order = ", ".join(ORIGIN)
            self._execute(f"create table origins as select *, row_number() over (order by {order}) as turn from new")
        self._execute(
            "create table last as select report, parent, subject, arg_max(number, (ms, what)) as number "
            "from (select what, max(ms) as ms from used group by what) join described using (what) "
            "join subjects using (number) group by report, parent, subject"
        )
        self._execute("create table said as select last.*, said from last join subjects using (number)")
        self._execute(
            f"create table ranked as select row_number() over (order by {', '.join(LINE)}) as rank, "
            "dense_rank() over (order by report, parent, subject) as fact, lines.*, own.said as own, "
            "above.said as above from lines left join said own using (report, parent, subject) "
            "left join said above on above.report = 'parent' and above.subject = lines.parent order by rank"
        )

    def _rows(self, report: Report, metrics: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The rows of all customers in the order of facts: id, fact, own, above, attributes, counts of the metrics."""
        counts = ", ".join(f"coalesce(sum(n) filter (metric = {_PLACES[one]}), 0)::bigint as {one}" for one in metrics)
        self._execute(
            "create or replace temp table figures as select row_number() over (order by customer, rank, turn) - 1 as "
            f"place, * from (select customer, rank, origin, {counts} from sums join ranked using (line) "
            f"where report = '{report}' group by customer, rank, origin) join origins using (origin) order by place"
        )
        chosen = ", ".join(("id", "fact", "own", "above", *_ATTRIBUTES, *metrics))
        (count,) = self._database.execute("select count(*) from figures").fetchone()  # type: ignore[misc]
        for start in range(0, count, _FETCHED):
            page = self._database.execute(
                f"select {chosen} from figures join ranked using (rank) join customers using (customer) "
                f"where place >= {start} and place < {start + _FETCHED} order by place"
            )
            # An array a column is several times as quick as a tuple a row.
            yield from zip(*(column.tolist() for column in page.fetchnumpy().values()), strict=True)

    def _metrics(self, report: Report) -> list[str]:
        """The metrics that the report has counts of."""
        found = self._database.execute(
            f"select distinct metric from sums join lines using (line) where report = '{report}' order by metric"
        )
        return [METRICS[place] for (place,) in found.fetchall()]


def _facts(rows: Iterable[tuple[Any, ...]], metrics: Sequence[str]) -> Iterator[Fact]:
    for _, own in groupby(rows, key=itemgetter(1)):
        several = list(own)
        said, above = several[0][2:4]
        yield Fact(
            _decode(said) if said else None,
            _decode(above) if above else None,
            tuple([_performance(row, metrics) for row in several]),
        )


def _performance(row: tuple[Any, ...], metrics: Sequence[str]) -> Performance:
    counts = dict(zip(metrics, row[_FIXED:], strict=True))
    if 0 in counts.values():
        counts = {metric: count for metric, count in counts.items() if count}
    return Performance(counts, *row[4:_FIXED])


def _joined(table: str) -> str:
    """The clicks, each with the cells that it counts in and the customers that it counts for."""
    return f"clicks join {table} using (what) join whose using (who)"


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


def _denials(used: Sequence[tuple[int, Uses]]) -> tuple[list[Cell], list[tuple[int, int, int]]]:
    """A denial isn't in PR, and in DR it is the database's own."""
    codes, rows = _Codes(), []
    for code, one in used:
        if not one.denial:
            continue
        cells = [cell for use in one.items for cell in _reported(one, use) if cell[0] in ("TR", "IR")]
        cells += [_of_database(one, database) for database in one.databases[:1]]
        rows += [(code, codes[cell], _PLACES[one.denial]) for cell in cells]
    return list(codes), rows


def _searches(used: Sequence[tuple[int, Uses]]) -> tuple[list[Cell], list[tuple[int, int, int]]]:
    """A search is one of the platform, and one of each database."""
    codes, rows = _Codes(), []
    for code, one in used:
        if one.search:
            rows.append(
                (code, codes["PR", "", "", "Platform", "", "", one.access_method, ""], _PLACES["Searches_Platform"])
            )
            cells = dict.fromkeys(_of_database(one, database) for database in one.databases)
            rows += [(code, codes[cell], _PLACES[f"Searches_{one.search}"]) for cell in cells]
    return list(codes), rows


def _of_database(one: Uses, database: Subject) -> Cell:
    return ("DR", "", database.id, database.data_type, "", "", one.access_method, "")
