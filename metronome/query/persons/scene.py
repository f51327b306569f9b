"""What one question sees, and what it may cost: the days that there are, and who is whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from metronome.parts.closed import read_days
from metronome.parts.read import Mask, Rows, Wanted
from metronome.parts.where import Where
from metronome.people.view import View
from metronome.query.journeys.columns import Array
from metronome.query.journeys.days import Budget, Days


@dataclass(frozen=True)
class Scene:
    """`there` are the days, ascending; the time it is `as_of` is known to the view already."""

    days: Days
    there: list[date]
    view: View
    budget: Budget
    as_of: datetime | None = None

    def read(self, wanted: Sequence[Wanted | Mask], where: Where) -> Iterator[tuple[Rows, Array]]:
        """The rows of all days that fit, batch by batch; beside them the place of each row's day. Raises TooMuch."""
        own, once = self.days.own(), list(dict.fromkeys(wanted))
        for rows, of_day in read_days(self.days.folder(), own, self.there, once, where):
            self.budget.check()
            self.budget.read(rows.count)
            yield rows, of_day


def open_scene(days: Days, budget: Budget, as_of: datetime | None = None) -> Scene:
    """Parts up to date, persons as known; raises TooMuch, StoreUnavailable, PartsUnavailable."""
    there = days.update()
    budget.check()
    return Scene(days, there, days.resolver.view(as_of), budget, as_of)
