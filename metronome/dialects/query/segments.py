"""Segments: from a rule's JSON to a condition on the persons of events.

    {"all": [R…]}, {"any": [R…]}, {"not": R}
    {"person": filter}                                                         a property of the person
    {"did": step, "at_least": 3, "at_most": null, "within": "30d"}             back from the question's `to`
    {"ids": ["u1", …]}                                                         any ids of the persons

A segment is about persons, so what a question says of events (`where`, `app`) doesn't change who is in it. Events that
are counted by `did` are those that the question's `robots` leaves. Source: query contract, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from metronome.dialects.query.journeys import duration_ms
from metronome.dialects.query.read import MAX_DEPTH, MAX_FILTERS, Common, condition, only, robots, step
from metronome.errors import BadQuestion, Forbidden
from metronome.periods import Period
from metronome.query import All, AnyOf, Condition, Did, Ids, Is, Not, OfPerson, asks_persons, property_of
from metronome.query.persons.rules import leaves_of, rules_of
from metronome.segments import Segment

#: Most ids in one rule.
MAX_IDS = 100_000


@dataclass(frozen=True)
class Setting:
    """What a rule needs of the question that it is asked in."""

    period: Period
    robots: Condition
    app: str = ""


def with_segment(common: Common, asked: Mapping[str, Any], app: str, saved: Callable[[str], Segment]) -> Common:
    """The question narrowed to its segment's persons, if it names one; raises BadQuestion, NotFound, Forbidden.

    `app` is what the request's key is bound to. It is told nothing that follows from other applications' events.
    """
    given = asked["segment"]
    if given is not None:
        found = saved(given) if isinstance(given, str) else None
        setting = Setting(common.period, robots(asked["robots"]), app)
        rule = read(found.rule if found else given, "segment", setting)
        said = {"id": found.id, "version": found.version} if found else {"id": None, "version": None}
        common = replace(common, where=All(common.where, OfPerson(rule, somebody=True)), segment=said)
    others = any(not isinstance(leaf, Did) for one in rules_of(common.where) for leaf in leaves_of(one.rule))
    if app and (others or _names_property(asked)):
        raise Forbidden(f"properties and ids of persons are one for all applications, and this key is bound to {app!r}")
    return common


#: Keys whose text names a field, or a property of persons.
_NAMING = ("field", "by", "node", "hold", "measure")


def _names_property(given: Any, key: str = "") -> bool:
    """Whether a filter or a grouping anywhere in the question, in a step for instance, is about persons' properties."""
    if isinstance(given, list):
        return any(_names_property(one, key) for one in given)
    if isinstance(given, Mapping):
        return any(_names_property(value, str(name)) for name, value in given.items())
    return key in _NAMING and isinstance(given, str) and property_of(given.removeprefix("unique:")) is not None


def read(given: Any, at: str, setting: Setting, depth: int = 0) -> Condition:
    """A rule as a condition on persons; raises BadQuestion."""
    if depth > MAX_DEPTH:
        raise BadQuestion(f"{at}: rules are nested deeper than {MAX_DEPTH}", field="segment")
    if not isinstance(given, dict):
        raise BadQuestion(f'{at}: a rule is an object such as {{"did": {{"event": "buy"}}}}', field="segment")
    for name, made in _RULES.items():
        if name in given:
            return made(given, at, setting, depth + 1)
    raise BadQuestion(f"{at}: a rule has one of {', '.join(_RULES)}", field="segment")


def _several(name: str, made: Callable[..., Condition]) -> Callable[[Any, str, Setting, int], Condition]:
    def several(given: Any, at: str, setting: Setting, depth: int) -> Condition:
        only(given, (name,), at)
        rules = given[name]
        if not isinstance(rules, list) or len(rules) > MAX_FILTERS:
            raise BadQuestion(f"{at}.{name}: a list of at most {MAX_FILTERS} rules", field="segment")
        return made(*(read(one, f"{at}.{name}[{n}]", setting, depth) for n, one in enumerate(rules)))

    return several


def _not(given: Any, at: str, setting: Setting, depth: int) -> Condition:
    only(given, ("not",), at)
    return Not(read(given["not"], f"{at}.not", setting, depth))


def _person(given: Any, at: str, setting: Setting, depth: int) -> Condition:
    only(given, ("person",), at)
    return _of_properties(condition(given["person"], f"{at}.person"))


def _of_properties(asked: Condition) -> Condition:
    """A filter on properties: they may be called `plan`, or `person.plan` as beside fields of events."""
    if isinstance(asked, All | AnyOf):
        return type(asked)(*map(_of_properties, asked.parts))
    if isinstance(asked, Not):
        return Not(_of_properties(asked.part))
    return asked.rule if isinstance(asked, OfPerson) else asked


def _did(given: Any, at: str, setting: Setting, depth: int) -> Condition:
    only(given, ("did", "at_least", "at_most", "within"), at)
    where = step(given["did"], f"{at}.did")
    if asks_persons(where):
        raise BadQuestion(f"{at}.did: a step of events; what persons are stands beside it, in all", field="segment")
    least, most, within = given.get("at_least", 1), given.get("at_most"), given.get("within")
    if type(least) is not int or least < 0:
        raise BadQuestion(f"{at}.at_least: a whole number from 0", field="segment")
    if most is not None and (type(most) is not int or most < least):
        raise BadQuestion(f"{at}.at_most: a whole number from at_least, or null", field="segment")
    end = setting.period.end
    assert end is not None
    start = None
    if within is not None:
        start = end - timedelta(milliseconds=duration_ms(str(within), f"{at}.within"))
    counted = All(where, setting.robots, *([Is("app", setting.app)] if setting.app else []))
    return Did(counted, Period(start, end), least, most)


def _ids(given: Any, at: str, setting: Setting, depth: int) -> Condition:
    only(given, ("ids",), at)
    ids = given["ids"]
    if not isinstance(ids, list) or len(ids) > MAX_IDS or not all(isinstance(one, str) for one in ids):
        raise BadQuestion(f"{at}.ids: a list of at most {MAX_IDS:,} ids as text", field="segment")
    return Ids(frozenset(ids))


_RULES: dict[str, Callable[[Any, str, Setting, int], Condition]] = {
    "all": _several("all", All),
    "any": _several("any", AnyOf),
    "not": _not,
    "person": _person,
    "did": _did,
    "ids": _ids,
}
