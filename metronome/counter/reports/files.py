"""A report as bytes, in the form that was asked for: JSON and TSV in pieces, XLSX as a file, all in constant memory."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from typing import IO, Any

from metronome.counter.reports import as_json
from metronome.counter.reports.report import Made
from metronome.counter.reports.tables import Row, rows

#: Bytes of a piece.
PIECE_BYTES = 64 * 1024

#: Media types of the forms.
MEDIA = {
    "json": "application/json",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

#: Rows of a sheet, which no XLSX file may exceed. What is more goes on in a further sheet, under the same heads.
SHEET_ROWS = 1_048_576

#: The heads of the columns are the fifteenth row.
HEADS_ROW = 14

#: Longest text of a cell.
_CELL = 32_767

#: A text can't hold what ends a cell or a row; nothing in TSV can quote it.
_BREAKS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")

#: XML has no way to say these.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def pieces(made: Made) -> Iterator[bytes]:
    """The report in the form that its selection says. Raises as `Facts` does, also between pieces."""
    form = made.header.selection.form
    if form == "json":
        return as_json.write(made.header, made.entries)
    table = rows(made.header, made.entries, made.covered)
    return tsv(table) if form == "tsv" else _read(xlsx(table))


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def tsv(table: Iterable[Row]) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, by which spreadsheets know the encoding."""
    piece = bytearray(b"\xef\xbb\xbf")
    for row in table:
        piece += "\t".join(map(_cell, row)).encode(errors="replace") + b"\r\n"
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


# What is said of an item is repeated in each of its rows.
@lru_cache(maxsize=1000)
def _cell(value: str | int) -> str:
    return _BREAKS.sub(" ", value) if isinstance(value, str) else str(value)


def xlsx(table: Iterable[Row], *, sheet_rows: int = SHEET_ROWS) -> IO[bytes]:
    """An open temporary file at its beginning, which is deleted once it is closed."""
    # The library isn't needed by a worker that is never asked for a table.
    from xlsxwriter import Workbook

    with ExitStack() as closing:
        file = closing.enter_context(tempfile.TemporaryFile(prefix="metronome-counter-"))
        # Texts stay texts: a title that begins with = is no formula, and an address no link.
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        with Workbook(file, options) as book:
            _fill(book, table, sheet_rows)
        file.seek(0)
        closing.pop_all()
    return file


def _fill(book: Any, table: Iterable[Row], sheet_rows: int) -> None:
    sheet, at, heads = book.add_worksheet(), 0, None
    for number, row in enumerate(table):
        if number == HEADS_ROW:
            heads = row
        if at == sheet_rows:
            sheet, at = book.add_worksheet(), 1
            _write(sheet, 0, heads or [])
        _write(sheet, at, row)
        at += 1


def _write(sheet: Any, at: int, row: Row) -> None:
    for column, value in enumerate(row):
        if isinstance(value, int):
            sheet.write_number(at, column, value)
        elif value:
            sheet.write_string(at, column, _UNSPEAKABLE.sub("", value)[:_CELL])
