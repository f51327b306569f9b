"""Lifecycle by brute force: the definitions, subject by subject and period by period. Times are in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from columned import total_order

from metronome.periods import from_ms
from metronome.query.journeys.questions import Lifecycle

Event = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A subject in a period: its state, its first event that counts there, and its last one before the period."""

    subject: str
    bucket: datetime
    state: str
    event: str | None
    before: str | None


def buckets(question: Lifecycle) -> Iterator[datetime]:
    assert question.period.start is not None and question.period.end is not None
    start = question.every.start_of(question.period.start)
    while start < question.period.end:
        yield start
        start = question.every.after(start)


def lived(question: Lifecycle, events: Sequence[Event], now: datetime) -> list[Seen]:
    subjects = {str(event[question.subject]) for event in events if event.get(question.subject) is not None}
    found = []
    for subject in sorted(subjects):
        own = [event for event in events if event.get(question.subject) is not None and question.active.holds(event)]
        own = sorted((event for event in own if str(event[question.subject]) == subject), key=total_order)
        found += [seen for bucket in buckets(question) if (seen := in_bucket(question, subject, own, bucket, now))]
    return found


def in_bucket(question: Lifecycle, subject: str, own: list[Event], bucket: datetime, now: datetime) -> Seen | None:
    assert question.period.start is not None and question.period.end is not None
    end = question.every.after(bucket)
    period_before = question.every.start_of(bucket - timedelta(milliseconds=1))
    at = {event["_id"]: from_ms(event["@timestamp"]) for event in own}
    inside = [name for name, time in at.items() if bucket <= time < end]
    counted = [name for name in inside if question.period.start <= at[name] < question.period.end]
    earlier = [name for name, time in at.items() if time < bucket]
    just_before = [name for name in earlier if at[name] >= period_before]

    state = None
    if counted:
        state = "new" if not earlier else "returning" if just_before else "resurrecting"
    elif just_before and not inside and end <= now:
        state = "dormant"
    if question.split == "new_returning":
        state = {"resurrecting": "returning", "dormant": None}.get(str(state), state)
    if state is None:
        return None
    return Seen(subject, bucket, state, counted[0] if counted else None, earlier[-1] if earlier else None)


def states_of(question: Lifecycle, seen: Sequence[Seen], now: datetime) -> list[tuple[str, list[int | None], int]]:
    """Each state with its figures by period, and how many different subjects it has."""
    names = ["new", "returning"]
    if question.split == "lifecycle":
        names += ["resurrecting", "dormant"]
    rows = []
    for name in names:
        own = [one for one in seen if one.state == name]
        values = [
            None
            if name == "dormant" and question.every.after(bucket) > now
            else sum(one.bucket == bucket for one in own)
            for bucket in buckets(question)
        ]
        rows.append((name, values, len({one.subject for one in own})))
    return rows
