"""What the query dialect takes and gives, as marshmallow schemas."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from metronome.dialects.query.read import MAX_TEXT, WEEKDAYS
from metronome.dialects.query.trend import INTERVALS, MAX_TOP
from metronome.errors import BadQuestion


def checked(schema: Schema, given: Any) -> dict[str, Any]:
    """The keys of a question; raises BadQuestion that names the key."""
    if not isinstance(given, dict):
        raise BadQuestion('a question is a JSON object, such as {"series": [{"event": "view"}]}')
    known = [field.data_key or name for name, field in schema.fields.items()]
    for name in given:
        if name not in known:
            raise BadQuestion(f"{name[:40]}: isn't a key; there are {', '.join(known)}", field=name[:40])
    try:
        asked: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        name, reasons = next(iter(dict(error.messages_dict).items()))
        raise BadQuestion(f"{name}: {reason_of(reasons)}", field=str(name)) from None
    return asked


def reason_of(reasons: Any) -> str:
    """Marshmallow's first reason, as text."""
    while isinstance(reasons, dict):
        reasons = next(iter(reasons.values()))
    return " ".join(map(str, reasons)).rstrip(".")


class CommonSchema(Schema):
    """Keys of every kind of question."""

    first = fields.String(
        data_key="from",
        attribute="from",
        load_default="-30d",
        metadata={
            "description": "First day, an instant, or back from now: -30d, -12h, -6mo, the running unit included"
        },
    )
    last = fields.String(
        data_key="to",
        attribute="to",
        load_default=None,
        allow_none=True,
        metadata={"description": "Last day, that day included, or an instant; default: now"},
    )
    tz = fields.String(load_default="UTC", metadata={"description": "Time zone of hours, days, weeks and months"})
    week_start = fields.String(load_default="monday", validate=validate.OneOf(WEEKDAYS))
    app = fields.String(load_default=None, allow_none=True, metadata={"description": "Events of this application only"})
    where = fields.List(
        fields.Raw(),
        load_default=list,
        metadata={"description": 'Filters that all must hold: {"field", "op", "value"}, or all, any, not of filters'},
    )
    segment = fields.Raw(
        load_default=None, allow_none=True, metadata={"description": "Id of a saved segment, or a rule in place"}
    )
    subject = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": '"person" (default), "session", or the field whose values are the subjects'},
    )
    robots = fields.Raw(load_default=False, metadata={"description": 'false: left out; true: only robots; "all"'})
    as_of = fields.Raw(
        load_default=None,
        allow_none=True,
        metadata={"description": "Persons and their properties as they were known at this time"},
    )
    explain = fields.Raw(load_default=None, allow_none=True, metadata={"description": '"query": the plan in meta.plan'})


class TrendSchema(CommonSchema):
    series = fields.List(
        fields.Raw(),
        required=True,
        metadata={"description": 'Steps with "name" and "measure", such as {"event": "buy", "measure": "sum:price"}'},
    )
    formula = fields.String(load_default=None, allow_none=True, metadata={"description": "Over names: (A - B) / C"})
    unit = fields.String(load_default=None, allow_none=True, metadata={"description": "Of the figures; given back"})
    interval = fields.String(load_default="day", validate=validate.OneOf(INTERVALS))
    by = fields.List(fields.String(), load_default=list, metadata={"description": "Up to two fields"})
    top = fields.Integer(
        load_default=10,
        allow_none=True,
        strict=True,
        validate=validate.Range(min=1, max=MAX_TOP),
        metadata={"description": "Largest groups by the first series' total; null: all, up to 10,000"},
    )
    compare = fields.Raw(
        load_default=None, allow_none=True, metadata={"description": '"previous", or {"from": …, "to": …}'}
    )


class ValuesSchema(CommonSchema):
    field = fields.String(required=True, metadata={"description": "The field whose values are listed"})
    event = fields.Raw(load_default=None, allow_none=True, metadata={"description": "A name, or a list of names"})
    top = fields.Integer(load_default=100, strict=True, validate=validate.Range(min=1, max=10_000))
    search = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=MAX_TEXT),
        metadata={"description": "Text that the value contains"},
    )


class PropertiesSchema(CommonSchema):
    event = fields.Raw(load_default=None, allow_none=True, metadata={"description": "A name, or a list of names"})


class EventsSchema(CommonSchema):
    event = fields.Raw(load_default=None, allow_none=True, metadata={"description": "A name, or a list of names"})
    limit = fields.Integer(load_default=100, strict=True, validate=validate.Range(min=1, max=1000))
    cursor = fields.String(load_default=None, allow_none=True, metadata={"description": "From the page before"})
    order = fields.String(load_default="newest", validate=validate.OneOf(("newest", "oldest")))


class MetaSchema(Schema):
    """How the answer was made, and what it can be trusted with."""

    first = fields.String(data_key="from", metadata={"description": "Start, UTC"})
    last = fields.String(data_key="to", metadata={"description": "End, UTC, excluded"})
    tz = fields.String()
    exact = fields.Boolean()
    error_bound = fields.Float(metadata={"description": "Where exact is false: how far a figure may be off"})
    watermark = fields.String(metadata={"description": "Every event acknowledged before it is in the answer"})
    as_of = fields.String(allow_none=True)
    segment = fields.Dict(allow_none=True, metadata={"description": "Id and version of the segment that was asked for"})
    robots = fields.Dict()
    ignored_values = fields.Integer(metadata={"description": "Events with a value that could not be compared"})
    engine = fields.String()
    took_ms = fields.Float()
    plan = fields.Dict(metadata={"description": 'With explain: "query"'})


class AnswerSchema(Schema):
    """The result, and how it was made."""

    result = fields.Dict()
    meta = fields.Nested(MetaSchema)
