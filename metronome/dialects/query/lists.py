"""Values, properties and events: the kinds of questions that give a list.

Source: query contract, section 6.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from metronome.dialects.query.draw import exactly, from_parts
from metronome.dialects.query.read import Common, event, own_name
from metronome.dialects.query.trend import unique_of
from metronome.errors import BadQuestion
from metronome.periods import to_text
from metronome.query import (
    All,
    Answer,
    Ask,
    Condition,
    Contains,
    Count,
    EventsOf,
    Listing,
    Page,
    Properties,
    PropertiesOf,
    Question,
    Values,
    asks_persons,
    of_field,
    property_of,
)
from metronome.query.condition import typed

#: Whether day parts have answered, the result, and the answers that it was made of.
Result = tuple[bool, dict[str, Any], list[Answer]]


def values(asked: Mapping[str, Any], common: Common, ask: Ask) -> Result:
    """The values of a field, in most events first, with the number of subjects that have events with the value."""
    name, search = own_name(asked["field"]), asked["search"]
    searched = [of_field(name, lambda one: Contains(one, search))] if search else []
    where = All(common.where, event(asked["event"], "values"), *searched)
    counted, unique = (
        Question(where, measure, (Values(name),), common.period) for measure in (Count(), unique_of(common.subject))
    )
    parts = common.subject == "person" or asks_persons(where) or property_of(name) is not None
    if parts:
        answers = ask(from_parts(counted, common), from_parts(unique, common))
    else:
        answers, parts = exactly((counted, unique), common, ask)
    subjects = {typed(row.key[0]): row.value for row in answers[1].rows}
    rows = [
        {"value": row.key[0], "events": row.value, "subjects": subjects.get(typed(row.key[0]))}
        for row in answers[0].rows
        # An event of several values fits by one of them; the others aren't searched for.
        if not search or (isinstance(row.key[0], str) and search in row.key[0])
    ]
    return parts, {"values": rows[: asked["top"]]}, answers


def properties(asked: Mapping[str, Any], common: Common, ask: Ask) -> Result:
    """The fields of the events, in most events first."""
    where = All(common.where, event(asked["event"], "properties"))
    counted: Question = Question(where, period=common.period)
    listed: Properties = Properties(where, common.period)
    if parts := asks_persons(where):
        counted, listed = from_parts(counted, common), PropertiesOf(where, common.period, common.as_of)
    answer, found = ask(counted, listed)
    rows = [
        {
            "name": one.name,
            "types": list(one.types),
            "events": one.events,
            "values": one.values,
            "values_exact": one.exact,
            "first_seen": _text(one.first_seen),
            "last_seen": _text(one.last_seen),
        }
        for one in found
    ]
    return parts, {"properties": rows}, [answer]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)


def events(asked: Mapping[str, Any], common: Common, ask: Ask, key: bytes) -> Result:
    """The events themselves. `cursor` leads to the next page of the same question, null at the end."""
    mark = mark_of(asked)
    after = None if asked["cursor"] is None else opened(asked["cursor"], mark, key)
    where = All(common.where, event(asked["event"], "events"))
    parts, counted, page = page_of(where, asked, common, ask, after)
    cursor = None if page.after is None else closed(page.after, mark, key)
    return parts, {"events": list(page.events), "cursor": cursor, "total": page.total}, [counted]


def page_of(
    where: Condition, asked: Mapping[str, Any], common: Common, ask: Ask, after: Any, *, in_order: bool = False
) -> tuple[bool, Answer, Page]:
    """A page of events, how many there are, and whether day parts have answered: they know whose events are."""
    limit, newest = asked["limit"], asked["order"] == "newest"
    counted: Question = Question(where, period=common.period)
    listing: Listing = Listing(where, common.period, limit, newest, in_order, after)
    if parts := asks_persons(where):
        counted = from_parts(counted, common)
        listing = EventsOf(where, common.period, limit, newest, in_order, after, common.as_of)
    answer, page = ask(counted, listing)
    return parts, answer, page


def mark_of(asked: Mapping[str, Any], *further: Any) -> str:
    """A text that differs between different questions; which page is asked for makes no difference."""
    same = [{**asked, "cursor": None, "limit": None}, *further]
    return hashlib.blake2b(orjson.dumps(same, option=orjson.OPT_SORT_KEYS), digest_size=9).hexdigest()


def closed(after: Any, mark: str, key: bytes) -> str:
    """A cursor: where a page ended, signed."""
    body = orjson.dumps({"of": mark, "after": after})
    return base64.urlsafe_b64encode(_signature(body, key) + body).decode()


def opened(cursor: str, mark: str, key: bytes) -> Any:
    """Where the page before ended; raises BadQuestion."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode())
    except ValueError:
        raw = b""
    signature, body = raw[:16], raw[16:]
    if not hmac.compare_digest(signature, _signature(body, key)):
        raise BadQuestion("cursor: it isn't one of ours; take it from the page before", field="cursor")
    held = orjson.loads(body)
    if held["of"] != mark:
        raise BadQuestion("cursor: it belongs to another question; ask the same one for its next page", field="cursor")
    return held["after"]


def _signature(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:16]
