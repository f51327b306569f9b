"""Bulk bodies: two lines for each event, the action and the source. They are sent unchanged, and parsed if need be."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from metronome.spool.suppressed import Suppression

_INDEX = re.compile(rb'\{"create": ?\{"_index": ?"([^"]+)"')


@dataclass
class Item:
    """One event of a body. `races` counts how often it lost a race with another event for the type of a new name."""

    action: bytes
    source: bytes
    races: int = 0

    @property
    def index(self) -> bytes:
        found = _INDEX.match(self.action)
        return found.group(1) if found else b""


def count(body: bytes) -> int:
    """The number of events in a body. Its last line may lack the line feed."""
    return (body.count(b"\n") + (not body.endswith(b"\n"))) // 2


def indices(body: bytes, events: int) -> set[bytes]:
    """Names of the indices that the events go to. Mostly it is one index, so counting its name is tried first.

    That costs less than reading every action line.
    """
    first = _INDEX.match(body)
    if first and body.count(first.group()) == events:
        return {first.group(1)}
    return set(_INDEX.findall(body))


def lines(items: list[Item]) -> bytes:
    return b"".join(b"%b\n%b\n" % (item.action, item.source) for item in items)


def items(body: bytes) -> list[Item]:
    parts = body.rstrip(b"\n").split(b"\n")
    return [Item(action, source) for action, source in zip(parts[::2], parts[1::2], strict=True)]


def by_index(items: list[Item]) -> dict[bytes, list[Item]]:
    found: dict[bytes, list[Item]] = {}
    for item in items:
        found.setdefault(item.index, []).append(item)
    return found


def is_suppressed(item: Item, suppression: Suppression) -> bool:
    """Whether an event is that of a person who was erased. Intake has made it flat."""
    try:
        event = orjson.loads(item.source)
    except ValueError:
        return False
    return isinstance(event, dict) and suppression.holds(event)
