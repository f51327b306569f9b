"""Claims: rows come out in order and once, deletions need no position, and what waits is known at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from metronome.spool.reader import Reader, Row
from metronome.spool.spool import Spool
from metronome.spool.status import backlog


def test_rows_come_in_order_in_parts_of_about_the_size_asked_for(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(10):
        spool.append(b"%d" % number * 100, 1)
    reader = Reader(tmp_path / "web-0.1.db")

    parts = [[row.id for row in reader.rows(250)] for _ in range(5)]

    assert parts == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10], []]
    spool.append(b"late", 1)
    assert [row.body for row in reader.rows(250)] == [b"late"]
    reader.close()
    spool.close()


def test_one_row_larger_than_asked_for_comes_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(2):
        spool.append(bytes(3 * 10**6), 1)
    reader = Reader(tmp_path / "web-0.1.db")

    assert [len(reader.rows(1000)) for _ in range(3)] == [1, 1, 0]
    reader.close()
    spool.close()


def test_a_file_whose_writer_has_not_got_as_far_as_its_tables_is_empty(tmp_path: Path) -> None:
    (tmp_path / "web-0.1.db").touch()
    reader = Reader(tmp_path / "web-0.1.db")

    assert (reader.rows(100), reader.pending(), reader.is_empty()) == ([], (0, 0, None), True)
    assert backlog(tmp_path).requests == 0
    reader.close()


def test_a_deletion_that_fails_lets_others_write(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"x", 1)
    reader = Reader(tmp_path / "web-0.1.db")
    rows = reader.rows(1)
    reader._db.execute("create temp trigger no before delete on request begin select raise(abort, 'no'); end")
    try:
        reader.delete(rows)
    except sqlite3.IntegrityError:
        spool.append(b"y", 1)

    assert spool.commits == 2
    reader.close()
    spool.close()


class AgainstItsModel(RuleBasedStateMachine):
    """Random appends, reads, deletions and restarts of either end, beside a list that does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[int, tuple[bytes, int]] = {}
        self.given = 0
        self.read: list[Row] = []
        self.spool: Spool | None = None

    @initialize()
    def start(self) -> None:
        import tempfile

        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.spool = Spool(self.folder)
        self.reader = Reader(self.folder / "web-0.1.db")

    @rule(sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=5), events=st.integers(1, 9))
    def append(self, sizes: list[int], events: int) -> None:
        assert self.spool is not None
        for size in sizes:
            self.given += 1
            body = b"%d" % (self.given % 10) * size
            self.spool.append(body, events)
            self.model[self.given] = body, events

    @rule(size=st.integers(1, 100_000))
    def read_on(self, size: int) -> None:
        position = self.reader.position
        found = self.reader.rows(size)
        expected = [number for number in sorted(self.model) if number > position][: len(found)]
        assert [(row.id, row.body, row.events, row.intact) for row in found] == [
            (number, *self.model[number], True) for number in expected
        ]
        assert found or not [number for number in self.model if number > position]
        self.read += found

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def delete_some(self, data: Any) -> None:
        chosen = data.draw(st.sets(st.integers(0, len(self.read) - 1), max_size=10))
        gone = [self.read[at] for at in chosen]
        self.reader.delete(gone)
        for row in gone:
            del self.model[row.id]
            self.read.remove(row)

    @rule()
    def restart_writer(self) -> None:
        assert self.spool is not None
        self.spool.close()
        self.spool = Spool(self.folder)

    @rule()
    def restart_reader(self) -> None:
        self.reader.close()
        self.reader = Reader(self.folder / "web-0.1.db")
        self.read = []

    @invariant()
    def what_waits_is_known(self) -> None:
        if self.spool is not None:
            waiting = backlog(self.folder)
            assert (waiting.requests, waiting.events) == (len(self.model), sum(n for _, n in self.model.values()))
            assert self.reader.is_empty() == (not self.model)

    def teardown(self) -> None:
        if self.spool is not None:
            self.reader.close()
            self.spool.close()
            self.temporary.cleanup()


TestAgainstItsModel = AgainstItsModel.TestCase
TestAgainstItsModel.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
