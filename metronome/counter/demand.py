"""Months that are processed because a report was asked for.

    a request     finds a month that is due and was never processed: `ask` notes it, and leaves a file
    the drain     has a thread that looks for the file (drain/schedule.py), and runs `metronome counter process --asked`
    that command  processes the months that were asked for, one after another, under the lock of all processing

So a request costs a note, wherever it was served. What requests can start is bounded: each month once, months that are
due alone, at most QUEUE of them in a request, and no month again within PAUSE after it failed.

A month is due at the time at which it is processed unasked (`DUE_AT`): before that, usage of its last days may still be
on its way. Where nothing waits for the file, since no drain runs on this host, nothing is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Protocol

from metronome.counter.facts import Month
from metronome.counter.reports import months
from metronome.files import is_taken
from metronome.settings import Settings

#: Day and time at which the month before is due, in UTC.
DUE_AT = (2, time(6, 30))

#: Most months that wait because of one request: as many as the Code of Practice wants to be kept.
QUEUE = 36

#: For so long a month that couldn't be processed isn't tried again on demand.
PAUSE = timedelta(hours=1)

#: A note that somebody asked is written again after this time, in case that nobody saw it.
RENEW = timedelta(minutes=5)


def last_due(now: datetime) -> str:
    """The last month whose usage may be taken as complete."""
    now = now.astimezone(UTC)
    month = months.before(months.month_of(now))
    return month if (now.day, now.time()) >= DUE_AT else months.before(month)


class Kept(Protocol):
    """What is needed of `kept.Kept`, which loads a decoder that the drain has no use for."""

    def months(self) -> Sequence[Month]: ...

    def ask(self, month: str) -> None: ...


def note_of(settings: Settings) -> Path:
    """The file that a request leaves where it asked for a month."""
    return settings.home / "counter.asked"


def lock_of(settings: Settings) -> Path:
    """The lock of whoever waits for that file."""
    return settings.home / "counter-asked.lock"


class Demand:
    """Asks for months to be processed. Safe to use from many threads and processes."""

    def __init__(self, settings: Settings, kept: Kept, clock: Callable[[], datetime]) -> None:
        self._kept, self._clock = kept, clock
        self._offered = settings.on_demand == "yes"
        self._file, self._waiting = note_of(settings), lock_of(settings)

    def ask(self, wanted: Sequence[str], known: Sequence[Month]) -> list[str]:
        """Ask for months that were never processed; gives those that will be. Raises as Kept does.

        `known` are all months of which anything is known.
        """
        if not self._offered or not is_taken(self._waiting):
            return []
        now = datetime.now(UTC)
        by_name = {month.month: month for month in known}
        last = last_due(self._clock())
        asked = [month for month in wanted if month <= last and not _failed(by_name.get(month), now)][:QUEUE]
        fresh = [month for month in asked if not _is_asked(by_name.get(month), now)]
        for month in fresh:
            self._kept.ask(month)
        if fresh:
            self._file.touch(mode=0o600)
        return asked


def asked(kept: Kept) -> list[str]:
    """The months that somebody waits for, the first ones first."""
    return [month.month for month in kept.months() if month.asked_at and not month.processed_at]


def _failed(month: Month | None, now: datetime) -> bool:
    return bool(month and month.failed_at and now - month.failed_at < PAUSE)


def _is_asked(month: Month | None, now: datetime) -> bool:
    return bool(month and month.asked_at and now - month.asked_at < RENEW)
