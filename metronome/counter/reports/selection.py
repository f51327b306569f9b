"""What a request asks of a report: its period, filters and columns, and what of it can't be done as asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metronome.counter.reports import filters, months
from metronome.counter.reports.notices import (
    ATTRIBUTE,
    BAD_DATES,
    COMPONENTS,
    INSUFFICIENT,
    PARAMETER,
    Notice,
    declined,
)
from metronome.counter.reports.table import Report
from metronome.counter.reports.values import DETAILS

#: Parameters that every report has.
CREDENTIALS = ("customer_id", "requestor_id", "api_key")
COMMON = (*CREDENTIALS, "platform", "begin_date", "end_date", "format")

#: A report may be asked for as JSON, which the standard's API knows alone, or as a table.
FORMS = ("json", "tsv", "xlsx")

_SHOW, _GRANULARITY = "attributes_to_show", "granularity"
_PARENTS, _COMPONENTS = "include_parent_details", "include_component_details"
_EXCLUDE = "exclude_monthly_details"


@dataclass(frozen=True)
class Platform:
    """What a report says of where the usage was."""

    name: str
    id: str
    registry_record: str = ""


@dataclass(frozen=True)
class Selection:
    """One request of one report, checked.

    begin, end      the first and the last month, `2026-05`
    late            months of the request that aren't over, after `end`
    filters         as the header lists them, by name
    attributes      what was asked to be shown beside the report's own, in the order of columns
    totals          whether the months are summed up
    parents         whether items stand below their parents
    months_shown    whether a table has a column for each month
    form            json, tsv or xlsx
    notices         what was asked and isn't done
    """

    report: Report
    begin: str
    end: str
    platform: Platform
    late: tuple[str, ...] = ()
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    totals: bool = False
    parents: bool = False
    months_shown: bool = True
    form: str = "json"
    notices: tuple[Notice, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.filters.get(filters.METRIC, self.report.metrics)

    @property
    def shown(self) -> tuple[str, ...]:
        """The attributes by which usage is told apart, in the order of columns."""
        return (*self.report.shown, *(one for one in self.attributes if one not in DETAILS))

    @property
    def details(self) -> tuple[str, ...]:
        """What is shown of the items themselves."""
        return self.report.details or tuple(one for one in self.attributes if one in DETAILS)

    @property
    def report_attributes(self) -> dict[str, object]:
        """Report_Attributes of the header; empty where nothing but defaults was asked for."""
        found: dict[str, object] = {}
        if self.attributes:
            found["Attributes_To_Show"] = list(self.attributes)
        if self.totals:
            found["Granularity"] = "Totals"
        if self.parents and not self.report.parents:
            found["Include_Parent_Details"] = "True"
        if not self.months_shown:
            found["Exclude_Monthly_Details"] = "True"
        return found


def select(report: Report, given: Mapping[str, str], *, now: str, platform: Platform) -> Selection:
    """Read the parameters of a request. `now` is the current month.

    Raises Declined where a date is missing (1030) or can't be taken (3020).
    """
    begin, end, late = _period(given, now)
    asked = {name: text for name, text in given.items() if text.strip()}
    found = filters.read(report, asked, platform.name, platform.id)
    form = asked.get("format", FORMS[0]).lower()
    if form not in FORMS:
        found.unsupported.append(f"format={form}")
        form = FORMS[0]
    table = form != "json"
    attributes, invalid = _attributes(report, asked, table)
    notices = [*found.notices(), *_odd_parameters(report, given, table)]
    if invalid:
        notices.append(Notice(ATTRIBUTE, "; ".join(invalid)))
    if report.full == "IR" and not report.is_view and asked.get(_COMPONENTS) == "True":
        notices.append(Notice(COMPONENTS))
    full = not report.is_view
    return Selection(
        report,
        begin,
        end,
        platform,
        late,
        found.values,
        attributes,
        totals=full and asked.get(_GRANULARITY) == "Totals",
        parents=report.parents or (report.id == "IR" and asked.get(_PARENTS) == "True"),
        months_shown=not (full and table and asked.get(_EXCLUDE) == "True"),
        form=form,
        notices=tuple(sorted(notices, key=lambda notice: notice.code)),
    )


def _period(given: Mapping[str, str], now: str) -> tuple[str, str, tuple[str, ...]]:
    """First month, last month that is over, and the months asked for after it."""
    missing = [name for name in ("begin_date", "end_date") if not given.get(name, "").strip()]
    if missing:
        raise declined(INSUFFICIENT, f"{' and '.join(missing)} missing")
    first, last = given["begin_date"].strip(), given["end_date"].strip()
    try:
        begin, end = months.read(first, last=False), months.read(last, last=True)
    except ValueError as error:
        raise declined(BAD_DATES, f"{str(error)[:40]}: write yyyy-mm, or a month's first and last day") from None
    if end < begin:
        raise declined(BAD_DATES, f"end_date {end} is before begin_date {begin}")
    if begin >= now:
        raise declined(BAD_DATES, f"begin_date: {begin} isn't over yet")
    over = min(end, months.before(now))
    return begin, over, tuple(months.through(months.from_number(months.to_number(over) + 1), end))


def _attributes(report: Report, asked: Mapping[str, str], table: bool) -> tuple[tuple[str, ...], list[str]]:
    """The attributes to show, and what of the attributes of a request can't be done."""
    if report.is_view:
        return (), []
    wanted = {part.strip() for part in asked.get(_SHOW, "").split("|")} - {""}
    unknown = sorted(wanted - set(report.may_show))
    invalid = [f"{_SHOW}={'|'.join(unknown)}"] if unknown else []
    choices = {_GRANULARITY: ("Month", "Totals")}
    flags = (*((_PARENTS, _COMPONENTS) if report.full == "IR" else ()), *((_EXCLUDE,) if table else ()))
    choices |= dict.fromkeys(flags, ("True", "False"))
    for name, values in choices.items():
        if name in asked and asked[name] not in values:
            invalid.append(f"{name}={asked[name]}")
    return tuple(name for name in report.may_show if name in wanted), invalid


def _odd_parameters(report: Report, given: Mapping[str, str], table: bool) -> list[Notice]:
    known = set(COMMON)
    if not report.is_view:
        known |= {row.parameter for row in filters.FILTERS if report.full in row.of} | {_SHOW, _GRANULARITY}
        known |= {_PARENTS, _COMPONENTS} if report.full == "IR" else set()
        known |= {_EXCLUDE} if table else set()
    odd = [name for name in given if name not in known]
    return [Notice(PARAMETER, "|".join(odd))] if odd else []
