"""Claims: a dead worker's file is taken up, a failed write leaves its file behind, and damage costs what it hit alone."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metronome.errors import SetupError, SpoolUnavailable
from metronome.spool.files import spool_files
from metronome.spool.reader import Damaged, Reader, Row, left_behind, remove_file
from metronome.spool.spool import Spool


def read(path: Path) -> list[Row]:
    reader = Reader(path)
    found: list[Row] = []
    while part := reader.rows(2**20):
        found += part
    reader.close()
    return found


def bodies(folder: Path) -> list[str]:
    return [row.body.decode() for path in spool_files(folder) for row in read(path)]


# --- Workers come and go ---------------------------------------------------------------------------------------


def test_living_workers_have_a_slot_each_and_a_dead_ones_is_taken_up(tmp_path: Path) -> None:
    first, second = Spool(tmp_path), Spool(tmp_path)
    first.append(b"of the first", 1)
    first.close()
    third = Spool(tmp_path)
    third.append(b"of the third", 1)

    assert (first.slot, second.slot, third.slot) == ("web-0", "web-1", "web-0")
    assert bodies(tmp_path) == ["of the first", "of the third"]
    second.close()
    third.close()


def test_ids_do_not_come_back_after_all_rows_are_shipped_and_the_worker_is_another(tmp_path: Path) -> None:
    ids = []
    for _ in range(3):
        spool = Spool(tmp_path)
        spool.append(b"x", 1)
        reader = Reader(tmp_path / "web-0.1.db")
        found = reader.rows(100)
        ids += [row.id for row in found]
        reader.delete(found)
        reader.close()
        spool.close()
    assert ids == [1, 2, 3]


# --- Writes that fail ------------------------------------------------------------------------------------------


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Writes past `size` bytes of a file fail (EFBIG), as an I/O error for SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_after_a_write_that_failed_another_file_is_used_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    acknowledged = []
    failures = 0
    with files_limited_to(400_000):
        for number in range(20):
            try:
                spool.append(b"%02d" % number * 25_000, 1)
            except SpoolUnavailable as error:
                failures += 1
                assert error.message == "the spool can't be written (disk I/O error); send this again later"
                assert error.retry_after_s == 5
                assert spool.failing
            else:
                acknowledged.append(f"{number:02}")
                assert not spool.failing
    spool.append(b"last", 1)
    spool.close()

    assert failures >= 2
    assert [path.name for path in left_behind(spool_files(tmp_path))] == [f"web-0.{n + 1}.db" for n in range(failures)]
    assert set(acknowledged) - {body[:2] for body in bodies(tmp_path)} == set()


def test_a_disk_that_refuses_everything_does_not_make_ever_more_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"before", 1)
    with files_limited_to(0):
        for _ in range(10):
            with pytest.raises(SpoolUnavailable):
                spool.append(b"x" * 20_000, 1)
            assert not spool.is_writable()
    assert spool.is_writable(), "it heals without traffic"
    spool.append(b"after", 1)
    spool.close()

    assert bodies(tmp_path) == ["before", "after"]
    assert len(spool_files(tmp_path)) <= 2


def test_a_worker_starts_on_a_disk_without_room_and_takes_events_once_there_is(tmp_path: Path) -> None:
    with files_limited_to(0):
        spool = Spool(tmp_path)
        with pytest.raises(SpoolUnavailable):
            spool.append(b"x", 1)
    spool.append(b"y", 1)

    assert bodies(tmp_path) == ["y"]
    spool.close()


def test_a_failed_fsync_leaves_the_file_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"kept", 1)

    def failing(rows: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    write, spool._write = spool._write, failing  # type: ignore[method-assign]
    with pytest.raises(SpoolUnavailable):
        spool.append(b"refused", 1)
    spool._write = write  # type: ignore[method-assign]
    spool.append(b"new", 1)
    spool.close()

    assert {path.name: [row.body for row in read(path)] for path in spool_files(tmp_path)} == {
        "web-0.1.db": [b"kept"],
        "web-0.2.db": [b"new"],
    }


@pytest.mark.parametrize("place", ["file", "home"])
def test_a_folder_that_cannot_be_made_is_told_with_its_name(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "spool" if place == "file" else Path("/proc/metronome/spool")
    with pytest.raises(SetupError, match=f"METRONOME_HOME: the spool's folder {folder} can't be made"):
        Spool(folder)


READ_ONLY = """
import os, sys
from pathlib import Path
from metronome.errors import SetupError
from metronome.spool.spool import Spool

