"""How many days one hour may begin: each new one is an index."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from conftest import NOW
from doors import TICK, Door

from metronome.intake import PUBLIC_HORIZON, Origin, Receipt

PUBLIC = Origin("tick", horizon=PUBLIC_HORIZON)


def days(first: int, last: int) -> list[dict[str, str]]:
    """An event for each day so many days back."""
    return [{"id": "a", "ts": (NOW - timedelta(days=back)).isoformat()} for back in range(first, last)]


def outcome(receipt: Receipt) -> tuple[int, int, int]:
    return receipt.accepted, len(receipt.rejected), receipt.quarantined


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(folder=tmp_path, new_days=20, new_days_public=5)


def test_events_for_more_new_days_than_an_hour_takes_are_kept_in_quarantine(door: Door) -> None:
    receipt = door.accept(*days(2, 10), origin=PUBLIC)
    assert outcome(receipt) == (5, 3, 3)
    reason = "events for more than 5 new days came in an hour (METRONOME_NEW_DAYS_PUBLIC)"
    assert {row["reason"] for row in receipt.rejected} == {reason}


def test_today_yesterday_and_days_that_are_known_never_suffer(door: Door) -> None:
    door.accept(*days(2, 10), origin=PUBLIC)
    assert outcome(door.accept(*days(0, 7), origin=PUBLIC)) == (7, 0, 0)
    assert outcome(door.accept({"id": "now"}, {"ts": "2100-01-01"}, origin=PUBLIC)) == (2, 0, 0)


def test_other_keys_have_days_of_their_own(door: Door) -> None:
    door.accept(*days(2, 10), origin=PUBLIC)
    assert outcome(door.accept(*days(2, 40), origin=TICK)) == (25, 13, 13)


def test_an_hour_later_there_are_new_ones(door: Door, tmp_path: Path) -> None:
    door.accept(*days(2, 10), origin=PUBLIC)
    later = Door(NOW + timedelta(minutes=61), folder=tmp_path, new_days_public=5)
    assert outcome(later.accept(*days(2, 15), origin=PUBLIC)) == (10, 3, 3)


def test_all_workers_of_a_host_share_them(door: Door, tmp_path: Path) -> None:
    door.accept(*days(2, 5), origin=PUBLIC)
    other = Door(folder=tmp_path, new_days_public=5)
    assert outcome(other.accept(*days(4, 10), origin=PUBLIC)) == (3, 3, 3)


def test_a_file_that_cant_be_read_costs_no_event(tmp_path: Path) -> None:
    (tmp_path / "days.db").write_bytes(b"this is no database, and long enough to be read as a header " * 20)
    assert outcome(Door(folder=tmp_path, new_days=1).accept(*days(2, 10))) == (8, 0, 0)


def test_years_of_logs_go_through_by_default(tmp_path: Path) -> None:
    assert outcome(Door(folder=tmp_path).accept(*days(0, 1900))) == (1900, 0, 0)
