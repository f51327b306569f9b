"""POST /tick: one event or a batch in, a receipt out."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Request, Response, request
from marshmallow import EXCLUDE, Schema, fields

from metronome.counter.usage import Came
from metronome.dialects import Doors
from metronome.errors import error_body
from metronome.event.fields import ITEM_NAMES
from metronome.intake import Receipt
from metronome.wire.access import current, needs, origin
from metronome.wire.caller import PARAMETER, visitor_agent
from metronome.wire.events import Posted, from_pairs
from metronome.wire.request import json_answer, let_pages_call, receipted
from metronome.wire.request import posted as read_posted

NAME = "tick"


class TickSchema(Schema):
    """One event. Any further property is taken and stored; nested objects are flattened with dots."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(
        metadata={
            "description": f"The item that the event is about; where it is absent {' or '.join(ITEM_NAMES[1:])} counts",
            "example": "home",
        }
    )
    event = fields.String(metadata={"description": "What happened; `view` if nothing says otherwise"})
    timestamp = fields.String(
        metadata={
            "description": "ISO 8601, Unix seconds or milliseconds; also `@timestamp`, `time`, `ts`. Default: now"
        }
    )
    insert_id = fields.String(metadata={"description": "Idempotency key: the same one twice is one event"})
    app = fields.String(metadata={"description": "Application or site"})
    distinct_id = fields.String(metadata={"description": "Who"})
    session_id = fields.String(metadata={"description": "The visit"})
    referer = fields.String(metadata={"description": "Address of the page that led here"})
    url = fields.String(metadata={"description": "Address of the page where it happened"})
    accept = fields.String(metadata={"description": "Media types the visitor asked for: view or download"})
    format = fields.String(metadata={"description": "Format of a download, such as csv"})
    user_agent = fields.String(metadata={"description": "The visitor's agent; judged, not stored"})


class RejectionSchema(Schema):
    index = fields.Integer(metadata={"description": "Position in the request, from 0"})
    id = fields.String(allow_none=True, metadata={"description": "The event's insert_id, if it had one"})
    field = fields.String(allow_none=True, metadata={"description": "The property at fault"})
    reason = fields.String(metadata={"description": "What is wrong and what to do"})


class ReceiptSchema(Schema):
    """The outcome for the events. Every event that isn't rejected is on disk.

    The answer to a batch is under 3 KB: it has the first rows of each list, and the totals. `?receipt=full` has all.
    """

    accepted = fields.Integer()
    duplicate = fields.Integer(metadata={"description": "Repeated an insert_id of the same request"})
    quarantined = fields.Integer(
        metadata={"description": "Of those rejected: how many the gateway keeps, to be mended"}
    )
    ids = fields.List(
        fields.String(allow_none=True),
        metadata={
            "description": "One a position: send it as insert_id to repeat safely. "
            "For a single event, and for a batch with `?receipt=full`"
        },
    )
    rejected = fields.List(fields.Nested(RejectionSchema))
    rejected_total = fields.Integer()
    renamed = fields.List(fields.Dict(), metadata={"description": "Names that had to change: index, from, to"})
    renamed_total = fields.Integer()
    withheld = fields.List(fields.Dict(), metadata={"description": "Properties not stored for privacy: index, field"})
    withheld_total = fields.Integer()
    cut = fields.List(fields.Dict(), metadata={"description": "Addresses of web pages not stored whole: index, field"})
    cut_total = fields.Integer()


def to_events(posted: Posted, given: dict[str, Any], headers: dict[str, str]) -> Posted:
    """What was posted, completed: query parameters hold for every event that doesn't say otherwise, headers for a
    single tick."""

    def complete(event: Any) -> Any:
        if not isinstance(event, dict):
            return event
        if posted.batch:
            return {**given, **event}
        event = {**headers, **given, **event}
        if event.get("id") is not None:
            # The original's record has both (contract 2.1).
            event.setdefault("item_id", event["id"])
        return event

    if posted.batch and not given:
        return posted
    return Posted([complete(event) for event in posted.events], posted.batch)


def add_routes(routes: Blueprint, doors: Doors) -> None:
    let_pages_call(routes, "/tick")

    @routes.post("/tick", provide_automatic_options=False)
    @needs("write")
    def tick() -> Response:
        echo = request.args.get("echo", "") not in ("", "0", "false")
        posted = read_posted(request, doors.settings)
        given = from_pairs(list(request.args.items(multi=True)))
        given.pop("echo", None)
        full = given.get("receipt") == "full"
        if full:
            del given["receipt"]
        given.pop(PARAMETER, None)
        headers = {} if posted.batch else _headers(request)
        posted = to_events(posted, given, headers)
        agent = None if posted.batch else visitor_agent(request)
        came = origin(NAME, agent)
        events = posted.events
        if posted.may_be_usage:
            arrived = Came(came.address, request.headers.get("User-Agent", ""), doors.clock())
            events = doors.counter.usages.among(events, arrived, publishable=current().publishable)
        receipt = doors.intake.accept(events, came, echo=echo, flat=posted.flat, addresses=posted.addresses)
        return _answer(receipt, posted.batch, echo=echo, full=full)


def _headers(request: Request) -> dict[str, str]:
    """The request's headers that `/tock` needs. The others are never stored."""
    return {name: value for name in ("accept", "referer") if (value := request.headers.get(name))}


def _answer(receipt: Receipt, batch: bool, *, echo: bool, full: bool) -> Response:
    if receipt.is_refusal or not echo:
        return json_answer(receipted(receipt, full=full, ids=not batch), 202)
    refusals = {row["index"]: row for row in receipt.rejected}
    records = [
        record
        if record is not None
        else orjson.dumps(error_body(422, "refused", refusals[at]["reason"], refusals[at]["field"]))
        for at, record in enumerate(receipt.records)
    ]
    return json_answer(b"[" + b",".join(records) + b"]" if batch else records[0], 200)
