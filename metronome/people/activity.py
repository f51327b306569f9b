"""In which hour, day, week and month of the calendar a moment lies. Source: openmetrics contract, section 3.2."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from metronome.periods import to_ms

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Buckets:
    """Numbers since 1970-01-01, in UTC. Weeks start on Monday; the first of them has four days."""

    hour: int
    day: int
    week: int
    month: int


def buckets(moment: datetime) -> Buckets:
    """The buckets of a moment: for activity that of receipt, not that which the client says."""
    moment = moment.astimezone(UTC)
    hour = to_ms(moment) // _HOUR_MS
    day = hour // 24
    return Buckets(hour, day, (day + 3) // 7, 12 * (moment.year - 1970) + moment.month - 1)
