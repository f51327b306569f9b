"""Run reporters for a day or month, catch up with what was missed, and compare what is stored with what comes out now.

One reporter's failure is noted and leaves the others. One process of a METRONOME_HOME runs reporters at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from elasticsearch import Elasticsearch

from metronome.counter.demand import DUE_AT
from metronome.counter.kept import Kept as Facts
from metronome.errors import Conflict, MetronomeError
from metronome.files import Lock
from metronome.query import Ask, open_door
from metronome.reports import reporters
from metronome.reports.kept import Kept, Run
from metronome.reports.models import Report, YearMonth
from metronome.reports.platform import FilesOfPlatform, NoPlatform, Platform
from metronome.reports.reporters import DailyReporter, MonthlyReporter, Reporter, Sources
from metronome.settings import Settings
from metronome.spool.files import make_folder

log = logging.getLogger("metronome.reports")

#: When yesterday's reports are due, in UTC; those of last month are once it may be processed.
DAILY_AT = time(6, 0)
MONTHLY_AT = DUE_AT

#: How far back missed runs are made up, in days and months.
BACK_DAYS, BACK_MONTHS = 31, 3

When = date | YearMonth


@dataclass(frozen=True)
class Difference:
    """A stored report that comes out otherwise now; None where there is none on that side."""

    reporter: str
    when: str
    id: str
    stored: dict[str, Any] | None
    now: dict[str, Any] | None


class Runner:
    """Runs the reporters of one installation."""

    def __init__(
        self,
        settings: Settings,
        client: Elasticsearch,
        *,
        platform: Platform | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        reporters.load(settings)
        folder = settings.platform_folder
        platform = platform or (FilesOfPlatform(folder) if folder else NoPlatform())
        self._sources = Sources(_open_door(settings, client, clock), Facts(client, settings), platform)
        self._settings, self._clock = settings, clock
        self.kept = Kept(client, settings)

    def reporters(self, kind: type[Reporter], named: str = "") -> list[Any]:
        """The daily or monthly reporters whose names hold `named`, in any case of letters."""
        registry: list[Any] = reporters.DAILY_REPORTERS if kind is DailyReporter else reporters.MONTHLY_REPORTERS
        return [one(self._sources) for one in registry if named.lower() in one.__name__.lower()]

    def run(self, when: When, named: str = "", *, refresh: bool = True) -> Iterator[Run]:
        """Run the reporters of a day or month, one after another, and note each run."""
        for reporter in self.reporters(DailyReporter if isinstance(when, date) else MonthlyReporter, named):
            yield self._run(reporter, when, refresh)

    def _run(self, reporter: Any, when: When, refresh: bool) -> Run:
        at, made, problem = self._clock(), 0, ""
        try:
            found = self._made(reporter, when)
            if found is not None:
                self.kept.replace(reporter.MAKES, f"{when}", found, at, refresh=refresh)
                made = len(found)
        except Exception as error:
            problem = str(error) or repr(error)
            level = logging.WARNING if isinstance(error, MetronomeError) else logging.ERROR
            log.log(level, "a reporter failed", extra={"reporter": reporter.name, "when": f"{when}"}, exc_info=error)
        run = Run(reporter.name, f"{when}", at, made, problem)
        self.kept.note(run)
        return run

    def _made(self, reporter: Any, when: When) -> list[Report] | None:
        found = reporter.report(when)
        return None if found is None else list(found)

    def backfill(self, first: date, last: date, named: str = "") -> Iterator[Run]:
        """Run for each day from one to the other, and for each month that lies between them as a whole."""
        day = first
        while day <= last:
            yield from self.run(day, named, refresh=False)
            tomorrow = day + timedelta(days=1)
            month = YearMonth.of(day)
            if tomorrow.month != day.month and first <= month.first:
                yield from self.run(month, named, refresh=False)
            day = tomorrow
        for reporter in (*reporters.DAILY_REPORTERS, *reporters.MONTHLY_REPORTERS):
            self.kept.refresh(reporter.MAKES)

    def due(self, now: datetime) -> list[tuple[str, When]]:
        """What should have run by now and hasn't gone well: pairs of a reporter's name and its day or month."""
        done = {(run.reporter, run.when) for run in self.kept.runs() if not run.problem}
        now = now.astimezone(UTC)
        last_day = now.date() - timedelta(days=1 if now.time() >= DAILY_AT else 2)
        this = YearMonth.of(now.date())
        started = (now.day, now.time()) >= MONTHLY_AT
        wanted: list[tuple[str, When]] = []
        for reporter in reporters.DAILY_REPORTERS:
            days = [last_day - timedelta(days=back) for back in range(self._back(done, reporter, last_day))]
            wanted += [(reporter.__name__, day) for day in reversed(days)]
        for monthly in reporters.MONTHLY_REPORTERS:
            last = this.moved(-1 if started else -2)
            months = [last.moved(-back) for back in range(self._back(done, monthly, last))]
            wanted += [(monthly.__name__, month) for month in reversed(months)]
        return [(name, when) for name, when in wanted if (name, f"{when}") not in done]

    def _back(self, done: set[tuple[str, str]], reporter: type[Reporter], last: When) -> int:
        """How many days or months are looked at: back to the first that ever ran, else the last one alone."""
        ran = sorted(when for name, when in done if name == reporter.__name__)
        most = BACK_DAYS if isinstance(last, date) else BACK_MONTHS
        if not ran:
            return 1
        if isinstance(last, date):
            return min(most, max(1, (last - date.fromisoformat(ran[0])).days + 1))
        first = YearMonth.read(ran[0])
        return min(most, max(1, (last.year - first.year) * 12 + last.month - first.month + 1))

    def run_due(self, now: datetime) -> Iterator[Run]:
        """Run what is due."""
        for name, when in self.due(now):
            yield from self.run(when, name)

    def verify(self, when: When, named: str = "") -> Iterator[Difference]:
        """Make the reports of a day or month again, and compare each with the stored one."""
        for reporter in self.reporters(DailyReporter if isinstance(when, date) else MonthlyReporter, named):
            found = self._made(reporter, when)
            if found is None:
                continue
            kept = self.kept.search(reporter.MAKES, f"{when}", f"{when}")
            stored = {one.id: _figures(one.source) for one in kept}
            now = {one.key(): _figures(one.as_source()) for one in found}
            for key in sorted(stored.keys() | now.keys()):
                if stored.get(key) != now.get(key):
                    yield Difference(reporter.name, f"{when}", key, stored.get(key), now.get(key))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, no other process of this METRONOME_HOME runs reporters. Raises Conflict."""
        make_folder(self._settings.home)
        lock = Lock(self._settings.home / "reports.lock")
        if not lock.take():
            raise Conflict(f"process {lock.holder()} is running reporters; try again when it is done")
        try:
            yield
        finally:
            lock.release()


def _open_door(settings: Settings, client: Elasticsearch, clock: Callable[[], datetime]) -> Ask:
    """`ask`, over the archive as well where there is one."""
    if not settings.archive:
        return open_door(client, settings, clock)
    from metronome.archive.asking import open_door as open_wide

    return open_wide(settings, client, clock)


def _figures(source: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in source.items() if name != "timestamp"}
