"""A month is processed as a whole, from the day parts of its days, and can be processed again at any time.

    1. wait       until every event that was acknowledged before is in Elasticsearch
    2. parts      of the month's days, and of the first day after it: brought up to date, or archived (source.py)
    3. days       each usage's verdict (day.py), and what it counts for (sums.py), one day in memory at a time
    4. replace    the facts of the month; what changed since the last time is logged (kept.py)

Alerts say where a month's figure is far from those of the twelve before; nothing is cut.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from metronome.counter.day import Usages
from metronome.counter.facts import WORLD, Month
from metronome.counter.kept import Kept
from metronome.counter.source import Source
from metronome.counter.sums import Sums
from metronome.counter.tables import working
from metronome.errors import BadQuestion, Conflict, StoreUnavailable
from metronome.event.agents import ROBOT_LIST
from metronome.files import Lock
from metronome.settings import Settings
from metronome.spool.files import make_folder
from metronome.spool.status import backlog

log = logging.getLogger("metronome.counter")

#: How long events may wait in the spools before processing gives up.
SPOOLED_S = 60

#: How often it is noted that a month is still being processed.
NOTE_S = 60

#: Called with what is done, of how much, and a word for it.
Progress = Callable[[int, int, str], None]


def month_of(text: str) -> date:
    """The first day of a month such as `2026-05`; raises BadQuestion."""
    try:
        return date.fromisoformat(f"{text}-01" if len(text) == 7 else "")
    except ValueError:
        raise BadQuestion(f"{text[:40]!r} isn't a month; write YYYY-MM, such as 2026-05", field="month") from None


def after(month: date) -> date:
    """The first day of the next month."""
    return (month + timedelta(days=31)).replace(day=1)


def last_finished(now: datetime) -> str:
    """The month before the running one, in UTC."""
    return f"{now.astimezone(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"


class Processor:
    """Processes months of one installation, one at a time."""

    def __init__(
        self,
        settings: Settings,
        kept: Kept,
        source: Source,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.source = source
        self._settings, self._kept, self._clock = settings, kept, clock

    def process(
        self,
        month: str,
        *,
        cause: str = "processed again",
        wait: bool = False,
        progress: Progress = lambda done, of, what: None,
    ) -> Month:
        """The month with its facts replaced. Raises BadQuestion for a month that isn't over.

        While another process is at it, raises Conflict, or with `wait` waits for its end. Raises StoreUnavailable or
        PartsUnavailable.
        """
        first = month_of(month)
        if month > last_finished(self._clock()):
            raise BadQuestion(f"{month} isn't over; a month can be processed once it has ended (UTC)", field="month")
        make_folder(self._settings.home)
        lock = Lock(self._settings.home / "counter.lock")
        if not lock.take(wait=wait):
            raise Conflict(f"process {lock.holder()} is processing a month; try again when it is done")
        try:
            self._await_spool()
            return self._processed(month, first, cause, progress)
        finally:
            lock.release()

    def days(self, month: str) -> list[date]:
        """The days of a month that have events, with their parts brought up to date. Raises BadQuestion."""
        return self._days(month_of(month), lambda done, of: None)

    def _processed(self, month: str, first: date, cause: str, progress: Progress) -> Month:
        with self._noted(month) as note:

            def brought(done: int, of: int) -> None:
                note()
                progress(done, of, "day parts")

            days = self._days(first, brought)
            at = self._clock()
            with working() as database:
                sums = Sums(database)
                usages = Usages(database, self.source, learn=sums.learn, learn_whose=sums.learn_whose)
                for number, day in enumerate(days):
                    if usages.load(day):
                        sums.add()
                    note()
                    progress(number + 1, len(days), "days")
                self.source.check()
                return self._kept.replace(month, sums.portions(), at=at, cause=cause, robot_list=ROBOT_LIST)

    @contextmanager
    def _noted(self, month: str) -> Iterator[Callable[[], None]]:
        """While the block runs, others are told that the month is being processed."""
        last = time.monotonic()

        def note() -> None:
            nonlocal last
            if time.monotonic() - last > NOTE_S:
                self._kept.begin(month)
                last = time.monotonic()

        self._kept.begin(month)
        try:
            yield note
        except BaseException:
            self._kept.give_up(month)
            raise

    def _days(self, first: date, done: Callable[[int, int], None]) -> list[date]:
        """The month's days that have events. The part of the day after the month is brought up to date as well."""
        return [day for day in self.source.days(first, after(first), done) if day < after(first)]

    def _await_spool(self) -> None:
        """Wait until nothing waits in this host's spools that was acknowledged before now."""
        started = time.monotonic()
        while True:
            waiting = backlog(self._settings.spool_dir)
            passed = time.monotonic() - started
            if not waiting.events or waiting.age_s < passed:
                return
            if passed > SPOOLED_S:
                raise StoreUnavailable(
                    f"{waiting.events} events still wait in the spool; is the drain running? Then process again"
                )
            time.sleep(0.05)


def alerts(kept: Kept, month: str) -> list[str]:
    """Metrics of The World that are far from their average over the twelve months before. Source: semantics, 10."""
    totals = {one.month: kept.totals(one.month) for one in kept.months() if one.processed_at}
    first = month_of(month)
    before = [f"{_back(first, months):%Y-%m}" for months in range(1, 13)]
    earlier = [totals[one] for one in before if one in totals]
    found = []
    for key in sorted({key for one in (*earlier, totals.get(month, {})) for key in one}):
        customer, report, metric = key.split("|")
        if customer != WORLD or not earlier:
            continue
        average = sum(one.get(key, 0) for one in earlier) / len(earlier)
        now = totals.get(month, {}).get(key, 0)
        if is_spike(now, average):
            found.append(
                f"{month}: {report} {metric} is {now:,}; the average of {len(earlier)} months was {average:,.1f}"
            )
    return found


def is_spike(count: int, average: float) -> bool:
    """Whether a month's figure is so far from the average of the twelve before that somebody should look."""
    return count >= 3 * average + 100 or (average >= 20 and count < 0.01 * average)


def _back(month: date, months: int) -> date:
    years, left = divmod(month.year * 12 + month.month - 1 - months, 12)
    return date(years, left + 1, 1)
