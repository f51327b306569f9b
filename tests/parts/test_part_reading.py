"""Reading gives what plain Python finds in the documents: columns, filters, facts, over one file and over several."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import date
from typing import Any

import numpy as np
import parts_oracle
import pytest
from conftest import Gateway
from part_days import DAY, Days, event, opened_days  # noqa: F401  (a fixture)

from metronome.parts import expressions, where
from metronome.parts.build import Builder
from metronome.parts.read import NONE, Rows, Wanted, read
from metronome.parts.where import Compare, Contains, Exists, Is, Not, StartsWith, Where
from metronome.store.client import connect, unread


def plain(rows: Rows, wanted: Wanted) -> list[Any]:
    """A column as Python has it: a value or None a row; a list of values where a row may have several."""
    found = rows.columns[wanted]
    values: list[Any] = found.values.tolist()
    if found.words is not None:
        values = [None if code < 0 else found.words[code] for code in values]
    elif wanted.kind == "flag":
        values = [None if flag < 0 else bool(flag) for flag in values]
    elif wanted.kind == "number":
        values = [None if value == NONE or math.isnan(value) else value for value in values]
    if found.rows is None:
        return values
    several: list[Any] = [None] * rows.count
    for row, value in zip(found.rows.tolist(), values, strict=True):
        several[row] = [*(several[row] or []), value]
    return several


def of_kind(source: str, name: str, kind: str) -> list[Any]:
    if name == "_subject":  # the part's own, whatever properties of this name there are
        subject = parts_oracle.row("", source)["_subject"]
        return [subject] if subject is not None and kind == "text" else []
    values = parts_oracle.flat(source).get(name, ())
    return [parts_oracle.typed(value) for value in values if parts_oracle.kind_of(value) == kind]


def fits(source: str, condition: Where) -> bool:
    """Whether a document meets a condition, as the contract says it."""
    if isinstance(condition, where.All):
        return all(fits(source, one) for one in condition.of)
    if isinstance(condition, where.Any):
        return any(fits(source, one) for one in condition.of)
    if isinstance(condition, Not):
        return not fits(source, condition.of)
    texts, numbers, flags = (of_kind(source, condition.name, kind) for kind in ("text", "number", "flag"))
    if isinstance(condition, Exists):
        return bool(texts or numbers or flags)
    if isinstance(condition, Is):
        same = [(type(value) is str, type(value) is bool, value) for value in condition.values]
        return any((type(v) is str, type(v) is bool, v) in same for v in (*texts, *numbers, *flags))
    if isinstance(condition, Compare):
        tests = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}
        return any(tests[condition.op](number, condition.value) for number in numbers)
    if isinstance(condition, Contains):
        return any(condition.text in text for text in texts)
    return any(text.startswith(condition.text) for text in texts)


VALUES: tuple[Any, ...] = (
    "text",
    "3",
    "",
    "true",
    "café",
    "nul\0byte",
    "it's; drop table",
    1.0,
    3.0,
    1.1,
    7.0,
    True,
    False,
    -0.0,
    "u1",
)
PROPERTIES = (*(name for name in parts_oracle.NAMES), "x.deep.y", "items.sku", "absent", "distinct_id", "x.y")


def random_condition(rng: random.Random, depth: int = 3) -> Where:
    shape = rng.randrange(8 if depth else 5)
    name = rng.choice(PROPERTIES)
    if shape == 0:
        return Is(name, tuple(rng.sample(VALUES, rng.randrange(1, 4))))
    if shape == 1:
        return Compare(name, rng.choice(("<", "<=", ">", ">=")), rng.choice((0.0, 1.0, 2.5, 1e5)))
    if shape == 2:
        return rng.choice((Contains, StartsWith))(name, rng.choice(("t", "caf", "", "'", "é")))
    if shape in (3, 4):
        return Exists(name)
    if shape == 5:
        return Not(random_condition(rng, depth - 1))
    several = tuple(random_condition(rng, depth - 1) for _ in range(rng.randrange(3)))
    return where.All(several) if shape == 6 else where.Any(several)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("batches", [1, 3], ids=["one file", "several files"])
def test_random_conditions_and_columns_are_what_the_documents_say(days: Days, seed: int, batches: int) -> None:
    rng = random.Random(seed)
    for size in (120, 30, 8)[:batches]:
        days.write([parts_oracle.random_source(rng) for _ in range(size)])
        part = days.builder.update(DAY)
    assert part is not None and len(part.files) == batches
    rows = sorted((parts_oracle.row(n, source) for n, source in days.written.items()), key=parts_oracle.order)
    for _ in range(25):
        condition = random_condition(rng)
        wanted = [Wanted(rng.choice(PROPERTIES), rng.choice(("number", "flag", "text"))) for _ in range(3)]
        wanted = [*dict.fromkeys(wanted), Wanted("_id", "text", plain=True)]
        (found,) = read(days.folder, [DAY], wanted, condition)
        expected = [row for row in rows if fits(row["_source"], condition)]
        assert (condition, plain(found, wanted[-1])) == (condition, [row["_id"] for row in expected])
        assert found.count == len(expected)
        for one in wanted[:-1]:
            values = [of_kind(row["_source"], one.name, one.kind) or None for row in expected]
            column = [value if isinstance(value, list) or value is None else [value] for value in plain(found, one)]
            assert (one, column) == (one, values)


def test_subjects_times_and_sequence_numbers_come_in_the_total_order(days: Days) -> None:
    days.write(
        [
            event(2, distinct_id="b", seq=2**53 + 1),
            event(2, distinct_id="b"),
            event(1, distinct_id="b", seq=9),
            event(5, session_id="a"),
            event(0),
        ]
    )
    days.builder.update(DAY)
    subject, at, seq = Wanted("_subject", "text"), Wanted("@timestamp", "number"), Wanted("seq", "number")
    (rows,) = read(days.folder, [DAY], [subject, at, seq])
    midnight = 1793664000000
    assert plain(rows, subject) == ["a", "b", "b", "b", None]
    assert plain(rows, at) == [midnight + ms for ms in (5000, 1000, 2000, 2000, 0)]
    assert plain(rows, seq) == [None, 9, None, 2**53 + 1, None]
    assert [rows.columns[one].values.dtype for one in (subject, at, seq)] == [np.int32, np.int64, np.int64]


def test_a_time_is_compared_in_milliseconds(days: Days) -> None:
    days.write([event(n, n=n) for n in range(10)])
    days.builder.update(DAY)
    wanted = Wanted("n", "number")
    between = where.All((Compare("@timestamp", ">=", 1793664003000), Compare("@timestamp", "<", 1793664006000)))
    (rows,) = read(days.folder, [DAY], [wanted], between)
    assert rows.columns[wanted].values.tolist() == [3.0, 4.0, 5.0]


def test_days_without_a_part_are_left_out_and_days_without_a_fitting_event_are_empty(days: Days) -> None:
    days.write([event(1, plan="pro")])
    days.builder.update(DAY)
    wanted = Wanted("plan", "text")
    found = list(read(days.folder, [date(2026, 11, 2), DAY], [wanted], Is("plan", ("free",))))
    assert [(rows.day, rows.count, rows.columns[wanted].values.tolist()) for rows in found] == [(DAY, 0, [])]
    (counted,) = read(days.folder, [DAY], [])
    assert (counted.count, counted.columns) == (1, {})


def test_a_property_beyond_the_columns_limit_is_read_from_the_documents(days: Days) -> None:
    days.write([event(n, **{f"p{n:02}{m:03}": m for m in range(220)}) for n in range(10)])
    days.builder.update(DAY)
    wanted = Wanted("p09219", "number")
    (rows,) = read(days.folder, [DAY], [wanted], Exists("p09219"))
    assert plain(rows, wanted) == [[219.0]]


def test_a_filter_reads_only_the_row_groups_that_can_hold_what_is_wanted(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metronome.parts import sort

    monkeypatch.setattr(sort, "ROW_GROUP", 2048)
    days.write([event(n % 3600, session_id=f"s{n:05}") for n in range(6000)])
    days.builder.update(DAY)
    read_from: list[str] = []
    monkeypatch.setattr(expressions, "parse", lambda source: read_from.append(source) or {})
    # A name of this ending has no column: its values come from the documents, one call for each that is read.
    condition = where.All((Is("session_id", ("s00007",)), Not(Is("tail:text", ("x",)))))
    (rows,) = read(days.folder, [DAY], [], condition)
    assert rows.count == 1
    assert 1 <= len(read_from) <= 2048


AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
FACTS = (
    {"accept": "text/html", "referer": "https://other.example/a/?q=1"},
    {"accept": "text/csv", "url": "https://shop.example/x"},
    {"event": "download", "url": "https://shop.example/data.KML"},
    {"event": "buy", "format": "CSV"},
    {"format": "CSV", "user_agent": AGENT},
    {"http_user_agent": "Googlebot/2.1", "accept": "text/html"},
    {"user_agent": AGENT, "browser": "Mine"},
    {},
)


def test_facts_of_shipped_documents_are_counted_from_parts_as_from_elasticsearch(gateway: Gateway) -> None:
    rng = random.Random(5)
    gateway.drain()  # installs the template
    for n in range(120):
        fact = {"id": "x", "@timestamp": f"{DAY}T00:00:{n % 60:02}.000Z", **rng.choice(FACTS)}
        if n % 3:
            gateway.elasticsearch.index(index=f"{gateway.settings.index_prefix}-2026.11.03", document=fact)
        else:
            gateway.accepted(fact)
    gateway.drain()
    tock = gateway.tock("x", include="robots", from_=str(DAY), to=str(DAY))
    raw = unread(connect(gateway.settings))
    builder = Builder(gateway.settings, raw)
    builder.update(DAY)
    raw.close()

    def counts(name: str, *conditions: Where) -> dict[str, int]:
        wanted = Wanted(name, "text")
        (rows,) = read(builder.folder, [DAY], [wanted], where.All(conditions))
        return Counter(text.lower() for text in plain(rows, wanted) if text is not None)

    robot = Is("is_robot", (True,))
    assert {
        "views": {str(DAY): counts("event", Not(robot))["view"]},
        "downloads": counts("format", Not(robot), Is("event", ("download",))),
        "referers": counts("referer_page", Not(robot)),
        "robots": {str(DAY): counts("event", robot)["view"]},
    } == tock
    assert min(map(len, tock.values())) > 0
    browsers = counts("browser")
    assert set(browsers) == {"firefox", "googlebot", "mine"}


def test_stamped_documents_cost_no_look_into_them(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.accepted([{"id": "x", "@timestamp": f"{DAY}T00:00:01.000Z"}])
    gateway.drain()
    raw = unread(connect(gateway.settings))
    builder = Builder(gateway.settings, raw)
    builder.update(DAY)
    raw.close()
    monkeypatch.setattr(expressions, "with_facts", lambda event: pytest.fail("looked into a document"))
    (rows,) = read(builder.folder, [DAY], [], Is("event", ("view",)))
    assert rows.count == 1
