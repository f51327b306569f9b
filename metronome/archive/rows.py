"""Archived events as a question needs them: alike ones once, with how many they are.

A question reads few fields, and most events agree in these. So DuckDB groups a file's rows by the fields and by the
finest step of time that any bucket has; each group is put through the conditions and groupings in plain Python, and
counts as often as it has rows. What Elasticsearch made of a value when it was indexed is done here once more, by the
mapping in the manifest: text under a name that is a number there is a value that can't be compared, and so on.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from metronome.archive import summary
from metronome.event.fields import Event
from metronome.parts import duck
from metronome.parts import where as parts_where
from metronome.parts.columns import KINDS
from metronome.parts.duck import literal
from metronome.parts.expressions import Shape, add_functions, shape_of
from metronome.parts.shipped import with_facts
from metronome.periods import Every, Period, from_ms, to_ms, to_text
from metronome.query.body import common_parts, compared, parts_of, without
from metronome.query.clause import NUMBER, asked_as_numbers
from metronome.query.condition import All, Item, is_number, values_of
from metronome.query.kinds import NAMED, TEXTS, kind_of, plain
from metronome.query.partial import Partial, keys_of
from metronome.query.question import Count, Question, fields_of
from metronome.store.documents import MAX_INDEXED

MEMORY_BYTES = 256 * 2**20

_SECOND_MS = 1000


class Unindexed:
    """A value that is there and that the index couldn't take: it fits no condition but that there is one."""


UNINDEXED = Unindexed()


@dataclass(frozen=True)
class DayMapping:
    """How one day's index held its fields."""

    properties: Mapping[str, Any]

    def kind(self, field: str) -> str:
        described = self.properties.get(field)
        return NAMED.get(field, "none") if described is None else kind_of(described)

    def as_indexed(self, field: str, value: Any) -> Any:
        """The value as a question of Elasticsearch sees it; UNINDEXED where the index has none."""
        kind = self.kind(field)
        if kind == "number":
            if not is_number(value):
                return UNINDEXED
            return int(value) if self.properties.get(field, {}).get("type") == "long" else plain(value)
        if kind == "date":
            return to_text(from_ms(int(value))) if is_number(value) else value
        if kind == "flag":
            return {"true": True, "false": False}.get(value, value) if type(value) in (bool, str) else UNINDEXED
        if kind not in TEXTS:
            return UNINDEXED
        text = value if isinstance(value, str) else str(plain(value)) if is_number(value) else str(value).lower()
        if field not in NAMED and len(text) > MAX_INDEXED:
            return UNINDEXED
        return text == "true" if kind in ("flags", "mixed") and text in ("true", "false") else text


@dataclass(frozen=True)
class Group:
    """Events that a question can't tell apart: `seen` for conditions, `counted` without what wasn't indexed."""

    seen: Event
    counted: Event
    times: int


def partials_of(
    questions: Sequence[Question],
    paths: Sequence[str],
    mapping: DayMapping,
    common: All,
    late: Iterable[Event] = (),
    *,
    summarised: bool = False,
) -> Iterator[Partial]:
    """The partial answers of a day's files, and of late events beside them, one a question.

    With `summarised` there is one file, the day's summary.
    """
    late = list(late)
    with (
        tempfile.TemporaryDirectory(prefix="metronome-") as temporary,
        duck.connection(Path(temporary), memory_bytes=MEMORY_BYTES) as database,
    ):
        add_functions(database)
        files = [] if summarised else [(path, shape_of(database, path)) for path in paths]
        for question in questions:
            found = Partial()
            fields = list(fields_of(question))
            queries = [_select(shape, path, fields, question) for path, shape in files]
            if summarised:
                queries = [summary.select(paths[0], fields, question, timed=bool(_step_ms(question)))]
            for group in _groups(database, fields, queries, mapping):
                _count(question, group, mapping, common, found)
            for event in late:
                if _is_within(event["@timestamp"], question.period):
                    raw = {name: values_of(event, name) for name in fields}
                    _count(question, _group(raw, event["@timestamp"], 1, mapping), mapping, common, found)
            yield found


def _count(question: Question, group: Group, mapping: DayMapping, common: All, found: Partial) -> None:
    if common.holds(group.seen) and _is_ignored(without(question, list(common.parts)), group, mapping):
        found.ignored += group.times
    if not question.where.holds(group.seen):
        return
    measure = question.measure
    for key in keys_of(question, group.counted):
        tally = found.at(key)
        tally.events += group.times
        if not isinstance(measure, Count):
            for value in values_of(group.counted, measure.field):
                tally.add_value(measure, value, group.times)


def _is_ignored(question: Question, group: Group, mapping: DayMapping) -> bool:
    """Whether the event has a value that the question compares and can't."""
    if any(UNINDEXED in values_of(group.seen, name) for name in compared(question)):
        return True
    numeric = [name for name in asked_as_numbers(question) if mapping.kind(name) in TEXTS]
    return any(_is_digits(value) for name in numeric for value in values_of(group.seen, name))


