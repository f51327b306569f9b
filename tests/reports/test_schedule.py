"""Reports on schedule: what is due runs beside the drain, one process at a time."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, remove_indices, wait_for
from elasticsearch import Elasticsearch

from metronome.drain.schedule import Schedule, next_turn
from metronome.settings import Settings


@pytest.mark.parametrize(
    ("now", "then"), [("06:00:00", "06:30:00"), ("06:29:59", "06:30:00"), ("06:30:00.001", "07:00:00")]
)
def test_a_turn_comes_every_half_hour(now: str, then: str) -> None:
    at = next_turn(datetime.fromisoformat(f"2026-05-03T{now}+00:00"))
    assert at == datetime.fromisoformat(f"2026-05-03T{then}+00:00")


def test_what_is_due_runs_at_once_and_again_with_each_turn(tmp_path: Path) -> None:
    file = tmp_path / "runs"
    command = (sys.executable, "-c", f"open({str(file)!r}, 'a').write('x')")
    # Its clock stands a moment before a half hour, so a turn follows another.
    schedule = Schedule(command, clock=lambda: datetime(2026, 5, 3, 6, 29, 59, 990_000, tzinfo=UTC))
    schedule.start()
    wait_for(lambda: file.exists() and len(file.read_text()) > 2, "three runs")
    schedule.stop()


def test_a_run_that_is_under_way_is_stopped_with_the_drain(tmp_path: Path) -> None:
    file = tmp_path / "runs"
    schedule = Schedule((sys.executable, "-c", f"open({str(file)!r}, 'w'); import time; time.sleep(600)"))
    schedule.start()
    wait_for(file.exists, "the run to begin")
    schedule.stop()


def test_a_command_that_fails_is_logged_and_a_missing_one_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for command in ((sys.executable, "-c", "print('no'); raise SystemExit(1)"), ("/nowhere/python",)):
        schedule = Schedule(command)
        schedule.start()
        wait_for(lambda: caplog.records, "a line of the log")
        schedule.stop()
        (record,) = caplog.records
        assert getattr(record, "said", "no\n") == "no\n"
        caplog.clear()


def test_the_drain_makes_yesterdays_reports_where_it_is_told_to(
    engine_settings: Settings, elasticsearch: Elasticsearch, settings: Settings, tmp_path: Path
) -> None:
    from dataclasses import replace

    server = Server(replace(engine_settings, index_prefix=settings.index_prefix), tmp_path / "home")
    server.environ["METRONOME_REPORTS"] = "yes"
    index = f"metronome-report-download-count-{settings.index_prefix}"

    def made() -> Any:
        found = elasticsearch.options(ignore_status=(404, 503)).search(index=index)
        return found.body.get("hits", {}).get("hits")

    server.start("drain")
    try:
        assert wait_for(made, "a report", 60)
    finally:
        server.stop()
        remove_indices(elasticsearch, replace(engine_settings, index_prefix=settings.index_prefix))
