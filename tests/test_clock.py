"""The clock of real processes is set back by a day while they work, by libfaketime: nothing stops, nothing is doubled."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from conftest import Server, remove_indices, wait_for
from elasticsearch import Elasticsearch

from metronome.client import post
from metronome.settings import Settings

libfaketime = pytest.importorskip("libfaketime", reason="needs libfaketime to set a process's clock")


WELL = ("ready", {"running": True, "trouble": ""})


class Clock:
    """The wall clock of some processes. Their monotonic clock stays the host's."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        self.set(0)

    def set(self, days: int) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(f"{days:+d}d")
        new.replace(self.file)

    @property
    def environ(self) -> dict[str, str]:
        (library,) = Path(libfaketime.__file__).parent.rglob("libfaketime.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",  # so that a new clock counts at once
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def server(engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path, clock: Clock) -> Iterator[Server]:
    settings = replace(engine_settings, index_prefix=f"s{uuid.uuid4().hex[:10]}")
    found = Server(settings, tmp_path / "home")
    found.environ |= clock.environ
    found.start("serve", "drain")
    found.wait_until_ready()
    # A gateway is ready to take events before the drain has told how it is.
    wait_for(lambda: readyz(found) == WELL, "the drain to run")
    yield found
    found.stop()
    remove_indices(elasticsearch, settings)


def test_a_clock_set_back_by_a_day_and_forward_again_stops_nothing(
    server: Server, clock: Clock, elasticsearch: Elasticsearch
) -> None:
    expected: dict[str, str] = {}

    def tick(name: str, days: int) -> None:
        receipt = post(f"{server.url}/tick?receipt=full", json.dumps({"id": name}).encode())
        assert receipt["accepted"] == 1
        expected[name] = f"{datetime.now(UTC) + timedelta(days=days):%Y.%m.%d}"

    def stored() -> dict[str, str]:
        pattern = f"{server.prefix}-*"
        elasticsearch.indices.refresh(index=pattern, allow_no_indices=True)
        # An index that is being made answers 503 for a moment.
        answer = elasticsearch.options(ignore_status=503).search(index=pattern, size=100, allow_no_indices=True).body
        hits = answer.get("hits", {}).get("hits", [])
        return {hit["_source"]["id"]: hit["_index"].removeprefix(f"{server.prefix}-") for hit in hits}

    for days in (0, -1, 0, 1, 0):
        clock.set(days)
        before = status(server)["monotonic"]
        for number in range(3):
            tick(f"at {days} {number} {len(expected)}", days)
        wait_for(lambda: stored() == expected, f"the events of a clock that is {days} days off")
        wait_for(lambda before=before: status(server)["monotonic"] > before, "the drain to go on telling how it is")
        wait_for(lambda: readyz(server) == WELL, "all to be well")


def status(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((server.home / "spool/drain.json").read_text())
    return found


def readyz(server: Server) -> tuple[str, dict[str, Any]]:
    with urlopen(f"{server.url}/readyz", timeout=10) as answer:
        found = json.load(answer)
    return found["status"], found["drain"]
