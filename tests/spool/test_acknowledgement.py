"""Claim: `append` returns only once its bytes are fsynced, and requests that arrive together share one fsync."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from metronome.spool.files import spool_files
from metronome.spool.reader import Reader
from metronome.spool.spool import Spool


def rows(folder: Path) -> list[tuple[str, int, bool]]:
    """(body, events, intact) of every row of every file of a folder, in order."""
    found = []
    for path in spool_files(folder):
        reader = Reader(path)
        while part := reader.rows(2**20):
            found += [(row.body.decode(), row.events, row.intact) for row in part]
        reader.close()
    return found


def test_an_appended_request_is_read_back_unchanged(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b'{"create":{}}\n{"id":"a"}\n', 1)
    spool.append('{}\n{"id":"é\0"}\n'.encode(), 2)
    spool.close()

    assert rows(tmp_path) == [('{"create":{}}\n{"id":"a"}\n', 1, True), ('{}\n{"id":"é\0"}\n', 2, True)]


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        pytest.param("synchronous", 2, id="every commit is fsynced (FULL)"),
        pytest.param("journal_mode", "wal", id="by one fsync, of the write-ahead log"),
        pytest.param("page_size", 16384, id="large pages for large bodies"),
    ],
)
def test_the_connection_that_writes_is_set_so_that(tmp_path: Path, pragma: str, value: object) -> None:
    spool = Spool(tmp_path)
    assert spool._db is not None
    assert spool._db.execute(f"pragma {pragma}").fetchone()[0] == value
    spool.close()


def test_a_commit_is_over_before_append_returns(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(20):
        spool.append(b"x", 1)
        assert spool._db is not None
        assert (spool.commits, spool._db.in_transaction, len(rows(tmp_path))) == (number + 1, False, number + 1)
    spool.close()


APPENDER = """
import os, sys, threading
from pathlib import Path
from metronome.spool.spool import Spool

spool = Spool(Path(sys.argv[1]))

def append(thread):
    for number in range(100_000):
        text = f"{thread}.{number}"
        spool.append(text.encode() * 50, 1)
        os.write(1, text.encode() + b"\\n")

for thread in range(8):
    threading.Thread(target=append, args=(f"{sys.argv[2]}.{thread}",)).start()
"""


def test_whatever_was_acknowledged_before_kill_9_is_on_disk(tmp_path: Path) -> None:
    moments = random.Random(20261122)
    acknowledged: list[str] = []
    for life in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(tmp_path), str(life)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process:
            for _ in range(moments.randrange(1, 1000)):
                acknowledged.append(process.stdout.readline().strip())
            process.kill()
            # What it managed to say before it died counts too; a line cut by the kill doesn't.
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]

    found = [body[: len(body) // 50] for body, _, intact in rows(tmp_path) if intact]
    assert len(acknowledged) > 1000
    assert set(acknowledged) - set(found) == set()
    assert len(found) == len(set(found)), "no row is there twice"
    assert [path.name for path in spool_files(tmp_path)] == ["web-0.1.db"], "each life took up the file of the last"


def test_requests_that_arrive_together_share_a_commit(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    start = threading.Barrier(32)

    def append(thread: int) -> None:
        start.wait()
        for number in range(50):
            spool.append(f"{thread}.{number}".encode(), 1)

    threads = [threading.Thread(target=append, args=(thread,)) for thread in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commits = spool.commits
    spool.close()

    assert sorted(body for body, _, _ in rows(tmp_path)) == sorted(f"{t}.{n}" for t in range(32) for n in range(50))
    assert commits < 1600 / 8


def test_a_request_that_comes_while_others_are_committed_waits_for_the_next_commit(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    writing, go_on = threading.Event(), threading.Event()
    write = spool._write

    def slow_write(waiting: list[tuple[int, int, int, bytes]]) -> None:
        writing.set()
        go_on.wait(10)
        write(waiting)

    spool._write = slow_write  # type: ignore[method-assign]
    first = threading.Thread(target=spool.append, args=(b"first", 1))
    first.start()
    writing.wait(10)
    second = threading.Thread(target=spool.append, args=(b"second", 1))
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)

    assert (spool.commits, [body for body, _, _ in rows(tmp_path)]) == (2, ["first", "second"])
    spool.close()


def test_a_spool_is_not_used_across_a_fork(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool._pid = os.getppid()  # as a forked child would find it
    with pytest.raises(RuntimeError, match="open another after a fork"):
        spool.append(b"x", 1)
    spool.close()
