"""Metrics that are there from the start, as version 0. A metric saved under the same id takes the place of one."""

from __future__ import annotations

from typing import Any

#: `/v1` says of some events that they don't make a user active: those that change users and sessions, for instance.
#: Source: openmetrics contract, section 3.2.
_ACTIVE = {"field": "active", "op": "is_not", "value": False}


def _active(unit: str, span: str) -> dict[str, Any]:
    return {
        "title": f"Active users by {unit}",
        "desc": f"Users with at least one event that makes them active, each {unit}.",
        "type": "timeSerie",
        "unit": "int",
        "query": {"series": [{"measure": "unique"}], "where": [_ACTIVE], "interval": unit, "from": span},
    }


READY: dict[str, dict[str, Any]] = {
    "active-users-by-day": _active("day", "-30d"),
    "active-users-by-week": _active("week", "-12w"),
    "active-users-by-month": _active("month", "-12mo"),
    "stickiness": {
        "title": "Stickiness",
        "desc": "Of 30 days, the share in which a user is active: users of a day, on average, to users of all 30.",
        "type": "total",
        "unit": "%",
        "query": {
            "series": [{"name": "days", "measure": "active_days"}],
            "where": [_ACTIVE],
            "formula": "100 * days / 30",
            "from": "-30d",
        },
    },
    "new-against-returning": {
        "title": "New against returning users",
        "desc": "Users who are active on a day: those whose first day it is, and those who were there before.",
        "type": "lifecycle",
        "unit": "int",
        "query": {"split": "new_returning", "where": [_ACTIVE], "interval": "day", "from": "-30d"},
    },
    "lifecycle": {
        "title": "Lifecycle",
        "desc": "Users by week: new, there the week before too, back after a pause, and those who stayed away.",
        "type": "lifecycle",
        "unit": "int",
        "query": {"where": [_ACTIVE], "interval": "week", "from": "-12w"},
    },
    "top-events": {
        "title": "Top events",
        "desc": "What happened most in 30 days.",
        "type": "total",
        "unit": "int",
        "query": {"series": [{"measure": "count"}], "by": ["event"], "from": "-30d"},
    },
    "first-two-steps": {
        "title": "From view to download",
        "desc": "Users who view, and then download within 7 days. Save another funnel under this id for other steps.",
        "type": "funnel",
        "unit": "int",
        "query": {"steps": [{"event": "view"}, {"event": "download"}], "from": "-30d"},
    },
}
