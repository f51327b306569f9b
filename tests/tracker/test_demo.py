"""`metronome demo`: the same month for the same seed, through the public door, and figures on every page."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Server

from metronome import up
from metronome.cli import main
from metronome.client import Retriever
from metronome.load.site import is_outage, month
from metronome.settings import Settings

UNTIL = datetime(2026, 11, 22, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return list(month("a seed", UNTIL, 30, "demo"))


def test_the_same_seed_gives_the_same_events_and_another_one_others(events: list[dict[str, Any]]) -> None:
    assert list(month("a seed", UNTIL, 30, "demo")) == events
    others = {event["insert_id"] for event in month("another", UNTIL, 30, "demo")}
    assert others.isdisjoint(event["insert_id"] for event in events)


def test_a_day_is_the_same_whenever_it_is_made(events: list[dict[str, Any]]) -> None:
    """So a demo that is run again tomorrow adds a day, and counts none twice."""
    later = list(month("a seed", UNTIL + timedelta(days=3), 10, "demo"))
    assert later[-1]["@timestamp"] > UNTIL.isoformat()
    shared = [event for event in later if event["@timestamp"] < UNTIL.isoformat()]
    assert shared == [event for event in events if event["@timestamp"] >= later[0]["@timestamp"]]


def test_a_month_has_everything_that_pages_show(events: list[dict[str, Any]]) -> None:
    names = Counter(event["event"] for event in events)
    assert min(names[name] for name in ("view", "download", "sign_up", "purchase", "play", "search", "error")) > 50
    assert 30_000 < len(events) < 60_000
    assert len({event["insert_id"] for event in events}) == len(events)
    assert len({event["@timestamp"][:10] for event in events}) == 30
    assert max(event["@timestamp"] for event in events) < UNTIL.isoformat()
    visitors = Counter(event["distinct_id"] for event in events if "distinct_id" in event)
    days = {(event["distinct_id"], event["@timestamp"][:10]) for event in events if "distinct_id" in event}
    assert len(days) > 1.2 * len(visitors)  # some come back on another day
    robots = [event for event in events if "distinct_id" not in event]
    assert len(robots) > 1000 and all("Mozilla/5.0 (X11" not in event["user_agent"] for event in robots)
    # Who signs up is linked to what they did before.
    assert names["$identify"] == names["sign_up"]


def test_while_the_site_is_away_there_are_errors_and_nothing_else(events: list[dict[str, Any]]) -> None:
    during = [event for event in events if is_outage(datetime.fromisoformat(event["@timestamp"]))]
    assert {(event["event"], event.get("status")) for event in during} == {("error", 503)}
    assert {event["@timestamp"][:10] for event in during}


def test_the_command_fills_a_gateway_and_again_adds_nothing(server: Server) -> None:
    app = f"demo-{uuid.uuid4().hex[:8]}"
    first = server.command("demo", "--days", "2", "--app", app)
    assert (first.returncode, "They can be asked for now" in first.stdout) == (0, True), first.stderr
    total = int(re.match(r"\d+", first.stdout)[0])  # type: ignore[index]
    links = re.findall(r"^  (http\S+)$", first.stdout, re.M)
    assert links == [f"{server.url}/{path}" for path in ("", "applications", f"application/{app}", "tock/%2Fmaps.json")]

    again = server.command("demo", "--days", "2", "--app", app)
    assert again.returncode == 0, again.stderr
    since = int(re.match(r"\d+", again.stdout)[0]) - total  # type: ignore[index]
    retriever = Retriever(app, url=server.url)
    counted = sum(row["count"] for row in retriever.events())
    assert counted in range(total, total + since + 1)

    people = retriever.ask("trend", series=[{"event": "view"}], interval="total", **{"from": "-3d"})
    robots = retriever.ask("trend", series=[{"event": "view"}], interval="total", robots=True, **{"from": "-3d"})
    views = {row["name"]: row["count"] for row in retriever.events()}["view"]
    figures = [asked["result"]["series"][0]["total"] for asked in (people, robots)]
    assert sum(figures) == views and min(figures) > 100
    (question,) = re.findall(r"curl -d '(.*)' http", first.stdout)
    assert json.loads(question)["app"] == app


def test_a_gateway_that_is_away_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(sys.modules["metronome.cli.demo"], "PATIENCE_S", 0)
    run = CliRunner().invoke(main, ["demo", "--days", "1"], env={"METRONOME_URL": "http://127.0.0.1:1"})
    assert (run.exit_code, "no gateway answers at http://127.0.0.1:1/tick" in run.output) == (1, True)


@pytest.mark.parametrize(
    ("program", "bind", "command"),
    [
        (".venv/bin/metronome", "127.0.0.1:8000", ".venv/bin/metronome demo"),
        ("/x/metronome/__main__.py", "127.0.0.1:9000", "METRONOME_URL=http://127.0.0.1:9000 metronome demo"),
    ],
)
def test_a_start_says_how_to_have_something_to_look_at(
    monkeypatch: pytest.MonkeyPatch, program: str, bind: str, command: str
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "up"])
    assert f"in another terminal:   {command}\n" in up.welcome(Settings(bind=bind))
