"""Timeline and people: the events of one person or session, and lists of persons.

Source: query contract, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate

from metronome.dialects import Doors
from metronome.dialects.query.lists import Result, closed, mark_of, opened, page_of
from metronome.dialects.query.read import Common
from metronome.dialects.query.schemas import CommonSchema
from metronome.errors import BadQuestion
from metronome.people.properties import Properties
from metronome.periods import to_text
from metronome.query import (
    All,
    Answer,
    Is,
    Members,
    Seen,
    events_of,
)

SORTS = ("last_seen", "first_seen", "events")


class TimelineSchema(CommonSchema):
    subject_id = fields.String(required=True, metadata={"description": "Any id of the person; or that of a session"})
    limit = fields.Integer(load_default=100, strict=True, validate=validate.Range(min=1, max=1000))
    cursor = fields.String(load_default=None, allow_none=True, metadata={"description": "From the page before"})
    order = fields.String(load_default="newest", validate=validate.OneOf(("newest", "oldest")))


class PeopleSchema(CommonSchema):
    limit = fields.Integer(load_default=100, strict=True, validate=validate.Range(min=1, max=1000))
    cursor = fields.String(load_default=None, allow_none=True, metadata={"description": "From the page before"})
    sort = fields.String(
        load_default="last_seen",
        validate=validate.OneOf(SORTS),
        metadata={"description": "The greatest first"},
    )


def timeline(asked: Mapping[str, Any], common: Common, doors: Doors, key: bytes) -> Result:
    """The events of a person, or with `subject` those of a session (or of another field's value), page by page."""
    name = asked["subject_id"]
    if common.subject == "person":
        view = doors.people.view(common.as_of)
        ids: list[str] = list(view.ids_of(name))
        who, about = events_of(view, name), ("person", lambda: _person(doors, name, common))
    else:
        ids, who = [name], Is(common.subject, name)
        about = (
            "session" if common.subject == "session_id" else "subject",
            lambda: _subject(doors, name, Seen(who, common.period)),
        )
    where = All(common.where, who)
    # Who is whom may change between two pages; then the pages would be of two persons.
    mark = mark_of(asked, ids)
    after = None if asked["cursor"] is None else opened(asked["cursor"], mark, key)
    parts, counted, page = page_of(where, asked, common, doors.ask, after, in_order=True)
    cursor = None if page.after is None else closed(page.after, mark, key)
    found = {about[0]: about[1](), "events": list(page.events), "cursor": cursor, "total": page.total}
    return parts, found, [counted]


def _person(doors: Doors, name: str, common: Common) -> dict[str, Any]:
    found = doors.people.person(name, common.as_of)
    return {
        "id": found.id,
        "ids": list(found.ids),
        "properties": _properties(found.properties),
        "first_seen": found.first_seen,
        "last_seen": found.last_seen,
        "events": found.events,
    }


def _subject(doors: Doors, name: str, question: Seen) -> dict[str, Any]:
    (found,) = doors.ask(question)
    first, last = (None if at is None else to_text(at) for at in (found.first, found.last))
    return {"id": name, "first_seen": first, "last_seen": last, "events": found.events}


def people(asked: Mapping[str, Any], common: Common, doors: Doors, key: bytes) -> Result:
    """Persons with an event in the range that meets `where`, and who are in the segment."""
    if common.subject != "person":
        raise BadQuestion('subject: people are persons; leave it out, or say "person"', field="subject")
    mark = mark_of(asked, common.segment)
    after = None if asked["cursor"] is None else tuple(opened(asked["cursor"], mark, key))
    (found,) = doors.ask(Members(common.where, common.period, asked["sort"], asked["limit"], after, common.as_of))
    rows = [
        {
            "id": one.id,
            "ids": list(one.ids),
            "properties": _properties(one.properties),
            "first_seen": to_text(one.first_seen),
            "last_seen": to_text(one.last_seen),
            "events": one.events,
        }
        for one in found.members
    ]
    cursor = None if found.after is None else closed(list(found.after), mark, key)
    return True, {"people": rows, "cursor": cursor, "total": found.total}, [Answer(watermark=found.watermark)]


def _properties(properties: Properties) -> dict[str, Any]:
    return {name: {"value": one.value, "set_at": one.set_at} for name, one in sorted(properties.items())}
