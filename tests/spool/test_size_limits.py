"""Claim: a file stays within its bound; beyond it callers are told to come back, and can once rows are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from metronome.errors import SpoolFull
from metronome.spool.reader import Reader
from metronome.spool.spool import Spool

LIMIT = 2 * 2**20


def fill(spool: Spool) -> int:
    """Append until it is full; gives how many went in."""
    for count in range(10_000):
        try:
            spool.append(b"x" * 20_000, 1)
        except SpoolFull:
            return count
    raise AssertionError("it never got full")


def test_a_full_spool_refuses_with_a_time_to_come_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=LIMIT)
    fill(spool)

    with pytest.raises(SpoolFull) as told:
        spool.append(b"x" * 20_000, 1)

    assert (told.value.status, told.value.retry_after_s, told.value.code) == (503, 30, "spool_full")
    assert (spool.failing, spool.is_writable()) == (True, False)
    assert (tmp_path / "web-0.1.db").stat().st_size <= LIMIT
    spool.close()


def test_a_full_spool_takes_as_much_again_once_it_is_shipped_and_does_not_grow(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=LIMIT)
    reader = Reader(tmp_path / "web-0.1.db")
    filled = []
    for _ in range(3):
        filled.append(fill(spool))
        while rows := reader.rows(10**6):
            reader.delete(rows)
        assert spool.is_writable(), "it is well again before the next request comes"
    spool.close()
    reader.close()

    assert filled[0] > 80
    assert min(filled) > 0.9 * filled[0]
    assert [path.name for path in tmp_path.glob("*.db")] == ["web-0.1.db"], "a full file isn't a broken one"
    assert (tmp_path / "web-0.1.db").stat().st_size <= LIMIT


def test_what_was_taken_before_it_was_full_is_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=LIMIT)
    count = fill(spool)
    reader = Reader(tmp_path / "web-0.1.db")

    assert len(reader.rows(10**9)) == count
    assert reader.pending()[:2] == (count, count)
    reader.close()
    spool.close()


def test_the_log_beside_the_file_stays_small_while_nobody_ships(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(60):
        spool.append(bytes(10**6), 1)

    assert (tmp_path / "web-0.1.db-wal").stat().st_size < 20 * 2**20
    spool.close()
