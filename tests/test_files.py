"""Locks between processes, and files that are replaced whole."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import wait_for

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


def test_who_waits_for_a_lock_has_it_once_it_is_free(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", list[str]()
    first = Lock(path)
    assert first.take()

    def wait() -> None:
        with Lock(path):
            order.append("second")

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_for(lambda: "-> FLOCK" in Path("/proc/locks").read_text(), "nobody waits for the lock")
    order.append("first")
    first.release()
    waiter.join(timeout=10)
    assert order == ["first", "second"]


def test_a_file_that_two_processes_write_at_one_time_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write = (
        "import sys; from pathlib import Path; from metronome.files import replace_file\n"
        "for _ in range(300): replace_file(Path(sys.argv[1]), sys.argv[2] * int(sys.argv[3]), shared=True)"
    )
    texts = {"a" * 100_000, "b" * 50_000}
    with ExitStack() as stack:
        runs = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", write, str(path), text[0], str(len(text))]))
            for text in sorted(texts)
        ]
        wait_for(path.exists, "no file was written")
        while any(run.poll() is None for run in runs):
            assert path.read_text() in texts
    assert [run.returncode for run in runs] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


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
