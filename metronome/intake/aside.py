"""What can't be taken of a request that is otherwise accepted: it goes to the quarantine, with the reason.

Shippers don't read receipts, so an event that is only named there would be lost. The quarantine is opened when the
first event needs it. If it is damaged, full or can't be written, the request goes on: the receipt then has the event
under `rejected` alone.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from sqlite3 import Error as SQLiteError
from typing import Any

import orjson

from metronome.errors import MetronomeError
from metronome.event.privacy import WITHHELD, Privacy
from metronome.logs import Sparing
from metronome.spool.quarantine import Quarantine

log = logging.getLogger("metronome.intake")


class Unreadable:
    """A position of a batch that couldn't be parsed: the reason for the receipt, and the bytes as posted."""

    __slots__ = ("raw", "reason")

    def __init__(self, reason: str, raw: bytes = b"") -> None:
        self.reason = reason
        self.raw = raw


class Aside:
    """The way to the quarantine. One per worker process; safe to use from many threads.

    Without a folder nothing is kept. Once the quarantine's file has `max_bytes`, nothing more is, so that a sender of
    nonsense can't fill the disk.
    """

    def __init__(self, folder: Path | None, max_bytes: int, privacy: Privacy) -> None:
        self._folder = folder
        self._privacy = privacy
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._quarantine: Quarantine | None = None
        self._sparing = Sparing()

    def keep(self, events: list[tuple[Any, str]]) -> int:
        """Keep events, each as posted, with its reason; says how many are on disk now."""
        if self._folder is None:
            return 0
        masked = self._privacy.masked
        rows = [
            (body, masked(reason))
            for posted, reason in events
            if (body := _as_posted(posted, self._privacy)) is not None
        ]
        if not rows:
            return 0
        try:
            with self._lock:
                file = self._folder / "quarantine.db"
                if not file.exists():  # the first event, or somebody has removed the file under us
                    self._quarantine = None
                elif file.stat().st_size > self._max_bytes:
                    self._say(f"{file} has more than {self._max_bytes} bytes (METRONOME_SPOOL_MAX_BYTES)", len(rows))
                    return 0
                self._quarantine = self._quarantine or Quarantine(self._folder)
                self._quarantine.add_unaccepted(rows)
        except (OSError, SQLiteError, MetronomeError) as error:
            self._say(f"the quarantine takes no refused events: {error}", len(events))
            self._close()
            return 0
        return len(rows)

    def _say(self, text: str, events: int) -> None:
        unsaid = self._sparing.turn(text)
        if unsaid is not None:
            log.error(text, extra={"events": events, "unsaid": unsaid})

    def _close(self) -> None:
        """Forget the connection, so that the next event opens a mended quarantine."""
        with self._lock:
            quarantine, self._quarantine = self._quarantine, None
        try:
            if quarantine is not None:
                quarantine.close()
        except SQLiteError:
            log.debug("the quarantine can't be closed", exc_info=True)


def _as_posted(posted: Any, privacy: Privacy) -> bytes | None:
    """The bytes of a line that couldn't be read, or the JSON of an event, without what isn't stored for privacy.

    None for an event that is nested hundreds of levels deep.
    """
    if isinstance(posted, Unreadable):
        return privacy.masked(posted.raw.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    try:
        event = privacy.without(posted)
        if event is WITHHELD:
            return b""
        try:
            return orjson.dumps(event)
        except TypeError:  # a whole number of more than 64 bits, or half a character
            return json.dumps(event).encode()
    except (RecursionError, TypeError, ValueError):
        return None
