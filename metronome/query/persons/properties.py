"""The properties of persons, folded from their `$set` events in day parts."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from metronome.event.identity import SET
from metronome.parts import where
from metronome.parts.read import NONE, Mask, Rows, Wanted
from metronome.people.fold import owner_of
from metronome.people.properties import Change, Properties, fold_properties
from metronome.periods import from_ms, to_ms, to_text
from metronome.query.persons.numbers import AT, RECEIVED, SEQ, SOMEBODY
from metronome.query.persons.scene import Scene

_ID, _SOURCE, _SENT = (Wanted(name, "text", plain=True) for name in ("_id", "_source", "_subject"))
_IDENTIFIED = Mask((where.Exists("distinct_id"),))

_PLAIN = re.compile(r"[\w.-]+", re.ASCII)

#: About what a change takes in memory beside its document.
_CHANGE_BYTES = 1000


def properties_of(
    scene: Scene, *, persons: Collection[str] | None = None, names: Collection[str] | None = None
) -> dict[str, Properties]:
    """Person to properties; of these persons, of these names, where they are given. Others may be in it as well."""
    changes: dict[str, list[Change]] = defaultdict(list)
    held = 0
    wanted: list[Wanted | Mask] = [AT, SEQ, RECEIVED, _ID, _SOURCE, _SENT, _IDENTIFIED]
    for rows, _ in scene.read(wanted, _asked(scene, persons, names)):
        found = _changes(scene, rows)
        held += sum(_CHANGE_BYTES + len(rows.columns[_SOURCE].values[place]) for place in range(rows.count))
        scene.budget.hold(held)
        for person, change in zip(scene.view.resolve([one.owner for one in found]), found, strict=True):
            changes[person].append(change)
    return {person: _folded(scene, person, own) for person, own in changes.items()}


def _asked(scene: Scene, persons: Collection[str] | None, names: Collection[str] | None) -> where.Where:
    parts: list[where.Where] = [where.Is("event", (SET,)), SOMEBODY]
    if scene.as_of is not None:
        parts.append(where.Between("@timestamp", lte=to_ms(scene.as_of)))
    if persons is not None:
        ids = [name for person in persons for name in scene.view.ids_of(person)]
        parts.append(where.Is("_subject", tuple(scene.view.sent_under(ids))))
    # A column can't tell null, which is a value here, from none. The text can; other names may be written escaped.
    if names is not None and all(map(_PLAIN.fullmatch, names)):
        parts.append(where.Any(tuple(where.Contains("_source", name) for name in sorted(names))))
    return where.All(tuple(parts))


def _changes(scene: Scene, rows: Rows) -> list[Change]:
    columns = [rows.columns[one].values.tolist() for one in (AT, SEQ, RECEIVED, _ID, _SOURCE, _SENT, _IDENTIFIED)]
    found = []
    for at, seq, received, name, source, sent, identified in zip(*columns, strict=True):
        if at == NONE:
            continue
        owner = sent if identified else owner_of(sent, 0 if received == NONE else received, scene.view.moves)
        # As it was sent: a part's columns know neither null nor arrays in arrays.
        event = json.loads(source)
        found.append(Change(owner, at, -1.0 if seq == NONE else float(seq), _text(received), name, event))
    return found


def _text(received: Any) -> str:
    return "" if received == NONE else to_text(from_ms(received))


def _folded(scene: Scene, person: str, changes: list[Change]) -> Properties:
    folded = scene.view.folded(person)
    cluster = folded.clusters.get(person)
    ids = [person] if cluster is None else cluster.ids
    return fold_properties(ids, folded.joined, changes)
