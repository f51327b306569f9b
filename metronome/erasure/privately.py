"""What the HTTP door asks of this room: jobs, and a person's events. Nothing is opened before the first request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from metronome.erasure import keeper
from metronome.errors import NotFound
from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.store.records import Records


class Privately:
    """Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: Records | None = None

    def _records(self) -> Records:
        from metronome.store.client import connect
        from metronome.store.records import Records

        with self._lock:
            if self._opened is None:
                self._opened = Records(connect(self._settings), self._settings, "privacy")
            return self._opened

    def delete(self, ids: list[str], mode: str) -> dict[str, Any]:
        return keeper.ask(self._records(), ids, mode)

    def job(self, name: str) -> dict[str, Any]:
        """Raises NotFound."""
        record = self._records().get(keeper.JOB + name)
        if record.value.get("what") != "job":
            raise NotFound(f"there is no job {name[:64]!r}")
        return keeper.state_of(record)

    def export(self, ids: list[str]) -> Iterator[bytes]:
        """Every event of these people, one a line. What can't be asked is told before the first line."""
        from metronome.archive.work import opened
        from metronome.erasure.person import lines_of

        with opened(self._settings, None, needs_archive=False) as work:
            yield b""
            yield from lines_of(work, ids)
