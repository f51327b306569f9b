"""Names: any JSON object becomes one flat event that Elasticsearch takes. What had to change is said in the receipt.

Elasticsearch (8.19 and 9.2, with our template) refuses a document for four things only: an empty or blank
name, a name of its metadata, one dotted name given twice with two types, and an array of mixed types. The first
three are settled by renaming, the last by writing the elements as text.

Almost every event has names that were seen before, and plain values. `Names.settle` only copies such an event.
"""

from __future__ import annotations

import json
from typing import Any

from metronome.event.fields import AGENT_NAMES, METADATA, OWNED, PRIVATE, Event
from metronome.settings import Settings

#: A renamed property keeps its own name behind this one, so that all of them stand together in Kibana.
RENAMED = "renamed."

#: Types of values that need no settling.
PLAIN = frozenset((str, int, float, bool, type(None)))

#: Most names that are remembered. Whoever sends more makes names up, so remembering them saves nothing.
_MAX_KNOWN = 20_000


class Unacceptable(Exception):
    """Why one event can't be taken: the field at fault, if one is, and what to do.

    An event that is `kept` goes to the quarantine even where nothing else of its request was accepted.
    """

    def __init__(self, reason: str, field: str | None = None, *, kept: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.kept = kept


class Names:
    """The rules on names. Names that were found good are remembered, so that the next event with them costs less."""

    def __init__(self, settings: Settings) -> None:
        self._max_properties = settings.max_properties
        self._max_depth = settings.max_depth
        self._max_key_length = settings.max_key_length
        self._known: set[str] = set()

    def settle(self, posted: Any) -> Event:
        """A new flat event made of `posted`; raises Unacceptable.

        The event is a plain dict if its names were seen before and nothing had to change. Else it is a `Settled`,
        which lists for the receipt what was renamed and withheld.
        """
        if type(posted) is not dict:
            raise Unacceptable('an event is a JSON object, such as {"id": "home"}')
        plain = PLAIN.issuperset(map(type, posted.values()))
        if plain and posted.keys() <= self._known and len(posted) <= self._max_properties:
            return posted.copy()
        return self._settle_slowly(posted)

    def _settle_slowly(self, posted: dict[str, Any]) -> Event:
        settled = Settled(self._max_depth)
        settled.take(posted)
        if len(settled) > self._max_properties:
            raise Unacceptable(f"{len(settled)} properties; at most {self._max_properties} are taken")
        for name in settled:
            if len(name) > self._max_key_length:
                raise Unacceptable(
                    f"the name is {len(name)} characters long; at most {self._max_key_length} are taken",
                    name[:64],
                )
        if settled.flags:
            settled["flags"] = sorted(settled.flags)
        elif len(self._known) + len(settled) < _MAX_KNOWN:
            self._known.update(settled)
        return settled


class Settled(dict[str, Any]):
    """A flat event that is built property by property, and a list of what was renamed and withheld."""

    def __init__(self, max_depth: int) -> None:
        super().__init__()
        self.max_depth = max_depth
        self.flags: set[str] = set()
        self.renamed: list[tuple[str, str]] = []
        self.withheld: list[str] = []

    def take(self, value: Any, prefix: str = "", depth: int = 1) -> None:
        """Put every leaf of an object under its dotted name."""
        if depth > self.max_depth:
            raise Unacceptable(f"objects are nested more than {self.max_depth} deep", prefix[:64].rstrip(".") or None)
        for key, inner in value.items():
            name = prefix + key
            if type(inner) is dict and inner:
                self.take(inner, name + ".", depth + 1)
            elif type(inner) is list:
                self._take_list(name, inner, depth)
            elif type(inner) is dict:
                self._put(name, None)
            else:
                self._put(name, inner)

    def _take_list(self, name: str, values: list[Any], depth: int) -> None:
        # [1, 2], ["a", "b"], [[1], [2]]        stays an array
        # [1, "b"]                              Elasticsearch can't take a new field of two types: ["1", "b"]
        # [{"b": 1}, {"c": 2}]                  one array a leaf, padded so that positions still match
        if any(type(value) is dict for value in values):
            for leaf, column in self._columns(name, values, depth).items():
                self._put_list(leaf, column)
        else:
            self._put_list(name, values)

    def _columns(self, name: str, values: list[Any], depth: int) -> dict[str, list[Any]]:
        """`a: [{"b": 1}, {"c": {"d": 2}}]` gives `{"a.b": [1, None], "a.c.d": [None, 2]}`."""
        columns: dict[str, list[Any]] = {}
        for position, value in enumerate(values):
            leaves: dict[str, Any] = {name: value}
            if type(value) is dict:
                row = Settled(self.max_depth)
                row.take(value, name + ".", depth + 1)
                self.flags |= row.flags
                self.renamed += row.renamed
                self.withheld += row.withheld
                leaves = row
            for leaf, inner in leaves.items():
                columns.setdefault(leaf, [None] * len(values))[position] = inner
        return columns

    def _put_list(self, name: str, values: list[Any]) -> None:
        kinds = _kinds(values, self.max_depth)
        if len(kinds) > 1 or "object" in kinds:
            values = _as_text(values)
            self.flags.add("mixed_array")
        self._put(name, values)

    def _put(self, name: str, value: Any) -> None:
        lower = name.lower()
        if lower in AGENT_NAMES:
            self.setdefault(AGENT_NAMES[0], value)
            return
        if lower in PRIVATE:
            self.withheld.append(name)
            self.flags.add("withheld")
            return
        if not name.strip() or name in METADATA or name in OWNED:
            self._rename(name, name.strip() or "empty", value)
            return
        if name in self:
            # Of two values for one dotted name the last keeps the name.
            self._rename(name, name, self[name])
        self[name] = value

    def _rename(self, name: str, stem: str, value: Any) -> None:
        new, number = RENAMED + stem, 2
        while new in self:
            new, number = f"{RENAMED}{stem}.{number}", number + 1
        self[new] = value
        self.renamed.append((name, new))
        self.flags.add("renamed_keys")


def _kinds(values: list[Any], depth_left: int) -> set[str]:
    """The types Elasticsearch would see: `number`, `text`, `object`."""
    if depth_left < 0:
        raise Unacceptable("arrays are nested too deep")
    kinds: set[str] = set()
    for value in values:
        if type(value) is list:
            kinds |= _kinds(value, depth_left - 1)
        elif type(value) is bool:
            kinds.add("flag")
        elif isinstance(value, int | float):
            kinds.add("number")
        elif isinstance(value, str):
            kinds.add("text")
        elif type(value) is dict:
            kinds.add("object")
            _kinds(list(value.values()), depth_left - 1)  # for its depth
    # Text and flags are both keywords.
    return {"text" if kind == "flag" else kind for kind in kinds}


def _as_text(values: list[Any]) -> list[Any]:
    return [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    ]