if os.getuid() == 0:
    os.setuid(65534)
try:
    Spool(Path(sys.argv[1]))
except SetupError as error:
    print(error.message)
"""


def test_a_folder_that_cannot_be_written_is_told_with_its_name(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o555)

    found = subprocess.run([sys.executable, "-c", READ_ONLY, str(spool)], capture_output=True, text=True)

    assert found.stdout == f"METRONOME_HOME: the spool's folder {spool} can't be written by this user\n", found.stderr


# --- Damage ----------------------------------------------------------------------------------------------------


def filled(folder: Path, count: int, size: int) -> dict[int, bytes]:
    """A closed spool of `count` rows; gives their bodies by id."""
    spool = Spool(folder)
    written = {}
    for number in range(1, count + 1):
        body = b"%d " % number * (size // 3)
        spool.append(body, 1)
        written[number] = body
    spool.close()
    return written


def test_a_log_cut_at_any_place_gives_the_rows_before_the_cut_and_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    spool = Spool(whole)
    written = [b"%d" % number * 9_000 for number in range(8)]
    for body in written:
        spool.append(body, 1)
    log = (whole / "web-0.1.db-wal").read_bytes()
    counts = []
    for cut in range(0, len(log), 7919):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        shutil.copy(whole / "web-0.1.db", folder)
        (folder / "web-0.1.db-wal").write_bytes(log[:cut] + bytes(1000))
        after = Spool(folder)
        after.append(b"after", 1)
        after.close()
        found = [row.body for path in spool_files(folder) for row in read(path) if row.intact]
        assert found == [*written[: len(found) - 1], b"after"]
        counts.append(len(found) - 1)
    spool.close()

    assert counts == sorted(counts)
    assert counts[-1] >= 7


def test_a_file_whose_head_is_gone_is_left_behind(tmp_path: Path) -> None:
    filled(tmp_path, 3, 3000)
    with (tmp_path / "web-0.1.db").open("r+b") as file:
        file.write(os.urandom(100))

    spool = Spool(tmp_path)
    spool.append(b"after", 1)
    spool.close()

    assert [row.body for row in read(tmp_path / "web-0.2.db")] == [b"after"]
    with pytest.raises(Damaged, match="not a database"):
        read(tmp_path / "web-0.1.db")


# --- Files left behind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "left"),
    [
        pytest.param(["web-0.1.db"], [], id="the only one of its slot is in use"),
        pytest.param(["web-0.1.db", "web-1.7.db"], [], id="slots don't matter to each other"),
        pytest.param(["web-0.9.db", "web-0.10.db"], ["web-0.9.db"], id="10 comes after 9"),
        pytest.param(["web-0.1.db", "web-0.2.db", "web-0.4.db"], ["web-0.1.db", "web-0.2.db"], id="gaps don't matter"),
    ],
)
def test_a_file_is_left_behind_once_its_slot_has_a_newer_one(tmp_path: Path, names: list[str], left: list[str]) -> None:
    for name in [*names, "quarantine.db", "web-0.1.db-wal", "drain.json", "web-0.1.copy.db"]:
        (tmp_path / name).touch()

    assert [path.name for path in left_behind(spool_files(tmp_path))] == left


def test_looking_at_a_file_that_was_removed_does_not_make_it_anew(tmp_path: Path) -> None:
    filled(tmp_path, 1, 10)
    remove_file(tmp_path / "web-0.1.db")
    with pytest.raises(sqlite3.OperationalError):
        Reader(tmp_path / "web-0.1.db").rows(1)
    assert spool_files(tmp_path) == []
