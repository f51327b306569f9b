"""What is known of a person: `$set` events in order, folded along with the links that made the person.

    set        takes the value                     unset      forgets the property
    set_once   only where there is none            add        a number more (or less) than there was

Where two persons become one, the target's values win and missing ones are copied; where `/v1/setUserId` says it, those
of the session win (contract, section 3.3). Each value keeps the time at which it was set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from metronome.people.fold import Link

#: A person's properties: name to value and the time at which it was set.
Properties = dict[str, "Property"]


class Property(NamedTuple):
    value: Any
    set_at: str


@dataclass(frozen=True)
class Change:
    """A `$set` event: whose it is, and its place in the total order of events."""

    owner: str
    at: int
    seq: float
    received_at: str
    id: str
    event: Mapping[str, Any]

    @property
    def place(self) -> tuple[int, float, str, str]:
        return self.at, self.seq, self.received_at, self.id


def fold_properties(person: Iterable[str], joined: Iterable[Link[str]], changes: Iterable[Change]) -> Properties:
    """The properties of the person that these ids are, by the links that joined them."""
    of: dict[str, tuple[list[str], Properties]] = {name: ([name], {}) for name in person}
    steps: list[tuple[tuple[int, float, str, str], Link[str] | Change]] = [
        *(((link.at, -1.0, "", link.id), link) for link in joined if link.target in of),
        *((change.place, change) for change in changes if change.owner in of),
    ]
    for _, step in sorted(steps, key=lambda step: step[0]):
        if isinstance(step, Change):
            apply(step.event, of[step.owner][1])
            continue
        (source_ids, source), (target_ids, target) = of[step.source], of[step.target]
        target_ids += source_ids
        both = {**target, **source} if step.session else {**source, **target}
        of.update(dict.fromkeys(target_ids, (target_ids, both)))
    # Every id of the person has the same properties in the end.
    return next((found for _, found in of.values()), {})


def apply(event: Mapping[str, Any], properties: Properties) -> None:
    """Change properties by one `$set` event, a flat document."""
    at = str(event.get("@timestamp"))
    unset = event.get("unset")
    for name in unset if isinstance(unset, list) else [unset]:
        properties.pop(str(name), None)
    for key, value in event.items():
        how, dot, name = key.partition(".")
        if not dot:
            continue
        before = properties.get(name)
        if how == "set" or (how == "set_once" and before is None):
            properties[name] = Property(value, at)
        elif how == "add" and _is_number(value):
            base = before.value if before is not None and _is_number(before.value) else 0
            properties[name] = Property(base + value, at)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