def _is_digits(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(NUMBER, value) is not None


def common_of(questions: Sequence[Question]) -> All:
    """What all questions of a call have in common: uncountable values are told of these events only."""
    return All(*common_parts(questions))


def _groups(
    database: duckdb.DuckDBPyConnection,
    fields: list[str],
    queries: Iterable[tuple[str, list[Any]]],
    mapping: DayMapping,
) -> Iterator[Group]:
    width = len(KINDS)
    for query, parameters in queries:
        cursor = database.execute(query, parameters)
        while rows := cursor.fetchmany(2000):
            for time_ms, times, *values in rows:
                raw = {
                    name: [value for several in values[n * width : (n + 1) * width] for value in several or ()]
                    for n, name in enumerate(fields)
                }
                yield _group(raw, None if time_ms is None else from_ms(time_ms), times, mapping)


def _select(shape: Shape, path: str, fields: list[str], question: Question) -> tuple[str, list[Any]]:
    parameters: list[Any] = []
    step = _step_ms(question)
    columns = [f'epoch_ms("@timestamp") // {step} * {step} as t' if step else "0 as t", "count(*) as n"]
    for number, (name, kind) in enumerate((name, kind) for name in fields for kind in KINDS):
        columns.append(f"{summary.as_list(shape, name, kind)} as v{number}")
    condition = shape.condition(_narrowed(question), parameters)
    grouped = ", ".join(["t", *(f"v{number}" for number in range(len(fields) * len(KINDS)))])
    query = f"select {', '.join(columns)} from read_parquet({literal(path)}) where {condition} group by {grouped}"
    return query, parameters


def _narrowed(question: Question) -> parts_where.Where:
    """What every event of the question meets, where a column can tell: nothing is left out by it that would count."""
    found: list[parts_where.Where] = []
    start, end = question.period.start, question.period.end
    if start is not None:
        found.append(parts_where.Compare("@timestamp", ">=", to_ms(start)))
    if end is not None:
        found.append(parts_where.Compare("@timestamp", "<", to_ms(end)))
    # A call's uncountable values are told of the events that its item has.
    for part in parts_of(question.where):
        if isinstance(part, Item):
            names = ("id", "item_id", "extra.item_id")
            found.append(parts_where.Any(tuple(parts_where.Is(name, _spelt((part.id,))) for name in names)))
    return parts_where.All(tuple(found))


def _spelt(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Text, and what an index of texts would spell like it: the number 7 under a name of texts is "7"."""
    found = list(values)
    for value in values:
        if value in ("true", "false"):
            found.append(value == "true")
        elif _is_digits(value):
            found.append(float(value))
    return tuple(found)


def _step_ms(question: Question) -> int:
    """The step of time to which events are brought together; 0 where their time doesn't matter."""
    if "@timestamp" in question.where.fields() or _names_time(question):
        return 1
    everies = [grouping for grouping in question.by if isinstance(grouping, Every)]
    if not everies:
        return 0
    if all(every.unit in ("hour", "day", "week", "month", "quarter", "year") for every in everies):
        return summary.QUARTER_MS
    return _SECOND_MS


def _names_time(question: Question) -> bool:
    names = [grouping.field for grouping in question.by if not isinstance(grouping, Every)]
    if not isinstance(question.measure, Count):
        names.append(question.measure.field)
    return "@timestamp" in names


def _group(raw: Mapping[str, list[Any]], moment: Any, times: int, mapping: DayMapping) -> Group:
    seen: Event = {"@timestamp": moment}
    counted: Event = {"@timestamp": moment}
    for name, values in raw.items():
        indexed = [mapping.as_indexed(name, value) for value in values]
        if indexed:
            seen[name] = indexed if len(indexed) > 1 else indexed[0]
        kept = [value for value in indexed if value is not UNINDEXED]
        if kept:
            counted[name] = kept if len(kept) > 1 else kept[0]
    return Group(seen, counted, times)


def _is_within(moment: Any, period: Period) -> bool:
    if moment is None:
        return period == Period()
    return (period.start is None or moment >= period.start) and (period.end is None or moment < period.end)


def known_ids(ids: list[str], paths: list[str]) -> set[str]:
    """Those of the ids that a day's files have."""
    with tempfile.TemporaryDirectory(prefix="metronome-") as temporary, duck.connection(Path(temporary)) as database:
        query = f'select "_id" from {duck.parquet(paths)} where "_id" in (select unnest($1))'
        return {row[0] for row in database.execute(query, [ids]).fetchall()}


def facts(event: Event) -> Event:
    """A parsed document with its facts."""
    return event if "received_at" in event else with_facts(event)
