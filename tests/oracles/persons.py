"""Persons by brute force: whose an event is, who is in a segment, who was seen when. Reads as semantics, sections 7 and
8, and the query contract, sections 1 and 6, are written. Events have times in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from metronome.event.identity import LINKS
from metronome.periods import to_ms
from metronome.query.condition import All, AnyOf, Condition, Not
from metronome.query.persons.questions import Members
from metronome.query.persons.rules import Did, Ids, OfPerson
from oracles.people import Oracle

Event = dict[str, Any]


def people_of(events: Sequence[Event], as_of: datetime | None = None) -> Oracle:
    links = []
    for event in events:
        if event["event"] not in LINKS or not event.get("linked_id") or not event.get("distinct_id"):
            continue
        if event["event"] in ("$merge", "$unmerge") and not event.get("merged_by"):
            continue
        if as_of is not None and event["@timestamp"] > to_ms(as_of):
            continue
        links.append(
            {
                "at": event["@timestamp"],
                "id": event["_id"],
                "kind": event["event"],
                "source": event["linked_id"],
                "target": event["distinct_id"],
                "reverses": event.get("reverses", ""),
                "session": event.get("dialect") == "openmetrics" and event.get("session_id") == event["linked_id"],
            }
        )
    return Oracle(links)


def person_of(event: Event, people: Oracle) -> str | None:
    """An event of `/v1` without another id is its session's; that of a tick is nobody's."""
    if event.get("distinct_id") is not None:
        return people.resolve(event["distinct_id"])
    if event.get("dialect") == "openmetrics" and event.get("session_id") is not None:
        return people.resolve(people.owner(event["session_id"], event.get("received_at", 0)))
    return None


def with_persons(events: Sequence[Event], as_of: datetime | None = None) -> list[Event]:
    """The events, each with its person under `who`."""
    people = people_of(events, as_of)
    return [{**event, "who": person_of(event, people)} for event in events]


class Known:
    """What rules ask of persons; `events` have `who`."""

    def __init__(self, events: Sequence[Event], as_of: datetime | None = None) -> None:
        self.events = events
        self.people = people_of(events, as_of)

    def meets(self, rule: Condition, person: str | None) -> bool:
        if isinstance(rule, All):
            return all(self.meets(part, person) for part in rule.parts)
        if isinstance(rule, AnyOf):
            return any(self.meets(part, person) for part in rule.parts)
        if isinstance(rule, Not):
            return not self.meets(rule.part, person)
        if isinstance(rule, Ids):
            return person in {self.people.resolve(name) for name in rule.ids}
        assert isinstance(rule, Did)
        low = -(10**18) if rule.period.start is None else to_ms(rule.period.start)
        high = 10**18 if rule.period.end is None else to_ms(rule.period.end)
        did = [
            event
            for event in self.events
            if event["who"] == person and low <= event["@timestamp"] < high and rule.where.holds(event)
        ]
        count = 0 if person is None else len(did)
        return rule.at_least <= count and (rule.at_most is None or count <= rule.at_most)

    def holds(self, condition: Condition, event: Event) -> bool:
        """Whether an event meets a condition, parts of which are about its person."""
        if isinstance(condition, OfPerson):
            nobody = event["who"] is None and condition.somebody
            return not nobody and self.meets(condition.rule, event["who"])
        if isinstance(condition, All):
            return all(self.holds(part, event) for part in condition.parts)
        if isinstance(condition, AnyOf):
            return any(self.holds(part, event) for part in condition.parts)
        if isinstance(condition, Not):
            return not self.holds(condition.part, event)
        return condition.holds(event)


def members(question: Members, events: Sequence[Event]) -> list[tuple[str, int, int, int]]:
    """All persons of a list in its order: id, first seen, last seen, events."""
    assert question.period.start is not None and question.period.end is not None
    events = with_persons(events, question.as_of)
    known = Known(events, question.as_of)
    rows = []
    for person in {event["who"] for event in events} - {None}:
        own = [event["@timestamp"] for event in events if event["who"] == person and known.holds(question.where, event)]
        inside = [at for at in own if to_ms(question.period.start) <= at < to_ms(question.period.end)]
        if inside:
            rows.append((person, min(own), max(own), len(inside)))
    place = {"first_seen": 1, "last_seen": 2, "events": 3}[question.sort]
    return sorted(rows, key=lambda row: (-row[place], row[0]))
