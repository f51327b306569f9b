"""The COUNTER API (once SUSHI), Release 5.1: reports of usage as harvesters fetch them.

    GET /r51/status             whether the service works; for everybody
    GET /r51/members            a consortium's members
    GET /r51/reports            the reports on offer, and the months they have
    GET /r51/reports/tr_j1      a report: any of the sixteen, its id in small letters

    admission.py    customer_id, requestor_id and api_key, which stand in the address
    lists.py        what status, members and reports say
    refusals.py     errors as exceptions of the standard
    paths.py        the description of the routes

The reports themselves are made by `counter/reports/`. Source: COUNTER R5.1, section 8 and Appendix D.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack

from flask import Blueprint, Response, request

from metronome.counter.demand import Demand
from metronome.counter.reports import files, months
from metronome.counter.reports.notices import BUSY, declined
from metronome.counter.reports.report import Made, make
from metronome.counter.reports.selection import Platform, select
from metronome.counter.reports.table import REPORTS
from metronome.dialects import Dialect, Doors
from metronome.dialects.sushi import lists
from metronome.dialects.sushi.admission import Admission
from metronome.dialects.sushi.paths import paths
from metronome.dialects.sushi.refusals import answer_errors
from metronome.errors import NotFound
from metronome.wire.access import needs
from metronome.wire.request import json_answer

__all__ = ["DIALECT"]

NAME = "sushi"

#: The reports by what stands in the address.
BY_PATH = {report.id.lower(): report for report in REPORTS.values()}

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)
    settings, counter = doors.settings, doors.counter
    platform = Platform(settings.platform, settings.platform_id, settings.registry_record)
    admission = Admission(counter.customers, settings)
    status = lists.Status(counter, platform, doors.clock)
    # A report takes a thread for as long as its client reads. Half of them stay for everybody else.
    room = threading.BoundedSemaphore(max(1, settings.threads // 2))
    answer_errors(routes)

    # These routes are public to the gateway's own keys: admission.py checks the credentials of the standard.
    @routes.get("/r51/status")
    @needs("public")
    def show_status() -> Response:
        return json_answer(status.read())

    @routes.get("/r51/members")
    @needs("public")
    def show_members() -> Response:
        return json_answer(lists.members(admission.admit(_given()), platform))

    @routes.get("/r51/reports")
    @needs("public")
    def show_reports() -> Response:
        given = _given()
        admitted = admission.admit(given)
        detailed = given.get("include_month_details") == "True"
        return json_answer(lists.reports(counter.facts.months(), admitted.customer, doors.clock(), detailed=detailed))

    @routes.get("/r51/reports/<id>")
    @needs("public")
    def show_report(id: str) -> Response:  # noqa: A002 - the name of the route's parameter
        report = BY_PATH.get(id)
        if report is None:
            raise NotFound(f"there is no report {id[:20]!r}; there are {', '.join(BY_PATH)}")
        given = _given()
        admitted = admission.admit(given)
        now = doors.clock()
        selection = select(report, given, now=months.month_of(now), platform=platform)
        if not room.acquire(blocking=False):
            raise declined(BUSY, "as many reports as may be are being made", retry_after_s=5)
        with ExitStack() as leaving:
            leaving.callback(room.release)
            demand = Demand(settings, counter.facts, doors.clock)
            made = make(selection, counter.facts, admitted.customer, admitted.members, now, asking=demand.ask)
            parts = files.pieces(made)
            return _stream(made, parts, leaving.pop_all())

    return routes


def _given() -> dict[str, str]:
    """The parameters of the request. One that is given twice counts as a list of values."""
    return {name: "|".join(values) for name, values in request.args.lists()}


def _stream(made: Made, pieces: Iterator[bytes], leaving: ExitStack) -> Response:
    """The answer, which is made while the client reads it. `leaving` is closed once it ends, however it does."""
    selection = made.header.selection
    parts = _until_end(pieces, leaving)
    zipped = selection.form != "xlsx" and request.accept_encodings.quality("gzip") > 0
    response = Response(_gzip(parts) if zipped else parts, content_type=files.MEDIA[selection.form])
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "private, no-store"
    if selection.form != "json":
        name = f"{selection.report.id}_{made.header.customer.id}_{selection.begin}_{selection.end}"
        response.headers["Content-Disposition"] = f'attachment; filename="{_UNSAFE.sub("_", name)}.{selection.form}"'
    # An answer that is never read has no end.
    response.call_on_close(leaving.close)
    return response


def _until_end(parts: Iterator[bytes], leaving: ExitStack) -> Iterator[bytes]:
    with leaving:
        yield from parts


def _gzip(parts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(level=5, wbits=16 + zlib.MAX_WBITS)
    for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


DIALECT = Dialect(
    name=NAME,
    meaning="The COUNTER API, Release 5.1: usage reports, as harvesters fetch them (docs/counter.md).",
    blueprint=blueprint,
    paths=paths,
)
