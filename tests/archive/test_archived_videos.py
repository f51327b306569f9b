"""Figures of videos are the same whether their days are in Elasticsearch, in the archive, or partly in both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from archive_places import opened_credentials, opened_installation_for, opened_place  # noqa: F401  (fixtures)
from archiving import Installation
from conftest import NOW, Gateway
from seeded import METADATA, random_sessions, store

from metronome.periods import to_ms

DAY_MS = 86_400_000
FIRST = NOW - timedelta(days=20)

#: A video; objects inside arrays, which are compared one by one; containment, which tokens say.
WANTED: tuple[dict[str, Any], ...] = (
    {"identifier": "label name"},
    {"query": {"video": {"tags": [{"a": 1}]}}},
    {"query": {"video": METADATA[0], "session": {"plan": "paid"}}},
)


def everything(gateway: Gateway) -> dict[str, Any]:
    """Every route's answer to each of WANTED, with buckets of several widths."""
    found = {}
    for number, wanted in enumerate(WANTED):
        width = ("1 month", "1 day", "5 minutes")[number]
        more = {"timeframe": "30 days", "interval": width, "minimum_watch_seconds": number % 3}
        for route, given in {
            "plays": more,
            "sources": more,
            "engagement": {"timeframe": "30 days", "ranges": 7},
            "engagement by second": {"timeframe": "30 days", "interval": width},
            "video/summary": {"timeframe": "30 days"},
            "video/curve": {"timeframe": "30 days", "ranges": 5},
            "watching": {},
        }.items():
            response = gateway.http.post(f"/api/v1/{route.split()[0]}", json={**wanted, **given})
            assert response.status_code == 200, response.text
            found[f"{route} {wanted}"] = response.json
    return found


@pytest.fixture
def installation(installation_for: Callable[..., Installation]) -> Installation:
    found = installation_for("folder")
    found.gateway.now = NOW
    return found


def test_archived_stretches_count_as_before_and_late_ones_once(installation: Installation) -> None:
    gateway = installation.gateway
    sessions = random_sessions(5, 90, to_ms(FIRST), to_ms(FIRST) + 4 * DAY_MS)
    for session in sessions[:70]:
        store(gateway, session.facts)
    gateway.drain()
    before = everything(gateway)
    assert all(sum(str(before).count(word) for word in ("'views'", "'viewers'", "'curve'")) for _ in before)
    days = [FIRST.date() + timedelta(days=number) for number in (0, 2, 3)]
    for day in days:
        assert installation.archive(day).deleted
    assert set(installation.days()).isdisjoint(days)
    assert everything(gateway) == before
    # What comes late has an index of its own. Some of it was archived already.
    for session in sessions[60:]:
        store(gateway, session.facts)
    gateway.drain()
    assert set(days) & set(installation.days())
    late = everything(gateway)
    assert late != before
    for day in days:
        installation.archive(day)
    assert everything(gateway) == late
    for day in days:
        installation.work.restorer.restore(day)
    assert everything(gateway) == late
