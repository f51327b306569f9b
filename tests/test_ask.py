"""`metronome ask`: options become a question, and the answer a table, JSON or CSV."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Gateway
from live import Live

from metronome.cli import main
from metronome.cli.questions import table
from metronome.client import http

NOW = datetime(2026, 10, 7, 9, 30, tzinfo=UTC)

EVENTS = [
    {"ts": "2026-10-05T10:00Z", "event": "view", "distinct_id": "u1", "browser": "Firefox"},
    {"ts": "2026-10-05T11:00Z", "event": "view", "distinct_id": "u2", "browser": "Chrome"},
    {"ts": "2026-10-06T10:30Z", "event": "buy", "distinct_id": "u1", "browser": "Firefox", "price": 12.5},
]


@pytest.fixture
def command(gateway_for: Callable[..., Gateway], tmp_path: Path) -> Iterator[Callable[..., str]]:
    gateway = gateway_for(now=NOW)
    gateway.accepted([{"id": "home", "insert_id": f"e{n}", **event} for n, event in enumerate(EVENTS)])
    gateway.drain()
    running = Live(gateway, tmp_path)

    def run(*arguments: str, status: int = 0) -> str:
        environ = {**os.environ, "METRONOME_URL": running.url, "METRONOME_HOME": str(tmp_path)}
        done = CliRunner().invoke(main, ["ask", *arguments], env=environ)
        assert done.exit_code == status, done.output
        return done.output

    yield run
    running.stop()


SPAN = ("--from", "2026-10-05", "--to", "2026-10-06")


def test_a_trend_is_a_table_for_people(command: Callable[..., str]) -> None:
    assert command("trend", "view", "buy", "--formula", "B / A", *SPAN) == (
        "bucket      series   value\n"
        "----------  -------  -----\n"
        "2026-10-05  formula      0\n"
        "2026-10-06  formula      -\n"
    )  # fmt: skip


KINDS = {
    "funnel": (
        ("funnel", "view", "buy", "--window", "2d"),
        ["step,name,count,of_first,of_previous,dropped,mean_s,median_s,p90_s,min_s,max_s", "1,view,2,1.0,,,,,,,",
         "2,buy,1,0.5,0.5,1,88200.0,88200.0,88200.0,88200.0,88200.0"],
    ),
    "retention": (
        ("retention", "view", "buy", "--periods", "1"),
        ["cohort,period,size,returned,rate,complete", "2026-10-05,0,2,0,0.0,true", "2026-10-05,1,2,1,0.5,true",
         "2026-10-06,0,0,0,,true", "2026-10-06,1,0,,,false"],
    ),
    "lifecycle": (
        ("lifecycle", "--interval", "day"),
        ["bucket,new,returning,resurrecting,dormant,complete", "2026-10-05,2,0,0,0,true", "2026-10-06,0,1,0,1,true"],
    ),
    "lifecycle of one event, in two": (
        ("lifecycle", "buy", "--split", "new_returning"),
        ["bucket,new,returning,complete", "2026-10-05,0,0,true", "2026-10-06,1,0,true"],
    ),
    "paths": (("paths", "view", "--within", "2d", "--depth", "1", "--question", '{"across_sessions": true}'), ["step,from,to,count,median_s", "0,view,buy,1,88200.0"]),
    "values": (("values", "browser", "--subject", "distinct_id"), ["value,events,subjects", "Firefox,2,1", "Chrome,1,1"]),
    "values, filtered": (("values", "event", "--where", "price>=12.5", "--where", "browser!=Chrome"), ["value,events,subjects", "buy,1,1"]),
    "trend by group": (
        ("trend", "--by", "browser", "--interval", "total", "--where", "browser~ire"),
        ["bucket,series,browser,value", "total,A,Firefox,2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_its_rows(command: Callable[..., str], name: str) -> None:
    arguments, rows = KINDS[name]
    assert command(*arguments, *SPAN, "--csv").splitlines() == rows


def test_events_and_fields_are_listed(command: Callable[..., str]) -> None:
    listed = json.loads(command("events", "buy", *SPAN, "--json"))
    assert [event["_id"] for event in listed["result"]["events"]] == ["e2"]
    assert listed["meta"]["from"] == "2026-10-05T00:00:00.000Z"
    fields = command("properties", "--event", "buy", *SPAN)
    assert any(line.startswith("price") for line in fields.splitlines())
    assert command("events", "none", *SPAN) == "nothing\n"


def test_a_person_and_all_of_them_are_shown(command: Callable[..., str]) -> None:
    listed = json.loads(command("timeline", "u1", *SPAN, "--json"))["result"]
    assert ([event["_id"] for event in listed["events"]], listed["person"]["id"]) == (["e2", "e0"], "u1")
    assert [line.split(",")[0] for line in command("people", *SPAN, "--csv").splitlines()] == ["id", "u1", "u2"]


def test_a_question_comes_from_a_file(command: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text('{"series": [{"event": "buy", "measure": "sum:price"}], "interval": "total"}')
    assert command("trend", "--question", f"@{tmp_path}/q.json", *SPAN).splitlines()[-1] == "total   A        12.5"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("trend", "--interval", "minute"), 1, "interval: Must be one of: hour, day, week, month, year, total"),
        (("funnel",), 1, "steps: Missing data for required field"),
        (("values", "x", "--where", "=1"), 2, "--where: '=1': write FIELD=VALUE, with = != > >= < <= or ~ (contains)"),
        (("values", "x", "--question", "[]"), 2, "--question: a JSON object"),
        (("values", "x", "--question", "@/none"), 2, "--question: it can't be read as JSON"),
    ],
)
def test_what_can_not_be_asked_says_why(
    command: Callable[..., str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    assert said in command(*arguments, status=status)


WHERES = {
    "a=1": ("a", "is", 1),
    "a=x=y": ("a", "is", "x=y"),
    "a!=true": ("a", "is_not", True),
    "a<=2": ("a", "lte", 2),
    "a<2": ("a", "lt", 2),
    "a~1": ("a", "contains", "1"),
    "a={x}": ("a", "is", "{x}"),
    "a=[1]": ("a", "is", "[1]"),
    'a="1"': ("a", "is", "1"),
}


@pytest.mark.parametrize("text", WHERES)
def test_a_filter_is_read_as_it_is_written(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def noted(url: str, body: bytes, **_: Any) -> str:
        asked.append(json.loads(body)["where"])
        return ""

    monkeypatch.setattr(http, "post_for_text", noted)
    CliRunner().invoke(main, ["ask", "values", "x", "--where", text], catch_exceptions=False)
    assert asked == [[dict(zip(("field", "op", "value"), WHERES[text], strict=True))]]


def test_a_table_is_safe_for_a_terminal_and_no_wider_than_can_be_read() -> None:
    rows = [{"a": "x\x1b[31m\n", "n": 1}, {"a": "y" * 80, "b": {"c": [1]}, "n": 22.25}]
    assert table(rows).splitlines() == [
        f"a{' ' * 59}      n  b",
        f"{'-' * 60}  -----  ----------",
        f"x\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}{' ' * 53}      1  -",
        f"{'y' * 59}…  22.25  " + '{"c": [1]}',
    ]
