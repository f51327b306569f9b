"""Beyond the original: what of a video is seen, how much of it, by how many at once (semantics, section 9).

A session's stretches of one video are intervals; what it watched is their sum, what it saw their union. Sessions are
page loads (`session_id`): reconnects of a player change nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from metronome.periods import Period
from metronome.query.condition import All, Condition, In
from metronome.query.door import Sources, answers
from metronome.query.video.plays import count_playing
from metronome.query.video.questions import STRETCH, CurveRow, Report, Summary, Watching
from metronome.query.video.rows import Stretches
from metronome.video.events import PLAY_REQUEST, REBUFFERED, STARTED
from metronome.video.stretches import DIGITS, THRESHOLDS, Parts

#: Fewer peers say nothing of how a video stands among them.
MIN_PEERS = 5

#: How far the length of a peer may be from that of the video.
PEER_LENGTH = 0.25


@answers(Report)
def _reports(questions: Sequence[Report], sources: Sources, now: datetime) -> list[Summary]:
    return [_summary(Stretches(sources), question, now) for question in questions]


@dataclass
class Session:
    """What one session watched of one video. Intervals are half-open, in seconds of the video."""

    intervals: list[tuple[float, float]] = field(default_factory=list)
    duration: float = 0.0

    @property
    def watch_s(self) -> float:
        return round(math.fsum(end - start for start, end in self.intervals), DIGITS)

    @property
    def seen(self) -> Parts:
        parts = Parts()
        for start, end in self.intervals:
            parts.add(start, end)
        return parts


@dataclass
class _Read:
    sessions: dict[tuple[str, str], Session] = field(default_factory=lambda: defaultdict(Session))
    #: When stretches began and ended, Unix time in ms.
    walls: list[tuple[int, int]] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def close(self) -> None:
        """Once all is read, the length of each video is the longest that any player said."""
        for (_, video), session in self.sessions.items():
            session.duration = self.durations[video]
            if session.duration:
                session.intervals = [
                    (start, min(end, session.duration)) for start, end in session.intervals if start < session.duration
                ]


def _summary(stretches: Stretches, question: Report, now: datetime) -> Summary:
    where = stretches.holding(All(STRETCH, question.where), question.period, question.wanted)
    read = _read(stretches, where, question.period)
    played = [session for session in read.sessions.values() if session.watch_s >= question.minimum_s]
    duration = max(read.durations.values(), default=0.0)
    watch = round(math.fsum(session.watch_s for session in played), DIGITS)
    unique = round(math.fsum(session.seen.length for session in played), DIGITS)
    lengths = math.fsum(session.duration for session in played)
    known = [session for session in played if session.duration]
    seen = math.fsum(session.seen.length for session in known)
    peak, peak_at = _peak(read.walls)
    found = Summary(
        sessions=len(read.sessions),
        plays=len(played),
        watch_s=watch,
        unique_s=unique,
        rewatch_s=round(watch - unique, DIGITS),
        coverage=_ratio(seen, lengths),
        average_view_s=_ratio(watch, len(played)),
        average_view_share=_ratio(seen, lengths),
        duration_s=duration or None,
        completion={f"{q:g}": _completion(known, q) for q in THRESHOLDS},
        curve=_curve(stretches, question, read, played, duration),
        peak=peak,
        peak_at=peak_at,
        now=count_playing(stretches, Watching(question.where, question.wanted), now),
    )
    return _with_quality(stretches, question, found)


def _read(stretches: Stretches, where: Condition, period: Period) -> _Read:
    read = _Read()
    fields = {
        "session": "session_id", "video": "stretch.video", "from": "stretch.from", "to": "stretch.to",
        "start": "@timestamp", "elapsed": "stretch.elapsed", "duration": "stretch.duration",
    }  # fmt: skip
    for row in stretches.rows(where, period, fields):
        start, end = max(0.0, row["from"]), row["to"]
        session = read.sessions[str(row["session"]), row["video"]]
        if row["duration"]:
            read.durations[row["video"]] = max(read.durations[row["video"]], row["duration"])
        if start < end:
            session.intervals += [(start, end)] * row["count"]
        read.walls += [(row["start"], row["start"] + int(row["elapsed"] * 1000))] * row["count"]
    read.close()
    return read


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, DIGITS) if whole else None


def _completion(sessions: Sequence[Session], share: float) -> float | None:
    done = sum(1 for session in sessions if session.seen.length >= round(share * session.duration, DIGITS))
    return _ratio(done, len(sessions))


def _peak(walls: Iterable[tuple[int, int]]) -> tuple[int, int | None]:
    """Most stretches at one moment, and the first such moment. One that ends as another begins isn't beside it."""
    changes = sorted(change for start, end in walls if end > start for change in ((start, 1), (end, -1)))
    most, count, at = 0, 0, None
    for moment, change in changes:
        count += change
        if count > most:
            most, at = count, moment
    return most, at


