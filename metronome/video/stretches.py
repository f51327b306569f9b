"""Play and pause become stretches of a video, by the rules of the video contract, section 3.1.

    play {from}      opens a stretch; it closes no other
    pause {to}       closes the open stretch that started last: elapsed = to - from. If `to` is below `from`, it is
                     dropped
    leave, the end   closes all open ones: elapsed = time since the start, but no more than the video has left

Positions and durations are seconds of the video, times are Unix time in milliseconds.
"""

from __future__ import annotations

import math
import re
from bisect import insort
from dataclasses import dataclass, field
from typing import Any

#: Coverage of the video whose crossing is an event of its own.
THRESHOLDS = (0.25, 0.5, 0.75, 0.95)

#: Digits of what is computed. Positions come with two or six decimals, and sums of floats need rounding.
DIGITS = 6

#: Most open stretches of a session. Players have one; further plays are stored, and open none.
MAX_OPEN = 100

#: Separate parts of a video that are remembered as seen. Further parts count as watched, and cross no threshold.
MAX_SEEN = 500

#: No video is as long, in seconds. Neither infinity nor NaN lies within.
MAX_POSITION = 1e13

_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{0,20})?([eE][+-]?\d{1,2})?")


def position_of(given: Any) -> float | None:
    """A position as players send it, a number or its text; None if it isn't a finite number."""
    if isinstance(given, str):
        given = float(given) if _NUMBER.fullmatch(given.strip()) else None
    if isinstance(given, bool) or not isinstance(given, int | float) or not -MAX_POSITION <= given <= MAX_POSITION:
        return None
    return float(given)


def duration_of(given: Any) -> float | None:
    """The length of a video; None where it isn't known, as for live streams."""
    duration = position_of(given)
    return duration if duration is not None and duration > 0 else None


@dataclass(frozen=True)
class Stretch:
    """An open stretch. `number` counts those of a session."""

    number: int
    start_ms: int
    start: float


@dataclass(frozen=True)
class Watched:
    """A closed stretch: from `stretch.start` to `to`."""

    stretch: Stretch
    to: float
    elapsed: float


def closed_at(stretch: Stretch, now_ms: int, duration: float | None) -> Watched:
    """The stretch of a viewer who was last known to play at `now_ms`."""
    elapsed = max(0.0, (now_ms - stretch.start_ms) / 1000)
    if duration is not None:
        elapsed = min(elapsed, max(0.0, duration - stretch.start))
    elapsed = round(elapsed, DIGITS)
    return Watched(stretch, round(stretch.start + elapsed, DIGITS), elapsed)


@dataclass
class Playing:
    """The stretches of one session that are open."""

    open: list[Stretch] = field(default_factory=list)
    count: int = 0

    def play(self, start: float, start_ms: int) -> Stretch | None:
        """Open a stretch; None if too many are open."""
        if len(self.open) >= MAX_OPEN:
            return None
        stretch = Stretch(self.count, start_ms, start)
        self.count += 1
        self.open.append(stretch)
        return stretch

    def pause(self, to: float) -> tuple[Stretch | None, Watched | None]:
        """The stretch that this closes, if one is open, and what was watched of it, unless it is dropped."""
        if not self.open:
            return None, None
        # Of two that started at one time, the later one counts as the latest.
        stretch = max(self.open, key=lambda one: (one.start_ms, one.number))
        self.open.remove(stretch)
        if to < stretch.start:
            return stretch, None
        return stretch, Watched(stretch, to, round(to - stretch.start, DIGITS))

    def close(self, now_ms: int, duration: float | None) -> list[Watched]:
        """Close all."""
        found = [closed_at(stretch, now_ms, duration) for stretch in self.open]
        self.open.clear()
        return found


class Parts(list[tuple[float, float]]):
    """Parts of a line, half-open, sorted and apart from each other."""

    @property
    def length(self) -> float:
        return round(math.fsum(end - start for start, end in self), DIGITS)

    def add(self, start: float, end: float) -> list[tuple[float, float]]:
        """Add a part; gives what of it is new."""
        fresh, kept, at = [], [], start
        low, high = start, end
        for part in self:
            if part[1] < start or part[0] > end:
                kept.append(part)
                continue
            if part[0] > at:
                fresh.append((at, part[0]))
            at = max(at, part[1])
            low, high = min(low, part[0]), max(high, part[1])
        if at < end:
            fresh.append((at, end))
        insort(kept, (low, high))
        self[:] = kept
        return fresh


def seconds_of(start: float, to: float) -> tuple[int, int]:
    """The whole seconds of a stretch, half-open: from its start, halves rounded up, to that of its end."""
    return math.floor(start + 0.5), math.floor(to) + 1


@dataclass
class Seen:
    """What a session has seen of its video.

    `order` counts the stretches that were closed; None once some part was forgotten.
    """

    parts: Parts = field(default_factory=Parts)
    seconds: Parts = field(default_factory=Parts)
    order: int | None = 0

    def count(self, watched: Watched) -> dict[str, int]:
        """The stretch's place among those of the session, and how many whole seconds of it weren't watched before.

        The seconds of all stretches up to a place add up to the distinct seconds of the session.
        """
        if self.order is None:
            return {}
        found = {"stretch.order": self.order, "stretch.fresh": 0}
        first, last = seconds_of(watched.stretch.start, watched.to)
        if first < last:
            found["stretch.fresh"] = int(math.fsum(high - low for low, high in self.seconds.add(first, last)))
        self.order = self.order + 1 if len(self.seconds) <= MAX_SEEN else None
        return found

    def cross(self, watched: Watched, duration: float | None) -> list[tuple[float, int]]:
        """Add a stretch; gives the thresholds of coverage that it crosses, each with its time in ms.

        The time is that at which playing from the stretch's start at speed 1 reached the threshold, so that it is the
        same however the stretch was closed.
        """
        start, end = max(0.0, watched.stretch.start), min(watched.to, duration or math.inf)
        if end <= start or len(self.parts) > MAX_SEEN:
            return []
        covered = self.parts.length
        fresh = self.parts.add(start, end)
        if not duration:
            return []
        crossed = [q for q in THRESHOLDS if covered < q * duration <= self.parts.length]
        return [(q, _time(watched, fresh, q * duration - covered)) for q in crossed]


def _time(watched: Watched, fresh: list[tuple[float, float]], needed: float) -> int:
    """When so much of what is new had been played."""
    position = watched.stretch.start
    for low, high in fresh:
        position = low + min(needed, high - low)
        needed -= high - low
        if needed <= 0:
            break
    return watched.stretch.start_ms + int((position - watched.stretch.start) * 1000)
