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


# The query contract's numbers once more. `events` have an aware datetime under "at" and their facts beside it.


def values_of(event: dict[str, Any], field: str) -> list[Any]:
    value = event.get(field)
    if value is None:
        return []
    return [one for one in value if one is not None] if isinstance(value, list) else [value]


def kind_and(value: Any) -> tuple[str, Any]:
    return ("flag" if isinstance(value, bool) else "text" if isinstance(value, str) else "number", value)


def fits(event: dict[str, Any], filter_: dict[str, Any]) -> bool:
    """The table of operators of the query contract, section 1."""
    if "all" in filter_:
        return all(fits(event, one) for one in filter_["all"])
    if "any" in filter_:
        return any(fits(event, one) for one in filter_["any"])
    if "not" in filter_:
        return not fits(event, filter_["not"])
    op, wanted = filter_["op"], filter_.get("value")
    values = values_of(event, filter_["field"])
    numbers = [value for value in values if kind_and(value)[0] == "number"]
    texts = [value for value in values if isinstance(value, str)]
    equal = [kind_and(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
    found = {
        "is": lambda: any(kind_and(value) in equal for value in values),
        "in": lambda: any(kind_and(value) in equal for value in values),
        "is_not": lambda: not any(kind_and(value) in equal for value in values),
        "not_in": lambda: not any(kind_and(value) in equal for value in values),
        "gt": lambda: any(number > wanted for number in numbers),
        "gte": lambda: any(number >= wanted for number in numbers),
        "lt": lambda: any(number < wanted for number in numbers),
        "lte": lambda: any(number <= wanted for number in numbers),
        "between": lambda: any(wanted[0] <= number <= wanted[1] for number in numbers),
        "contains": lambda: any(wanted in text for text in texts),
        "starts_with": lambda: any(text.startswith(wanted) for text in texts),
        "exists": lambda: bool(values),
        "missing": lambda: not values,
    }
    return bool(found[op]())


def measure(events: list[dict[str, Any]], name: str, subject: str, tz: ZoneInfo) -> float | None:
    """A measure of the query contract, section 2."""
    kind, _, field = name.partition(":")
    of_subject = {kind_and(value) for event in events for value in values_of(event, subject)}
    if kind == "count":
        return len(events)
    if kind == "unique":
        return len({kind_and(value) for event in events for value in values_of(event, field or subject)})
    if kind == "per_subject":
        return len(events) / len(of_subject) if of_subject else None
    if kind == "active_days":
        days = {
            (kind_and(value), event["at"].astimezone(tz).date())
            for event in events
            for value in values_of(event, subject)
        }
        return len(days) / len(of_subject) if of_subject else None
    numbers = sorted(n for event in events for n in values_of(event, field) if kind_and(n)[0] == "number")
    if kind == "sum":
        return sum(numbers)
    if not numbers:
        return None
    if kind == "avg":
        return sum(numbers) / len(numbers)
    if kind in ("min", "max"):
        return numbers[0] if kind == "min" else numbers[-1]
    percent = 50 if kind == "median" else int(kind[1:])
    # The smallest value with at least that share of values at or below it.
    return next(n for n in numbers if 100 * sum(other <= n for other in numbers) >= percent * len(numbers))


def bucket_name(at: datetime, interval: str, tz: ZoneInfo) -> str:
    local = at.astimezone(tz)
    if interval == "week":
        return (local.date() - timedelta(days=local.weekday())).isoformat()
    return {
        "hour": local.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes"),
        "day": local.date().isoformat(),
        "month": local.strftime("%Y-%m"),
        "year": local.strftime("%Y"),
        "total": "total",
    }[interval]


def groups_of(event: dict[str, Any], by: list[str]) -> list[tuple[Any, ...]]:
    """Each combination of the event's values, once; `None` where there is none."""
    groups: list[tuple[Any, ...]] = [()]
    for field in by:
        values = list(dict.fromkeys(map(kind_and, values_of(event, field)))) or [None]
        groups = [(*group, value) for group in groups for value in values]
    return groups


def trend(
    events: list[dict[str, Any]],
    buckets: list[str],
    series: list[dict[str, Any]],
    *,
    interval: str,
    tz: str = "UTC",
    by: list[str] | None = None,
    top: int | None = 10,
    subject: str = "distinct_id",
) -> list[dict[str, Any]]:
    """The `series` of a trend's result, over these buckets."""
    zone, by = ZoneInfo(tz), by or []

    def of(one: dict[str, Any]) -> list[dict[str, Any]]:
        names = one.get("event")
        names = [names] if isinstance(names, str) else names
        chosen = [event for event in events if names is None or event.get("event") in names]
        return [event for event in chosen if all(fits(event, filter_) for filter_ in one.get("where", []))]

    chosen = [of(one) for one in series]
    named: list[tuple[Any, ...]] = list(
        dict.fromkeys(group for several in chosen for event in several for group in groups_of(event, by))
    )
    if len(by) == 1:
        named = [group for group in named if group != (None,)]

    def within(several: list[dict[str, Any]], groups: set[Any]) -> list[dict[str, Any]]:
        return [event for event in several if groups & set(groups_of(event, by))]

    def size(group: Any) -> float:
        return measure(within(chosen[0], {group}), series[0].get("measure", "count"), subject, zone) or 0

    named.sort(key=lambda group: (-size(group), [(one is None, one or ()) for one in group]))
    keep, others = (named, []) if top is None or not by else (named[:top], named[top:])
    slots: list[tuple[list[Any], set[Any]]] = [
        (["$none" if v is None else v[1] for v in group], {group}) for group in keep
    ]
    if others:
        slots.append((["$other"], set(others)))
    if len(by) == 1 and any(within(several, {(None,)}) for several in chosen):
        slots.append((["$none"], {(None,)}))
    rows = []
    for shown, groups in slots:
        for one, several in zip(series, chosen, strict=True):
            mine = within(several, groups)
            in_bucket = {name: [e for e in mine if bucket_name(e["at"], interval, zone) == name] for name in buckets}
            figure = one.get("measure", "count")
            rows.append(
                {
                    "name": one["name"],
                    "group": shown,
                    "values": [measure(in_bucket[name], figure, subject, zone) for name in buckets],
                    "total": measure(mine, figure, subject, zone),
                }
            )
    return rows
