"""Exceptions of the standard: code, status and message of each, and what is said of months that lost usage for good."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from harvest import CUSTOMER, MONTHS, NOW, InMemory, report, table
from schema import schema

from metronome.counter.facts import Fact, Month, Performance, Subject
from metronome.counter.reports.notices import MESSAGES, NO_FILTER, Notice

#: Source: COUNTER R5.1, Appendix D.
STANDARD = {
    1000: (503, "Service Not Available"),
    1010: (503, "Service Busy"),
    1011: (202, "Report Queued for Processing"),
    1020: (429, "Client has made too many requests"),
    1030: (400, "Insufficient Information to Process Request"),
    2000: (401, "Requestor Not Authorized to Access Service"),
    2010: (403, "Requestor is Not Authorized to Access Usage for Institution"),
    2011: (403, "Global Reports Not Supported"),
    2020: (401, "APIKey Invalid"),
    3020: (400, "Invalid Date Arguments"),
    3030: (200, "No Usage Available for Requested Dates"),
    3031: (200, "Usage Not Ready for Requested Dates"),
    3032: (200, "Usage No Longer Available for Requested Dates"),
    3040: (200, "Partial Data Returned"),
    3050: (200, "Parameter Not Recognized in this Context"),
    3060: (200, "Invalid ReportFilter Value"),
    3061: (200, "Incongruous ReportFilter Value"),
    3062: (200, "Invalid ReportAttribute Value"),
    3063: (200, "Components Not Supported"),
    3070: (200, "Required ReportFilter Missing"),
}


def test_every_exception_has_the_status_and_message_of_the_standard() -> None:
    assert STANDARD == MESSAGES


def test_a_missing_filter_has_a_word_though_no_report_of_today_requires_one() -> None:
    notice = Notice(NO_FILTER, "database")
    assert (notice.status, notice.as_json()) == (
        200, {"Code": 3070, "Message": "Required ReportFilter Missing", "Data": "database"},
    )  # fmt: skip
    assert notice.text == "3070: Required ReportFilter Missing (database)"


ROADS = Fact(Subject("j-1", "Roads", "Journal"), None, (Performance({"No_License": 2}, "Journal", "2024", "Open"),))

PARTIAL = (3040, "Partial Data Returned")
NO_USAGE = (3030, "No Usage Available for Requested Dates", None)


def facts(*used: str, lost: dict[str, str], first: str = MONTHS[0], processed: tuple[str, ...] = MONTHS) -> InMemory:
    """Facts of the months in `used`. All of `processed` were, of which `lost` says what is lost."""
    months = [Month(month, processed_at=NOW, changed_at=NOW, lost=lost.get(month, "")) for month in processed]
    return InMemory({(month, CUSTOMER.id, "TR"): [ROADS] for month in used}, months=months, processed=(), first=first)


@pytest.mark.parametrize(
    ("given", "asked", "said"),
    [
        pytest.param(facts(*MONTHS, lost={}), {}, [], id="nothing is lost"),
        pytest.param(facts(*MONTHS, lost={"2026-02": "3 May"}), {}, [(*PARTIAL, "2026-02: 3 May")], id="a month lost some"),
        pytest.param(facts(*MONTHS, lost={"2026-01": "all", "2026-03": "a day"}), {}, [(*PARTIAL, "2026-01: all; 2026-03: a day")], id="two months did"),
        pytest.param(facts(*MONTHS, lost={"2026-02": "x"}), {"end_date": "2026-01"}, [], id="a month that wasn't asked for did"),
        pytest.param(facts(lost={"2026-02": "x"}), {"begin_date": "2026-02", "end_date": "2026-02"}, [(*PARTIAL, "2026-02: x")], id="none is left of it, and none was never said"),
        pytest.param(facts(lost={"2026-02": "x"}), {}, [NO_USAGE, (*PARTIAL, "2026-02: x")], id="of the others there is none"),
        pytest.param(facts("2026-01", lost={"2026-01": "x"}), {"end_date": "2026-04"}, [(3031, "Usage Not Ready for Requested Dates", "2026-04"), (*PARTIAL, "2026-01: x")], id="another month isn't ready"),
        pytest.param(facts("2026-01", lost={"2026-01": "x"}), {"begin_date": "2025-12", "y": "1"}, [(3032, "Usage No Longer Available for Requested Dates", "2025-12; usage is available from 2026-01"), (*PARTIAL, "2026-01: x"), (3050, "Parameter Not Recognized in this Context", "y")], id="in the order of codes"),
        pytest.param(facts(lost={}, first="2026-04", processed=()), {"end_date": "2026-03"}, [(3032, "Usage No Longer Available for Requested Dates", "2026-01 to 2026-03; usage is available from 2026-04")], id="of a month that is gone nothing else is said"),
    ],
)  # fmt: skip
def test_a_report_says_what_is_lost_for_good(given: InMemory, asked: dict[str, str], said: list[Any]) -> None:
    found = report("TR", given, **asked)
    exceptions = found["Report_Header"].get("Exceptions", [])
    assert [(one["Code"], one["Message"], one.get("Data")) for one in exceptions] == said
    jsonschema.validate(found, schema("TR"))


def test_a_table_says_it_too() -> None:
    rows = table("TR", facts(*MONTHS, lost={"2026-02": "3 May"}))
    assert rows[8] == ["Exceptions", "3040: Partial Data Returned (2026-02: 3 May)"]
