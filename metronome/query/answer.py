"""What comes back of a question, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Answer:
    """Counts in the order asked for: ascending bucket starts for `Every`, else largest first, ties by name.

    `counts` has text keys (values, or "" for a total), `buckets` the starts of `Every` in UTC. `exact` is False where
    Elasticsearch estimates (unique counts above 40,000).
    """

    counts: dict[str, int] = field(default_factory=dict)
    buckets: dict[datetime, int] = field(default_factory=dict)
    exact: bool = True

    @property
    def total(self) -> int:
        return sum(self.counts.values()) + sum(self.buckets.values())
