"""Reports on schedule, beside the drain: a command of ours, run twice an hour, does what is due.

The drain stays light: what makes reports lives in a process that ends. A lock keeps two of them apart, so it does no
harm that a stand-by drain has a schedule too. What was missed, because nothing ran, is due the next time.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

log = logging.getLogger("metronome.drain")

EVERY = timedelta(minutes=30)

COMMAND = (sys.executable, "-m", "metronome", "report", "run", "--due")

#: How long a run that is told to stop may take before it is killed.
STOP_S = 5

_START = datetime(2000, 1, 1, tzinfo=UTC)


def next_turn(now: datetime) -> datetime:
    """The next full or half hour after `now`."""
    return now + EVERY - (now - _START) % EVERY


class Schedule:
    """Runs the command at once, and then every half hour, in a thread of its own."""

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._command = command
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return once nothing runs any more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except OSError as error:
                log.warning("reports can't be run", extra={"problem": str(error)})
            now = self._clock()
            self._stopping.wait((next_turn(now) - now).total_seconds())

    def _turn(self) -> None:
        with subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            said = ""
            while process.poll() is None and not self._stopping.is_set():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said, _ = process.communicate(timeout=0.2)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            if process.wait() not in (0, -15):
                log.warning("a report failed", extra={"said": said[-1000:]})
