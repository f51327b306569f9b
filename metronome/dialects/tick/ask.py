"""GET /tock: views by date, downloads by format, referers of one item."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Request, Response, request
from marshmallow import Schema, ValidationError, fields, validate
from werkzeug.routing import BaseConverter

from metronome.dialects import Doors
from metronome.errors import BadQuestion, NotFound
from metronome.event.addresses import referer_host
from metronome.event.fields import DOWNLOAD, VIEW
from metronome.periods import INTERVALS, Every, Period, period, zone
from metronome.query import (
    PEOPLE,
    ROBOTS,
    All,
    Answer,
    Between,
    Condition,
    Has,
    Is,
    Item,
    Known,
    Question,
    Unique,
    Values,
)
from metronome.wire.access import needs
from metronome.wire.request import cacheable

INCLUDES = ("hits", "visitors", "robots", "errors", "geo")


class TockQuerySchema(Schema):
    """What `/tock` takes in its query string. A name that starts with `_` is ignored (cache busters)."""

    first = fields.String(
        data_key="from", load_default="", metadata={"description": "First day (2026-11-01) or instant"}
    )
    last = fields.String(
        data_key="to", load_default="", metadata={"description": "Last day, that day included, or instant"}
    )
    tz = fields.String(load_default="UTC", metadata={"description": "Time zone of days, such as Europe/Paris"})
    interval = fields.String(load_default="day", validate=validate.OneOf(INTERVALS))
    limit = fields.Integer(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"description": "Largest formats and referers only; 0: all"},
    )
    referers = fields.String(load_default="page", validate=validate.OneOf(("page", "host")))
    include = fields.String(
        load_default="",
        metadata={"description": f"Further blocks, separated by commas: {', '.join(INCLUDES)}"},
    )
    strict = fields.Boolean(load_default=False, metadata={"description": "404 for an item without events"})
    archive = fields.String(
        load_default="yes",
        validate=validate.OneOf(("yes", "no")),
        metadata={"description": "no: Elasticsearch alone is asked, and archived days are left out"},
    )


#: Made once: making a schema takes longer than loading a query with it.
_QUERY = TockQuerySchema()
_DEFAULTS: dict[str, Any] = _QUERY.load({})


class TockSchema(Schema):
    """Counts of one item; robots are left out."""

    views = fields.Dict(
        keys=fields.String(), values=fields.Integer(), metadata={"description": "Views by date, newest first"}
    )
    downloads = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "Downloads by format, most first"},
    )
    referers = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "Events by host and path they came from"},
    )


def to_questions(item: str, wanted: dict[str, Any]) -> dict[str, Question]:
    """The questions behind one tock, by the block of the answer; raises BadQuestion."""
    try:
        tz = zone(wanted["tz"])
        when = period(wanted["first"], wanted["last"], tz)
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    by_date = (Every(wanted["interval"], tz=tz),)

    def question(*where: Condition, by: Any = (), **more: Any) -> Question:
        return Question(All(Item(item), *where), by=by, period=when, **more)

    questions = {
        "views": question(Is("event", VIEW), PEOPLE, by=by_date),
        "downloads": question(Is("event", DOWNLOAD), PEOPLE, by=(Values("format"),)),
        "referers": question(Has("referer_page"), PEOPLE, by=(Values("referer_page"),)),
    }
    further = {
        "hits": question(by=by_date),
        "visitors": question(PEOPLE, measure=Unique("distinct_id")),
        "robots": question(Is("event", VIEW), ROBOTS, by=by_date),
        "errors": question(Between("status", gte=400), PEOPLE, by=(Values("status"),)),
        "geo": question(PEOPLE, by=(Values("country"),)),
    }
    for name in filter(None, (name.strip() for name in wanted["include"].split(","))):
        if name not in further:
            raise BadQuestion(f"include: {name[:40]!r} isn't known; there are {', '.join(INCLUDES)}", field="include")
        questions[name] = further[name]
    return questions


def from_answers(questions: dict[str, Question], answers: list[Answer], wanted: dict[str, Any]) -> dict[str, Any]:
    """The tock's body. Each block of it is a map."""
    body: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    for (name, question), answer in zip(questions.items(), answers, strict=True):
        if not question.by:
            body[name] = {"count": answer.total, "exact": answer.exact}
        elif isinstance(question.by[0], Every):
            body[name] = {question.by[0].label(row.key[0]): row.value for row in reversed(answer.rows)}
        else:
            rows = _folded(name, answer, wanted["referers"])
            limit = wanted["limit"]
            if limit and len(rows) > limit:
                left_out[name] = sum(list(rows.values())[limit:])
                rows = dict(list(rows.items())[:limit])
            body[name] = rows
    if left_out:
        # The request asked for a limit. The body says how much the limit cut, so that nobody takes the rest as a total.
        body["left_out"] = left_out
    return body


def _folded(block: str, answer: Answer, referers: str) -> dict[str, int]:
    """Join rows that are one for the reader: formats that differ only in case, and referers of one host if asked."""
    folded: dict[str, int] = {}
    for row in answer.rows:
        key = str(row.key[0])
        if block == "referers" and referers == "host":
            key = referer_host(key)
        elif block == "downloads":
            key = key.lower()
        folded[key] = folded.get(key, 0) + int(row.value or 0)
    return dict(sorted(folded.items(), key=lambda row: (-row[1], row[0])))


class ItemConverter(BaseConverter):
    """An item's id as the rest of the path: any character, slashes too, in any number and place."""

    part_isolating = False
    regex = r"[\s\S]+"


def add_routes(routes: Blueprint, doors: Doors) -> None:
    @routes.get("/tock/<item:item>")
    @routes.get("/tocks/<item:item>")
    @needs("read")
    def tock(item: str) -> Response:
        item = item.removesuffix(".json")
        if not item:
            raise NotFound("an item's id is missing; ask for /tock/ID.json")
        wanted = _wanted(request)
        questions = to_questions(item, wanted)
        answers = doors.ask(*questions.values())
        empty = all(answer.empty for answer in answers)
        # A known item without events in this period gets zeros; an unknown item gets empty maps.
        if empty and (wanted["strict"] or _has_range(questions)) and not doors.ask(Known(Item(item)))[0]:
            if wanted["strict"]:
                raise NotFound(f"no event of item {item[:100]!r} was ever counted")
            answers = [Answer() for _ in answers]
        return cacheable(from_answers(questions, answers, wanted))


def _wanted(request: Request) -> dict[str, Any]:
    given = {name: value for name, value in request.args.items() if not name.startswith("_")}
    try:
        wanted: dict[str, Any] = _QUERY.load(given) if given else _DEFAULTS
    except ValidationError as error:
        name, reasons = next(iter(dict(error.messages_dict).items()))
        known = [field.data_key or key for key, field in _QUERY.fields.items()]
        reason = (
            f"isn't a parameter; there are {', '.join(known)}" if name not in known else " ".join(reasons).rstrip(".")
        )
        raise BadQuestion(f"{name}: {reason}", field=str(name)) from None
    return wanted


def _has_range(questions: dict[str, Question]) -> bool:
    return questions["views"].period != Period()
