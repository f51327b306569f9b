"""The receipt: what became of each event of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from metronome.intake.settle import Refusal, Settled


@dataclass
class Receipt:
    """What became of each event of a request.

    `ids` has one entry a position: the id under which a retry is recognised, or None where it was refused.
    """

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    ids: list[str | None] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    renamed: list[dict[str, Any]] = field(default_factory=list)
    withheld: list[dict[str, Any]] = field(default_factory=list)
    #: With `echo`: the document of each position as it will be stored, None where it was refused.
    records: list[bytes | None] = field(default_factory=list)

    def refuse(self, position: int, posted: Any, refusal: Refusal) -> None:
        insert_id = posted.get("insert_id") if isinstance(posted, dict) else None
        row = {"index": position, "id": insert_id, "field": refusal.field, "reason": refusal.reason}
        self.rejected.append(row)
        self.ids.append(None)
        self.records.append(None)

    def note(self, position: int, event: Settled) -> None:
        """What had to change about an event that was accepted."""
        self.renamed += ({"index": position, "from": old, "to": new} for old, new in event.renamed)
        self.withheld += ({"index": position, "field": name} for name in event.withheld)

    def as_dict(self) -> dict[str, Any]:
        """The answer's body; `renamed` and `withheld` only where there is something to say."""
        body: dict[str, Any] = {
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "quarantined": self.quarantined,
            "ids": self.ids,
            "rejected": self.rejected,
        }
        if self.renamed:
            body["renamed"] = self.renamed
        if self.withheld:
            body["withheld"] = self.withheld
        return body
