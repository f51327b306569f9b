"""Somebody's index template that stands above ours is told wherever an operator looks, and events still flow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Gateway, wait_for

from metronome.doctor import Finding, _elasticsearch
from metronome.drain import templates
from metronome.drain.drain import Drain
from metronome.metrics import Metrics
from metronome.store.indices import Rival, matches, rivals
from metronome.store.names import template_name

TOLD = "another index template stands above ours, so new indices get its mapping; `metronome doctor` names it"


@pytest.fixture
def theirs(gateway: Gateway) -> Iterator[str]:
    """Name of a template that doesn't exist yet; it is gone when the test ends."""
    name = f"theirs-{gateway.settings.index_prefix}"
    yield name
    gateway.elasticsearch.options(ignore_status=404).indices.delete_index_template(name=name)


def put(gateway: Gateway, name: str, pattern: str, priority: int) -> None:
    patterns = [pattern.replace("PREFIX", gateway.settings.index_prefix)]
    gateway.elasticsearch.indices.put_index_template(name=name, index_patterns=patterns, priority=priority)


@pytest.fixture
def draining(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drain]:
    monkeypatch.setattr(templates, "LOOK_EVERY_S", 0.1)
    drain = Drain(gateway.settings, gateway.elasticsearch, Metrics())
    thread = threading.Thread(target=drain.run)
    thread.start()
    yield drain
    drain.stop()
    thread.join()


def state(gateway: Gateway) -> dict[str, Any]:
    found: Any = gateway.http.get("/readyz").json
    return {"status": found["status"], **found["drain"]}


def figure(gateway: Gateway) -> str:
    lines = gateway.http.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("metronome_templates_in_force ")]
    return str(line.partition(" ")[2])


def template(gateway: Gateway) -> Finding:
    return next(finding for finding in _elasticsearch(gateway.settings) if finding.what == "template")


def test_a_template_above_ours_is_told_by_readyz_doctor_figures_and_log_until_it_is_gone(
    gateway: Gateway, theirs: str, draining: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    well = {"status": "ready", "running": True, "trouble": ""}
    wait_for(lambda: state(gateway) == well, "the drain to run")
    assert (template(gateway).well, figure(gateway)) == (True, "1.0")
    put(gateway, theirs, "PREFIX-20*", 300)

    wait_for(lambda: state(gateway) == {"status": "degraded", "running": True, "trouble": TOLD}, "it to be told")
    above = f"{theirs} (priority 300) stands above {template_name(gateway.settings)}"
    advice = "so new indices get its mapping; lower its priority, or delete it"
    assert template(gateway) == Finding("template", False, f"{above}, {advice}")
    assert figure(gateway) == "0.0"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.problem, "lower its priority" in record.message) == (above, True)  # type: ignore[attr-defined]
    gateway.accepted({"id": "a"})
    wait_for(lambda: draining.outcome.indexed == 1, "the event to be stored all the same")

    gateway.elasticsearch.indices.delete_index_template(name=theirs)
    wait_for(lambda: state(gateway) == well, "all to be well again")
    assert (template(gateway).well, figure(gateway)) == (True, "1.0")


@pytest.mark.parametrize(
    ("pattern", "priority", "found"),
    [
        pytest.param("PREFIX-*", 500, True, id="our pattern, above"),
        pytest.param("PREFIX*", 251, True, id="all that begins so, just above"),
        pytest.param("PREFIX-2020.*", 300, True, id="one year"),
        pytest.param("PREFIX-*", 249, False, id="below"),
        pytest.param("PREFIX-*-metrics", 500, False, id="other indices of the same beginning"),
        pytest.param("metronome-keys-PREFIX", 500, True, id="our keys"),
    ],
)
def test_a_rival_is_a_template_above_ours_that_matches_our_indices(
    gateway: Gateway, theirs: str, pattern: str, priority: int, found: bool
) -> None:
    gateway.drain()
    put(gateway, theirs, pattern, priority)
    ours = {rival for rival in rivals(gateway.elasticsearch, gateway.settings) if rival.name == theirs}
    assert {(rival.name, rival.priority) for rival in ours} == ({(theirs, priority)} if found else set())
    assert all(isinstance(rival, Rival) for rival in ours)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("logstash-*", True),
        ("*", True),
        ("log*", True),
        ("*.22", True),
        ("logstash-2026.1*.*", True),
        ("logstash-2026.11.22", True),
        ("logs*sh-*.*.*", True),
        ("logstash", False),
        ("logstash-*-x", False),
        ("logs-*-*", False),
        ("logstash-*.*.*.*", False),
        ("logstash-2026.11.222", False),
        ("", False),
    ],
)
def test_a_pattern_matches_what_has_the_shape_of_a_day(pattern: str, fits: bool) -> None:
    assert matches(pattern, "logstash-####.##.##") is fits
