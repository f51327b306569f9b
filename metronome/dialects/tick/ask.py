"""GET /tock: views by date, downloads by format, referers of one item."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Request, Response, request
from marshmallow import Schema, ValidationError, fields, validate
from werkzeug.routing import BaseConverter

from metronome.dialects import Doors
from metronome.errors import BadQuestion, NotFound
from metronome.event.addresses import referer_host
from metronome.event.fields import DOWNLOAD, VIEW
from metronome.periods import INTERVALS, Period, label, period, zone
from metronome.query import Answer, AtLeast, Condition, Every, Has, Is, Item, Question
from metronome.wire.access import bound_app, needs
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


def to_questions(item: str, wanted: dict[str, Any], now: datetime, app: str = "") -> dict[str, Question]:
    """The questions behind one tock, by the block of the answer; of `app` alone where a key is bound to it.

    Raises BadQuestion.
    """
    try:
        tz = zone(wanted["tz"])
        when = period(wanted["first"], wanted["last"], tz)
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    every = Every(wanted["interval"])
    until = now if when.start is not None and when.start <= now else None

    def question(
        *where: Any, by: Every | str | None = None, unique: str | None = None, robots: bool | None = False
    ) -> Question:
        return Question((*of(item, app), *where), when, by, tz, unique, robots, until)

    questions = {
        "views": question(Is("event", VIEW), by=every),
        "downloads": question(Is("event", DOWNLOAD), by="format"),
        "referers": question(Has("referer_page"), by="referer_page"),
    }
    further = {
        "hits": question(by=every, robots=None),
        "visitors": question(unique="distinct_id"),
        "robots": question(Is("event", VIEW), by=every, robots=True),
        "errors": question(AtLeast("status", 400), by="status"),
        "geo": question(by="country"),
    }
    for name in filter(None, (name.strip() for name in wanted["include"].split(","))):
        if name not in further:
            raise BadQuestion(f"include: {name[:40]!r} isn't known; there are {', '.join(INCLUDES)}", field="include")
        questions[name] = further[name]
    return questions


def of(item: str, app: str) -> tuple[Condition, ...]:
    """Events of an item, and of one application where a key is bound to it."""
    return (Item(item), Is("app", app)) if app else (Item(item),)


def from_answers(questions: dict[str, Question], answers: list[Answer], wanted: dict[str, Any]) -> dict[str, Any]:
    """The tock's body: a map a block."""
    body: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    for (name, question), answer in zip(questions.items(), answers, strict=True):
        if isinstance(question.by, Every):
            body[name] = _by_date(answer, question)
        elif question.by is None:
            body[name] = {"count": answer.counts.get("", 0), "exact": answer.exact}
        else:
            rows = _folded(name, answer.counts, wanted["referers"])
            limit = wanted["limit"]
            if limit and len(rows) > limit:
                left_out[name] = sum(list(rows.values())[limit:])
                rows = dict(list(rows.items())[:limit])
            body[name] = rows
    if left_out:
        # A limit was asked for; what it cut is said, so that nobody adds up the rest by mistake.
        body["left_out"] = left_out
    return body


def _by_date(answer: Answer, question: Question) -> dict[str, int]:
    assert isinstance(question.by, Every)
    interval = question.by.interval
    return {label(start, interval, question.tz): count for start, count in reversed(answer.buckets.items())}


def _folded(block: str, counts: dict[str, int], referers: str) -> dict[str, int]:
    """Rows that are one to the reader: formats by their lower case, referers by host if asked, statuses as `404`."""
    folded: dict[str, int] = {}
    for key, count in counts.items():
        if block == "referers" and referers == "host":
            key = referer_host(key)
        elif block == "downloads":
            key = key.lower()
        elif block == "errors":
            key = key.removesuffix(".0")
        folded[key] = folded.get(key, 0) + count
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
        app = bound_app()
        questions = to_questions(item, wanted, doors.clock(), app)
        answers = doors.engine.ask(*questions.values())
        empty = not any(answer.total for answer in answers)
        # Zeros for a quiet week of an item that there is, empty maps for one that there isn't.
        if empty and (wanted["strict"] or _has_range(questions)) and not doors.engine.is_known(of(item, app)):
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
