"""Writes a set of merged columns (merged.py): the values of closed days, batch by batch, as plain numbers.

Texts are numbered as they come. A column is on disk only from where two rows differ: of a property that no event has,
and of a presence that all have, nothing is written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import IO

import numpy as np

from metronome.parts import where
from metronome.parts.columns import Array
from metronome.parts.folder import Folder, Part
from metronome.parts.merged import EXISTS, NO_TEXT, Column, Day, Key, files_of, nothing
from metronome.parts.read import NONE, WHOLE, Mask, Rows, Values, Wanted, read_together

#: When: the column that tells a day's first and last time.
AT = Key("@timestamp", "number")

#: Different texts of a column above which it is left out.
MOST_TEXTS = 4_000_000

#: Conditions of one mask.
_MASK = 64


class Stopped(Exception):
    """The process ends."""


class Full(Exception):
    """The set would be larger than it may be."""


class Writing:
    """A set on its way to disk. Memory holds the different texts of its columns and a batch of rows.

    `unfit` are columns that can't be written: a row has several values, or there are too many different texts.
    """

    def __init__(self, folder: Path, keys: Sequence[Key], max_bytes: int) -> None:
        self.folder, self._keys, self._left = folder, keys, max_bytes
        self._exists = [key for key in keys if key.kind == EXISTS]
        self._files: dict[Key, IO[bytes]] = {}
        self._texts: dict[Key, dict[str, int]] = {key: {} for key in keys if key.kind == "text"}
        self._constants: dict[Key, float] = {}
        self.rows = 0
        self.unfit: set[Key] = set()

    def read(self, folder: Folder, parts: dict[date, Part]) -> list[Day]:
        """Write the columns of these days; gives where their rows stand. Raises Full, Stopped, OSError."""
        days = list(parts)
        masks = [Mask(tuple(where.Exists(key.name) for key in some)) for some in _slices(self._exists)]
        values = [_wanted(key) for key in self._keys if key.kind != EXISTS]
        found = {day: Day(day, files_of(part), 0, 0, NONE, NONE) for day, part in parts.items() if not part.events}
        for rows, of_day in read_together(folder, days, [*values, *masks]):
            begins = np.flatnonzero(np.diff(of_day, prepend=-1)).tolist()
            times = rows.columns[_wanted(AT)].values
            for begin, end in zip(begins, [*begins[1:], rows.count], strict=True):
                day, inside = days[of_day[begin]], times[begin:end]
                span = self.rows + begin, self.rows + end
                found[day] = Day(day, files_of(parts[day]), *span, int(inside.min()), int(inside.max()))
            self._take(rows, masks)
            self.rows += rows.count
            if not threading.main_thread().is_alive():
                raise Stopped
        # A part that was replaced meanwhile may have been read before or after that.
        return [one for day, one in sorted(found.items()) if one.files == files_of(folder.part(day))]

    def _take(self, rows: Rows, masks: list[Mask]) -> None:
        for key in self._keys:
            if key.kind != EXISTS and key not in self.unfit:
                self._add(key, rows.columns[_wanted(key)])
        for mask, keys in zip(masks, _slices(self._exists), strict=True):
            bits = rows.columns[mask].values
            for bit, key in enumerate(keys):
                self._write(key, (bits >> np.uint64(bit) & np.uint64(1)).astype(np.int8))

    def _add(self, key: Key, found: Values) -> None:
        values = found.values
        if key.kind == "text":
            numbers = self._texts[key]
            words = [] if found.words is None else found.words.tolist()
            table = [numbers.setdefault(word, len(numbers)) for word in words]
            # The last one is found by the number of no text, -1.
            values = np.array([*table, NO_TEXT], np.int32)[values]
        if found.rows is not None or len(self._texts.get(key, ())) > MOST_TEXTS:
            self.unfit.add(key)
        else:
            self._write(key, values)

    def _write(self, key: Key, values: Array) -> None:
        if not len(values):
            return
        if key not in self._files:
            constant = self._constants.setdefault(key, float(values[0]) if key.kind == EXISTS else nothing(key))
            if bool((values == constant).all() or (np.isnan(constant) and np.isnan(values).all())):
                return
            self._files[key] = (self.folder / f"{self._keys.index(key)}.numbers").open("wb")
            self._put(key, np.full(self.rows, constant).astype(values.dtype))
        self._put(key, values)

    def _put(self, key: Key, values: Array) -> None:
        self._left -= values.nbytes
        if self._left < 0:
            raise Full
        self._files[key].write(np.ascontiguousarray(values).data)

    def columns(self) -> list[Column]:
        """The columns, durably written, once all rows are. Raises Full, OSError."""
        return [self._finished(place, key) for place, key in enumerate(self._keys) if key not in self.unfit]

    def _finished(self, place: int, key: Key) -> Column:
        texts = self._texts.get(key, {})
        if key.kind == "text":
            self._write_texts(place, list(texts))
        file = self._files.get(key)
        if file is None:
            return Column(
                key, place, "", len(texts), self._constants[key] if key.kind == EXISTS and self.rows else None
            )
        file.flush()
        dtype = {"number": "i8" if key.name in WHOLE else "f8", "text": "i4"}.get(key.kind, "i1")
        if key.kind == "text" and len(texts) < 2**15:
            # What has few different texts is scanned faster in fewer bytes.
            dtype = "i1" if len(texts) < 2**7 else "i2"
            path = self.folder / f"{place}.numbers"
            np.fromfile(path, np.int32).astype(dtype).tofile(path)
        os.fsync(file.fileno())
        return Column(key, place, dtype, len(texts))

    def _write_texts(self, place: int, texts: list[str]) -> None:
        encoded = [text.encode() for text in texts]
        joined = b"\0".join(encoded)
        ends = np.cumsum(np.array([len(text) + 1 for text in encoded], np.int64)) - 1
        self._left -= len(joined) + ends.nbytes
        if self._left < 0:
            raise Full
        for name, data in ((f"{place}.texts", joined), (f"{place}.ends", ends.tobytes())):
            with (self.folder / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close all files, and delete those of columns that are unfit."""
        for key, file in self._files.items():
            file.close()
            if key in self.unfit:
                (self.folder / f"{self._keys.index(key)}.numbers").unlink(missing_ok=True)


def _slices(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[low : low + _MASK] for low in range(0, len(keys), _MASK)]


def _wanted(key: Key) -> Wanted:
    return Wanted(key.name, key.kind)  # type: ignore[arg-type]
