"""METRONOME_ARCHIVE_AFTER and METRONOME_KEEP, once an hour, in a thread of the drain.

Several gateways may share one archive: whoever gets the lease works, the others look again in an hour.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from metronome.errors import MetronomeError
from metronome.settings import Settings
from metronome.store.address import Address

log = logging.getLogger("metronome.archive")

EVERY_S = 3600.0

#: After the start: the drain first ships what waits.
FIRST_S = 60.0


class Automatic:
    """The hourly run, from `start` to `stop`."""

    def __init__(
        self, settings: Settings, address: Address | None, *, first_s: float = FIRST_S, every_s: float = EVERY_S
    ) -> None:
        self._settings = settings
        self._address = address
        self._first_s = first_s
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archive", daemon=True)

    @property
    def is_wanted(self) -> bool:
        return bool(self._settings.keep or (self._settings.archive and self._settings.archive_after))

    def start(self) -> None:
        if self.is_wanted:
            self._thread.start()

    def stop(self) -> None:
        """Return soon. A day that is being archived is left where it is; the next run goes on with it."""
        self._stopping.set()

    def _run(self) -> None:
        # boto3 and DuckDB take memory: only a drain that archives loads them.
        from metronome.archive.work import opened, run_once

        pause_s = self._first_s
        while not self._stopping.wait(pause_s):
            pause_s = self._every_s
            try:
                with opened(self._settings, self._address, needs_archive=False) as work:
                    run_once(work, datetime.now(UTC), stopped=self._stopping.is_set)
            except MetronomeError as error:
                log.warning("days aren't archived just now; tried again in an hour", extra={"problem": str(error)})
            except Exception:
                log.exception("archiving failed in an unforeseen way; tried again in an hour")
