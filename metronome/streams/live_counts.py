"""The counters of the last minutes: events, persons, names of events.

Elasticsearch tells the ids that events were sent under, and `People` whose they are, so that somebody of several ids
counts once as soon as the link between them is known. Who the person of an event is: query contract, section 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from metronome.people.view import View
from metronome.periods import Period, from_ms
from metronome.query import All, Ask, Between, Condition, Is, Missing, Question, Resolver, Unique, Values

WINDOWS = {"5m": timedelta(minutes=5), "30m": timedelta(minutes=30)}

#: Names of events in the counters; the others together are `$other`.
MOST_NAMES = 50

#: Ids of a window that are looked up every time. They are read 5,000 at once.
MOST_IDS = 50_000


def counted(ask: Ask, people: Resolver, where: Condition, now: datetime) -> Mapping[str, Any]:
    """The counters as they are sent, by window."""
    view = people.view()
    return {
        name: _window(ask, view, where, Period(now - span, now + timedelta(seconds=1)))
        for name, span in WINDOWS.items()
    }


def _window(ask: Ask, view: View, where: Condition, period: Period) -> Mapping[str, Any]:
    count, named = ask(Question(where, period=period), Question(where, by=(Values("event"),), period=period))
    by_event = {str(row.key[0]): row.value for row in named.rows[:MOST_NAMES]}
    if len(named.rows) > MOST_NAMES:
        by_event["$other"] = sum(row.value for row in named.rows[MOST_NAMES:])
    return {"events": count.total, **_subjects(ask, view, where, period), "by_event": by_event}


def _subjects(ask: Ask, view: View, where: Condition, period: Period) -> Mapping[str, Any]:
    """How many persons; of more ids than MOST_IDS how many ids, which is marked as an estimate."""
    # An event of `/v1` without another id is its session's.
    of_sessions = All(where, Missing("distinct_id"), Is("dialect", "openmetrics"))
    asked = ((where, "distinct_id"), (of_sessions, "session_id"))
    sizes = ask(*(Question(own, Unique(name), period=period) for own, name in asked))
    if (size := sum(answer.total for answer in sizes)) > MOST_IDS:
        return {"subjects": size, "estimated": True}
    found = ask(*(Question(own, by=(Values(name),), period=period) for own, name in asked))
    ids, sessions = ({str(row.key[0]) for row in answer.rows} for answer in found)
    moved = sorted(sessions & view.moves.keys())
    ids |= sessions - view.moves.keys()
    ids.update(_owners(ask, view, of_sessions, period, moved))
    return {"subjects": len(set(view.resolve(sorted(ids))))}


def _owners(ask: Ask, view: View, where: Condition, period: Period, moved: Sequence[str]) -> list[str]:
    """The users of sessions that have moved: each was the session's when some of the events were received."""
    pieces = [(session, *piece) for session in moved for piece in _pieces(session, view)]
    asked = [
        Question(All(where, Is("session_id", session), _received(since, until)), period=period)
        for session, _, since, until in pieces
    ]
    answers = ask(*asked) if asked else []
    return [owner for (_, owner, _, _), answer in zip(pieces, answers, strict=True) if answer.total]


def _pieces(session: str, view: View) -> list[tuple[str, int, int | None]]:
    """Whose the session was: the owner, from when on and until when, in milliseconds."""
    owned = [(0, session), *view.moves[session]]
    ends: list[int | None] = [since for since, _ in owned[1:]]
    return [(owner, since, end) for (since, owner), end in zip(owned, [*ends, None], strict=True)]


def _received(since: int, until: int | None) -> Condition:
    return Between("received_at", gte=from_ms(since), lt=None if until is None else from_ms(until))
