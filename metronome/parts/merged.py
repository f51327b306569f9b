"""The columns of closed days, decoded once: files of plain numbers that are mapped into memory, below parts/merged.

    parts/merged.lock                   held by who makes a set
    parts/merged.naming.lock            held for a moment: while a set is named, or all are forgotten
    parts/merged/set.json               the set that counts: its days with their parts' files, its columns
    parts/merged/<name>/<n>.numbers     a column: a number a row, the rows of a day together, in the part's own order
    parts/merged/<name>/<n>.texts       a column of text: its different values one after another, in UTF-8
    parts/merged/<name>/<n>.ends        where each of these ends

A set is a copy of what parts hold, and never speaks for another part than it was made from: a day counts while its
part consists of the same files. Where a part isn't merely continued (a document was deleted or replaced, the part
was dropped), all sets are deleted at once, those that are being made included, so that what was erased is in none.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from uuid import uuid4

import msgspec
import numpy as np

import metronome
from metronome.files import Lock, replace_file, sync_folder
from metronome.parts.columns import Array
from metronome.parts.read import NONE, WHOLE

if TYPE_CHECKING:
    from metronome.parts.folder import Part

#: Version of the files' format.
FORMAT = 1

#: A set with values that another program derived isn't read: facts of shipped documents follow these versions.
PROGRAM = f"{FORMAT} {metronome.__version__} " + " ".join(
    map(version, ("counter-robots", "ua-parser", "ua-parser-builtins"))
)

#: Kind of the columns that say whether there is any value of a property.
EXISTS = "exists"

#: Number of no text, and of no flag.
NO_TEXT = -1


class Key(msgspec.Struct, frozen=True, order=True):
    """A column: the values of a kind of a property, or with `exists` whether there is any value."""

    name: str
    kind: str


class Column(msgspec.Struct, frozen=True):
    """How a column is kept, in files of the number `place`.

    Without a `dtype` all rows have the same: `constant`, or where that is None no value.
    """

    key: Key
    place: int
    dtype: str = ""
    texts: int = 0
    constant: float | None = None


class Day(msgspec.Struct, frozen=True):
    """The rows of a day, the files that they were read from, and the first and last time of an event."""

    day: date
    files: tuple[str, ...]
    begin: int
    end: int
    first_ms: int
    last_ms: int


class Manifest(msgspec.Struct, frozen=True):
    """A set. `unfit` are columns that can't be in one: lists, or too many different texts.

    `full` is the room that there was, in bytes, where not all days that were there had room; else 0.
    """

    program: str
    name: str
    rows: int
    days: tuple[Day, ...]
    columns: tuple[Column, ...]
    unfit: tuple[Key, ...]
    full: int = 0


class Texts(Sequence[str]):
    """The texts of a column by number, made only when they are asked for."""

    def __init__(self, texts: mmap.mmap | bytes, ends: Array) -> None:
        self._texts, self._ends = texts, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            numbers = range(*place.indices(len(self)))
            return self.tolist() if len(numbers) == len(self) else [self[n] for n in numbers]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        begin = int(self._ends[place - 1]) + 1 if place else 0
        return self._texts[begin : int(self._ends[place])].decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def tolist(self) -> list[str]:
        """All of them. A zero byte stands between two, so one split does nearly always."""
        if not len(self):
            return []
        found = self._texts[:].decode().split("\0")
        return found if len(found) == len(self) else [self[n] for n in range(len(self))]


class Opened:
    """A set whose files are mapped: it can be read although it is deleted meanwhile."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        """Raises OSError and ValueError where a file isn't there or isn't whole."""
        self.manifest = manifest
        self._folder = folder
        self._columns = {column.key: column for column in manifest.columns}
        self._numbers: dict[Key, Array | float] = {}
        self._texts: dict[Key, Texts] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._columns

    def map(self, keys: Sequence[Key]) -> None:
        """Map the files of these columns."""
        for key in keys:
            if key in self._numbers:
                continue
            column = self._columns[key]
            place = column.place
            if not column.dtype:
                self._numbers[key] = nothing(key) if column.constant is None else column.constant
            else:
                dtype = np.dtype(column.dtype)
                self._numbers[key] = _mapped(self._folder / f"{place}.numbers", dtype, self.manifest.rows)
            if key.kind == "text":
                ends = _mapped(self._folder / f"{place}.ends", np.dtype(np.int64), column.texts)
                length = int(ends[-1]) if column.texts else 0
                self._texts[key] = Texts(memory(self._folder / f"{place}.texts", length), ends)

    def numbers(self, key: Key) -> Array | float:
        """The numbers of all rows, or the one that all of them have."""
        return self._numbers[key]

    def texts(self, key: Key) -> Texts:
        return self._texts[key]

    @cached_property
    def days(self) -> dict[date, Day]:
        return {one.day: one for one in self.manifest.days}


def nothing(key: Key) -> float:
    """What stands for no value in a column: as in `read.Values`."""
    if key.kind == "number":
        return float(NONE) if key.name in WHOLE else float("nan")
    return 0 if key.kind == EXISTS else NO_TEXT


def files_of(part: Part | None) -> tuple[str, ...]:
    """The names of a part's files, which never come again: the same names are the same events."""
    return () if part is None else tuple(file.name for file in part.files)


def _mapped(path: Path, dtype: np.dtype[Any], count: int) -> Array:
    return np.frombuffer(memory(path, dtype.itemsize * count), dtype, count)


def memory(path: Path, length: int) -> mmap.mmap | bytes:
    """The file's bytes; raises OSError, and ValueError where it isn't as long as this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size != length:
            raise ValueError(f"{path} isn't whole")
        return mmap.mmap(descriptor, length, access=mmap.ACCESS_READ) if length else b""
    finally:
        os.close(descriptor)


class Sets:
    """The sets of one installation."""

    def __init__(self, parts: Path) -> None:
        self.root = parts / "merged"
        self._manifest = self.root / "set.json"
        self._naming = parts / "merged.naming.lock"
        self._making = parts / "merged.lock"

    def lock(self) -> Lock:
        """What who makes a set holds."""
        return Lock(self._making)

    def open(self) -> Opened | None:
        """The set that counts; None where there is none that this program reads."""
        try:
            manifest = msgspec.json.decode(self._manifest.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            return None
        return Opened(manifest, self.root / manifest.name) if manifest.program == PROGRAM else None

    def begin(self) -> Path:
        """A new folder for a set's files, before any part is opened for them. The caller holds the lock."""
        opened = self.open()
        self._keep(opened.manifest.name if opened is not None else "")
        folder = self.root / uuid4().hex
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def name(self, manifest: Manifest) -> bool:
        """Make this the set that counts; False where all sets were forgotten since it was begun."""
        folder = self.root / manifest.name
        with Lock(self._naming):
            if not folder.exists():
                return False
            sync_folder(folder)
            replace_file(self._manifest, msgspec.json.encode(manifest), durable=True)
            self._keep(manifest.name)
        return True

    def forget(self) -> None:
        """Delete all sets, also one that is being made."""
        if self.root.exists():
            with Lock(self._naming):
                self._manifest.unlink(missing_ok=True)
                shutil.rmtree(self.root, ignore_errors=True)

    def _keep(self, name: str) -> None:
        if self.root.exists():
            for path in self.root.iterdir():
                if path.is_dir() and path.name != name:
                    with contextlib.suppress(OSError):
                        shutil.rmtree(path)
