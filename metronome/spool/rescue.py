"""Saves the rows of a damaged spool file: it reads the file's pages itself where SQLite can't.

Why       SQLite stops at the first contradiction, and one flipped bit in the first page hides all rows. But each row
          carries a checksum of its own. A row whose checksum holds is good, wherever it is found.
How       1. The file is renamed to `….db.broken`. Its writer notices that, acknowledges nothing more in it and goes
             on in another file.
          2. The whole rows go into a spool of role `rescue`, which the drain empties like any other. Damaged rows go to
             the quarantine.
          3. The file is renamed to `….db.damaged-<time>`, for people to look at and to delete.
Crashes   A file that is still `….broken` at the next start is rescued once more. Rows that were sent before get 409s.

Format (https://www.sqlite.org/fileformat2.html): pages of PAGE_BYTES; the latest frame of the write-ahead log
replaces a page. wal.py reads the log; where a frame is damaged, the page's earlier image is looked at as well.
A leaf of a table is `13, …, number of cells at 3, …, pointers to the cells at 8`; a cell is `payload's length, id,
payload, first overflow page`; a payload is `header's length, types, values`. All of it is doubted: a wrong number leads
to bytes whose checksum doesn't hold, and no payload is followed further than MAX_ROW_BYTES.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from metronome.spool.files import damaged_ending, move_aside
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import MAX_ROW_BYTES, Row
from metronome.spool.spool import PAGE_BYTES, Spool
from metronome.spool.wal import Frame, frames

BROKEN = ".broken"

#: Rows are spooled again in bodies of about this many bytes, since each body costs an fsync.
_JOINED_BYTES = 2**20

_LEAF = 0x0D
#: Payload beyond this is on overflow pages (the format's X and M, for a table's leaf without reserved bytes).
_MOST_LOCAL = PAGE_BYTES - 35
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
#: A place that stands for the database file itself.
_IN_FILE = -1


def broken_files(folder: Path) -> list[Path]:
    """Files whose rescue has begun."""
    return sorted(folder.glob("*.db" + BROKEN))


def begin(path: Path) -> Path:
    """Take a damaged file out of use; gives its new path, for `finish`."""
    return move_aside(path, path.name + BROKEN)


def finish(broken: Path, quarantine: Quarantine) -> tuple[int, int]:
    """Spool the rows of a broken file again; gives how many, and how many pieces of it are damaged.

    Raises SpoolFull, SpoolUnavailable or sqlite3.Error if the rows can't be written; then call it again later.
    """
    name = broken.name.removesuffix(BROKEN)
    spool = Spool(broken.parent, role="rescue")
    good = damaged = 0
    joined: list[Row] = []
    try:
        for row in rows(broken):
            if row.intact:
                good += 1
                joined.append(row)
            else:
                damaged += 1
                quarantine.add_damaged(f"{name}#{row.id}", row.body, "a spooled request that is damaged")
            if sum(len(row.body) for row in joined) > _JOINED_BYTES:
                _spool_again(spool, joined)
        _spool_again(spool, joined)
    finally:
        spool.close()
    move_aside(broken, name + damaged_ending())
    return good, damaged


def _spool_again(spool: Spool, rows: list[Row]) -> None:
    """Append the rows to the spool as one row, and empty the list."""
    if rows:
        body = b"".join(row.body if row.body.endswith(b"\n") else row.body + b"\n" for row in rows)
        spool.append(body, sum(row.events for row in rows), since_ms=min(row.received_ms for row in rows))
        rows.clear()


def rows(path: Path) -> Iterator[Row]:
    """Every whole row of a file and its log, in the order of pages, and what is left of each damaged row.

    Takes the memory of one row, and of a few numbers for each page.
    """
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(path.open("rb"))
        log = opened.enter_context(_open_log(path.with_name(path.name + "-wal")))
        pages = _Pages(file, log)
        free, missing = pages.free(), 0
        for number in pages.numbers():
            found = list(_rows_of_images(pages, number))
            if number not in free:
                missing += not pages.read(number).strip(b"\0")
                yield from found
            elif pages.doubted:
                # The list of free pages may be older than the damage: a page on it may be in use again.
                yield from (row for row in found if row.intact)
        if missing:
            yield Row(0, 0, 0, b"%d pages are missing or empty" % missing, intact=False)


def _rows_of_images(pages: _Pages, number: int) -> Iterator[Row]:
    """Rows of a page: of its last image, and where that may be damaged also those that only an earlier one has."""
    *earlier, last = pages.images(number)
    saved = {row.id: row for image in earlier for row in _rows_of(pages, image) if row.intact}
    for row in _rows_of(pages, last):
        if row.intact or row.id not in saved:
            saved.pop(row.id, None)
            yield row
    yield from saved.values()


def _open_log(path: Path) -> IO[bytes]:
    return path.open("rb") if path.exists() else open(os.devnull, "rb")  # noqa: PTH123 - Path would be as long


class _Pages:
    """The pages of a file, each in the latest version that the file or its log has."""

    def __init__(self, file: IO[bytes], log: IO[bytes]) -> None:
        self._file, self._log = file, log
        self.count = -(-os.fstat(file.fileno()).st_size // PAGE_BYTES)
        #: Page to the places of its images in the log, the last one at the end; `_IN_FILE` is that of the file. There
        #: are several only where a later one may be damaged.
        self._logged: dict[int, list[int]] = {}
        #: Whether frames of the log are damaged.
        self.doubted = False
        self._read_log()

    def _read_log(self) -> None:
        """Frames of the log's present round up to its last commit, or all of them if a commit may be damaged."""
        under_way: list[Frame] = []
        for frame in frames(self._log.fileno(), PAGE_BYTES):
            under_way.append(frame)
            self.doubted = self.doubted or not frame.intact
            if frame.commits:
                self._take(under_way)
        if self.doubted:
            self._take(under_way)

    def _take(self, under_way: list[Frame]) -> None:
        for frame in under_way:
            earlier = [] if frame.intact else self._logged.get(frame.page, [_IN_FILE])
            self._logged[frame.page] = [*earlier, frame.at]
        under_way.clear()

    def numbers(self) -> list[int]:
        """Numbers of all pages that are there, and of those that should be there by the file's head."""
        told = int.from_bytes(self.read(1)[28:32])
        # A damaged head may hold any number. If more than 2^20 pages seem to be missing, none of them is looked for.
        last = told if self.count < told < self.count + 2**20 else self.count
        return sorted({*range(1, last + 1), *self._logged})

    def read(self, number: int) -> bytes:
        """A page's bytes, fewer at the end of a file that was cut; none where there is no such page.

        Of several images it is the one that is sure to be of this page, if that has any bytes.
        """
        return next((image for image in self.images(number) if image), b"")

    def images(self, number: int) -> list[bytes]:
        """The bytes of a page as its log has them last, or its file; before them earlier ones that may be needed."""
        return [self._image(number, place) for place in self._logged.get(number, [_IN_FILE])]

    def _image(self, number: int, place: int) -> bytes:
        if place != _IN_FILE:
            return os.pread(self._log.fileno(), PAGE_BYTES, place)
        return os.pread(self._file.fileno(), PAGE_BYTES, (number - 1) * PAGE_BYTES) if number > 0 else b""

    def free(self) -> set[int]:
        """Pages on the list of free pages. They hold rows that were shipped and deleted."""
        free: set[int] = set()
        trunk = int.from_bytes(self.read(1)[32:36])
        while trunk and trunk not in free and trunk <= self.count + len(self._logged):
            page = self.read(trunk)
            leaves = min(int.from_bytes(page[4:8]), PAGE_BYTES // 4 - 2)
            free |= {trunk, *(int.from_bytes(page[8 + 4 * at : 12 + 4 * at]) for at in range(leaves))}
            trunk = int.from_bytes(page[:4])
        return free


def _rows_of(pages: _Pages, page: bytes) -> Iterator[Row]:
    """Rows of one page, if it is a leaf of the table, or was one before its head was damaged."""
    if len(page) < 12 or page.startswith(b"SQLite format 3"):
        return
    told = int.from_bytes(page[3:5]) if page[0] == _LEAF else 0
    first_cell, at = len(page), 0
    # Pointers end where the first cell begins. The number of pointers may be damaged. So pointers beyond that number
    # are followed as well, as long as they lead to rows.
    while 10 + 2 * at <= first_cell:
        place = int.from_bytes(page[8 + 2 * at : 10 + 2 * at])
        at += 1
        row = _row(pages, page, place) if 8 < place < len(page) else _UNREADABLE
        if row is None and told != 1:  # the tally has one row, so this is a damaged row of the other table
            row = _UNREADABLE
        if at > told and (row is None or not row.intact):
            return
        if row is not None:
            first_cell = min(first_cell, place) if row.intact else first_cell
            yield row


_UNREADABLE = Row(0, 0, 0, b"", intact=False)


def _row(pages: _Pages, page: bytes, place: int) -> Row | None:
    """The row of the cell at `place` of a page, whole or not; None if the cell is one of the table `tally`."""
    length, at = _varint(page, place)
    number, at = _varint(page, at)
    payload = _payload(pages, page, at, length) if length <= MAX_ROW_BYTES else b""
    head, at = _varint(payload, 0)
    types = []
    while at < head <= 32:
        kind, at = _varint(payload, at)
        types.append(kind)
    if len(types) == 3:
        return None
    # The id's type is zero, since the cell holds the id. So no text that a client sent can look like a row.
    if len(types) != 5 or types[0] != 0:
        return Row(number, 0, 0, payload or page[place : place + 100], intact=False)
    values = []
    for kind in types[1:4]:
        size, value = _number(payload, at, kind)
        at += size
        values.append(value)
    received_ms, events, crc = values
    body = payload[at:]
    if not 0 <= events <= len(body):
        events = body.count(b"\n") // 2
    return Row(number, max(0, received_ms), events, body, intact=len(payload) == length and zlib.crc32(body) == crc)


def _payload(pages: _Pages, page: bytes, at: int, length: int) -> bytes:
    """A cell's payload, including the part on its overflow pages as far as they can be followed."""
    if length <= _MOST_LOCAL:
        return page[at : at + length]
    local = _LEAST_LOCAL + (length - _LEAST_LOCAL) % (PAGE_BYTES - 4)
    if local > _MOST_LOCAL:
        local = _LEAST_LOCAL
    parts = [page[at : at + local]]
    left, following = length - local, page[at + local : at + local + 4]
    while left > 0 and (more := pages.read(int.from_bytes(following))):
        parts.append(more[4 : 4 + left])
        left -= PAGE_BYTES - 4
        following = more[:4]
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's integer of variable length at offset `at`, and the offset after it."""
    value = 0
    for index, byte in enumerate(data[at : at + 9]):
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return 0, at + 9


def _number(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """Size and value of a stored whole number. A value of another type is skipped and given as -1."""
    if kind in (8, 9):
        return 0, kind - 8
    if kind in _NUMBER_BYTES:
        size = _NUMBER_BYTES[kind]
        return size, int.from_bytes(data[at : at + size], signed=True)
    return (8 if kind == 7 else max(0, kind - 12) // 2), -1


#: Bytes of a whole number, by its type.
_NUMBER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
