"""What can be saved, as marshmallow schemas. `definition` checks one."""

from __future__ import annotations

import re
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, validate

from metronome.dialects.query.schemas import reason_of
from metronome.errors import BadQuestion

#: Largest definition, in bytes.
MOST_BYTES = 64 * 1024

TYPES = ("total", "timeSerie", "funnel", "lifecycle")

_ID = re.compile(r"[a-z0-9-]{1,64}")

_UNIT = re.compile(r"%|int|float|duration|currency:[A-Z]{3}")


class ThingSchema(Schema):
    """What every saved thing has."""

    title = fields.String(required=True, validate=validate.Length(min=1, max=200))
    desc = fields.String(load_default="", validate=validate.Length(max=2000))


def _unit(**given: Any) -> Any:
    said = "%, int, float, duration, or currency: and three letters such as currency:EUR"
    return fields.String(
        validate=validate.Regexp(_UNIT.pattern + r"\Z", error=f"there are {said}"),
        metadata={"description": said},
        **given,
    )


class MetricSchema(ThingSchema):
    type = fields.String(required=True, validate=validate.OneOf(TYPES))
    unit = _unit(load_default="float")
    order = fields.Integer(
        load_default=None,
        allow_none=True,
        strict=True,
        metadata={"description": "Place in a list; default: behind the others"},
    )
    query = fields.Raw(
        load_default=None,
        allow_none=True,
        metadata={"description": "A question of the kind trend, funnel or lifecycle"},
    )
    request = fields.Raw(
        load_default=None,
        allow_none=True,
        metadata={"description": '{"url", "params"}: the result of a POST to a host of METRONOME_IMPORT_HOSTS'},
    )


class SeriesSchema(ThingSchema):
    unit = _unit(load_default="float")


class DashboardSchema(ThingSchema):
    order = fields.Integer(load_default=None, allow_none=True, strict=True)
    tiles = fields.List(
        fields.Dict(), required=True, metadata={"description": 'Such as {"metric": "active-users-by-day"}'}
    )


SCHEMAS: dict[str, Schema] = {"metrics": MetricSchema(), "series": SeriesSchema(), "dashboards": DashboardSchema()}


def definition(what: str, data: bytes) -> dict[str, Any]:
    """A thing as it was sent, checked; raises BadQuestion that names the key."""
    if len(data) > MOST_BYTES:
        raise BadQuestion(f"a saved thing has at most {MOST_BYTES} bytes")
    try:
        found: dict[str, Any] = SCHEMAS[what].load(orjson.loads(data))
    except ValidationError as error:
        name, reasons = next(iter(dict(error.messages_dict).items()))
        known = ", ".join(SCHEMAS[what].fields)
        raise BadQuestion(f"{str(name)[:40]}: {reason_of(reasons)}; there are {known}", field=str(name)[:40]) from None
    except ValueError as error:
        raise BadQuestion(f"the body isn't JSON: {error}") from None
    return found


def checked_id(given: str) -> str:
    if not _ID.fullmatch(given):
        raise BadQuestion(f"id: {given[:80]!r}: 1 to 64 of a-z, 0-9 and -", field="id")
    return given
