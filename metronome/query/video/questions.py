"""Questions about videos and their answers, as frozen values.

Each has a `where`, which `selected` makes of identifier and metadata, and `wanted`, which `asked` makes of metadata
that tokens can't say whole. Times are Unix time in ms, positions and durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metronome.periods import Period
from metronome.query.condition import All, Condition, Is
from metronome.video.events import WATCH
from metronome.video.intervals import Interval
from metronome.video.jsonb import digest, is_flat, text_of, tokens

#: Only the gateway sets fields of this name, so no client can make up a stretch.
STRETCH = Is("event", WATCH)


def selected(*, identifier: Any = None, video: Any = None, session: Any = None, key: str | None = None) -> Condition:
    """Videos of this identifier, whose metadata and session data contain these, and of the key of this id.

    What is None is not asked for.
    """
    parts: list[Condition] = []
    if identifier is not None:
        parts.append(Is("stretch.identifier", digest(identifier)))
    for value, name in ((video, "video"), (session, "session")):
        if value is not None:
            parts += [Is("stretch.has", token) for token in tokens(value, name)]
    if key is not None:
        parts.append(Is("stretch.key", key))
    return All(*parts)


def asked(*, video: Any = None, session: Any = None) -> str:
    """The metadata to compare with that of each video, as JSON; empty where `selected` says all."""
    wanted = {name: value for name, value in (("video", video), ("session", session)) if value is not None}
    return "" if is_flat(wanted) else text_of(wanted)


@dataclass(frozen=True)
class Plays:
    """Sessions that watched at least `minimum_s` in a bucket, and how long."""

    where: Condition
    width: Interval
    period: Period = Period()
    minimum_s: float = 1
    wanted: str = ""


@dataclass(frozen=True)
class Sources:
    """The same, for each page."""

    where: Condition
    width: Interval
    period: Period = Period()
    minimum_s: float = 1
    wanted: str = ""


@dataclass(frozen=True)
class Engagement:
    """Stretches that meet each of `ranges` equal ranges of the video."""

    where: Condition
    ranges: int = 10
    period: Period = Period()
    wanted: str = ""


@dataclass(frozen=True)
class PerSecond:
    """Stretches of a bucket that hold each whole second of the video."""

    where: Condition
    width: Interval
    period: Period = Period()
    wanted: str = ""


@dataclass(frozen=True)
class Watching:
    """Sessions that are playing now."""

    where: Condition
    wanted: str = ""


@dataclass(frozen=True)
class Report:
    """What is beyond the original: semantics, section 9. Sessions are page loads, whatever their reconnects."""

    where: Condition
    period: Period = Period()
    minimum_s: float = 1
    ranges: int = 10
    wanted: str = ""


@dataclass(frozen=True)
class PlaysRow:
    """`browser` and the others count the views, by class."""

    bucket: int
    views: int
    total_s: float
    unique_s: int
    browser: Mapping[str, int]
    platform: Mapping[str, int]
    device: Mapping[str, int]


@dataclass(frozen=True)
class SourceRow:
    bucket: int
    address: str
    host: str
    views: int
    total_s: float


@dataclass(frozen=True)
class RangeRow:
    start: float
    end: float
    viewers: int


@dataclass(frozen=True)
class SecondsRow:
    """`seconds` are (second, stretches), ascending, without those that nobody watched."""

    bucket: int
    seconds: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CurveRow:
    """A range of the video. `ratio` is watches by plays, `relative` its rank among videos of about the same length."""

    start: float
    end: float
    viewers: int
    watches: float
    ratio: float | None
    drop_off: int | None
    relative: float | None = None


@dataclass(frozen=True)
class Summary:
    """Figures of the videos that were asked for. What needs their length is None where no player said it."""

    sessions: int
    plays: int
    watch_s: float
    unique_s: float
    rewatch_s: float
    coverage: float | None
    average_view_s: float | None
    average_view_share: float | None
    duration_s: float | None
    completion: Mapping[str, float | None] = field(default_factory=dict)
    curve: tuple[CurveRow, ...] = ()
    peak: int = 0
    peak_at: int | None = None
    now: int = 0
    startup_s: float | None = None
    startup_score: float | None = None
    rebuffer_s: float = 0.0
    rebuffer_share: float | None = None
    exits_before_start: int = 0
