"""What makes reports, and which reports there are.

To add one: write its class (models.py) and its reporter, and call `add`. A module outside of this package is
loaded where METRONOME_REPORT_MODULES names it. docs/reports.md shows one from beginning to end.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from metronome.counter.facts import Facts
from metronome.errors import SetupError
from metronome.query import PEOPLE, All, Ask, Count, Has, Is, Missing, Question, Unique, Values
from metronome.reports import models
from metronome.reports.models import Report, YearMonth, period_of
from metronome.reports.platform import Platform
from metronome.settings import Settings


@dataclass(frozen=True)
class Sources:
    """What reporters read: answers to questions, COUNTER's facts, the platform's own figures."""

    ask: Ask
    facts: Facts
    platform: Platform


class Reporter:
    """Makes reports of the class MAKES. `name` is what `--filter` looks in.

    Reports of a day that were made before, and aren't any more, are deleted. A reporter that knows nothing of a day
    gives None, and then nothing changes.
    """

    MAKES: ClassVar[type[Report]]

    def __init__(self, sources: Sources) -> None:
        self.ask = sources.ask
        self.facts = sources.facts
        self.platform = sources.platform

    @property
    def name(self) -> str:
        return type(self).__name__


class DailyReporter(Reporter):
    def report(self, day: date) -> Iterable[Report] | None:
        """The reports of a day, not stored yet."""
        raise NotImplementedError


class MonthlyReporter(Reporter):
    def report(self, yearmonth: YearMonth) -> Iterable[Report] | None:
        """The reports of a month, not stored yet."""
        raise NotImplementedError


class DownloadCountReporter(DailyReporter):
    """Downloads by people. Counted usages of one slot of 30 s are one, by their key."""

    MAKES = models.DownloadCountReport

    def report(self, day: date) -> Iterable[Report]:
        downloads, period = Is("event", "download"), period_of(day)
        usages, others = self.ask(
            Question(All(PEOPLE, downloads, Has("counter.key")), Unique("counter.key"), period=period),
            Question(All(PEOPLE, downloads, Missing("counter.key")), Count(), period=period),
        )
        yield self.MAKES(report_date=day, daily_file_downloads=int(usages.total + others.total))


class NewUserDomainReporter(DailyReporter):
    """Domains of new users' addresses, from events `user_confirmed` with the property `email_domain`."""

    MAKES = models.NewUserDomainReport

    def report(self, day: date) -> Iterable[Report]:
        confirmed = All(PEOPLE, Is("event", "user_confirmed"))
        (answer,) = self.ask(Question(confirmed, by=(Values("email_domain"),), period=period_of(day)))
        for row in answer.rows:
            yield self.MAKES(report_date=day, domain_name=str(row.key[0]), new_user_count=int(row.value))


def _of_platform(reporter: Reporter, when: date | YearMonth) -> list[Report] | None:
    """The platform's own figures as they are; None where it has none."""
    made = reporter.MAKES
    report_id = next(one for one, report in VIEWABLE_REPORTS.items() if report is made)
    rows = reporter.platform.rows(report_id, f"{when}")
    return None if rows is None else [made(**{**row, made.WHEN: when}) for row in rows]


class PlatformReporter(DailyReporter):
    """Reports whose figures the platform's own database gives."""

    def report(self, day: date) -> Iterable[Report] | None:
        return _of_platform(self, day)


class InstitutionSummaryReporter(PlatformReporter):
    MAKES = models.InstitutionSummaryReport


class NodeCountReporter(PlatformReporter):
    MAKES = models.NodeSummaryReport


class OsfstorageFileCountReporter(PlatformReporter):
    MAKES = models.OsfstorageFileCountReport


class PreprintCountReporter(PlatformReporter):
    MAKES = models.PreprintSummaryReport


class StorageAddonUsageReporter(PlatformReporter):
    MAKES = models.StorageAddonUsage


class UserCountReporter(PlatformReporter):
    MAKES = models.UserSummaryReport


class SpamCountReporter(MonthlyReporter):
    MAKES = models.SpamSummaryReport

    def report(self, yearmonth: YearMonth) -> Iterable[Report] | None:
        return _of_platform(self, yearmonth)


#: In the order in which they run.
DAILY_REPORTERS: list[type[DailyReporter]] = [
    DownloadCountReporter,
    InstitutionSummaryReporter,
    NewUserDomainReporter,
    NodeCountReporter,
    OsfstorageFileCountReporter,
    PreprintCountReporter,
    StorageAddonUsageReporter,
    UserCountReporter,
]

MONTHLY_REPORTERS: list[type[MonthlyReporter]] = [SpamCountReporter]

#: The reports that `/_/metrics/reports/` offers, by their ids there.
VIEWABLE_REPORTS: dict[str, type[Report]] = {
    "download_count": models.DownloadCountReport,
    "institution_summary": models.InstitutionSummaryReport,
    "node_summary": models.NodeSummaryReport,
    "osfstorage_file_count": models.OsfstorageFileCountReport,
    "preprint_summary": models.PreprintSummaryReport,
    "storage_addon_usage": models.StorageAddonUsage,
    "user_summary": models.UserSummaryReport,
    "spam_summary": models.SpamSummaryReport,
    "new_user_domains": models.NewUserDomainReport,
}


def add(report_id: str, reporter: type[DailyReporter] | type[MonthlyReporter]) -> None:
    """Have a reporter run, and offer the reports that it makes under this id."""
    VIEWABLE_REPORTS[report_id] = reporter.MAKES
    registry: list[Any] = DAILY_REPORTERS if issubclass(reporter, DailyReporter) else MONTHLY_REPORTERS
    if reporter not in registry:
        registry.append(reporter)


def load(settings: Settings) -> None:
    """Load the modules that add reports of their own. Raises SetupError."""
    for name in settings.report_modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise SetupError(f"METRONOME_REPORT_MODULES: {name} can't be loaded: {error!r}") from error