def _edges(duration: float, ranges: int) -> list[tuple[float, float]]:
    return [(duration * n / ranges, duration * (n + 1) / ranges) for n in range(ranges)]


def watches(sessions: Iterable[Session], edges: Sequence[tuple[float, float]]) -> list[float]:
    """How often each range was watched: seconds in it by its length. Repeats count."""
    found = [0.0] * len(edges)
    for session in sessions:
        for start, end in session.intervals:
            for number, overlap in _overlaps(start, end, edges):
                found[number] += overlap
    return [seconds / (high - low) for seconds, (low, high) in zip(found, edges, strict=True)]


def _overlaps(start: float, end: float, edges: Sequence[tuple[float, float]]) -> Iterable[tuple[int, float]]:
    """The ranges, all equally long, that an interval meets, and how much of each."""
    length = edges[0][1] - edges[0][0]
    first = max(0, int(start / length) - 1)
    for number in range(first, len(edges)):
        low, high = edges[number]
        if low >= end:
            return
        if (overlap := min(end, high) - max(start, low)) > 0:
            yield number, overlap


def _curve(
    stretches: Stretches, question: Report, read: _Read, played: Sequence[Session], duration: float
) -> tuple[CurveRow, ...]:
    if not duration:
        return ()
    edges = _edges(duration, question.ranges)
    viewers = [0] * len(edges)
    for session in played:
        for number in {number for start, end in session.seen for number, _ in _overlaps(start, end, edges)}:
            viewers[number] += 1
    often = watches(played, edges)
    peers = _peers(stretches, question, set(read.durations), duration)
    rows_: list[CurveRow] = []
    for number, (low, high) in enumerate(edges):
        ratio = _ratio(often[number], len(played))
        following = viewers[number + 1] if number + 1 < len(edges) else None
        rows_.append(
            CurveRow(
                round(low, DIGITS),
                round(high, DIGITS),
                viewers[number],
                round(often[number], DIGITS),
                ratio,
                None if following is None else viewers[number] - following,
                relative(ratio, [curve[number] for curve in peers]),
            )
        )
    return tuple(rows_)


def relative(ratio: float | None, peers: Sequence[float]) -> float | None:
    """The mid-rank among the peers, 0 to 1; None under MIN_PEERS of them."""
    if ratio is None or len(peers) < MIN_PEERS:
        return None
    below = sum(1 for peer in peers if peer < ratio)
    equal = sum(1 for peer in peers if peer == ratio)
    return round((below + equal / 2) / len(peers), DIGITS)


def _peers(stretches: Stretches, question: Report, own: set[str], duration: float) -> list[list[float]]:
    """The watch ratios of other videos of about this length, as whoever asks may see them."""
    others = replace(question, where=_app_of(question.where))
    read = _read(stretches, All(STRETCH, others.where), question.period)
    played: dict[str, list[Session]] = defaultdict(list)
    for (_, video), session in read.sessions.items():
        near = abs(session.duration - duration) <= PEER_LENGTH * duration
        if video not in own and near and session.watch_s >= question.minimum_s:
            played[video].append(session)
    found = []
    for sessions in played.values():
        often = watches(sessions, _edges(sessions[0].duration, question.ranges))
        found.append([round(one / len(sessions), DIGITS) for one in often])
    return found


def _app_of(where: Condition) -> Condition:
    """The part of a condition that says the application: peers are videos of the same one."""
    if isinstance(where, All):
        return All(*(_app_of(part) for part in where.parts))
    return where if isinstance(where, In) and where.field == "app" else All()


def _with_quality(stretches: Stretches, question: Report, found: Summary) -> Summary:
    """Add what players say of starting and stalling: our own does."""
    where = stretches.holding(
        All(In("event", (PLAY_REQUEST, REBUFFERED, STARTED)), question.where),
        question.period,
        question.wanted,
    )
    started, requested = set[str](), set[str]()
    startups: list[float] = []
    rebuffer = 0.0
    fields = {"session": "session_id", "event": "event", "seconds": "props.seconds"}
    for row in stretches.rows(where, question.period, fields):
        seconds = row["seconds"] if isinstance(row["seconds"], int | float) else None
        if row["event"] == PLAY_REQUEST:
            requested.add(row["session"])
        elif row["event"] == STARTED:
            started.add(row["session"])
            startups += [seconds] * row["count"] if seconds is not None else []
        elif seconds is not None:
            rebuffer += seconds * row["count"]
    startup = _ratio(math.fsum(startups), len(startups))
    return replace(
        found,
        startup_s=startup,
        startup_score=None if startup is None else round(8 / (8 + startup) * 100, 2),
        rebuffer_s=round(rebuffer, DIGITS),
        rebuffer_share=_ratio(rebuffer, rebuffer + found.watch_s),
        exits_before_start=len(requested - started),
    )
