"""Documents that Logstash or Fluentd wrote straight into Elasticsearch carry no derived facts; here they get them.

A composite aggregation (complete, page by page) groups such documents by the raw fields that decide, and each group
is put through the functions that intake uses. So both ways in give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metronome.event import agents
from metronome.event.facts import classify, format_of, referer_page_of
from metronome.event.fields import AGENT_NAMES, DOWNLOAD, Event
from metronome.periods import bucket_of, from_ms
from metronome.query.question import AtLeast, Every, Has, Is, Item, Question

#: Facts that intake derives: a question that needs one of them can't be answered from raw documents by a plain filter.
DERIVED = frozenset(("event", "format", "referer_page", "is_robot", "browser", "platform"))

#: The raw fields they are derived from.
_SOURCES = ("event", "format", "accept", "referer", "extra.referer", "url", *AGENT_NAMES)

PAGE = 2000


@dataclass(frozen=True)
class Group:
    """Raw documents alike in all that counts: one event that stands for `count`."""

    event: Event
    at: datetime
    count: int


def sources(questions: tuple[Question, ...]) -> list[dict[str, Any]]:
    """The composite aggregation's sources: raw fields, and time as fine as the questions need it."""
    names = dict.fromkeys((*_SOURCES, *(name for question in questions for name in _plain_fields(question))))
    found: list[dict[str, Any]] = [{name: {"terms": {"field": name, "missing_bucket": True}}} for name in names]
    every = [(question.by, question.tz.key) for question in questions if isinstance(question.by, Every)]
    if every:
        whole_days = all(tz == "UTC" and by.interval != "hour" for by, tz in every)
        # All zones since 1970 are a multiple of a quarter of an hour away from UTC.
        step = "1d" if whole_days else "15m"
        found.append({"@timestamp": {"date_histogram": {"field": "@timestamp", "fixed_interval": step}}})
    return found


def _plain_fields(question: Question) -> list[str]:
    names = [c.field for c in question.where if not isinstance(c, Item)]
    if isinstance(question.by, str):
        names.append(question.by)
    return [name for name in names if name not in DERIVED]


def group(bucket: dict[str, Any]) -> Group:
    """One composite bucket as an event with its facts derived."""
    key = dict(bucket["key"])
    at = from_ms(key.pop("@timestamp", 0) or 0)
    event: Event = {name: value for name, value in key.items() if value is not None}
    agent = next((event[name] for name in AGENT_NAMES if event.get(name)), None)
    if agent:
        event.update(agents.judge(str(agent)))
    name = event.get("event") or classify(event, shipped=True)
    if name:
        event["event"] = name
    if name == DOWNLOAD:
        event["format"] = format_of(event)
    page = referer_page_of(event)
    if page:
        event["referer_page"] = page
    return Group(event, at, int(bucket["doc_count"]))


def fits(question: Question, group: Group) -> bool:
    """Whether the group's events meet the question (its item and period were asked of Elasticsearch already)."""
    event = group.event
    if question.robots is not None and bool(event.get("is_robot")) != question.robots:
        return False
    for condition in question.where:
        # Item                     asked of Elasticsearch
        # Is("event", "view")      text and flags compare as they are
        # Has, AtLeast             on the raw value
        if isinstance(condition, Is) and event.get(condition.field) != condition.value:
            return False
        if isinstance(condition, Has) and event.get(condition.field) is None:
            return False
        if isinstance(condition, AtLeast) and not _number(event.get(condition.field)) >= condition.value:
            return False
    return True


def key_of(question: Question, group: Group) -> datetime | str | None:
    """The bucket of the question that the group falls into; None if it has no value there."""
    if isinstance(question.by, Every):
        return bucket_of(group.at, question.by.interval, question.tz)
    if question.by is None:
        return ""
    value = group.event.get(question.by)
    return None if value is None else str(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("-inf")
