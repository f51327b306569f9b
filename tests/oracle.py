"""The tock's numbers once more, by brute force over the posted events: plain loops, no shared code with the product.

Source of every rule: tick/tock contract, section 3, and semantics, sections 1 and 11.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo


def tock(
    events: list[dict[str, Any]],
    item: str,
    tz: str = "UTC",
    first: date | None = None,
    last: date | None = None,
) -> dict[str, Any]:
    """The answer for one item; `events` are ticks with `@timestamp` (aware datetime) under "at"."""
    zone = ZoneInfo(tz)
    views: Counter[date] = Counter()
    downloads: Counter[str] = Counter()
    referers: Counter[str] = Counter()
    for event in events:
        if item_of(event) != item or event.get("robot"):
            continue
        day = event["at"].astimezone(zone).date()
        if (first and day < first) or (last and day > last):
            continue
        kind = kind_of(event)
        if kind == "view":
            views[day] += 1
        if kind == "download":
            downloads[format_of(event)] += 1
        if event.get("referer"):
            referers[key_of(event["referer"])] += 1
    found = {"views": by_day(views, first, last), "downloads": dict(downloads), "referers": dict(referers)}
    return found if views or downloads or referers else {"views": {}, "downloads": {}, "referers": {}}


def item_of(event: dict[str, Any]) -> Any:
    return event["id"] if "id" in event else event.get("item_id")


def kind_of(event: dict[str, Any]) -> str:
    if "event" in event:
        return str(event["event"])
    if "format" in event:
        return "download"
    accept = event.get("accept", "").lower()
    if accept in ("", "*/*") or "html" in accept:
        return "view"
    return "neither" if "json" in accept or "javascript" in accept else "download"


def format_of(event: dict[str, Any]) -> str:
    if "format" in event:
        return str(event["format"]).lower()
    table = {
        "text/csv": "csv",
        "application/vnd.google-earth.kml+xml": "kml",
        "application/x-shapefile": "shp",
    }
    media_type = event.get("accept", "").split(",")[0].split(";")[0].strip().lower()
    if media_type in ("", "*/*"):
        return "unknown"
    return table.get(media_type, media_type.split("/")[1])


def key_of(referer: str) -> str:
    rest = referer.split("://", 1)[1].split("#")[0].split("?")[0]
    host, slash, path = rest.partition("/")
    host = host.split("@")[-1].lower().removesuffix(":80" if referer.startswith("http:") else ":443")
    return (host + slash + path).rstrip("/")


def by_day(views: Counter[date], first: date | None, last: date | None) -> dict[str, int]:
    """Newest first, every day between the first and the last there."""
    if not views and not (first and last):
        return {}
    start, end = first or min(views), last or max(views)
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    return {day.isoformat(): views[day] for day in reversed(days)}


def moments(day: datetime, zone: str, count: int, random: Any) -> list[datetime]:
    """Random instants of the two days before and after, with the ones around midnight among them."""
    tz = ZoneInfo(zone)
    midnight = day.replace(tzinfo=tz)
    edges = [midnight + timedelta(milliseconds=ms) for ms in (-1, 0, 1)]
    return edges + [
        midnight + timedelta(milliseconds=random.randrange(-2 * 86_400_000, 2 * 86_400_000)) for _ in range(count)
    ]
