"""The sixteen reports, once: everything that one report has and another hasn't.

Four are full reports; every other is a Standard View, which is a full report with fixed filters and fixed columns.
Source: COUNTER R5.1, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from metronome.counter.facts import Report as Full
from metronome.counter.reports.values import (
    ACCESS_METHOD,
    ACCESS_TYPE,
    BOOKS,
    DATA_TYPE,
    DENIALS,
    DETAILS,
    EXTENSIONS,
    IDS,
    ITEM_REQUESTS,
    ITEMS,
    METRICS,
    MULTIMEDIA,
    PROPRIETARY,
    SEARCHES,
    TITLES,
    YOP,
)


@dataclass(frozen=True)
class Report:
    """One report.

    full            the full report, on whose facts it is made
    element         what names a row: Platform, Database, Title or Item
    metrics         its metric types, in the order of the header
    shown           attributes that it always shows
    may_show        attributes that a request may add; a Standard View has none
    data_types, access_types    a Standard View's fixed filters; empty where there is no such filter
    ids, parent_ids     identifiers of an item, and of its parent
    details, parent_details     columns about the item itself, and about its parent, in tables
    parents         whether items stand below their parents, unasked
    """

    id: str
    name: str
    description: str
    full: Full
    element: str
    metrics: tuple[str, ...]
    shown: tuple[str, ...] = ()
    may_show: tuple[str, ...] = ()
    data_types: tuple[str, ...] = ()
    access_types: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    parent_ids: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    parent_details: tuple[str, ...] = ()
    parents: bool = False

    @property
    def is_view(self) -> bool:
        return self.id != self.full

    @property
    def fixed(self) -> dict[str, tuple[str, ...]]:
        """A Standard View's filters, as its header lists them; empty for a full report."""
        if not self.is_view:
            return {}
        filters = {DATA_TYPE: self.data_types, ACCESS_TYPE: self.access_types, ACCESS_METHOD: ("Regular",)}
        return {**{name: values for name, values in filters.items() if values}, "Metric_Type": self.metrics}


_CONTROLLED = ("Controlled",)
_TITLE_ATTRIBUTES = (YOP, ACCESS_TYPE, ACCESS_METHOD, *EXTENSIONS)
_JOURNAL_IDS = tuple(name for name in IDS if name != "ISBN")


def _full(id: Full, name: str, element: str, description: str, may_show: tuple[str, ...], **more: object) -> Report:  # noqa: A002
    return Report(id, name, description, id, element, METRICS[id], (DATA_TYPE,), may_show, **more)  # type: ignore[arg-type]


def _database(id: str, name: str, description: str, metrics: tuple[str, ...]) -> Report:  # noqa: A002
    return Report(id, name, description, "DR", "Database", metrics, ids=(PROPRIETARY,))


def _books(
    id: str,  # noqa: A002
    name: str,
    description: str,
    metrics: tuple[str, ...],
    shown: tuple[str, ...] = (DATA_TYPE, YOP),
    access_types: tuple[str, ...] = (),
) -> Report:
    return Report(
        id, name, description, "TR", "Title", metrics, shown, data_types=BOOKS, access_types=access_types, ids=IDS
    )


def _journals(
    id: str,  # noqa: A002
    name: str,
    description: str,
    metrics: tuple[str, ...],
    shown: tuple[str, ...] = (),
    access_types: tuple[str, ...] = (),
) -> Report:
    return Report(
        id,
        name,
        description,
        "TR",
        "Title",
        metrics,
        shown,
        data_types=("Journal",),
        access_types=access_types,
        ids=_JOURNAL_IDS,
    )


_ALL = (
    _full(
        "PR",
        "Platform Report",
        "Platform",
        "Activity across the platform, by data type and metric; filters and columns can be chosen.",
        (ACCESS_METHOD, *EXTENSIONS),
    ),
    Report(
        "PR_P1",
        "Platform Usage",
        "Searches and requests on the platform, by data type.",
        "PR",
        "Platform",
        ("Searches_Platform", *ITEM_REQUESTS, "Unique_Title_Requests"),
        (DATA_TYPE,),
    ),
    _full(
        "DR",
        "Database Report",
        "Database",
        "Activity by database; filters and columns can be chosen.",
        (ACCESS_METHOD, *EXTENSIONS),
        ids=(PROPRIETARY,),
    ),
    _database(
        "DR_D1",
        "Database Search and Item Usage",
        "Searches, investigations and requests by database.",
        (*SEARCHES, *ITEMS),
    ),
    _database("DR_D2", "Database Access Denied", "Denied accesses by database.", DENIALS),
    _full(
        "TR",
        "Title Report",
        "Title",
        "Activity by title, such as a journal or book; filters and columns can be chosen.",
        _TITLE_ATTRIBUTES,
        ids=IDS,
    ),
    _books(
        "TR_B1",
        "Book Requests (Controlled)",
        "Requests of books, without open and free content.",
        ("Total_Item_Requests", "Unique_Title_Requests"),
        access_types=_CONTROLLED,
    ),
    _books("TR_B2", "Book Access Denied", "Denied accesses to books.", DENIALS),
    _books(
        "TR_B3",
        "Book Usage by Access Type",
        "Investigations and requests of books, by access type.",
        (*ITEMS, *TITLES),
        (DATA_TYPE, YOP, ACCESS_TYPE),
    ),
    _journals(
        "TR_J1",
        "Journal Requests (Controlled)",
        "Requests of journals' content, without open and free content.",
        ITEM_REQUESTS,
        access_types=_CONTROLLED,
    ),
    _journals("TR_J2", "Journal Access Denied", "Denied accesses to journals' content.", DENIALS),
    _journals(
        "TR_J3",
        "Journal Usage by Access Type",
        "Investigations and requests of journals' content, by access type.",
        ITEMS,
        (ACCESS_TYPE,),
    ),
    _journals(
        "TR_J4",
        "Journal Requests by YOP (Controlled)",
        "Requests of journals' content by year of publication, without open and free content.",
        ITEM_REQUESTS,
        (YOP,),
        _CONTROLLED,
    ),
    _full(
        "IR",
        "Item Report",
        "Item",
        "Activity by item, such as an article or chapter; filters and columns can be chosen.",
        (*DETAILS, *_TITLE_ATTRIBUTES),
        ids=IDS,
        parent_ids=IDS,
        parent_details=DETAILS,
    ),
    Report(
        "IR_A1",
        "Journal Article Requests",
        "Requests of journals' articles, by access type.",
        "IR",
        "Item",
        ITEM_REQUESTS,
        (ACCESS_TYPE,),
        data_types=("Article",),
        ids=_JOURNAL_IDS,
        parent_ids=_JOURNAL_IDS,
        details=DETAILS,
        parent_details=("Authors", "Article_Version"),
        parents=True,
    ),
    Report(
        "IR_M1",
        "Multimedia Item Requests",
        "Requests of multimedia items.",
        "IR",
        "Item",
        ITEM_REQUESTS,
        (DATA_TYPE,),
        data_types=MULTIMEDIA,
        ids=("DOI", PROPRIETARY, "URI"),
    ),
)

#: Every report by its Report_ID.
REPORTS: dict[str, Report] = {report.id: report for report in _ALL}
