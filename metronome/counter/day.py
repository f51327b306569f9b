"""A day's counted usages as a table, each with its verdict: whether it counts, and if not, why.

Sessions end at midnight, so all that is unique is unique within a day. Double clicks alone reach across midnight: the
first clicks of the next day are read as well, under the hash that they would have had the day before.

Source: COUNTER R5.1, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, timedelta

import duckdb

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

#: Every counted usage has it (about.py).
_ABOUT = "counter.about"

_COLUMNS: Columns = {
    "ms": ("@timestamp", "number"),
    "session": ("session_id", "text"),
    "about": (_ABOUT, "text"),
    "robot": ("is_robot", "flag"),
}

#: The hash of visitor and link: that of the day, and that of the day before.
_CLICK, _CLICK_BEFORE = "counter.click", "counter.click_before"

_GAP_MS = int(DOUBLE_CLICK.total_seconds() * 1000)

#: New texts are read so many at a time.
_PAGE = 5000

#: Rows of one file. The place of a row is its number there, after as many for each file before.
_FILE_ROWS = 2**40


def _key(names: Sequence[str]) -> str:
    """SQL for a hash of 128 bits of some members of `about`, which is the same for texts that don't differ in them."""
    paths = ", ".join(literal(f"$.{name}") for name in names)
    return f"md5_number(json_extract(about, [{paths}])::varchar)"


class Usages:
    """The usages of one day at a time, as the table `usages` of a database. Nobody else may use the database meanwhile.

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
        database.execute("create table whats (what integer, what_key uhugeint, means boolean, is_click boolean)")
        database.execute("create table whos (who integer, who_key uhugeint)")

    def load(self, day: date) -> bool:
        """Make the table of a day; False where the day has no usage."""
        with ExitStack() as kept:
            own = self._paths(kept, day)
            after = self._paths(kept, day + timedelta(days=1))
            clicks = self._rows(own, _CLICK, _ABOUT, first=0)
            next_clicks = self._rows(after, _CLICK_BEFORE, _CLICK_BEFORE, first=len(own))
            if not clicks:
                return False
            files = " union all ".join([*clicks, *next_clicks])
            self._read(files)
            self._number_whats(files)
            self._number_whos(files)
        self._judge(after_place=len(own) * _FILE_ROWS)
        return True

    def _paths(self, kept: ExitStack, day: date) -> list[str]:
        opened = kept.enter_context(self._folder.open(day))
        return opened.paths if opened is not None else []

    def _rows(self, paths: Sequence[str], click: str, exists: str, *, first: int) -> list[str]:
        """SQL for the usages of each file that have the property `exists`."""
        found = []
        for number, path in enumerate(paths, first):
            shape = shape_of(self._database, path)
            columns = {**_COLUMNS, "click": (click, "text"), **self._extra}
            values = ", ".join(f"{_single(shape.value(*wanted))} as {name}" for name, wanted in columns.items())
            found.append(
                f"select {values}, {number * _FILE_ROWS} + file_row_number as place from read_parquet({literal(path)}) "
                f"where {shape.condition(Exists(exists), None)} and {shape.condition(Exists(_ABOUT), None)}"
            )
        return found

    def _read(self, files: str) -> None:
        extra = "".join(f", {name}" for name in self._extra)
        self._database.execute(
            f"create or replace temp table read as select ms, md5_number(session) as session, robot, click, place, "
            f"{_key(WHAT)} as what_key, {_key(WHOSE)} as who_key{extra} from ({files})"
        )

    def _number_whats(self, files: str) -> None:
        """Number what was used, and note whether it means anything and whether it is half of a double click."""
        for texts in self._new("what", files):
            learned = [(number, uses(text)) for number, text in texts]
            judged = [(number, bool(one.items or one.search), one.is_click) for number, one in learned]
            with given(self._database, "judged", judged, ("what", "means", "is_click")):
                self._database.execute(
                    "insert into whats select what, what_key, means, is_click from judged join fresh using (what)"
                )
            self._learn(learned)

    def _number_whos(self, files: str) -> None:
        for texts in self._new("who", files):
            self._learn_whose([(number, whose(text)) for number, text in texts])
        self._database.execute("insert into whos select who, who_key from fresh")

    def _new(self, name: str, files: str) -> Iterator[list[tuple[int, str]]]:
        """Give numbers to what has none yet, in the table `fresh`; yields a text of each number, page by page.

        The texts are looked up in the files once more, since those of a whole day would fill the memory.
        """
        self._database.execute(
            f"create or replace temp table fresh as select (select count(*) from {name}s) + row_number() over "
            f"(order by {name}_key) - 1 as {name}, {name}_key, min(place) as place from read "
            f"anti join {name}s using ({name}_key) group by {name}_key"
        )
        bounds = self._database.execute(f"select min({name}), max({name}) from fresh").fetchone()
        if bounds is None or bounds[0] is None:
            return
        self._database.execute(
            f"create or replace temp table texts as select {name}, about from fresh join ({files}) using (place)"
        )
        for start in range(bounds[0], bounds[1] + 1, _PAGE):
            page = f"{name} >= {start} and {name} < {start + _PAGE}"
            yield self._database.execute(f"select {name}, about from texts where {page} order by {name}").fetchall()

    def _judge(self, *, after_place: int) -> None:
        """Of two neighbouring clicks at most 30 s apart the earlier is a double click; a chain leaves only its last.

        The clicks of the next day come after `after_place`. They aren't usages of this day.
        """
        extra = "".join(f", {name}" for name in self._extra)
        self._database.execute(
            "create or replace temp table usages as with judged as ("
            f"select read.*, what, who, case when robot then {IS_ROBOT} when means then {COUNTS} else {IS_NOTHING} end "
            f"as judged, judged = {COUNTS} and is_click and click is not null as pairs "
            "from read join whats using (what_key) join whos using (who_key)) "
            f"select ms, session, what, who{extra}, case when pairs and lead(ms) over (partition by click, pairs "
            f"order by ms, what, who, session) - ms <= {_GAP_MS} then {IS_DOUBLE} else judged end as verdict "
            f"from judged qualify place < {after_place}"
        )


def _single(expression: Expression) -> str:
    return f"({expression.sql})[1]" if expression.lists else expression.sql
