"""Commands of ours that run beside the drain: reports on schedule, and COUNTER months that a report was asked of.

The drain stays light: what makes reports lives in a process that ends. A lock keeps two of them apart, so it does no
harm that a stand-by drain has a schedule too. What was missed, because nothing ran, is due the next time.

A month that was asked for is processed at once. A file says that one was, so that no question is put to Elasticsearch
while none is. The file goes once the command has ended; if the drain ends before, the next one finds it.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from metronome.counter.demand import lock_of, note_of
from metronome.files import Lock
from metronome.settings import Settings

log = logging.getLogger("metronome.drain")

EVERY = timedelta(minutes=30)

COMMAND = (sys.executable, "-m", "metronome", "report", "run", "--due")

ON_DEMAND = (sys.executable, "-m", "metronome", "counter", "process", "--asked")

#: How often is looked for the file.
LOOK_S = 0.5

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
        self._named = {"command": " ".join(command[-3:])}
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
                log.warning("a command can't be run", extra={**self._named, "problem": str(error)})
            self._pause()

    def _pause(self) -> None:
        now = self._clock()
        self._stopping.wait((next_turn(now) - now).total_seconds())

    def _turn(self) -> None:
        with subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            said = ""
            while not self._stopping.is_set():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said, _ = process.communicate(timeout=0.2)
                    break
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            if process.wait() not in (0, -15):
                log.warning("a command failed", extra={**self._named, "said": said[-1000:]})


class OnDemand(Schedule):
    """Runs the command whenever a month was asked for. One of a METRONOME_HOME; others wait in case that it ends."""

    def __init__(self, settings: Settings, command: Sequence[str] = ON_DEMAND) -> None:
        super().__init__(command)
        self._file = note_of(settings)
        self._lock = Lock(lock_of(settings))

    def stop(self) -> None:
        super().stop()
        self._lock.release()

    def _turn(self) -> None:
        if not (self._lock.held or self._lock.take()):
            return
        asked = self._asked_at()
        if asked is None:
            return
        super()._turn()
        # Who asks meanwhile leaves the file anew.
        if not self._stopping.is_set() and self._asked_at() == asked:
            self._file.unlink(missing_ok=True)

    def _asked_at(self) -> int | None:
        try:
            return self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def _pause(self) -> None:
        self._stopping.wait(LOOK_S)
