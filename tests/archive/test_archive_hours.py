"""What happens by itself: METRONOME_ARCHIVE_AFTER, METRONOME_KEEP, and questions while days leave or the S3 is away."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from archive_places import (  # noqa: F401  (fixtures)
    opened_credentials,
    opened_installation,
    opened_installation_for,
    opened_minio,
    opened_moto,
    opened_place,
    opened_seaweed,
)
from archiving import Installation
from conftest import Gateway, wait_for
from s3_faults import Faults

from metronome.archive import s3
from metronome.archive.asking import open_door
from metronome.archive.automatic import Automatic
from metronome.archive.work import run_once
from metronome.errors import ArchiveUnavailable
from metronome.query import All, Item, Question

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
DAYS = [date(2026, 11, 1), date(2026, 11, 12), date(2026, 11, 20), date(2026, 11, 22)]


def fill(gateway: Gateway, days: list[date] = DAYS) -> None:
    gateway.accepted([{"id": "x", "@timestamp": f"{day}T10:00:00Z"} for day in days])
    gateway.drain()


@pytest.mark.parametrize(
    ("after", "keep", "indexed", "archived"),
    [
        pytest.param(0, 0, DAYS, [], id="nothing is asked for"),
        pytest.param(2, 0, DAYS[2:], DAYS[:2], id="days older than two days"),
        pytest.param(10, 0, DAYS[1:], DAYS[:1], id="a day that is as old as that stays"),
        pytest.param(2, 15, DAYS[2:], [DAYS[1]], id="the oldest is deleted for good"),
        pytest.param(0, 15, DAYS[1:], [], id="deleted, and nothing is archived"),
    ],
)
def test_days_leave_by_their_age(
    installation_for: Callable[..., Installation], after: int, keep: int, indexed: list[date], archived: list[date]
) -> None:
    found = installation_for(archive_after=after, keep=keep)
    fill(found.gateway)
    run_once(found.work, NOW)
    assert (found.days(), list(found.work.catalogue.days())) == (indexed, archived)
    run_once(found.work, NOW)
    assert (found.days(), list(found.work.catalogue.days())) == (indexed, archived)


def test_a_day_past_its_time_goes_from_the_archive_too(installation_for: Callable[..., Installation]) -> None:
    found = installation_for(keep=15)
    fill(found.gateway, DAYS[:2])
    found.archive(DAYS[0])
    assert found.gateway.tock("x")["views"].keys() >= {"2026-11-01", "2026-11-12"}
    run_once(found.work, NOW)
    assert (found.keys(), found.days()) == ([], [DAYS[1]])
    assert found.gateway.tock("x")["views"] == {"2026-11-12": 1}


def test_a_restored_day_stays_until_it_is_archived_by_hand(installation_for: Callable[..., Installation]) -> None:
    found = installation_for(archive_after=2)
    fill(found.gateway, DAYS[:2])
    run_once(found.work, NOW)
    found.work.restorer.restore(DAYS[0])
    run_once(found.work, NOW)
    assert found.days() == [DAYS[0]]
    assert found.archive(DAYS[0]).deleted


def test_a_day_of_which_events_wait_is_left_out(installation_for: Callable[..., Installation]) -> None:
    found = installation_for(archive_after=2)
    fill(found.gateway, DAYS[:2])
    found.gateway.accepted({"id": "x", "@timestamp": f"{DAYS[0]}T11:00:00Z"})
    run_once(found.work, NOW)
    assert found.days() == [DAYS[0]]


def test_the_drain_does_it_by_itself(installation_for: Callable[..., Installation]) -> None:
    found = installation_for(archive_after=2)
    fill(found.gateway, DAYS[:1])
    automatic = Automatic(found.settings, None, first_s=0.01, every_s=0.2)
    automatic.start()
    try:
        wait_for(lambda: found.days() == [], "the day to be archived")
    finally:
        automatic.stop()
    assert found.gateway.tock("x")["views"] == {"2026-11-01": 1}


def test_a_number_is_never_smaller_while_days_leave(installation: Installation) -> None:
    days = [date(2026, 10, day) for day in range(1, 9)]
    fill(installation.gateway, days)
    ask = open_door(installation.settings, installation.client, lambda: NOW)
    seen: set[Any] = set()
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.is_set():
            seen.add(ask(Question(All(Item("x"))))[0].total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for day in days:
            assert installation.archive(day).deleted
        wait_for(lambda: len(seen) > 0, "a question to be answered")
    finally:
        stopping.set()
        watcher.join(30)
    assert seen == {8}


def test_while_the_s3_is_away_a_number_comes_whole_or_not_at_all(
    installation_for: Callable[..., Installation], moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "TRIES", 1)
    monkeypatch.setattr(s3, "CONNECT_TIMEOUT_S", 1)
    faults = Faults(moto)
    with faults:
        found = installation_for("moto", archive_endpoint=faults.url)
        fill(found.gateway, DAYS)
        found.archive(DAYS[0])
        found.archive(DAYS[1])
        assert sum(found.gateway.tock("x")["views"].values()) == 4
    # The proxy is gone, and with it the S3; what was read is in the cache.
    assert sum(found.gateway.tock("x")["views"].values()) == 4
    shutil.rmtree(found.settings.archive_dir / str(DAYS[1]))
    refused = found.gateway.http.get("/tock/y.json")
    message = refused.json["error"]["message"]
    assert (refused.status_code, "2026-11-12" in message, "2026-11-01" in message) == (503, True, False)
    alone = found.gateway.http.get("/tock/x.json?archive=no")
    assert (alone.status_code, sum(alone.json["views"].values()), set(alone.json)) == (
        200,
        2,
        {"views", "downloads", "referers"},
    )
    # A process that never saw the archive knows its days from the file, and without it says that it doesn't.
    ask = open_door(found.settings, found.client, lambda: NOW)
    with pytest.raises(ArchiveUnavailable, match="2026-11-12"):
        ask(Question(All(Item("x"))))
    (found.settings.archive_dir / "manifests.json").unlink()
    with pytest.raises(ArchiveUnavailable, match="which days are there"):
        open_door(found.settings, found.client, lambda: NOW)(Question(All(Item("x"))))


def test_a_damaged_object_is_an_error_and_never_a_number(installation: Installation) -> None:
    fill(installation.gateway, DAYS[:1])
    installation.archive(DAYS[0])
    root = Path(installation.settings.archive.removeprefix("file://"))
    (part,) = root.glob("*/summary-*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert installation.gateway.http.get("/tock/x.json").status_code == 500
    part.write_bytes(whole)
    assert installation.gateway.tock("x")["views"] == {"2026-11-01": 1}
