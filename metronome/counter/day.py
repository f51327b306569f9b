"""A day's counted usages as a table, each with its verdict: whether it counts, and if not, why.

Sessions end at midnight, so all that is unique is unique within a day. Double clicks alone reach across midnight: the
first clicks of the next day are read as well, under the hash that they would have had the day before.

Source: COUNTER R5.1, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, timedelta

import duckdb
import orjson

from metronome.counter.about import WHAT, WHOSE, Uses, Whose, uses, whose
from metronome.counter.identities import DOUBLE_CLICK
from metronome.counter.tables import given
from metronome.parts.duck import literal
from metronome.parts.expressions import Expression, add_functions, shape_of
from metronome.parts.read import Opens
from metronome.parts.where import Exists, Kind

#: Verdicts, by their numbers in `usages.verdict`.
COUNTS, IS_ROBOT, IS_NOTHING, IS_DOUBLE = range(4)

#: A property and the kind of its values, by the name of a column.
Columns = Mapping[str, tuple[str, Kind]]

_COLUMNS: Columns = {
    "ms": ("@timestamp", "number"),
    "session": ("session_id", "text"),
    "about": ("counter.about", "text"),
    "robot": ("is_robot", "flag"),
}

#: The hash of visitor and link: that of the day, and that of the day before.
_CLICK, _CLICK_BEFORE = "counter.click", "counter.click_before"

_GAP_MS = int(DOUBLE_CLICK.total_seconds() * 1000)

#: New texts are read so many at a time.
_PAGE = 5000

#: Rows of one file. The place of a row is its number there, after as many for each file before.
_FILE_ROWS = 2**40


def _without(names: Sequence[str]) -> str:
    """SQL for the text of a usage without some of its members."""
    # A merge patch removes the members that are null in it, and leaves the others in their order (RFC 7396).
    return f"json_merge_patch(about, {literal(orjson.dumps(dict.fromkeys(names)).decode())})"


#: SQL for the two halves of a text.
_WHAT_USED, _WHOSE_USAGE = _without(WHOSE), _without(WHAT)


class Usages:
    """The usages of one day at a time, as the table `usages` of a database.

    ms            Unix milliseconds
    session       a hash; null for none
    what, who     numbers of what was used, and of whose usage it was; they stay the same from day to day
    verdict       as above
    and the columns that are wanted in addition

    `learn` and `learn_whose` are told what each number stands for, before `load` has made the table.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        folder: Opens,
        *,
        learn: Callable[[Sequence[tuple[int, Uses]]], None] = lambda rows: None,
        learn_whose: Callable[[Sequence[tuple[int, Whose]]], None] = lambda rows: None,
        extra: Columns | None = None,
    ) -> None:
        self._database, self._folder = database, folder
        self._learn, self._learn_whose, self._extra = learn, learn_whose, dict(extra or {})
        add_functions(database)
        # What was used is known by a hash of 128 bits, since the text itself is long.
        database.execute("create table whats (what integer, key uhugeint, means boolean, is_click boolean)")
        database.execute("create table whos (who integer, said varchar)")

    def load(self, day: date) -> bool:
        """Make the table of a day; False where the day has no usage."""
        with ExitStack() as kept:
            own = self._paths(kept, day)
            after = self._paths(kept, day + timedelta(days=1))
            clicks = self._rows(own, _CLICK, "counter.about", self._extra, first=0)
            next_clicks = self._rows(after, _CLICK_BEFORE, _CLICK_BEFORE, self._extra, first=len(own))
            if not clicks:
                return False
            self._read([*clicks, *next_clicks])
            self._number_whats(" union all ".join([*clicks, *next_clicks]))
        self._number_whos()
        self._judge(after_place=len(own) * _FILE_ROWS)
        return True

    def _paths(self, kept: ExitStack, day: date) -> list[str]:
        opened = kept.enter_context(self._folder.open(day))
        return opened.paths if opened is not None else []

    def _rows(self, paths: Sequence[str], click: str, exists: str, extra: Columns, *, first: int) -> list[str]:
        """SQL for the usages of each file that have the property `exists`."""
        found = []
        for number, path in enumerate(paths, first):
            shape = shape_of(self._database, path)
            columns = {**_COLUMNS, "click": (click, "text"), **extra}
            values = ", ".join(f"{_single(shape.value(*wanted))} as {name}" for name, wanted in columns.items())
            found.append(
                f"select {values}, {number * _FILE_ROWS} + file_row_number as place from read_parquet({literal(path)}) "
                f"where {shape.condition(Exists(exists), None)} and {shape.condition(Exists('counter.about'), None)}"
            )
        return found

    def _read(self, files: Sequence[str]) -> None:
        extra = "".join(f", {name}" for name in self._extra)
        self._database.execute(
            f"create or replace temp table read as select ms, md5_number(session) as session, robot, click, place, "
            f"md5_number({_WHAT_USED}) as key, {_WHOSE_USAGE} as said{extra} "
            f"from ({' union all '.join(files)})"
        )

    def _number_whats(self, files: str) -> None:
        """Give numbers to what wasn't used before."""
        self._database.execute(
            "create or replace temp table fresh as "
            "with new as (select key, min(place) as place from read anti join whats using (key) group by key) "
            "select (select count(*) from whats) + row_number() over (order by key) - 1 as what, key, "
            f"{_WHAT_USED} as said from new join ({files}) using (place)"
        )
        first, end = self._numbers("what")
        for start in range(first, end, _PAGE):
            rows = self._database.execute(
                f"select what, said from fresh where what >= {start} and what < {start + _PAGE}"
            )
            learned = [(number, uses(text)) for number, text in sorted(rows.fetchall())]
            judged = [(number, bool(one.items or one.search), one.is_click) for number, one in learned]
            with given(self._database, "judged", judged, ("what", "means", "is_click")):
                self._database.execute(
                    "insert into whats select what, key, means, is_click from judged join fresh using (what)"
                )
            self._learn(learned)

    def _number_whos(self) -> None:
        self._database.execute(
            "create or replace temp table fresh as select (select count(*) from whos) + row_number() over (order by "
            "said) - 1 as who, said from (select distinct said from read) anti join whos using (said)"
        )
        first, end = self._numbers("who")
        for start in range(first, end, _PAGE):
            rows = self._database.execute(f"select who, said from fresh where who >= {start} and who < {start + _PAGE}")
            self._learn_whose([(number, whose(text)) for number, text in sorted(rows.fetchall())])
        self._database.execute("insert into whos select who, said from fresh")

    def _numbers(self, name: str) -> tuple[int, int]:
        """The first number of `fresh`, and the one after the last."""
        found = self._database.execute(f"select coalesce(min({name}), 0), coalesce(max({name}) + 1, 0) from fresh")
        return found.fetchone()  # type: ignore[return-value]

    def _judge(self, *, after_place: int) -> None:
        """Of two neighbouring clicks at most 30 s apart the earlier is a double click; a chain leaves only its last.

        The clicks of the next day come after `after_place`. They aren't usages of this day.
        """
        extra = "".join(f", {name}" for name in self._extra)
        self._database.execute(
            "create or replace temp table usages as with judged as ("
            f"select read.*, what, who, case when robot then {IS_ROBOT} when means then {COUNTS} else {IS_NOTHING} end "
            f"as judged, judged = {COUNTS} and is_click and click is not null as pairs "
            "from read join whats using (key) join whos using (said)) "
            f"select ms, session, what, who{extra}, case when pairs and lead(ms) over (partition by click, pairs "
            f"order by ms, what, who, session) - ms <= {_GAP_MS} then {IS_DOUBLE} else judged end as verdict "
            f"from judged qualify place < {after_place}"
        )


def _single(expression: Expression) -> str:
    return f"({expression.sql})[1]" if expression.lists else expression.sql
