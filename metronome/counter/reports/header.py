"""A report's header: what was asked, for whom, and how the answer differs. Source: COUNTER R5.1, section 3.2.1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from metronome.counter.customers import Customer
from metronome.counter.reports import months
from metronome.counter.reports.filters import TEXTS
from metronome.counter.reports.notices import Notice
from metronome.counter.reports.selection import Platform, Selection
from metronome.counter.reports.values import PROPRIETARY

RELEASE = "5.1"
CREATED_BY = "Metronome"

#: Identifiers of publishers and institutions, in the order of reports. Each has a list of values.
PUBLISHER_IDS = ("ISNI", "ROR", PROPRIETARY)
INSTITUTION_IDS = ("ISIL", "ISNI", "OCLC", "ROR", PROPRIETARY)


@dataclass(frozen=True)
class Header:
    """What a header is made of. `notices` are all that the report has to say."""

    selection: Selection
    customer: Customer
    created: datetime
    notices: tuple[Notice, ...] = ()

    @property
    def institution_id(self) -> dict[str, list[str]]:
        return institution_id(self.customer, self.selection.platform)

    @property
    def created_text(self) -> str:
        return f"{self.created.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

    def as_json(self) -> dict[str, Any]:
        selection = self.selection
        found: dict[str, Any] = {
            "Release": RELEASE,
            "Report_ID": selection.report.id,
            "Report_Name": selection.report.name,
            "Created": self.created_text,
            "Created_By": CREATED_BY,
            "Institution_ID": self.institution_id,
            "Institution_Name": self.customer.name,
            "Registry_Record": selection.platform.registry_record,
            "Report_Filters": {
                "Begin_Date": months.first_day(selection.begin),
                "End_Date": months.last_day(selection.end),
                **{name: values[0] if name in TEXTS else values for name, values in self.filters.items()},
            },
        }
        if attributes := selection.report_attributes:
            found["Report_Attributes"] = attributes
        if self.notices:
            found["Exceptions"] = [notice.as_json() for notice in self.notices]
        return found

    @property
    def filters(self) -> dict[str, tuple[str, ...]]:
        """The filters by name. Several item ids are one text."""
        given = self.selection.filters
        return {name: ("|".join(values),) if name in TEXTS else values for name, values in given.items()}


def institution_id(customer: Customer, platform: Platform) -> dict[str, list[str]]:
    """An institution's identifiers, with the customer id among the proprietary ones."""
    known = {name: list(values) for name, values in customer.ids}
    own = [f"{platform.id}:{customer.id}"]
    more = [prefixed(value, platform) for value in known.pop(PROPRIETARY, [])]
    return {PROPRIETARY: own + [one for one in more if one not in own], **known}


def prefixed(value: str, platform: Platform) -> str:
    """A proprietary id with its namespace in front: the platform's, unless it has one."""
    return value if ":" in value else f"{platform.id}:{value}"
