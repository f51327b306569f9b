"""What reports are: elasticsearch-dsl models, each with an index of its own.

A daily report is known by its day, or by its day and the value of one field (DAILY_UNIQUE_FIELD). A monthly report is
known by its month, likewise. So the same report, made again, replaces the one before.

Source: counted-usage contract, section 3.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, cast

from elasticsearch_dsl import Date, Document, InnerDoc, Integer, Keyword, MetaField, Object

from metronome.counter.keys import stable_key
from metronome.errors import BadQuestion, ReportInvalid
from metronome.periods import Period


@dataclass(frozen=True, order=True)
class YearMonth:
    """A month in UTC; as text, `2026-05`."""

    year: int
    month: int

    @classmethod
    def read(cls, text: str) -> YearMonth:
        """Raises BadQuestion."""
        found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
        if not found or found[1] == "0000":
            raise BadQuestion(f"{text[:40]!r} isn't a month; write YYYY-MM, such as 2026-05", field="month")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, day: date) -> YearMonth:
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def first(self) -> date:
        return date(self.year, self.month, 1)

    def moved(self, months: int) -> YearMonth:
        years, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return YearMonth(years, month + 1)

    @property
    def period(self) -> Period:
        """The month, for a question."""
        return Period(_midnight(self.first), _midnight(self.moved(1).first))


def period_of(day: date) -> Period:
    """The UTC day, for a question."""
    return Period(_midnight(day), _midnight(date.fromordinal(day.toordinal() + 1)))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Report(Document):
    """What all reports have. `timestamp` is when it was made."""

    # Without annotations, which elasticsearch-dsl would take for those of fields.
    #: The field that holds the day or month.
    WHEN = ""

    timestamp = Date()

    class Meta:
        dynamic = MetaField("strict")

    @classmethod
    def fields(cls) -> list[str]:
        return sorted(cls._doc_type.mapping.to_dict()["properties"])

    def as_source(self) -> dict[str, Any]:
        """The document as it is stored. Raises ReportInvalid for a field that the class doesn't have."""
        source = {name: _plain(value) for name, value in self.to_dict(skip_empty=False).items() if value is not None}
        unknown = sorted(source.keys() - set(self.fields()))
        if unknown:
            raise ReportInvalid(f"{type(self).__name__} has no field {', '.join(unknown)}")
        return source

    def key(self) -> str:
        """Its id. Raises ReportInvalid without a day or month, or where the unique field has no text."""
        source = self.as_source()
        when = source.get(self.WHEN)
        if not when:
            raise ReportInvalid(f"{type(self).__name__} needs {self.WHEN}")
        unique = type(self).unique_field()
        if unique is None:
            return stable_key(when)
        value = source.get(unique)
        if not isinstance(value, str) or not value:
            raise ReportInvalid(
                f"{type(self).__name__}.{unique} is {value!r}; reports of a day are told apart by its text"
            )
        return stable_key(when, value)

    @classmethod
    def unique_field(cls) -> str | None:
        """The field that tells reports of one day or month apart; None where there is one report."""
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, YearMonth):
        return str(value)
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value


class DailyReport(Report):
    """A report on a UTC day."""

    WHEN = "report_date"
    DAILY_UNIQUE_FIELD = cast("str | None", None)

    report_date = Date(format="strict_date", required=True)

    @classmethod
    def unique_field(cls) -> str | None:
        return cls.DAILY_UNIQUE_FIELD


class MonthlyReport(Report):
    """A report on a month in UTC."""

    WHEN = "report_yearmonth"

    report_yearmonth = Date(format="strict_year_month", required=True)


class RunningTotal(InnerDoc):
    total = Integer()
    total_daily = Integer()


class FileRunningTotals(InnerDoc):
    total = Integer()
    public = Integer()
    private = Integer()
    total_daily = Integer()
    public_daily = Integer()
    private_daily = Integer()


class NodeRunningTotals(FileRunningTotals):
    total_excluding_spam = Integer()
    total_daily_excluding_spam = Integer()


class RegistrationRunningTotals(InnerDoc):
    total = Integer()
    public = Integer()
    embargoed = Integer()
    embargoed_v2 = Integer()
    withdrawn = Integer()
    total_daily = Integer()
    public_daily = Integer()
    embargoed_daily = Integer()
    embargoed_v2_daily = Integer()
    withdrawn_daily = Integer()


class UsageByStorageAddon(InnerDoc):
    addon_shortname = Keyword()
    enabled_usersettings = Object(RunningTotal)
    linked_usersettings = Object(RunningTotal)
    deleted_usersettings = Object(RunningTotal)
    usersetting_links = Object(RunningTotal)
    connected_nodesettings = Object(RunningTotal)
    disconnected_nodesettings = Object(RunningTotal)
    deleted_nodesettings = Object(RunningTotal)


class DownloadCountReport(DailyReport):
    daily_file_downloads = Integer()


class InstitutionSummaryReport(DailyReport):
    DAILY_UNIQUE_FIELD = "institution_id"

    institution_id = Keyword()
    institution_name = Keyword()
    users = Object(RunningTotal)
    nodes = Object(NodeRunningTotals)
    projects = Object(NodeRunningTotals)
    registered_nodes = Object(RegistrationRunningTotals)
    registered_projects = Object(RegistrationRunningTotals)


class NewUserDomainReport(DailyReport):
    DAILY_UNIQUE_FIELD = "domain_name"

    domain_name = Keyword()
    new_user_count = Integer()


class NodeSummaryReport(DailyReport):
    nodes = Object(NodeRunningTotals)
    projects = Object(NodeRunningTotals)
    registered_nodes = Object(RegistrationRunningTotals)
    registered_projects = Object(RegistrationRunningTotals)


class OsfstorageFileCountReport(DailyReport):
    files = Object(FileRunningTotals)


class PreprintSummaryReport(DailyReport):
    DAILY_UNIQUE_FIELD = "provider_key"

    provider_key = Keyword()
    preprint_count = Integer()


class StorageAddonUsage(DailyReport):
    usage_by_addon = Object(UsageByStorageAddon, multi=True)


class UserSummaryReport(DailyReport):
    active = Integer()
    deactivated = Integer()
    merged = Integer()
    new_users_daily = Integer()
    new_users_with_institution_daily = Integer()
    unconfirmed = Integer()


class SpamSummaryReport(MonthlyReport):
    node_confirmed_spam = Integer()
    node_confirmed_ham = Integer()
    node_flagged = Integer()
    registration_confirmed_spam = Integer()
    registration_confirmed_ham = Integer()
    registration_flagged = Integer()
    preprint_confirmed_spam = Integer()
    preprint_confirmed_ham = Integer()
    preprint_flagged = Integer()
    user_marked_as_spam = Integer()
    user_marked_as_ham = Integer()
