"""The receipt: what became of each event of a request.

The answer to a batch stays under 3 KB, whatever the batch held: shippers read little of an answer (Fluent Bit reads
4,096 bytes, takes a longer one for a failure, and sends the batch again for ever). `?receipt=full` has all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from metronome.event.fields import Event
from metronome.intake.settle import Settled, Unacceptable

#: Bytes of a short answer that each of its lists may take.
_ROOM = {"rejected": 900, "renamed": 400, "withheld": 400, "cut": 300}

#: Bytes of one text in a row of a short answer.
_MOST_TEXT = 200


@dataclass
class Receipt:
    """What became of each event of a request.

    `ids` has one entry a position: the id by which a retry is recognised, or None where the event was refused.
    `rejected` are those refused, with position, insert_id, field and reason. `quarantined` counts those of them that
    are kept in the quarantine. `suppressed` counts events of people who were erased;
    nothing of them is kept.
    """

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    suppressed: int = 0
    ids: list[str | None] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    #: With `echo`: the document of each position as it will be stored, None where it was refused.
    records: list[bytes | None] = field(default_factory=list)
    #: How many properties weren't stored whole: withheld by `name` or as an `address`, or cut as that of a `page`.
    hidden: Counter[str] = field(default_factory=Counter)
    #: Position, renamed names and withheld names of each event that had to change.
    _changes: list[tuple[int, list[tuple[str, str]], dict[str, str]]] = field(default_factory=list)
    #: Position and names of the page addresses that were cut.
    _cuts: list[tuple[int, Sequence[str]]] = field(default_factory=list)

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was taken, so that the events are still the sender's."""
        return bool(self.rejected) and not (self.accepted or self.duplicate or self.quarantined)

    @property
    def renamed(self) -> Iterable[dict[str, Any]]:
        """The names that had to change."""
        return (
            {"index": at, "from": _text(old), "to": _text(new)}
            for at, renamed, _ in self._changes
            for old, new in renamed
        )

    @property
    def withheld(self) -> Iterable[dict[str, Any]]:
        """The properties that aren't stored, for privacy."""
        return ({"index": at, "field": _text(name)} for at, _, withheld in self._changes for name in withheld)

    @property
    def cut(self) -> Iterable[dict[str, Any]]:
        """The addresses of web pages that aren't stored whole."""
        return ({"index": at, "field": _text(name)} for at, names in self._cuts for name in names)

    def refuse(self, position: int, posted: Any, why: Unacceptable) -> None:
        given = posted.get("insert_id") if isinstance(posted, dict) else None
        # As text: a number may have more digits than JSON's writer takes.
        insert_id = _text(str(given)) if isinstance(given, str | int | float) else None
        field = None if why.field is None else _text(why.field)
        self.rejected.append({"index": position, "id": insert_id, "field": field, "reason": _text(why.reason)})
        self.ids.append(None)
        self.records.append(None)

    def suppress(self) -> None:
        self.suppressed += 1
        self.ids.append(None)
        self.records.append(None)

    def note(self, position: int, event: Event, cut: Sequence[str] = ()) -> None:
        """Remember what had to change about an event that was accepted; `cut` names addresses of web pages."""
        if type(event) is Settled and (event.renamed or event.withheld):
            self._changes.append((position, event.renamed, event.withheld))
            self.hidden.update(event.withheld.values())
        if cut:
            self._cuts.append((position, cut))
            self.hidden["page"] += len(cut)

    def as_dict(self, *, full: bool, ids: bool = False) -> dict[str, Any]:
        """The answer's body: with everything if `full`, else under 3 KB.

        Of each list the short one has the first rows and the total. It has no ids unless `ids`, for a single event.
        `renamed`, `withheld` and `cut` are left out where there is nothing to say.
        """
        body: dict[str, Any] = {
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "quarantined": self.quarantined,
        }
        if self.suppressed:
            body["suppressed"] = self.suppressed
        if full or ids:
            body["ids"] = self.ids
        totals = {
            "rejected": len(self.rejected),
            "renamed": sum(len(renamed) for _, renamed, _ in self._changes),
            "withheld": sum(len(withheld) for _, _, withheld in self._changes),
            "cut": self.hidden["page"],
        }
        for name, total in totals.items():
            if total or name == "rejected":
                rows: Iterable[dict[str, Any]] = getattr(self, name)
                body[name] = list(rows) if full else _first(rows, _ROOM[name])
                body[f"{name}_total"] = total
        return body


def _first(rows: Iterable[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """The first rows, with long texts cut, that take at most so many bytes as JSON."""
    found = []
    for row in rows:
        short = {name: _cut(value) if isinstance(value, str) else value for name, value in row.items()}
        room -= len(orjson.dumps(short)) + 1
        if room < 0:
            break
        found.append(short)
    return found


def _text(text: str) -> str:
    """A text that can be written: halves of surrogate pairs become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _cut(text: str) -> str:
    """A text that takes at most `_MOST_TEXT` bytes as JSON."""
    if len(text) <= _MOST_TEXT // 6:  # a character takes six bytes at most, such as \\u0000
        return text
    short = text[:_MOST_TEXT]
    while len(orjson.dumps(short)) > _MOST_TEXT:
        short = short[: len(short) * 3 // 4]
    return short if short == text else short[:-1] + "…"
