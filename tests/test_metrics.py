"""Figures live in memory, are published by ordinary writes, and add up over processes whatever becomes of their files."""

from __future__ import annotations

import os
import resource
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import wait_for

from metronome import metrics as module
from metronome.metrics import Metrics, exposition


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], Metrics]]:
    """Processes of a name each, as they publish."""
    running: list[Metrics] = []

    def start(name: str) -> Metrics:
        found = Metrics()
        found.publish(tmp_path / "metrics" / name)
        running.append(found)
        return found

    yield start
    for one in running:
        one.close()


def accepted(metrics: Metrics) -> float:
    (line,) = [
        line
        for line in exposition(metrics, {}).decode().splitlines()
        if line.startswith('metronome_events_accepted_total{dialect="tick"}')
    ]
    return float(line.split()[1])


def count(metrics: Metrics, events: int) -> None:
    metrics.accepted.labels("tick").inc(events)


def test_figures_add_up_over_processes_and_over_their_successors(started: Callable[[str], Metrics]) -> None:
    first, second = started("web-0"), started("web-1")
    count(first, 1)
    count(second, 10)
    second.close()
    assert accepted(first) == 11, "one that has ended still counts"
    successor = started("web-1")
    count(successor, 100)
    successor.close()
    count(first, 1000)

    assert accepted(first) == 1111, "its own are of the moment"
    first.close()
    assert accepted(started("drain")) == 1111, "also for others, once it has published"


def test_all_families_and_buckets_are_told_in_the_usual_form(started: Callable[[str], Metrics]) -> None:
    other = started("web-1")
    other.spool_seconds.labels("tick").observe(0.002)
    other.close()
    mine = started("web-0")
    mine.spool_seconds.labels("tick").observe(0.2)
    lines = (
        exposition(mine, {"spool_events": ("Waiting", 3.0), "age": ("By index", ("index", {"a": 1.5}))})
        .decode()
        .splitlines()
    )

    assert 'metronome_spool_append_seconds_bucket{dialect="tick",le="0.001"} 0.0' in lines
    assert 'metronome_spool_append_seconds_bucket{dialect="tick",le="0.0025"} 1.0' in lines
    assert 'metronome_spool_append_seconds_bucket{dialect="tick",le="+Inf"} 2.0' in lines
    assert 'metronome_spool_append_seconds_count{dialect="tick"} 2.0' in lines
    assert "metronome_spool_events 3.0" in lines
    assert 'metronome_age{index="a"} 1.5' in lines
    assert "# TYPE metronome_spool_append_seconds histogram" in lines
    assert "# TYPE metronome_events_accepted_total counter" in lines
    assert len(lines) == len(set(lines)), "nothing is told twice"


DAMAGES = {
    "is gone": lambda path: path.unlink(),
    "is empty": lambda path: path.write_bytes(b""),
    "is cut": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "has a changed byte": lambda path: path.write_bytes(path.read_bytes()[:40] + b"#" + path.read_bytes()[41:]),
    "is zeros": lambda path: path.write_bytes(bytes(65536)),
    "is no file": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_of_figures_that_is_damaged_costs_its_own_figures(
    started: Callable[[str], Metrics], tmp_path: Path, damage: str
) -> None:
    mine, other = started("web-0"), started("web-1")
    count(mine, 1)
    count(other, 10)
    other.close()
    DAMAGES[damage](tmp_path / "metrics" / "web-1.counts")

    assert accepted(mine) == 1
    count(started("web-1"), 5)
    assert accepted(mine) >= 1


def test_a_disk_without_room_costs_others_the_latest_figures_and_nothing_else(
    started: Callable[[str], Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUBLISH_EVERY_S", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        mine = started("web-0")
        count(mine, 7)
        time.sleep(0.2)  # some rounds that fail
        assert accepted(mine) == 7
        assert accepted_elsewhere(started) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    wait_for(lambda: accepted_elsewhere(started) == 7, "the figures once there is room", 5)


def accepted_elsewhere(started: Callable[[str], Metrics]) -> float:
    other = started("drain")
    other.close()
    return sum(value for (name, _), value in other.all_totals().items() if name == "metronome_events_accepted_total")


def test_counting_writes_nothing(started: Callable[[str], Metrics], tmp_path: Path) -> None:
    mine = started("web-0")
    path = tmp_path / "metrics" / "web-0.counts"
    wait_for(path.exists, "the first figures")
    before = path.stat().st_mtime_ns
    for _ in range(1000):
        count(mine, 1)
    assert path.stat().st_mtime_ns == before
    mine.close()
    assert path.stat().st_mtime_ns > before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.stat(path.parent).st_mode & 0o077 == 0
