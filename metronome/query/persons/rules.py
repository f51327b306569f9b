"""Conditions on persons: a rule is a tree of All, AnyOf and Not over these and over conditions on properties.

OfPerson(All(Is("plan", "pro"), Did(Is("event", "buy"), period, at_least=3)))

In a rule, a condition on a field asks about the person's property of that name. Whether an event meets `OfPerson` isn't
in the event, so only what reads day parts can ask it. Source: query contract, sections 1 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from metronome.event.fields import Event
from metronome.people.view import View
from metronome.periods import Period, from_ms
from metronome.query.condition import All, AnyOf, Between, Condition, In, Is, Missing, Not


class OnPerson(Condition):
    """What is asked of a person; no event can answer it."""

    def holds(self, event: Event) -> bool:
        raise TypeError("an event doesn't say who its person is")

    def fields(self) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True)
class Did(OnPerson):
    """The person has so many events of these in the period; `at_most` None is no bound."""

    where: Condition
    period: Period = Period()
    at_least: int = 1
    at_most: int | None = None

    def fits(self, count: int) -> bool:
        return count >= self.at_least and (self.at_most is None or count <= self.at_most)


@dataclass(frozen=True)
class Ids(OnPerson):
    """The person has one of these ids."""

    ids: frozenset[str]


@dataclass(frozen=True)
class OfPerson(OnPerson):
    """The event's person meets the rule. An event of nobody meets it as one would of whom nothing is known.

    With `somebody`, an event of nobody never does: a segment is made of persons.
    """

    rule: Condition
    somebody: bool = False


def property_of(field: str) -> str | None:
    """`plan` for `person.plan`, which is no field of events but the person's property; None for another."""
    before, _, name = field.partition(".")
    return name if before == "person" and name else None


def of_field(field: str, made: Callable[[str], Condition]) -> Condition:
    """A condition on a field, or on the property of the event's person that the field names."""
    name = property_of(field)
    return made(field) if name is None else OfPerson(made(name))


def events_of(view: View, name: str) -> Condition:
    """The events of the person that has this id: by `distinct_id`, and those of `/v1` without one by their session."""
    ids = view.ids_of(name)
    ways: list[Condition] = [In("session_id", tuple(one for one in ids if one not in view.moves))]
    for session in view.sent_under(ids):
        owned = [(0, session), *view.moves.get(session, ())]
        for place, (since, owner) in enumerate(owned if session in view.moves else ()):
            if owner in ids:
                until = from_ms(owned[place + 1][0]) if place + 1 < len(owned) else None
                ways.append(All(Is("session_id", session), Between("received_at", gte=from_ms(since), lt=until)))
    return AnyOf(In("distinct_id", ids), All(Missing("distinct_id"), Is("dialect", "openmetrics"), AnyOf(*ways)))


def asks_persons(condition: Condition) -> bool:
    """Whether the condition, or a part of it, asks about the person of an event."""
    return any(True for _ in rules_of(condition))


def rules_of(condition: Condition) -> Iterator[OfPerson]:
    """The parts of a condition on events that ask about persons."""
    if isinstance(condition, OfPerson):
        yield condition
    elif isinstance(condition, All | AnyOf):
        for part in condition.parts:
            yield from rules_of(part)
    elif isinstance(condition, Not):
        yield from rules_of(condition.part)


def leaves_of(rule: Condition) -> Iterator[Condition]:
    """The parts of a rule that aren't All, AnyOf or Not."""
    if isinstance(rule, All | AnyOf):
        for part in rule.parts:
            yield from leaves_of(part)
    elif isinstance(rule, Not):
        yield from leaves_of(rule.part)
    else:
        yield rule
