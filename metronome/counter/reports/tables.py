"""A report as rows, for TSV and XLSX: thirteen rows of header, a blank one, the heads of the columns, then the usage.

A month that has no usage yet, or has none any more, has no column. In a row that is kept, a month without usage is 0.
Source: COUNTER R5.1, sections 3.2.1 and 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from metronome.counter.facts import Author, Subject
from metronome.counter.reports import months
from metronome.counter.reports.as_json import item_id, publisher_id
from metronome.counter.reports.filters import METRIC
from metronome.counter.reports.fold import Entry, Line
from metronome.counter.reports.header import CREATED_BY, INSTITUTION_IDS, RELEASE, Header
from metronome.counter.reports.selection import Selection
from metronome.counter.reports.values import ARTICLE_VERSION, AUTHORS, OF_CUSTOMER, PROPRIETARY, PUBLICATION_DATE

#: A cell is a text or a count.
Row = list[Any]

#: Heads of the columns of identifiers.
_HEADS = {PROPRIETARY: "Proprietary_ID"}


def rows(header: Header, entries: Iterable[Entry], covered: Sequence[str]) -> Iterator[Row]:
    """The whole table. `covered` are the months that the report has usage of."""
    yield from header_rows(header)
    yield []
    columns = Columns(header.selection, covered)
    yield columns.heads
    for entry in entries:
        yield from columns.of(entry)


def header_rows(header: Header) -> Iterator[Row]:
    selection = header.selection
    ids = header.institution_id
    named = {name: values for name, values in header.filters.items() if name != METRIC}
    attributes = selection.report_attributes
    yield ["Report_Name", selection.report.name]
    yield ["Report_ID", selection.report.id]
    yield ["Release", RELEASE]
    yield ["Institution_Name", header.customer.name]
    yield ["Institution_ID", _identifiers({name: ids[name] for name in INSTITUTION_IDS if name in ids})]
    yield ["Metric_Types", "; ".join(selection.metrics)]
    yield ["Report_Filters", "; ".join(f"{name}={'|'.join(values)}" for name, values in named.items())]
    yield ["Report_Attributes", "; ".join(f"{name}={_joined(value)}" for name, value in attributes.items())]
    yield ["Exceptions", "; ".join(notice.text for notice in header.notices)]
    first, last = months.first_day(selection.begin), months.last_day(selection.end)
    yield ["Reporting_Period", f"Begin_Date={first}; End_Date={last}"]
    yield ["Created", header.created_text]
    yield ["Created_By", CREATED_BY]
    yield ["Registry_Record", selection.platform.registry_record]


class Columns:
    """The columns of a report, and what an entry has in them."""

    def __init__(self, selection: Selection, covered: Sequence[str]) -> None:
        self._selection = selection
        self._report = selection.report
        self._months = [] if selection.totals or not selection.months_shown else list(covered)
        shown = selection.shown
        # Whose usage it is stands first; every other attribute after the identifiers.
        self._owner = [place for place, name in enumerate(shown) if name in OF_CUSTOMER]
        self._rest = [place for place, name in enumerate(shown) if name not in OF_CUSTOMER]
        self._parents = selection.parents

    @property
    def heads(self) -> Row:
        report, shown = self._report, self._selection.shown
        found = [shown[place] for place in self._owner]
        found += [report.element] if report.full == "PR" else [report.element, "Publisher", "Publisher_ID", "Platform"]
        found += [*self._selection.details, *_id_heads(report.ids)]
        if self._parents:
            found += [f"Parent_{name}" for name in self._parent_heads()]
        found += [shown[place] for place in self._rest]
        return [*found, "Metric_Type", "Reporting_Period_Total", *map(months.column, self._months)]

    def _parent_heads(self) -> list[str]:
        kind = [] if self._report.is_view else ["Data_Type"]
        return ["Title", *self._report.parent_details, *kind, *_id_heads(self._report.parent_ids)]

    def of(self, entry: Entry) -> Iterator[Row]:
        about = self._about(entry)
        for line in entry.lines:
            owner = [line.values[place] for place in self._owner]
            values = [line.values[place] for place in self._rest]
            for metric in self._selection.metrics:
                if metric in line.counts:
                    yield [*owner, *about, *values, metric, *self._counts(line, metric)]

    def _counts(self, line: Line, metric: str) -> list[int]:
        counts = line.counts[metric]
        return [sum(counts.values()), *(counts.get(month, 0) for month in self._months)]

    def _about(self, entry: Entry) -> Row:
        platform = self._selection.platform
        if entry.subject is None:
            return [platform.name]
        subject, report = entry.subject, self._report
        found = [subject.name, subject.publisher, _identifiers(publisher_id(subject, platform)), platform.name]
        found += _details(subject, self._selection.details)
        found += self._ids(subject, report.ids)
        if not self._parents:
            return found
        if entry.parent is None:
            return found + [""] * len(self._parent_heads())
        found += [entry.parent.name, *_details(entry.parent, report.parent_details)]
        found += [] if report.is_view else [entry.parent.data_type]
        return found + self._ids(entry.parent, report.parent_ids)

    def _ids(self, subject: Subject, wanted: tuple[str, ...]) -> list[str]:
        known = item_id(subject, wanted, self._selection.platform)
        return [known.get(name, "") for name in wanted]


def _id_heads(ids: tuple[str, ...]) -> list[str]:
    return [_HEADS.get(name, name) for name in ids]


def _details(subject: Subject, wanted: tuple[str, ...]) -> list[str]:
    known = {
        AUTHORS: "; ".join(map(_author, subject.authors[:3])),
        PUBLICATION_DATE: subject.publication_date,
        ARTICLE_VERSION: subject.article_version,
    }
    return [known[name] for name in wanted]


def _author(author: Author) -> str:
    return f"{author.name} ({author.id})" if author.id else author.name


def _identifiers(ids: dict[str, list[str]]) -> str:
    """`ROR:00hx57361; plat:c1`: a proprietary id has its namespace already."""
    return "; ".join(
        value if name == PROPRIETARY else f"{name}:{value}" for name, values in ids.items() for value in values
    )


def _joined(value: object) -> str:
    return "|".join(value) if isinstance(value, list) else str(value)
