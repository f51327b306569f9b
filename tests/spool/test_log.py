"""Claim: a bit that flips in the write-ahead log before all processes crash costs at most the row it hit, and is told."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_damage import SIZES as MANY
from test_damage import body

from metronome.spool import rescue, wal
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import Damaged, Reader
from metronome.spool.spool import PAGE_BYTES, Spool

FRAME = 24 + PAGE_BYTES
SIZES = MANY[::5]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[bytes]]:
    """A file with its log as a crash of all processes leaves them: some rows are in the file, the others in the log."""
    folder, left = tmp_path_factory.mktemp("spool"), tmp_path_factory.mktemp("crashed")
    spool = Spool(folder)
    bodies = [body(number, size) for number, size in enumerate(SIZES)]
    for number, one in enumerate(bodies):
        spool.append(one, one.count(b"\n") // 2)
        if number == 10:
            assert spool._db is not None
            # The log begins anew, over its old frames.
            spool._db.execute("pragma wal_checkpoint(restart)")
    for path in folder.glob("*.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, left)
    spool.close()
    return left / "web-0.1.db", set(bodies)


def copied(crashed: Path, folder: Path, log: bytes) -> Path:
    path = folder / crashed.name
    shutil.copy(crashed, path)
    path.with_name(path.name + "-wal").write_bytes(log)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    wal._seen.clear()
    return path


def test_a_whole_log_is_found_whole_as_sqlite_finds_it(crashed: tuple[Path, set[bytes]], tmp_path: Path) -> None:
    log = crashed[0].with_name(crashed[0].name + "-wal").read_bytes()
    path = copied(crashed[0], tmp_path, log)
    with path.with_name(path.name + "-wal").open("rb") as file:
        found = list(wal.frames(file.fileno(), PAGE_BYTES))
    assert all(frame.intact for frame in found)
    assert not wal.is_damaged(path, PAGE_BYTES)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma wal_checkpoint").fetchone() == (0, len(found), len(found))


def test_a_bit_that_flips_in_the_log_costs_at_most_the_row_it_hit_and_is_told(
    crashed: tuple[Path, set[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "_CONFIRM_AFTER_S", 0)
    path, written = crashed
    log = path.with_name(path.name + "-wal").read_bytes()
    with path.with_name(path.name + "-wal").open("rb") as file:
        end = max(frame.at for frame in wal.frames(file.fileno(), PAGE_BYTES)) + PAGE_BYTES
    bits = random.Random(20261124)
    # The log's head, heads of frames and of pages, and anything else.
    places = [*range(32), *(32 + bits.randrange(end // FRAME) * FRAME + bits.randrange(36) for _ in range(30))]
    places += [bits.randrange(32, end) for _ in range(20)]
    for place in places:
        changed = log[:place] + bytes([log[place] ^ 1 << bits.randrange(8)]) + log[place + 1 :]
        copy = copied(path, tmp_path, changed)
        with pytest.raises(Damaged):
            Reader(copy)
        rows = list(rescue.rows(copy))
        found = {row.body for row in rows if row.intact}
        assert found <= written, place
        assert len(written - found) <= 1, place
        assert found == written or not all(row.intact for row in rows), place


def test_what_was_acknowledged_before_the_log_was_damaged_is_spooled_again(
    crashed: tuple[Path, set[bytes]], tmp_path: Path
) -> None:
    path, written = crashed
    log = path.with_name(path.name + "-wal").read_bytes()
    place = 32 + 3 * FRAME + 5000
    copy = copied(path, tmp_path, log[:place] + bytes([log[place] ^ 4]) + log[place + 1 :])

    # A worker that takes the slot up goes on in another file.
    with closing(Spool(tmp_path)) as spool:
        spool.append(b"new\n", 1)
        assert spool._path.name == "web-0.2.db"
    with pytest.raises(Damaged):
        Reader(copy)
    rescue.finish(rescue.begin(copy), Quarantine(tmp_path))

    with closing(Reader(tmp_path / "rescue-0.1.db")) as reader:
        again = b"".join(row.body for row in reader.rows(2**30))
    lost = [one for one in written if one not in again]
    assert len(lost) <= 1


@pytest.mark.parametrize("cut", [1, 23, 24, 100, FRAME - 1, FRAME, FRAME + 40])
def test_a_log_whose_last_writing_was_cut_short_is_not_damaged(
    crashed: tuple[Path, set[bytes]], tmp_path: Path, cut: int
) -> None:
    log = crashed[0].with_name(crashed[0].name + "-wal").read_bytes()
    path = copied(crashed[0], tmp_path, log[: len(log) // FRAME * FRAME + 32 - cut])
    assert not wal.is_damaged(path, PAGE_BYTES)
