"""What a load leaves on disk: how far it got, which file it read, and the lines that aren't loaded."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import orjson

from metronome.files import Lock, replace_file
from metronome.load.logfile import Line, LogFile

#: Of so many lines at the beginning each one is remembered; logs of two servers mostly differ within a few lines.
_EACH_OF = 64

#: A line that was read: its number, offset, size in bytes and hash.
Mark = tuple[int, int, int, str]


class Note:
    """How far the load of a file got: a small JSON file, for each gateway, app and origin that the file was loaded for.

    A file is recognized by its first line and by marks: its first lines, then each whose number is a power of two, and
    the last that was read. All must stand at their offsets, as far as the file goes. If one doesn't, this is another
    file that only begins like the noted one, such as the log of another server. It gets the next number, and with it
    a note and ids of its own.

    Loads of files with one first line wait for one another. The second file is known for another one only by the note
    of the first.
    """

    def __init__(
        self, home: Path, source: LogFile, url: str, form: str, app: str, origin: str, counted: bool = False
    ) -> None:
        self._key = [source.fingerprint, url, app, *([origin] if origin else [])]
        self._folder = home / "load"
        self._source = source
        self._form = form
        self._origin = origin
        self._lock = Lock(self._folder / f"{_hash(self._key)}.lock")
        self._number = 0
        self._counted = counted
        #: The last line that was loaded without `counted`. A line that is stored stays what it is.
        self.plain = 0
        self.forget()

    def __enter__(self) -> Note:
        if self._source.seekable:  # a stream is always read from its beginning
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.take(wait=True)
            while not self._recall():
                self._number += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def path(self) -> Path:
        return self._folder / f"{_hash([*self._key, self._number])}.json"

    @property
    def identity(self) -> str:
        """The part of a line's insert_id that stands for its file."""
        if not (self._origin or self._number):
            return self._source.fingerprint
        return _hash([self._source.fingerprint, self._origin, self._number], size=8)

    def forget(self) -> None:
        """Begin with line 1."""
        self.line, self.offset = 0, 0
        self._marks: list[Mark] = []
        self._last: Mark | None = None
        self._noted_to = 0
        self.kept_in, self.kept_bytes = "", 0

    def _recall(self) -> bool:
        """Go on where this number's note says, if it is about this file or isn't there; False if about another file."""
        try:
            noted = json.loads(self.path.read_text())
            marks: list[Mark] = [(number, offset, size, of) for number, offset, size, of in noted["marks"]]
            found = [self._source.hash_of(offset, size) for _, offset, size, _ in marks]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return True
        if any(now not in (None, mark[3]) for now, mark in zip(found, marks, strict=True)):
            return False
        there = [mark for now, mark in zip(found, marks, strict=True) if now is not None]
        if there and noted["form"] == self._form:
            *self._marks, self._last = there
            self.line, self.offset = self._last[0], self._last[1] + self._last[2]
            if there == marks:
                self.line, self.offset = noted["line"], noted["offset"]
            self.kept_in, self.kept_bytes = noted["unreadable"], noted["unreadable_bytes"]
            self.plain = noted.get("plain", self.line)
            # An older copy of the file ends before that. It must not take the note back.
            self._noted_to = noted["offset"]
        return True

    def reach(self, line: Line) -> None:
        """Remember a line as done, once `save` is called. A line without its end is read again next time."""
        if line.cut:
            return
        self.line, self.offset = line.number, line.offset + line.size
        if not line.too_long:  # of such a line only the beginning was read
            if self._last is not None and (self._last[0] <= _EACH_OF or self._last[0].bit_count() == 1):
                self._marks.append(self._last)
            self._last = (line.number, line.offset, line.size, line.hash)

    def save(self) -> None:
        if not self._source.seekable or self._last is None or self.offset < self._noted_to:
            return
        noted = {
            "file": self._source.name,
            "form": self._form,
            "line": self.line,
            "offset": self.offset,
            "marks": [*self._marks, self._last],
            "unreadable": self.kept_in,
            "unreadable_bytes": self.kept_bytes,
            "plain": self.plain if self._counted else self.line,
        }
        # Durable: after a crash, an old note only costs the time of one batch; an empty one would start from line 1.
        replace_file(self.path, json.dumps(noted), durable=True)


def _hash(parts: list[Any], *, size: int = 12) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=size).hexdigest()


class Kept:
    """The file of lines that aren't loaded, as JSON lines: `{"line", "offset", "reason", "text"}`. Made when needed."""

    def __init__(self, path: Path, note: Note) -> None:
        self.path = path.absolute()
        self._note = note
        self._rows: list[bytes] = []
        if note.kept_in != str(self.path):
            note.kept_in, note.kept_bytes = str(self.path), 0

    def keep(self, line: Line, reason: str) -> None:
        text = line.raw.decode("utf-8", "backslashreplace")
        row = {"line": line.number, "offset": line.offset, "reason": reason, "text": text}
        self._rows.append(orjson.dumps(row) + b"\n")

    def flush(self) -> None:
        """Write the kept rows at the length that the note holds. Rows of an interrupted batch are overwritten.

        That batch is read again, so without this its rows would stand in the file twice.
        """
        if not self._rows:
            return
        # The lines are as private as the log, hence 0600. An existing path may be a device such as /dev/null; then it
        # isn't truncated.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if self.path.is_file():
                file.truncate(min(self._note.kept_bytes, file.seek(0, os.SEEK_END)))
                self._note.kept_bytes = file.seek(0, os.SEEK_END) + sum(map(len, self._rows))
            file.write(b"".join(self._rows))
        self._rows.clear()
