"""The files of all parts: METRONOME_HOME/parts, shared by any number of processes.

    parts/2026-11-03.lock            held by who builds the day
    parts/2026-11-03/part.json       the day's version: its counters, and the files that belong to it
    parts/2026-11-03/<name>.parquet  a file of the version, never changed once it is named there
    parts/2026-11-03/building/       what isn't a part yet
    parts/merged/                    columns of many days, made of their parts (merged.py)

A file that `part.json` doesn't name doesn't count, and `part.json` is replaced by rename. So nobody reads the files of
a killed builder, and the next builder of the day removes them. A reader opens all files of a version before it reads
any. It can read them to the end even if their names are removed. The modification time of `part.json` is the time of
the last reading.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

import msgspec

from metronome.errors import PartsUnavailable, SetupError
from metronome.files import Lock, replace_file, sync_folder
from metronome.parts.index import Counters
from metronome.parts.merged import Sets

#: Version of the files' format; a part of another one is built anew.
FORMAT = 1


@dataclass(frozen=True)
class File:
    """One Parquet file of a part; the ids' hash is that of this file alone."""

    name: str
    bytes: int
    events: int
    ids_sha256: str


@dataclass(frozen=True)
class Part:
    """One version of a day. It has one file, and further ones with what came later."""

    format: int
    day: date
    index: str
    counters: Counters
    files: tuple[File, ...]

    @property
    def events(self) -> int:
        return sum(file.events for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Opened:
    """A version whose files are open: it can be read although it is replaced meanwhile."""

    part: Part
    descriptors: tuple[int, ...]

    @property
    def paths(self) -> list[str]:
        """Paths of the open files, whatever became of their names."""
        return [f"/proc/self/fd/{number}" for number in self.descriptors]


class Folder:
    """All parts of one installation."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        self._max_bytes = max_bytes

    def days(self) -> list[date]:
        """The days that have a part, ascending."""
        found = []
        for path in self.root.glob("*/part.json"):
            with contextlib.suppress(ValueError):
                found.append(date.fromisoformat(path.parent.name))
        return sorted(found)

    def part(self, day: date) -> Part | None:
        """The day's version; None if there is none that this program reads."""
        try:
            part = msgspec.json.decode(self._manifest(day).read_bytes(), type=Part)
        except (OSError, msgspec.DecodeError):
            return None
        return part if part.format == FORMAT else None

    def last_read(self, day: date) -> float:
        """When the day was last read, in seconds since 1970; 0 if it has no part."""
        try:
            return self._manifest(day).stat().st_mtime
        except OSError:
            return 0.0

    def note_reading(self, day: date) -> None:
        """The day is read now, so it isn't among those that go first."""
        with contextlib.suppress(OSError):
            os.utime(self._manifest(day))

    @contextmanager
    def open(self, day: date) -> Iterator[Opened | None]:
        """The day's version with its files open; None if there is none. A file that was cut counts as none."""
        descriptors: list[int] = []
        try:
            yield self._open(day, descriptors)
        finally:
            for number in descriptors:
                os.close(number)

    def _open(self, day: date, descriptors: list[int]) -> Opened | None:
        for _ in range(10):  # it may be replaced between reading which files it has and opening them
            part = self.part(day)
            if part is None:
                return None
            try:
                for file in part.files:
                    descriptors.append(os.open(self.path(day, file), os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                while descriptors:
                    os.close(descriptors.pop())
                continue
            if any(os.fstat(fd).st_size != file.bytes for fd, file in zip(descriptors, part.files, strict=True)):
                return None
            self.note_reading(day)
            return Opened(part, tuple(descriptors))
        return None

    def path(self, day: date, file: File) -> Path:
        return self._folder(day) / file.name

    @contextmanager
    def lock(self, day: date, *, timeout_s: float) -> Iterator[None]:
        """Hold the day's lock while the block runs; raises PartsUnavailable if another one holds it for too long."""
        self._make(self.root)
        lock = Lock(self.root / f"{day}.lock")
        deadline = time.monotonic() + timeout_s
        while not lock.take():
            if time.monotonic() > deadline:
                raise PartsUnavailable(f"the part of {day} is being built by another process; ask again in a moment")
            time.sleep(0.02)
        try:
            yield
        finally:
            lock.release()

    def building(self, day: date) -> Path:
        """An empty folder for files that aren't in a version yet. The caller holds the day's lock."""
        folder = self._folder(day) / "building"
        shutil.rmtree(folder, ignore_errors=True)
        self._make(folder)
        return folder

    def take_in(self, day: date, built: Path, events: int, ids_sha256: str) -> File:
        """Move a finished file from `building` to the day's folder. It isn't in the version yet."""
        file = File(f"{uuid4().hex}.parquet", built.stat().st_size, events, ids_sha256)
        built.rename(self.path(day, file))
        return file

    def replace(self, part: Part) -> None:
        """Make this the day's version, durably, and remove files of no version. The caller holds the day's lock."""
        folder = self._folder(part.day)
        self._make(folder)
        # The names of the files are synced first, since a version must not name a file that a power cut removed.
        sync_folder(folder)
        replace_file(self._manifest(part.day), msgspec.json.encode(part), durable=True)
        named = {"part.json", *(file.name for file in part.files)}
        for path in folder.iterdir():
            if path.name not in named:
                _remove(path)
        self._make_room(part.day)

    def drop(self, day: date) -> None:
        """Remove the day's part, and what was made of it. The caller holds the day's lock."""
        self._manifest(day).unlink(missing_ok=True)
        shutil.rmtree(self._folder(day), ignore_errors=True)
        self.forget_merged()

    def forget_merged(self) -> None:
        """Delete the merged columns: a part may not have all events any more that they were made of."""
        Sets(self.root).forget()

    def _make_room(self, kept: date) -> None:
        """Remove the least recently read parts until all fit; never the one just built."""
        sizes = {day: self._size(day) for day in self.days()}
        for day in sorted(sizes, key=self.last_read):
            if sum(sizes.values()) <= self._max_bytes:
                return
            lock = Lock(self.root / f"{day}.lock")
            if day != kept and lock.take():
                self.drop(day)
                lock.release()
                del sizes[day]

    def _size(self, day: date) -> int:
        part = self.part(day)
        return part.bytes if part is not None else 0

    def _manifest(self, day: date) -> Path:
        return self._folder(day) / "part.json"

    def _folder(self, day: date) -> Path:
        return self.root / str(day)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SetupError(f"METRONOME_HOME: {folder} can't be made ({error.strerror})") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
