"""A report in JSON, piece by piece.

    {"Report_Header": {…}, "Report_Items": [
        {"Title": …, "Attribute_Performance": [{"YOP": …, "Performance": {metric: {month: count}}}]}]}

In IR an item stands in the `Items` of its parent; those without parents, or all of them unless parents were asked for,
in one object without a description. Source: COUNTER R5.1, section 3.2, and the COUNTER API specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from metronome.counter.facts import Author, Subject
from metronome.counter.reports.fold import Entry, Line
from metronome.counter.reports.header import PUBLISHER_IDS, Header, prefixed
from metronome.counter.reports.selection import Platform, Selection
from metronome.counter.reports.values import ARTICLE_VERSION, AUTHORS, DETAILS, LINKING, PROPRIETARY, PUBLICATION_DATE

#: Bytes of a piece: enough to be sent and compressed at small cost.
PIECE_BYTES = 64 * 1024


def write(header: Header, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The report in pieces of about PIECE_BYTES."""
    writer = _Writer(header.selection)
    piece = bytearray(b'{"Report_Header":' + orjson.dumps(header.as_json()) + b',"Report_Items":[')
    texts = writer.items(entries) if header.selection.report.full == "IR" else writer.plain(entries)
    for text in texts:
        piece += text
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]}")


class _Writer:
    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._platform = selection.platform
        self._report = selection.report
        self._shown = selection.shown
        self._metrics = selection.metrics
        self._details = selection.details

    def plain(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        comma = b""
        for entry in entries:
            yield comma + orjson.dumps(self._entry(entry))
            comma = b","

    def items(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """The items, in an object for each parent that stands before them."""
        parent: str | None = None
        for entry in entries:
            text = orjson.dumps(self._entry(entry))
            found = entry.parent if self._selection.parents else None
            name = found.id if found else ""
            if name == parent:
                yield b"," + text
                continue
            about = orjson.dumps(self._parent(found))[:-1] if found else b"{"
            yield (b"" if parent is None else b"]},") + about + (b"," if found else b"") + b'"Items":[' + text
            parent = name
        if parent is not None:
            yield b"]}"

    def _entry(self, entry: Entry) -> dict[str, Any]:
        performances = [self._performance(line) for line in entry.lines]
        if entry.subject is None:
            return {"Platform": self._platform.name, "Attribute_Performance": performances}
        subject = entry.subject
        found: dict[str, Any] = {self._report.element: subject.name, "Publisher": subject.publisher}
        if ids := publisher_id(subject, self._platform):
            found["Publisher_ID"] = ids
        found["Platform"] = self._platform.name
        found |= details(subject, self._details)
        found["Item_ID"] = item_id(subject, self._report.ids, self._platform)
        found["Attribute_Performance"] = performances
        return found

    def _parent(self, parent: Subject) -> dict[str, Any]:
        found: dict[str, Any] = {"Title": parent.name}
        found |= details(parent, self._report.parent_details)
        if not self._report.is_view:
            found["Data_Type"] = parent.data_type
        found["Item_ID"] = item_id(parent, self._report.parent_ids, self._platform)
        return found

    def _performance(self, line: Line) -> dict[str, Any]:
        # What isn't known, such as a country, is left out.
        found: dict[str, Any] = {name: value for name, value in zip(self._shown, line.values, strict=True) if value}
        found["Performance"] = {metric: line.counts[metric] for metric in self._metrics if metric in line.counts}
        return found


def item_id(subject: Subject, wanted: tuple[str, ...], platform: Platform) -> dict[str, str]:
    """A subject's identifiers of the kinds wanted. Where ISSNs are, the linking one is too, in JSON alone."""
    known = {**dict(subject.ids), PROPRIETARY: f"{platform.id}:{subject.id}"}
    names = (*wanted, LINKING) if "Print_ISSN" in wanted else wanted
    return {name: known[name] for name in names if known.get(name)}


def publisher_id(subject: Subject, platform: Platform) -> dict[str, list[str]]:
    known = dict(subject.publisher_ids)
    return {
        name: [prefixed(value, platform) if name == PROPRIETARY else value for value in known[name]]
        for name in PUBLISHER_IDS
        if known.get(name)
    }


def details(subject: Subject, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Authors, date and version of a subject, those that are wanted and known."""
    known: dict[str, Any] = {
        AUTHORS: [_author(author) for author in subject.authors[:3]],
        PUBLICATION_DATE: subject.publication_date,
        ARTICLE_VERSION: subject.article_version,
    }
    return {name: known[name] for name in DETAILS if name in wanted and known[name]}


def _author(author: Author) -> dict[str, str]:
    kind, _, value = author.id.partition(":")
    return {"Name": author.name, **({kind: value} if kind in ("ISNI", "ORCID") and value else {})}
