"""Kinds of fields: which values an index has for a field. Several of Elasticsearch's types may be one kind.

A field's first value in a day's index decides its type there, so one field may be text on Monday and a number on
Tuesday. Named fields have the type of the table in `event/fields.py`.

    number     doubles and whole numbers
    text       keywords
    mixed      keywords, some of which were sent as flags
    flags      keywords whose first value in the index was a flag: "true" stands for true
    flag       Elasticsearch's own booleans
    date       times
    other      a type that can't be grouped by, such as analysed text of a foreign template
    none       the index doesn't have the field
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metronome.event.fields import FIELDS
from metronome.periods import from_ms, to_text

_OF_TYPE = {
    **dict.fromkeys(("keyword", "constant_keyword", "wildcard"), "text"),
    **dict.fromkeys(("double", "float", "half_float", "scaled_float"), "number"),
    **dict.fromkeys(("long", "integer", "short", "byte", "unsigned_long"), "number"),
    **dict.fromkeys(("date", "date_nanos"), "date"),
    "boolean": "flag",
    "unmapped": "none",
}

NAMED = {field.name: _OF_TYPE[field.kind] for field in FIELDS}

#: Named fields whose every value is indexed as it was sent.
WHOLE = frozenset(name for name, kind in NAMED.items() if kind != "number")

TEXTS = ("text", "mixed", "flags")


class Kinds(tuple[tuple[str, str], ...]):
    """Maps a field to its kind; hashable. A field that isn't in it has the kind of its row in event/fields.py."""

    def of(self, field: str) -> str:
        return next((kind for name, kind in self if name == field), NAMED.get(field, "none"))


#: The kinds for questions that read named fields only.
AS_NAMED = Kinds()


def read(caps: Mapping[str, Any], fields: Iterable[str]) -> list[tuple[tuple[str, ...] | None, Kinds]]:
    """Turn field capabilities into sets of indices that agree about the kinds, each with these kinds.

    None in place of the indices means that all of them agree.
    """
    described = {field: _by_kind(caps["fields"].get(field, {})) for field in fields}
    if all(len(kinds) <= 1 for kinds in described.values()):
        return [(None, Kinds((field, next(iter(kinds), "none")) for field, kinds in described.items()))]
    classes: dict[Kinds, list[str]] = {}
    for index in caps["indices"]:
        kinds = Kinds((field, _kind_in(index, kinds)) for field, kinds in described.items())
        classes.setdefault(kinds, []).append(index)
    return [(tuple(indices), kinds) for kinds, indices in classes.items()]


def kind_of(described: Mapping[str, Any]) -> str:
    """The kind of one field by its entry in a mapping."""
    kind = _OF_TYPE.get(described.get("type", "object"), "other")
    if kind == "text" and "flag" in (said := described.get("meta", {}).get("kind", "")):
        return "flags" if said == "flag" else "mixed"
    return kind


def _by_kind(types: Mapping[str, Any]) -> dict[str, frozenset[str] | None]:
    """Kind to the indices that have it (None: all). An index without the field agrees with every other."""
    found: dict[str, frozenset[str] | None] = {}
    for name, described in types.items():
        kind = _OF_TYPE.get(name, "other")
        if kind == "none":
            continue
        said = described.get("meta", {}).get("kind", [])
        if kind == "text" and "flag" in said:
            kind = "flags" if said == ["flag"] else "mixed"
        indices = frozenset(described["indices"]) if "indices" in described else None
        # Two types of one kind, such as long and double, are one.
        held = found.get(kind, frozenset())
        found[kind] = None if indices is None or held is None else held | indices
    return found


def _kind_in(index: str, kinds: Mapping[str, frozenset[str] | None]) -> str:
    return next((kind for kind, indices in kinds.items() if indices is None or index in indices), "none")


def as_sent(value: Any, kind: str) -> Any:
    """Turn a value of the index into the one that was sent: 404 for 404.0, True for a flag."""
    if kind == "flag":
        return value in (True, 1, "true")
    if kind in ("flags", "mixed") and value in ("true", "false"):
        return bool(value == "true")
    if kind == "date":
        return to_text(from_ms(value))
    return value if kind in TEXTS else plain(value)


def plain(number: Any) -> Any:
    """`3` for `3.0`: all numbers are stored as doubles, however they were sent."""
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number
