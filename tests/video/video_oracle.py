"""What the video API must say, in plain Python over stretches (video contract, section 3.3; semantics, section 9)."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

BROWSERS = ("edge", "ie", "chrome", "firefox", "opera", "safari", "brave", "other")
PLATFORMS = ("mac", "ios", "android", "windows", "linux", "other")
DEVICES = ("mobile", "tablet", "desktop", "other")


@dataclass(frozen=True)
class Said:
    """A stretch as the oracle knows it. `join` is the session of the original, `page_load` that of section 9."""

    join: str
    page_load: str
    start_ms: int
    start: float
    to: float
    elapsed: float
    duration: float | None
    address: str
    host: str
    classes: tuple[str, str, str]
    metadata: Any
    session_data: Any
    identifier: Any


def contains(value: Any, wanted: Any) -> bool:
    """PostgreSQL's `@>`."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(name in value and contains(value[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(one, inner) for one in value) for inner in wanted)
    if isinstance(value, bool) or isinstance(wanted, bool) or value is None or wanted is None:
        return value is wanted
    return not isinstance(value, dict | list) and value == wanted


def selected(stretches: list[Said], query: dict[str, Any] | None, identifier: Any = None) -> list[Said]:
    query = query or {}
    return [
        one
        for one in stretches
        if ("video" not in query or contains(one.metadata, query["video"]))
        and ("session" not in query or contains(one.session_data, query["session"]))
        and (identifier is None or one.identifier == identifier)
    ]


def bucket(ms: int, width: str) -> int:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    number, unit = width.split()
    count = int(number)
    if unit.startswith(("month", "year")):
        months = count * (12 if unit.startswith("year") else 1)
        since = (moment.year - 2000) * 12 + moment.month - 1
        since -= since % months
        return int(datetime(2000 + since // 12, since % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)
    size = count * {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}[unit.rstrip("s")]
    anchor = int(datetime(2000, 1, 3, tzinfo=UTC).timestamp() * 1000)
    return anchor + (ms - anchor) // size * size


def shown(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000")


def seconds(one: Said) -> set[int]:
    return set(range(math.floor(one.start + 0.5), math.floor(one.to) + 1))


def plays(stretches: list[Said], width: str, minimum: float) -> list[dict[str, Any]]:
    by_bucket: dict[int, dict[str, list[Said]]] = defaultdict(lambda: defaultdict(list))
    for one in stretches:
        by_bucket[bucket(one.start_ms, width)][one.join].append(one)
    rows = []
    for start, sessions in sorted(by_bucket.items()):
        kept = [all_ for all_ in sessions.values() if round(sum(one.elapsed for one in all_), 6) >= minimum]
        if not kept:
            continue
        counts = [
            {name: sum(1 for all_ in kept if all_[0].classes[number] == name) for name in names}
            for number, names in enumerate((BROWSERS, PLATFORMS, DEVICES))
        ]
        rows.append(
            {
                "interval": shown(start),
                "views": len(kept),
                "total_view_time": round(sum(one.elapsed for all_ in kept for one in all_), 4),
                "unique_total_view_time": sum(len(set().union(*map(seconds, all_))) for all_ in kept),
                "browser": counts[0],
                "platform": counts[1],
                "device_type": counts[2],
                "device": counts[2],
            }
        )
    return rows


def sources(stretches: list[Said], width: str, minimum: float) -> list[dict[str, Any]]:
    watched: dict[tuple[int, str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for one in stretches:
        watched[bucket(one.start_ms, width), one.address, one.host][one.join] += one.elapsed
    rows = []
    for (start, address, host), sessions in sorted(watched.items()):
        views = sum(1 for elapsed in sessions.values() if round(elapsed, 6) >= minimum)
        if views:
            rows.append({"interval": shown(start), "path": address, "host": host, "views": views})
    return rows


def engagement(stretches: list[Said], ranges: int) -> list[dict[str, Any]]:
    if not stretches:
        return []
    part = max(one.to for one in stretches) / ranges
    return [
        {
            "range": m,
            "range_time": {"from": round(part * m, 6), "to": round(part * (m + 1), 6)},
            "viewers": sum(1 for one in stretches if one.start < part * (m + 1) and one.to > part * m),
        }
        for m in range(ranges)
    ]


def per_second(stretches: list[Said], width: str) -> list[dict[str, Any]]:
    counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for one in stretches:
        for second in seconds(one):
            counts[bucket(one.start_ms, width)][second] += 1
    return [
        {"interval": shown(start), "per_second": [{"second": s, "views": n} for s, n in sorted(found.items())]}
        for start, found in sorted(counts.items())
    ]


def merged(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def length(intervals: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in intervals)


def summary(stretches: list[Said], minimum: float, ranges: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures and the curve of one video."""
    duration = max((one.duration or 0 for one in stretches), default=0)
    sessions: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in stretches:
        start, end = max(0.0, one.start), min(one.to, duration or math.inf)
        sessions[one.page_load] += [(start, end)] if start < end else []
    played = [found for found in sessions.values() if round(length(found), 6) >= minimum]
    watch = sum(map(length, played))
    unique = [length(merged(found)) for found in played]
    moments = sorted({one.start_ms for one in stretches})
    peak = max(
        (sum(1 for one in stretches if one.start_ms <= at < one.start_ms + int(one.elapsed * 1000)) for at in moments),
        default=0,
    )
    figures = {
        "sessions": len(sessions),
        "plays": len(played),
        "watch_s": watch,
        "unique_s": sum(unique),
        "rewatch_s": watch - sum(unique),
        "coverage": sum(unique) / (duration * len(played)) if played and duration else None,
        "average_view_s": watch / len(played) if played else None,
        "peak": peak,
        "completion": {
            f"{q:g}": sum(1 for one in unique if one >= q * duration - 1e-7) / len(played)
            if played and duration
            else None
            for q in (0.25, 0.5, 0.75, 0.95)
        },
    }
    curve = []
    for number in range(ranges if duration else 0):
        low, high = duration * number / ranges, duration * (number + 1) / ranges
        meets = [[(max(s, low), min(e, high)) for s, e in found if s < high and e > low] for found in played]
        curve.append(
            {
                "viewers": sum(1 for found in meets if found),
                "watches": sum(length(found) for found in meets) / (high - low),
            }
        )
    return figures, curve
