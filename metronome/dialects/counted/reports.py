"""`/_/metrics/reports/`: which reports there are, and the recent ones of each, as JSON:API, CSV or TSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from flask import Blueprint, Response, request

from metronome.dialects import Doors
from metronome.dialects.counted.answers import BASE, JSON_API, META, api_answer
from metronome.dialects.counted.frames import Frame, of_reports
from metronome.errors import BadQuestion, NotFound
from metronome.wire.access import needs

if TYPE_CHECKING:
    from metronome.reports.kept import Stored
    from metronome.reports.models import Report

#: How far back the recent reports go: days of daily ones, and of monthly ones.
DAILY_BACK, MONTHLY_BACK = 5, 150

#: Media type and delimiter of each form of a table.
_TABLES = {"csv": ("text/csv", ","), "tsv": ("text/tab-separated-values", "\t")}

_FIRST = ("report_date", "report_yearmonth", "timestamp")


def add_routes(routes: Blueprint, doors: Doors) -> None:
    @routes.get(f"{BASE}/reports/")
    @needs("public")
    def report_names() -> Response:
        base = f"{request.root_url.rstrip('/')}{BASE}/reports"
        data = [
            {"id": name, "type": "metrics-report-name", "links": {"recent": f"{base}/{name}/recent/"}}
            for name in viewable(doors)
        ]
        return api_answer({"data": data, "meta": META})

    @routes.get(f"{BASE}/reports/<name>/recent/")
    @needs("read")
    def recent_reports(name: str) -> Response:
        report = viewable(doors).get(name)
        if report is None:
            error = {"title": "unknown report name", "detail": f'unknown report: "{name}"'}
            return Response(orjson.dumps({"errors": [error]}), 404, content_type=f"{JSON_API}; charset=utf-8")
        form = request.args.get("format", "")
        if form not in ("", "json", "api", *_TABLES):
            raise BadQuestion(f"format: {form[:20]!r} is none of json, csv, tsv", field="format")
        monthly = report.WHEN != "report_date"
        frame = of_reports(request.args, doors.clock(), days=MONTHLY_BACK if monthly else DAILY_BACK)
        found = doors.reports.kept.search(report, *bounds(frame, monthly=monthly))
        if form in _TABLES:
            return _as_table(name, form, found, frame, doors.clock().date())
        kind = "monthly" if monthly else "daily"
        return api_answer({"data": [_resource(one, f"{kind}-report:{name}") for one in found]})


def viewable(doors: Doors) -> dict[str, type[Report]]:
    """The reports on offer, those of the operator's own modules among them."""
    from metronome.reports import reporters

    reporters.load(doors.settings)
    return reporters.VIEWABLE_REPORTS


def bounds(frame: Frame, *, monthly: bool) -> tuple[str, str | None]:
    """First and last day, or month, of a frame as text. A month counts where its first day does."""
    first, last = frame.first_day, frame.last_day
    if not monthly:
        return f"{first}", f"{last}" if last else None
    begun = first if first.day == 1 else (first.replace(day=1) + timedelta(days=31))
    return f"{begun:%Y-%m}", f"{last:%Y-%m}" if last else None


def _resource(one: Stored, kind: str) -> dict[str, Any]:
    attributes = dict(one.source)
    if "report_yearmonth" in attributes:
        attributes["report_month"] = attributes["report_yearmonth"]
    return {"id": one.id, "type": kind, "attributes": attributes}


def _as_table(name: str, form: str, found: Sequence[Stored], frame: Frame, today: date) -> Response:
    if not found:
        raise NotFound("there are no reports of that time")
    media, delimiter = _TABLES[form]
    text = table([one.source for one in found], delimiter)
    file = f"{name}__until_{frame.last_day or today}__from_{frame.first_day}.{form}"
    headers = {"Content-Disposition": f"attachment; filename={file}"}
    return Response(text, 200, headers, content_type=f"{media}; charset=utf-8")


def table(rows: Sequence[dict[str, Any]], delimiter: str) -> str:
    """Rows as CSV; nested objects are dotted columns, lists JSON text, and what is missing an empty cell."""
    flat = [dict(_flat(row)) for row in rows]
    names = {name for row in flat for name in row}
    columns = [*(name for name in _FIRST if name in names), *sorted(names.difference(_FIRST))]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([[row.get(name, "") for name in columns] for row in flat])
    return out.getvalue()


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        elif inner is not None:
            yield f"{prefix}{name}", json.dumps(inner) if isinstance(inner, list) else inner
