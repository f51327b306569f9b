"""Merged columns give the rows that the parts give; they never outlive the events that they were made of."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import parts_oracle
import pytest
from conftest import wait_for
from merging import AtOnce
from part_days import DAY, Days, event, opened_days  # noqa: F401  (a fixture)
from test_part_reading import PROPERTIES, plain, random_condition

from metronome.parts import closed, merged
from metronome.parts.closed import Own, _open, read_days
from metronome.parts.folder import FORMAT, Folder, Part
from metronome.parts.index import Counters, Documents
from metronome.parts.merge import Merger
from metronome.parts.merged import Sets, Texts
from metronome.parts.read import Mask, Rows, Wanted, read_together
from metronome.parts.sort import Sorter
from metronome.parts.where import All, Between, Is, Outside, Where
from metronome.parts.writing import Writing

WANTED = [Wanted("_subject", "text"), Wanted("@timestamp", "number"), Wanted("event", "text")]


class Parts:
    """Day parts straight from documents, and their merged columns."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root, 10**12)
        self.sets = Sets(root)
        self.own = Own(self.folder, AtOnce(10**9))
        self.days: list[date] = []

    def write(self, day: date, sources: list[str], *, beside: bool = False) -> None:
        """A part of these documents; with `beside` they come to those that the day has."""
        building = self.folder.building(day)
        before = self.folder.part(day) if beside else None
        with Sorter(building) as sorter:
            ids = [f"{day}-{len(before.files) if before else 0}-{n}" for n in range(len(sources))]
            sorter.add(Documents(ids, [source.encode() for source in sources]))
            ids_sha256 = sorter.ids_sha256()
            sorter.write(building / "part.parquet", {"format": FORMAT})
        file = self.folder.take_in(day, building / "part.parquet", len(sources), ids_sha256)
        files = (*(before.files if before else ()), file)
        self.folder.replace(Part(FORMAT, day, "test", Counters("test", {}), files))
        self.days = self.folder.days()

    def rows(self, wanted: Sequence[Wanted | Mask], where: Where, *, from_parts: bool = False) -> dict[date, Any]:
        """By day the values of each row."""
        if from_parts:
            return by_day(self.days, read_together(self.folder, self.days, wanted, where), wanted)
        return by_day(self.days, read_days(self.folder, self.own, self.days, wanted, where), wanted)

    def note(self, wanted: Sequence[Wanted | Mask], where: Where) -> None:
        """Let the columns that this needs be wanted."""
        self.own.merger.note(closed._keys(wanted, where) or ())

    def merge(self, where: Where = All(())) -> None:  # noqa: B008
        self.note(WANTED, where)
        self.own.merger.make(self.folder)

    def rest(self) -> None:
        """Nothing is merged from now on."""
        self.own = Own(self.folder, Merger(10**9))
        self.own.merger._rests_until = float("inf")

    def merged_days(self, wanted: Sequence[Wanted | Mask], where: Where = All(())) -> list[date]:  # noqa: B008
        """The days that merged columns answer for."""
        found = _open(self.own, self.days, wanted, where)
        return [] if found is None else [self.days[place] for place in found[1]]


def by_day(days: list[date], batches: Any, wanted: Sequence[Wanted | Mask]) -> dict[date, Any]:
    found: dict[date, Any] = {day: [] for day in days}
    for rows, of_day in batches:
        columns = [_plain(rows, one) for one in wanted]
        for place, *values in zip(of_day.tolist(), *columns, strict=True):
            found[days[place]].append(values)
    return found


def _plain(rows: Rows, one: Wanted | Mask) -> list[Any]:
    if isinstance(one, Mask):
        return list(rows.columns[one].values.tolist())
    return [sorted(value, key=repr) if isinstance(value, list) else value for value in plain(rows, one)]


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "parts")


def some(day: date, count: int, **properties: Any) -> list[str]:
    return [
        event(n, distinct_id=f"u{n % 7}", event="view", **properties).replace(str(DAY), str(day)) for n in range(count)
    ]


OTHER = DAY + timedelta(days=1)


