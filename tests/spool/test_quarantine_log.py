"""Bit flips in the log of the quarantine: it opens, keeps what was written before, counts what was after, and goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metronome.spool.quarantine import Quarantine, Refusal, quarantined

ROWS = 12


def refusal(number: int) -> Refusal:
    action = b'{"create":{"_index":"t","_id":"n%d"}}' % number
    return Refusal(action, b'{"id":"%b"}' % (b"x" * 600), 400, "odd", "no reason")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a quarantine whose process was killed: all of it is in the log, one write an event."""
    folder = tmp_path_factory.mktemp("crashed")
    living = Quarantine(folder)
    for number in range(ROWS):
        living.add([refusal(number)])
    copy = tmp_path_factory.mktemp("copy")
    for path in folder.glob("quarantine.db*"):
        shutil.copy(path, copy)
    living.close()
    return copy


def copied(crashed: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("quarantine.db", "quarantine.db-wal"):
        shutil.copy(crashed / name, folder)
    return folder


def test_a_whole_log_is_read_as_it_is(crashed: Path, tmp_path: Path) -> None:
    kept = Quarantine(copied(crashed, tmp_path / "q"))
    assert [row.id for row in kept.list()] == [f"n{number}" for number in range(ROWS)]
    kept.close()


def test_a_flipped_bit_anywhere_costs_what_was_written_after_it_and_says_how_much(
    crashed: Path, tmp_path: Path
) -> None:
    size = (crashed / "quarantine.db-wal").stat().st_size
    names = [f"n{number}" for number in range(ROWS)]
    for place in range(0, size, size // 60 | 1):
        folder = copied(crashed, tmp_path / str(place))
        log = folder / "quarantine.db-wal"
        data = bytearray(log.read_bytes())
        data[place] ^= 1 << place % 8
        log.write_bytes(data)

        seen = quarantined(folder)
        kept = Quarantine(folder)
        kept.mend()
        found = list(kept.list())
        whole = [row.id for row in found if row.kind == "odd"]
        told = [row.reason for row in found if row.kind == "damaged"]
        kept.add([refusal(99)])
        assert [row.id for row in kept.list()][-1] == "n99", "it goes on"
        assert quarantined(folder) == len(found) + 1
        kept.close()

        assert whole == names[: len(whole)], place
        assert all(row.source == refusal(0).source for row in found if row.kind == "odd")
        if len(whole) < ROWS:
            assert seen is None, "it isn't read by halves before that"
            assert len(told) == 1 and "writes of refused events were lost with a damaged log" in told[0]
            lost = int(told[0].split()[0])
            assert 1 <= lost <= ROWS - len(whole) + 3, place  # a few frames before the first event made the table
            assert list(folder.glob("quarantine.db.damaged-*")), "the damaged file is kept"
        else:
            assert told == [] or seen is None, place
