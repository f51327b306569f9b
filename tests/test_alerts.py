"""docker/alerts.yaml: every figure that a rule reads is in /metrics, with the labels that it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Gateway
from prometheus_client.parser import text_string_to_metric_families

(GROUP,) = yaml.safe_load((Path(__file__).parent.parent / "docker/alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]

#: Only there while an index takes no events.
LABELS = {"metronome_undelivered_age_seconds": {"index"}}


@pytest.fixture
def figures(gateway_for: Callable[..., Gateway]) -> dict[str, set[str]]:
    """Name of each figure of a gateway that listens, to its labels."""
    gateway = gateway_for(lines_bind="127.0.0.1:1")
    gateway.accepted([{"id": "a"}])
    gateway.metrics.dropped.labels("lines")
    text = gateway.http.get("/metrics").text
    families = text_string_to_metric_families(text)
    found = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    return {**found, **LABELS} if "# TYPE metronome_undelivered_age_seconds gauge" in text else found


def test_each_rule_reads_figures_that_there_are(figures: dict[str, set[str]]) -> None:
    for rule in RULES:
        names = re.findall(r"\bmetronome_\w+", rule["expr"])
        assert names and set(names) <= set(figures), rule["alert"]
        (name,) = names
        asked = set(re.findall(r"(\w+)=~?\"", rule["expr"]))
        asked |= {label.strip() for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(",")}
        assert asked <= figures[name], rule["alert"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert all(text.endswith(".") for text in rule["annotations"].values())
    assert set(rule["annotations"]) == {"summary", "description"}
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_prometheus_can_read_the_expression(rule: dict[str, Any]) -> None:
    parser = pytest.importorskip("promql_parser")
    parser.parse(rule["expr"])


def test_prometheus_refuses_what_is_no_expression() -> None:
    parser = pytest.importorskip("promql_parser")
    with pytest.raises(ValueError):
        parser.parse("sum(rate(metronome_http_requests_total[5m])")
