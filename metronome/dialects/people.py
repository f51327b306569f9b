"""People: what is known of one, and linking two by hand.

    GET  /people/<id>            any id of the person; ?as_of= gives what was known then
    POST /people/<id>/merge      {"with": "u2", "reason": "…", "confirm": true}     u2 becomes this person
    POST /people/<id>/unmerge    {"link": "<_id>", "reason": "…", "confirm": true}  takes a link back

A merge is an event that only this route can write (`$merge`, with `merged_by`), so it is kept, archived and restored
with the others, and says for ever who did it and why. Taking it back is another event (`$unmerge`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import Schema, fields

from metronome.dialects import Dialect, Doors, Paths, errors
from metronome.errors import BadPayload, BadQuestion, Forbidden, NotFound
from metronome.event.identity import BY, LINKED, MERGE, REVERSES, UNMERGE, problem_of
from metronome.intake import Origin
from metronome.people import Person
from metronome.people.fold import Link
from metronome.periods import from_ms, read_time, to_text
from metronome.wire.access import bound_app, current, needs
from metronome.wire.request import cacheable, json_answer, loaded

NAME = "people"


class _Confirmed(Schema):
    reason = fields.String(load_default="", metadata={"description": "Why, kept in the event"})
    confirm = fields.Boolean(load_default=False, metadata={"description": "true, or nothing is done"})


class MergeSchema(_Confirmed):
    with_ = fields.String(
        required=True, data_key="with", metadata={"description": "Any id of the other, who becomes this person"}
    )


class UnmergeSchema(_Confirmed):
    link = fields.String(required=True, metadata={"description": "`_id` of the link, as `GET /people/{id}` lists it"})


class LinkSchema(Schema):
    link = fields.String(metadata={"description": "The `_id` of the event that says so: `unmerge` takes it back"})


class PersonSchema(Schema):
    id = fields.String()
    ids = fields.List(fields.String())
    properties = fields.Dict(metadata={"description": '`{"plan": {"value": "pro", "set_at": …}}`'})
    first_seen = fields.String(allow_none=True)
    last_seen = fields.String(allow_none=True)
    events = fields.Integer()
    links = fields.List(
        fields.Dict(), metadata={"description": "Each with `link`, `kind`, `at`, `from`, `to`; `refused` with a reason"}
    )


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)

    @routes.get("/people/<id>")
    @needs("read")
    def person(id: str) -> Response:  # noqa: A002 - the name of the route's parameter
        _refuse_bound()
        found = doors.people.person(id, _as_of())
        if not found.events and not found.links:
            raise NotFound(f"no event and no link has the id {id[:200]!r}")
        return cacheable(from_person(found))

    @routes.post("/people/<id>/merge")
    @needs("admin")
    def merge(id: str) -> Response:  # noqa: A002
        _refuse_bound()
        given = _read(MergeSchema(), doors, f"people {id[:200]!r} and `with` would be one from now on")
        for name in (id, given["with_"]):
            if problem := problem_of(name):
                raise BadPayload(problem)
        return _write(doors, {"event": MERGE, "distinct_id": id, LINKED: given["with_"], "reason": given["reason"]})

    @routes.post("/people/<id>/unmerge")
    @needs("admin")
    def unmerge(id: str) -> Response:  # noqa: A002
        _refuse_bound()
        given = _read(UnmergeSchema(), doors, "the link would be as if it had never been there")
        link = doors.people.find_link(id, given["link"])
        if link is None:
            raise NotFound(f"no link {given['link'][:100]!r} has to do with {id[:200]!r}; GET /people/ID lists them")
        event = {"event": UNMERGE, "distinct_id": link.target, LINKED: link.source, REVERSES: link.id}
        return _write(doors, {**event, "reason": given["reason"]})

    return routes


def from_person(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "ids": person.ids,
        "properties": {name: found._asdict() for name, found in person.properties.items()},
        "first_seen": person.first_seen,
        "last_seen": person.last_seen,
        "events": person.events,
        "links": [_link(link, person.refused) for link in person.links],
    }


def _link(link: Link[str], refused: dict[str, str]) -> dict[str, Any]:
    said = {"link": link.id, "kind": link.kind, "at": to_text(from_ms(link.at)), "from": link.source, "to": link.target}
    if link.reverses:
        said["reverses"] = link.reverses
    if link.id in refused:
        said["refused"] = refused[link.id]
    return said


def _refuse_bound() -> None:
    if app := bound_app():
        raise Forbidden(f"people are one for all applications, and this key is bound to {app!r}; take another")


def _as_of() -> datetime | None:
    for name in request.args:
        if name != "as_of":
            raise BadQuestion(f"{name[:40]}: isn't a parameter; there is as_of", field=name[:40])
    given = request.args.get("as_of")
    try:
        return read_time(given) if given else None
    except ValueError as error:
        raise BadQuestion(str(error), field="as_of") from None


def _read(schema: Schema, doors: Doors, what: str) -> dict[str, Any]:
    """The body; raises BadPayload, also where it isn't confirmed."""
    given = loaded(request, doors.settings, schema)
    if not given["confirm"]:
        raise BadPayload(f'{what}; send "confirm": true to do it', field="confirm")
    return given


def _write(doors: Doors, event: dict[str, Any]) -> Response:
    access = current()
    by = Origin(NAME, key=access.key, address=access.address, facts={BY: access.key or "local"})
    receipt = doors.intake.accept([event], by, whole=True)
    if receipt.rejected:
        first = receipt.rejected[0]
        raise BadPayload(f"{first['field'] or 'the event'}: {first['reason']}")
    return json_answer({"link": receipt.ids[0]}, 202)


def paths() -> Paths:
    person = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}, "example": "u1"}
    as_of = {
        "in": "query",
        "name": "as_of",
        "schema": {"type": "string"},
        "description": "What was known at this time",
    }

    def linking(summary: str, schema: type[Schema]) -> dict[str, Any]:
        answer = {"description": "On disk; within 2 s every count knows", "content": {_JSON: {"schema": LinkSchema}}}
        return {
            "summary": summary,
            "parameters": [person],
            "requestBody": {"content": {_JSON: {"schema": schema}}},
            "responses": {"202": answer, **errors(400, 404, 503)},
        }

    found = {"description": "The person", "content": {_JSON: {"schema": PersonSchema}}}
    return {
        "/people/{id}": {
            "get": {
                "summary": "What is known of a person",
                "parameters": [person, as_of],
                "responses": {"200": found, **errors(400, 404, 503)},
            }
        },
        "/people/{id}/merge": {"post": linking("Say that two people are one", MergeSchema)},
        "/people/{id}/unmerge": {"post": linking("Take a link between ids back", UnmergeSchema)},
    }


_JSON = "application/json"

DIALECT = Dialect(NAME, "Who is whom: ids of one person, their properties, and links made by hand.", blueprint, paths)
