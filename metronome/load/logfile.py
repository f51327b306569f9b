"""Reads a file to be loaded as lines with their offsets, from a plain file, a gzip file or standard input."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

#: Longest line that is kept whole, in bytes. The gateway takes events of up to 32 KiB.
MAX_LINE = 2**20

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"

#: If nobody has written to a file for this many seconds, its last line is whole, with or without a newline.
_QUIET_S = 60


class Damaged(Exception):
    """The file can't be read any further, for example a gzip file that is cut short."""


@dataclass(frozen=True)
class Line:
    """A line that isn't blank. `raw` excludes line end and byte order mark; `size`, in bytes, includes them."""

    number: int
    offset: int
    raw: bytes
    size: int
    #: Whether the file ends here without a newline, so that somebody may still be writing the line.
    cut: bool = False
    too_long: bool = False

    @cached_property
    def hash(self) -> str:
        return _hash(self.raw)


class LogFile:
    """An open file. Offsets count inflated bytes."""

    def __init__(self, path: Path) -> None:
        self._path = None if str(path) == "-" else path
        self.name = "stdin" if self._path is None else str(path)
        self._file = cast(io.BufferedReader, sys.stdin.buffer) if self._path is None else path.open("rb")
        self._zipped = self._file.peek(2)[:2] == _GZIP
        self._stream: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=self._file)) if self._zipped else self._file
        #: Whether reading can begin at any offset, so that a load can continue where an earlier one ended.
        self.seekable = self._path is not None and path.is_file()
        #: Bytes on disk, for a progress bar; None if unknown.
        self.size = path.stat().st_size if self.seekable else None
        self._taken = 0
        self._head = b""
        #: First line, without its line end. The file is recognized by the hash of this line.
        self.first = b""
        self.fingerprint = ""

    def __enter__(self) -> LogFile:
        try:
            self._head = self._readline()
        except Damaged:
            self._close()
            raise
        self.first = _bare(self._head, 0)
        self.fingerprint = _hash(self.first)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._path is not None:
            self._file.close()

    @property
    def position(self) -> int:
        """Bytes read so far. For a file they are counted on disk, for a stream after inflating."""
        return self._file.tell() if self.seekable else self._taken

    def hash_of(self, offset: int, size: int) -> str | None:
        """Hash of the line that stands at an offset; `size`, in bytes, includes its line end.

        None if the file ends before the line does, or can't be read so far.
        """
        try:
            self._stream.seek(offset)
            text = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return None
        return _hash(_bare(text, offset)) if len(text) == size else None

    def lines(self, offset: int, number: int) -> Iterator[Line]:
        """The lines from `offset` to the end. The first of them has the number `number` + 1. Raises Damaged."""
        if self.seekable:
            self._stream.seek(offset)
            head = b""
        else:
            head = self._head
        while text := head or self._readline():
            head, size, number = b"", len(text), number + 1
            too_long = size > MAX_LINE
            while too_long and not text.endswith(b"\n") and (more := self._readline()):
                text = text[:MAX_LINE] + more[-1:]
                size += len(more)
            raw = _bare(text, offset)
            if raw and not raw.isspace():
                ends_open = self.seekable and not self._zipped and not text.endswith(b"\n")
                yield Line(number, offset, raw, size, ends_open, too_long)
            offset += size
            self._taken = offset

    def is_finished(self, line: Line) -> bool:
        """Whether a line without newline is whole: it ends in a quote or brace, or nobody has written for _QUIET_S."""
        if line.raw[-1:] in (b'"', b"}"):
            return True
        return self._path is None or time.time() - self._path.stat().st_mtime > _QUIET_S

    def _readline(self) -> bytes:
        try:
            return self._stream.readline(MAX_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Damaged(f"{self.name} is damaged or cut short: {error}") from None


def _bare(text: bytes, offset: int) -> bytes:
    if offset == 0:
        text = text.removeprefix(_BOM)
    return text.rstrip(b"\r\n")


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
