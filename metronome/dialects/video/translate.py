"""Arguments to questions, and answers to rows, as the original names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from metronome.dialects.video.read import number
from metronome.errors import BadQuestion
from metronome.event.privacy import Privacy
from metronome.keys import split
from metronome.periods import Period, from_ms, to_text
from metronome.query.video import (
    Engagement,
    PerSecond,
    Plays,
    PlaysRow,
    RangeRow,
    Report,
    SecondsRow,
    SourceRow,
    Sources,
    Summary,
    Watching,
    asked,
    selected,
)
from metronome.video.identity import kept
from metronome.video.intervals import read_interval, read_width
from metronome.video.jsonb import size_of

Arguments = dict[str, Any]
ToQuestion = Callable[[Arguments, datetime, Privacy], Any]
FromAnswer = Callable[[Any], dict[str, Any]]

TIMEFRAME, INTERVAL, RANGES = "7 days", "12 months", 10

#: Most ranges of one answer, and most of a report, which looks at each interval of each session.
MAX_RANGES, MAX_REPORT_RANGES = 10_000, 1_000

#: Most values of a query, and how deep they may be nested.
_MAX_VALUES, _MAX_DEPTH = 1000, 16

_UNSELECTED = "Requires a valid JSON query struct."

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _selection(given: Arguments, privacy: Privacy) -> dict[str, Any]:
    """`where` and `wanted` of a question; raises BadQuestion where nothing is selected."""
    identifier, query = given.get("identifier"), given.get("query")
    if query is not None and not _is_query(query):
        raise BadQuestion(_UNSELECTED)
    if identifier is None and query is None:
        raise BadQuestion(_UNSELECTED)
    for value in (identifier, query):
        values, depth = size_of(value, _MAX_VALUES)
        if values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise BadQuestion(f"query: at most {_MAX_VALUES} values, nested {_MAX_DEPTH} deep", field="query")
    query = query or {}
    video, session = (kept(query[name], name, privacy) if name in query else None for name in ("video", "session"))
    key = split(query["key"])[0] if "key" in query else None
    return {
        "where": selected(identifier=identifier, video=video, session=session, key=key),
        "wanted": asked(video=video, session=session),
    }


def _is_query(query: Any) -> bool:
    if not isinstance(query, dict) or query.keys().isdisjoint(("video", "session", "key")):
        return False
    objects = all(isinstance(query[name], dict) for name in ("video", "session") if name in query)
    return objects and isinstance(query.get("key", ""), str)


def _period(given: Arguments, now: datetime) -> Period:
    timeframe = given.get("timeframe")
    if timeframe is None:
        timeframe = TIMEFRAME
    # {"from": 1683000000, "to": 1684000000}     both inclusive, Unix time in seconds
    # 1683000000                                 from then on
    # "1 month"                                  back from now
    if isinstance(timeframe, dict):
        if timeframe.keys().isdisjoint(("from", "to")):
            raise BadQuestion('timeframe: name "from" and "to" as Unix times in seconds', field="timeframe")
        start, end = (
            _moment(timeframe[name], f"timeframe.{name}") if name in timeframe else None for name in ("from", "to")
        )
        if start is not None and end is not None and end < start:
            raise BadQuestion("timeframe: to is before from", field="timeframe")
        return Period(start, end + timedelta(milliseconds=1) if end is not None else None)
    if isinstance(timeframe, str) and not _NUMBER.fullmatch(timeframe.strip()):
        return Period(read_interval(timeframe, "timeframe").before(now))
    return Period(_moment(timeframe, "timeframe"))


def _moment(given: Any, name: str) -> datetime:
    return from_ms(number(given, name) * 1000)


def _text(given: Arguments, name: str, default: str) -> Any:
    found = given.get(name)
    return default if found is None else found


def _minimum(given: Arguments) -> float:
    found = given.get("minimum_watch_seconds")
    return 1 if found is None else number(found, "minimum_watch_seconds")


def _ranges(given: Arguments, most: int) -> int:
    found = given.get("ranges")
    ranges = RANGES if found is None else int(number(found, "ranges", least=1, whole=True))
    if ranges > most:
        raise BadQuestion(f"ranges: at most {most}", field="ranges")
    return ranges


def to_plays(given: Arguments, now: datetime, privacy: Privacy) -> Plays:
    width = read_width(_text(given, "interval", INTERVAL), "interval")
    return Plays(width=width, period=_period(given, now), minimum_s=_minimum(given), **_selection(given, privacy))


def to_sources(given: Arguments, now: datetime, privacy: Privacy) -> Sources:
    width = read_width(_text(given, "interval", INTERVAL), "interval")
    return Sources(width=width, period=_period(given, now), minimum_s=_minimum(given), **_selection(given, privacy))


def to_engagement(given: Arguments, now: datetime, privacy: Privacy) -> Engagement | PerSecond:
    selection = _selection(given, privacy)
    if given.get("interval") is not None and given.get("ranges") is None:
        return PerSecond(width=read_width(given["interval"], "interval"), period=_period(given, now), **selection)
    return Engagement(ranges=_ranges(given, MAX_RANGES), period=_period(given, now), **selection)


def to_watching(given: Arguments, now: datetime, privacy: Privacy) -> Watching:
    return Watching(**_selection(given, privacy))


def to_report(given: Arguments, now: datetime, privacy: Privacy) -> Report:
    ranges, minimum = _ranges(given, MAX_REPORT_RANGES), _minimum(given)
    return Report(ranges=ranges, minimum_s=minimum, period=_period(given, now), **_selection(given, privacy))


def interval_text(ms: int) -> str:
    """`2023-05-02T00:00:00.000000`: UTC, without saying so."""
    return from_ms(ms).astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def from_plays(found: list[PlaysRow]) -> dict[str, Any]:
    rows = [
        {
            "interval": interval_text(row.bucket),
            "views": row.views,
            "total_view_time": row.total_s,
            "unique_total_view_time": row.unique_s,
            "platform": row.platform,
            "device_type": row.device,
            "device": row.device,
            "browser": row.browser,
        }
        for row in found
    ]
    return {"views": rows}


def from_sources(found: list[SourceRow]) -> dict[str, Any]:
    rows = [
        {"interval": interval_text(row.bucket), "path": row.address, "host": row.host, "views": row.views}
        for row in found
    ]
    return {"sources": rows}


def from_engagement(found: list[RangeRow] | list[SecondsRow]) -> dict[str, Any]:
    rows: Sequence[RangeRow | SecondsRow] = found
    return {"engagement": [_engaged(number, row) for number, row in enumerate(rows)]}


def _engaged(number: int, row: RangeRow | SecondsRow) -> dict[str, Any]:
    if isinstance(row, RangeRow):
        return {"range": number, "range_time": {"from": row.start, "to": row.end}, "viewers": row.viewers}
    seconds = [{"second": second, "views": views} for second, views in row.seconds]
    return {"interval": interval_text(row.bucket), "per_second": seconds}


def from_watching(found: int) -> dict[str, Any]:
    return {"watching": found}


def from_summary(found: Summary) -> dict[str, Any]:
    figures = asdict(found)
    quality = ("startup_s", "startup_score", "rebuffer_s", "rebuffer_share", "exits_before_start")
    peak, peak_at, now = (figures.pop(name) for name in ("peak", "peak_at", "now"))
    figures["quality"] = {name: figures.pop(name) for name in quality}
    del figures["curve"]
    return {
        "summary": {
            **figures,
            "concurrency": {
                "peak": peak,
                "peak_at": None if peak_at is None else to_text(from_ms(peak_at)),
                "now": now,
            },
        }
    }


def from_curve(found: Summary) -> dict[str, Any]:
    rows = [
        {
            "range": number,
            "range_time": {"from": row.start, "to": row.end},
            "viewers": row.viewers,
            "watches": row.watches,
            "watch_ratio": row.ratio,
            "relative": row.relative,
            "drop_off": row.drop_off,
        }
        for number, row in enumerate(found.curve)
    ]
    return {"curve": rows}


#: Path to its two translations.
ROUTES: dict[str, tuple[ToQuestion, FromAnswer]] = {
    "/api/v1/plays": (to_plays, from_plays),
    "/api/v1/views": (to_plays, from_plays),
    "/api/v1/sources": (to_sources, from_sources),
    "/api/v1/engagement": (to_engagement, from_engagement),
    "/api/v1/watching": (to_watching, from_watching),
    "/api/v1/video/summary": (to_report, from_summary),
    "/api/v1/video/curve": (to_report, from_curve),
}