def asked_at_random(rng: random.Random) -> tuple[list[Wanted | Mask], Where]:
    wanted: list[Wanted | Mask] = [Wanted(rng.choice(PROPERTIES), rng.choice(("number", "flag", "text")))]
    wanted += [*WANTED, Mask((random_condition(rng), Outside(rng.choice(PROPERTIES), ("text", 1.0, True))))]
    return wanted, All((random_condition(rng), random_condition(rng, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_random_columns_and_conditions_are_those_of_the_parts(parts: Parts, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(4):
        sources = [parts_oracle.random_source(rng) for _ in range(rng.choice((1, 40, 90)))]
        # A column that has an array on any day isn't merged: in one round there are none.
        kept = sources if seed else [source for source in sources if "[" not in source]
        parts.write(DAY + timedelta(days=number), kept)
    questions = [asked_at_random(rng) for _ in range(40)]
    for wanted, where in questions:
        parts.note(wanted, where)
    assert parts.own.merger.make(parts.folder)
    answered = 0
    for wanted, where in questions:
        answered += bool(parts.merged_days(wanted, where))
        assert parts.rows(wanted, where) == parts.rows(wanted, where, from_parts=True)
    assert answered > (0 if seed else 10)


def test_only_days_that_changed_are_read_from_their_parts(parts: Parts) -> None:
    for day in (DAY, OTHER):
        parts.write(day, some(day, 20))
    parts.merge()
    assert parts.merged_days(WANTED) == [DAY, OTHER]
    parts.write(DAY, some(DAY, 3), beside=True)
    parts.rest()
    assert parts.merged_days(WANTED) == [OTHER]
    found = parts.rows(WANTED, All(()))
    assert (len(found[DAY]), len(found[OTHER])) == (23, 20)
    assert found == parts.rows(WANTED, All(()), from_parts=True)


def test_a_day_that_is_read_from_elsewhere_isnt_read_from_merged_columns(parts: Parts) -> None:
    for day in (DAY, OTHER):
        parts.write(day, some(day, 5))
    parts.merge()
    parts.own = Own(parts.folder, parts.own.merger, {DAY})
    assert parts.merged_days(WANTED) == [OTHER]


def test_an_erased_person_is_in_no_file_once_the_part_is_built_again(days: Days) -> None:
    own = Own(days.folder, AtOnce(10**9))
    taken = days.write([event(n, distinct_id="forget-me" if n == 3 else f"u{n}") for n in range(9)])
    days.builder.update(DAY)
    _open(own, [DAY], WANTED, All(()))
    assert below(days.folder.root, b"forget-me")
    days.delete(taken[3])
    days.builder.update(DAY)
    assert below(days.folder.root, b"forget-me") == []
    assert Sets(days.folder.root).open() is None
    names = [row[0] for row in by_day([DAY], read_days(days.folder, own, [DAY], WANTED), WANTED)[DAY]]
    assert sorted(names) == sorted(f"u{n}" for n in range(9) if n != 3)


def below(root: Path, text: bytes) -> list[str]:
    """The files below a folder that hold this text as it is."""
    return [str(path) for path in root.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_a_dropped_part_takes_all_merged_columns_along(parts: Parts) -> None:
    for day in (DAY, OTHER):
        parts.write(day, some(day, 5))
    parts.merge()
    assert below(parts.sets.root, b"u3")
    parts.folder.drop(OTHER)
    assert not parts.sets.root.exists()


def test_what_is_dropped_while_columns_are_merged_ends_that(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.write(DAY, some(DAY, 5))
    read = Writing.read

    def dropped_after(self: Writing, *asked: Any) -> Any:
        found = read(self, *asked)
        parts.folder.drop(DAY)
        return found

    monkeypatch.setattr(Writing, "read", dropped_after)
    parts.note(WANTED, All(()))
    assert not parts.own.merger.make(parts.folder)
    assert not parts.sets.root.exists()


def test_a_part_that_is_replaced_while_it_is_read_isnt_merged(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (DAY, OTHER):
        parts.write(day, some(day, 5))
    take = Writing._take

    def replaced_after(self: Writing, *asked: Any) -> None:
        take(self, *asked)
        parts.write(OTHER, some(OTHER, 2), beside=True)

    monkeypatch.setattr(Writing, "_take", replaced_after)
    parts.note(WANTED, All(()))
    assert parts.own.merger.make(parts.folder)
    parts.rest()
    assert parts.merged_days(WANTED) == [DAY]


@pytest.mark.parametrize("ending", ["numbers", "texts", "ends"])
def test_columns_that_were_cut_arent_read(parts: Parts, ending: str) -> None:
    parts.write(DAY, some(DAY, 50))
    parts.merge()
    parts.rest()
    for path in parts.sets.root.rglob(f"*.{ending}"):
        os.truncate(path, path.stat().st_size // 2)
    assert parts.merged_days(WANTED) == []
    assert len(parts.rows(WANTED, All(()))[DAY]) == 50


def test_columns_of_another_program_arent_read(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.write(DAY, some(DAY, 5))
    parts.merge()
    monkeypatch.setattr(merged, "PROGRAM", "another list of robots")
    assert parts.sets.open() is None


def test_the_room_is_kept_for_the_latest_days(parts: Parts) -> None:
    for number in range(4):
        parts.write(DAY + timedelta(days=number), some(DAY + timedelta(days=number), 100))
    # 100 events take 32 bytes each: three numbers and two texts; and a few for the texts themselves.
    for room, count in ((1000, 0), (7500, 2), (10**9, 4), (7500, 2), (0, 0)):
        parts.own = Own(parts.folder, AtOnce(room))
        if room == 7500:
            parts.folder.forget_merged()
        parts.merged_days(WANTED)
        before = parts.sets.open()
        assert parts.merged_days(WANTED) == parts.days[4 - count :]
        after = parts.sets.open()
        assert after is None or after.manifest.name == before.manifest.name, "the same set is made again"
        sizes = [path.stat().st_size for path in parts.sets.root.rglob("*.[net]*s")]
        assert sum(sizes) <= room or not room


def test_one_process_merges_at_a_time_and_removes_what_killed_ones_left(parts: Parts) -> None:
    parts.write(DAY, some(DAY, 5))
    left = parts.sets.begin()
    (left / "0.numbers").write_bytes(b"killed")
    parts.note(WANTED, All(()))
    with parts.sets.lock():
        assert not parts.own.merger.make(parts.folder)
    assert parts.own.merger.make(parts.folder)
    assert [path.name for path in parts.sets.root.iterdir() if path.is_dir()] == [parts.sets.open().manifest.name]  # type: ignore[union-attr]


def test_a_question_doesnt_wait_for_columns_and_the_next_one_finds_them(parts: Parts) -> None:
    parts.write(DAY, some(DAY, 5))
    parts.own = Own(parts.folder, Merger(10**9))
    with parts.folder.lock(DAY, timeout_s=1):
        assert parts.merged_days(WANTED) == []
    wait_for(lambda: parts.merged_days(WANTED) == [DAY], "merged columns")
    assert parts.rows(WANTED, All(())) == parts.rows(WANTED, All(()), from_parts=True)


@pytest.mark.parametrize("bounds", [{"gte": 0}, {"lt": 5}, {"gt": 12 * 3_600_000}, {"lte": 10**9, "gte": -5}])
def test_days_outside_the_times_that_are_asked_for_are_passed_over(parts: Parts, bounds: dict[str, float]) -> None:
    for day in (DAY, OTHER):
        parts.write(day, some(day, 20))
    parts.write(DAY + timedelta(days=2), ['{"event": "view", "distinct_id": "u1"}'])
    begin = int(parts.rows(WANTED, All(()))[OTHER][0][1])
    where = All(
        (Between("@timestamp", **{name: begin + bound for name, bound in bounds.items()}), Is("event", ("view",)))
    )
    parts.merge(where)
    assert len(parts.merged_days(WANTED, where)) == 3
    assert parts.rows(WANTED, where) == parts.rows(WANTED, where, from_parts=True)


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["", "b", "ü4"], ["nul\0byte", "c"], ["\0", ""]], ids=repr)
def test_texts_come_back_as_they_were(texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum(np.array([len(text) + 1 for text in encoded], np.int64)) - 1
    found = Texts(b"\0".join(encoded), ends)
    assert (found.tolist(), list(found), [found[n] for n in range(len(found))], found[:1]) == (
        texts,
        texts,
        texts,
        texts[:1],
    )
