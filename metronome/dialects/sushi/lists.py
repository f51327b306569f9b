"""What status, members and the list of reports say. Source: COUNTER R5.1, section 8.1, and its API specification."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from metronome.counter import Counter
from metronome.counter.customers import Customer
from metronome.counter.facts import Month
from metronome.counter.reports import months
from metronome.counter.reports.header import RELEASE, institution_id
from metronome.counter.reports.selection import Platform
from metronome.counter.reports.table import REPORTS, Report
from metronome.dialects.sushi.admission import Admitted
from metronome.errors import MetronomeError

#: For so long a status is told again without asking Elasticsearch, since everybody may ask for it.
STATUS_S = 5.0

#: For so long the status tells that a month was restated.
ALERTS = timedelta(days=90)


class Status:
    """The status of the service. It asks Elasticsearch at most once in STATUS_S."""

    def __init__(self, counter: Counter, platform: Platform, clock: Callable[[], datetime]) -> None:
        self._counter = counter
        self._platform = platform
        self._clock = clock
        self._until = 0.0
        self._known: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        if time.monotonic() >= self._until:
            self._known = [self._look()]
            self._until = time.monotonic() + STATUS_S
        return self._known

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = {"Description": f"COUNTER reports of {self._platform.name}"}
        if self._platform.registry_record:
            found["Registry_Record"] = self._platform.registry_record
        try:
            known = self._counter.facts.months()
        except MetronomeError:
            return {"Service_Active": False, **found}
        since = self._clock() - ALERTS
        alerts = [
            {"Date_Time": _text(one.at), "Alert": f"The usage of {month.month} was processed again and has changed"}
            for month in known
            for one in month.restatements
            if one.at >= since
        ]
        return {"Service_Active": True, **found, **({"Alerts": alerts} if alerts else {})}


def members(admitted: Admitted, platform: Platform) -> list[dict[str, Any]]:
    """A consortium's members; a single customer is its own only one. The request's requestor id serves for each."""
    return [
        {"Customer_ID": one.id, "Institution_Name": one.name, "Institution_ID": institution_id(one, platform)}
        for one in admitted.members or [admitted.customer]
    ]


def reports(known: Sequence[Month], customer: Customer, now: datetime, *, detailed: bool) -> list[dict[str, Any]]:
    """Every report with its first and last month. `detailed` adds the months that were restated for this customer.

    Where no month was processed yet, the last one that is over stands for both, since the standard wants a month.
    """
    processed = [month for month in known if month.processed_at is not None]
    last = months.before(months.month_of(now))
    first, last = (processed[0].month, processed[-1].month) if processed else (last, last)
    return [
        {
            "Report_Name": report.name,
            "Report_ID": report.id,
            "Release": RELEASE,
            "Report_Description": report.description,
            "First_Month_Available": first,
            "Last_Month_Available": last,
            **({"Month_Details": _changes(processed, customer, report)} if detailed else {}),
        }
        for report in REPORTS.values()
    ]


def _changes(processed: Sequence[Month], customer: Customer, report: Report) -> dict[str, dict[str, str]]:
    """The months of which this customer's figures of this report have changed, each with the last change."""
    found = {}
    for month in processed:
        for one in month.restatements:
            if any(
                change.customer_id == customer.id and change.report == report.full and change.metric in report.metrics
                for change in one.changes
            ):
                note = {"Last_Change_Note": one.cause} if one.cause else {}
                found[month.month] = {"Last_Change_Date": _text(one.at), **note}
    return found


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
