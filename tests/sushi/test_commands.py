"""`metronome counter report`, as an operator runs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from elasticsearch import Elasticsearch

from metronome.client import get
from metronome.counter.facts import Fact, Performance, Subject
from metronome.counter.kept import Kept
from metronome.counter.reports import months
from metronome.settings import Settings

LAST = months.before(months.month_of(datetime.now(UTC)))
USED = Performance({"No_License": 3}, "Journal", "2024", "Controlled")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "tr9", "--customer", "x", "--from", LAST, "--to", LAST), "'tr9' isn't one of PR, PR_P1, DR"),
        (("report", "tr", "--customer", "nobody", "--from", LAST, "--to", LAST), "there is no customer 'nobody'"),
        (("report", "tr", "--customer", "0000000000000000", "--from", "2026", "--to", LAST), "Invalid Date Arguments (2026: write yyyy-mm"),
        (("report", "tr", "--customer", "x", "--from", LAST, "--to", LAST, "--with", "YOP"), "'YOP' isn't a name, = and a value"),
    ],
)  # fmt: skip
def test_what_a_command_cannot_do_is_said_in_a_line(server: Server, arguments: tuple[str, ...], said: str) -> None:
    run = server.command("counter", *arguments)
    assert run.returncode != 0
    assert said in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr


def test_a_report_is_written_as_the_api_answers_it(
    server: Server, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    added = server.command("counter", "customers", "add", "written", "--name", "Example University")
    credentials = json.loads(added.stdout)
    facts = [Fact(Subject("j-1", "Roads", "Journal"), None, (USED,))]
    Kept(elasticsearch, Settings.from_env(server.environ)).replace(
        LAST, [("written", "TR", facts)], at=datetime.now(UTC)
    )
    asked = ("--customer", "written", "--from", LAST, "--to", LAST)
    run = server.command("counter", "report", "TR", *asked, "--with", "attributes_to_show=YOP", "--with", "x=1")
    assert run.returncode == 0
    assert run.stderr == "3050: Parameter Not Recognized in this Context (x)\n"
    query = {"begin_date": LAST, "end_date": LAST, "attributes_to_show": "YOP", "x": "1"}
    over_http = get(f"{server.url}/r51/reports/tr", {**credentials, **query})
    assert without_time(json.loads(run.stdout)) == without_time(over_http)
    assert over_http["Report_Items"][0]["Attribute_Performance"][0]["YOP"] == "2024"

    path = tmp_path / "tr.tsv"
    server.command("counter", "report", "tr_j2", *asked, "--format", "tsv", "--output", str(path))
    rows = [line.split("\t") for line in path.read_text("utf-8-sig").splitlines()]
    assert rows[15] == ["Roads", "", "", "Metronome", "", "metronome:j-1", "", "", "", "No_License", "3", "3"]


def without_time(report: dict[str, Any]) -> dict[str, Any]:
    return {**report, "Report_Header": {**report["Report_Header"], "Created": ""}}
