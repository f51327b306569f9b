"""Names: any JSON object becomes one flat event that Elasticsearch takes. What had to change is said in the receipt.

Elasticsearch (8.19 and 9.2, with our template) refuses a document for four things only: an empty or blank
name, a name of its metadata, one dotted name given twice with two types, and an array of mixed types. The first
three are settled by renaming, the last by writing the elements as text.

What isn't stored for privacy is withheld here (event/privacy.py): by its name, or because it is an IP address.

Settling draws from a budget, so that a small event can't cost much: each value that is looked at, and each place of an
array that is made, counts. An event that has used it up would be too large to be stored, and is refused at once.

Almost every event has names that were seen before, and plain values. `Names.settle` only copies such an event.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from metronome.event.fields import AGENT_NAMES, METADATA, OWNED, Event
from metronome.event.privacy import Privacy, is_address
from metronome.settings import Settings

#: A renamed property keeps its own name behind this one, so that all of them stand together in Kibana.
RENAMED = "renamed."

_AGENT = AGENT_NAMES[0]

#: Types of values that need no settling.
PLAIN = frozenset((str, int, float, bool, type(None)))

#: What Elasticsearch would take a value for. Flags and texts are both keywords.
_KINDS = {str: "text", bool: "text", int: "number", float: "number"}

_HOLDERS = {dict, list}

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
        self._limits = Limits(
            settings.max_properties, settings.max_depth, settings.max_key_length, settings.max_event_bytes // 2
        )
        self.privacy = Privacy(settings.keep_fields, settings.keep_parameters)
        self._known: set[str] = set()

    def settle(self, posted: Any, *, addresses: bool = True) -> Event:
        """A new flat event made of `posted`; raises Unacceptable.

        The event is a plain dict if its names were seen before and nothing had to change. Else it is a `Settled`,
        which lists for the receipt what was renamed and withheld. Without `addresses` no value can be one.
        """
        if type(posted) is not dict:
            raise Unacceptable('an event is a JSON object, such as {"id": "home"}')
        plain = PLAIN.issuperset(map(type, posted.values()))
        known = plain and len(posted) <= self._limits.properties and posted.keys() <= self._known
        if known and not (addresses and self.privacy.hides(posted)):
            return posted.copy()
        return self._settle_slowly(posted)

    def _settle_slowly(self, posted: dict[str, Any]) -> Event:
        settled = Settled(self._limits, self.privacy)
        settled.take(posted)
        if settled.flags:
            settled["flags"] = sorted(settled.flags)
        elif len(self._known) + len(settled) < _MAX_KNOWN:
            self._known.update(settled)
        return settled


class Limits(NamedTuple):
    """What one event may have; `values` is the budget of values and of places in arrays."""

    properties: int
    depth: int
    key_length: int
    values: int


class Settled(dict[str, Any]):
    """A flat event that is built property by property, and a list of what was renamed and withheld.

    `withheld` are names, each with its kind: `name` or `address`.
    """

    def __init__(self, limits: Limits, privacy: Privacy) -> None:
        super().__init__()
        self.limits = limits
        self.privacy = privacy
        self.left = limits.values
        self.flags: set[str] = set()
        self.renamed: list[tuple[str, str]] = []
        self.withheld: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def take(self, value: dict[str, Any]) -> None:
        """Put every leaf of an object under its dotted name."""
        for name, inner in self._leaves(value, "", 1):
            if type(inner) is list:
                self._put_list(name, inner)
            else:
                self._put(name, inner)

    def draw(self, values: int) -> None:
        """Take from the budget; raises Unacceptable once there is no more."""
        self.left -= values
        if self.left < 0:
            raise Unacceptable(
                f"more than {self.limits.values} values, places in arrays of objects included; send less in one event"
            )

    def _leaves(self, value: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
        if depth > self.limits.depth:
            raise Unacceptable(
                f"objects are nested more than {self.limits.depth} deep", prefix[:64].rstrip(".") or None
            )
        self.draw(len(value))
        for key, inner in value.items():
            name = prefix + key
            if len(name) > self.limits.key_length:
                most = self.limits.key_length
                raise Unacceptable(f"the name is {len(name)} characters long; at most {most} are taken", name[:64])
            # [1, 2], ["a", "b"], [[1], [2]]        stays an array
            # [1, "b"]                              Elasticsearch can't take a new field of two types: ["1", "b"]
            # [{"b": 1}, {"c": 2}]                  one array a leaf, padded so that positions still match
            if type(inner) is dict and inner:
                yield from self._leaves(inner, name + ".", depth + 1)
            elif type(inner) is list:
                self.draw(len(inner))
                if any(type(value) is dict for value in inner):
                    yield from self._columns(name, inner, depth).items()
                else:
                    yield name, inner
            else:
                yield name, None if type(inner) is dict else inner

    def _columns(self, name: str, values: list[Any], depth: int) -> dict[str, list[Any]]:
        """`a: [{"b": 1}, {"c": {"d": 2}}]` gives `{"a.b": [1, None], "a.c.d": [None, 2]}`."""
        columns: dict[str, list[Any]] = {}

        def place(leaf: str, value: Any) -> None:
            if leaf not in columns:
                self.draw(len(values))
                columns[leaf] = [None] * len(values)
            columns[leaf][position] = value

        for position, row in enumerate(values):
            times: Counter[str] = Counter()
            leaves = self._leaves(row, name + ".", depth + 1) if type(row) is dict else ((name, row),)
            for leaf, inner in leaves:
                times[leaf] += 1
                if times[leaf] > 1:
                    # Of two values for one dotted name the last keeps the name.
                    new = f"{RENAMED}{leaf}" if times[leaf] == 2 else f"{RENAMED}{leaf}.{times[leaf] - 1}"
                    place(new, columns[leaf][position])
                    self._note_rename(leaf, new)
                place(leaf, inner)
        return columns

    def _put_list(self, name: str, values: list[Any]) -> None:
        kinds = _kinds(values, self.limits.depth, self.draw)
        if "object" in kinds:
            # Objects in arrays of arrays become text, in which no name is looked at any more.
            values = self.privacy.without(values, f"{name}.")
        if self.privacy.kind(name) in ("", "page") and holds_address(values):
            self._withhold(name, "address")
            return
        if len(kinds) > 1 or "object" in kinds:
            values = _as_text(values)
            self.flags.add("mixed_array")
        self._put(name, values)

    def _put(self, name: str, value: Any) -> None:
        kind = self.privacy.kind(name)
        if kind == "agent":
            agent = _first_text(value)
            self[_AGENT] = self.get(_AGENT) or agent
            if type(value) is list and value != [agent]:
                self._withhold(name, "name")  # the rest of the array isn't stored either
        elif kind == "withheld":
            self._withhold(name, "name")
        elif kind != "kept" and is_address(value):
            self._withhold(name, "address")
        elif not name.strip() or name in METADATA or name in OWNED:
            self._rename(name, name.strip() or "empty", value)
        else:
            if name in self:
                # Of two values for one dotted name the last keeps the name.
                self._rename(name, name, self[name])
            self[name] = value
        if len(self) > self.limits.properties:
            raise Unacceptable(f"more than {self.limits.properties} properties (METRONOME_MAX_PROPERTIES)")

    def _withhold(self, name: str, kind: str) -> None:
        self.withheld[name] = kind
        self.flags.add("withheld")

    def _rename(self, name: str, stem: str, value: Any) -> None:
        new = RENAMED + stem
        # Numbers go on where they stopped. From the start, the names of one stem would cost the square of their number.
        number = self._numbers.get(stem, 1)
        while new in self:
            number += 1
            new = f"{RENAMED}{stem}.{number}"
        self._numbers[stem] = number
        self[new] = value
        self._note_rename(name, new)

    def _note_rename(self, name: str, new: str) -> None:
        self.renamed.append((name, new))
        self.flags.add("renamed_keys")


def holds_address(value: Any) -> bool:
    """Whether a value is an address, or an array that holds one."""
    # Level by level, since a call for each of many empty arrays costs more than all the rest.
    level = [value]
    while level:
        if any(map(is_address, [inner for inner in level if type(inner) is str])):
            return True
        level = list(chain.from_iterable([inner for inner in level if type(inner) is list]))
    return False


def _first_text(value: Any) -> Any:
    """The agent itself, also where a header's values are an array."""
    if type(value) is list:
        return next((inner for inner in value if type(inner) is str), None)
    return value


def _kinds(values: list[Any], depth_left: int, draw: Callable[[int], None]) -> set[str]:
    """The types Elasticsearch would see: `number`, `text`, `object`. Looks at one level of all arrays at a time."""
    if depth_left < 0:
        raise Unacceptable("arrays are nested too deep")
    types = set(map(type, values))
    kinds = {_KINDS[kind] for kind in types if kind in _KINDS}
    for kind in types & _HOLDERS:
        held: list[Any] = [value for value in values if type(value) is kind]
        inner = list(chain.from_iterable([value.values() for value in held] if kind is dict else held))
        draw(len(inner))
        found = _kinds(inner, depth_left - 1, draw)
        kinds |= {"object"} if kind is dict else found  # of objects only the depth matters
    return kinds


def _as_text(values: list[Any]) -> list[Any]:
    return [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    ]
