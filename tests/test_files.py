"""Locks between processes, and files that are replaced whole."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from metronome.errors import SetupError
from metronome.files import Lock, replace_file

HOLD = """
import sys
from pathlib import Path
from metronome.files import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_by_one_at_a_time_and_names_its_holder(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert (first.holder(), first.held) == ("(unknown)", False)
    assert (first.take(), second.take()) == (True, False)
    assert (first.held, second.held, second.holder()) == (True, False, str(os.getpid()))
    first.release()
    assert (first.held, second.take()) == (False, True)
    second.release()


def test_a_lock_is_free_once_its_holder_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    ours = Lock(path)
    assert holder.stdout.readline() == "True\n"
    assert (ours.take(), ours.holder()) == (False, str(holder.pid))
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert (ours.take(), ours.holder()) == (True, str(os.getpid()))
    ours.release()


def test_where_there_can_be_no_lock_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SetupError, match=r"METRONOME_HOME: .*/none/lock can't be written \(No such file or directory\)"
    ):
        Lock(tmp_path / "none" / "lock").take()


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_and_private(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "state.json"
    replace_file(path, "a long text that was there before", durable=durable)
    with path.open() as reader:
        replace_file(path, "new", durable=durable)
        assert reader.read() == "a long text that was there before"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_left_of_an_earlier_attempt_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "state.json.new").write_text("what a process that was killed left behind")
    replace_file(tmp_path / "state.json", "new")
    assert (tmp_path / "state.json").read_text() == "new"


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    (tmp_path / "state.json.new").mkdir()
    with pytest.raises(OSError):
        replace_file(path, "new")
    assert path.read_text() == "old"
