"""Where events wait for their batch: in memory, or in a SQLite file that outlives the process.

Both are bounded. If one is full, the oldest event that isn't under way makes room, and `add` says so. `batch` gives the
same events until `done` is called, so that a batch is sent again as it was. A tracker calls them under its lock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

#: Connections that a forked child took over. SQLite forbids to use or close them there.
_inherited: list[Any] = []


class Queue(Protocol):
    """Events as JSON, in the order in which they came. `left_out` are those of earlier processes that found no room."""

    left_out: int

    def add(self, body: bytes) -> int:
        """Put an event behind the others; gives how many were dropped for it."""
        ...

    def batch(self, events: int, size: int) -> list[bytes]:
        """The first events, of at most so many bytes unless one alone is larger. The same ones until `done`."""
        ...

    def done(self) -> None:
        """Forget the events of the batch."""
        ...

    def forked(self) -> Queue:
        """A queue for a forked child. It is empty, since the parent sends what it had."""
        ...

    def close(self) -> None: ...

    def __len__(self) -> int: ...


class MemoryQueue:
    """A queue of at most `most` events."""

    left_out = 0

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[bytes] = deque()
        self._under_way: list[bytes] = []

    def add(self, body: bytes) -> int:
        self._waiting.append(body)
        if len(self) > self._most and len(self._waiting) > 1:
            self._waiting.popleft()
            return 1
        return 0

    def batch(self, events: int, size: int) -> list[bytes]:
        if not self._under_way:
            count = _fitting(self._waiting, events, size)
            self._under_way = [self._waiting.popleft() for _ in range(count)]
        return self._under_way

    def done(self) -> None:
        self._under_way = []

    def forked(self) -> MemoryQueue:
        return MemoryQueue(self._most)

    def close(self) -> None:
        """Nothing is open."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)


class DiskQueue:
    """A queue in a file of its own below `folder`. It takes over the files of processes that have ended.

    What is in it outlives the process. It isn't fsynced event by event, so a power cut may cost the last ones.
    Raises ValueError where the system has no file locks, and OSError or sqlite3.Error where the file can't be made.
    """

    def __init__(self, folder: Path, most: int) -> None:
        if fcntl is None:
            raise ValueError("a disk queue needs file locks, which this system doesn't have; leave `folder` out")
        self._folder, self._most = folder, most
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.queue"
        self._lock = _locked(self._path.with_suffix(".lock"))
        # Each call is made under the tracker's lock, from whichever thread.
        self._file = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute("CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)")
        self._count = 0
        self._under_way: list[tuple[int, bytes]] = []
        self.left_out = sum(self.add(body) for body in _left_behind(folder))

    def add(self, body: bytes) -> int:
        try:
            self._file.execute("INSERT INTO events (body) VALUES (?)", (body,))
        except sqlite3.Error:  # a full disk isn't the program's affair, no more than a full queue
            return 1
        self._count += 1
        if self._count <= self._most or self._count - len(self._under_way) <= 1:
            return 0
        last = self._under_way[-1][0] if self._under_way else 0
        self._file.execute(
            "DELETE FROM events WHERE number = (SELECT min(number) FROM events WHERE number > ?)", (last,)
        )
        self._count -= 1
        return 1

    def batch(self, events: int, size: int) -> list[bytes]:
        if not self._under_way:
            rows = self._file.execute("SELECT number, body FROM events ORDER BY number LIMIT ?", (events,)).fetchall()
            self._under_way = rows[: _fitting([body for _, body in rows], events, size)]
        return [body for _, body in self._under_way]

    def done(self) -> None:
        if self._under_way:
            self._file.execute("DELETE FROM events WHERE number <= ?", (self._under_way[-1][0],))
            self._count -= len(self._under_way)
            self._under_way = []

    def forked(self) -> Queue:
        _inherited.append(self._file)
        self._lock.close()  # of this process; the parent's own handle keeps the lock
        try:
            return DiskQueue(self._folder, self._most)
        except (OSError, sqlite3.Error):  # nobody could be told of it here
            return MemoryQueue(self._most)

    def close(self) -> None:
        """The file stays if it holds events; the next process takes it over."""
        empty = not self._count
        self._file.close()
        if empty:
            _remove(self._path)
        self._lock.close()

    def __len__(self) -> int:
        return self._count


def _fitting(bodies: Any, events: int, size: int) -> int:
    """How many of the first bodies are a batch; at least one, if there is one."""
    count = total = 0
    for body in bodies:
        total += len(body) + 1
        if count == events or (count and total > size):
            break
        count += 1
    return count


def _locked(path: Path) -> IO[bytes]:
    """A file that is locked as long as it is open; raises BlockingIOError if another process has it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _left_behind(folder: Path) -> Iterator[bytes]:
    """The events in files of processes that have ended; the files are removed once all of theirs were taken."""
    for path in sorted(folder.glob("*.queue")):
        try:
            lock = _locked(path.with_suffix(".lock"))
        except OSError:
            continue
        with lock, contextlib.suppress(sqlite3.DatabaseError):
            file = sqlite3.connect(path)
            try:
                for (body,) in file.execute("SELECT body FROM events ORDER BY number"):
                    yield bytes(body)
            finally:
                file.close()
            _remove(path)


def _remove(path: Path) -> None:
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")), path.with_suffix(".lock")):
        name.unlink(missing_ok=True)
