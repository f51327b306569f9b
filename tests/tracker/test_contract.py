"""AnalyticsTracker and AnalyticsRetriever against a running gateway. Source: tracker contract, sections 2 and 4."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from analytics.input import AnalyticsTracker
from analytics.output import AnalyticsRetriever, TimeRange
from conftest import Gateway, Server, wait_for
from live import Live

from metronome.client import Retriever
from metronome.errors import Refused, StoreUnavailable

ROOT = Path(__file__).parent.parent.parent

Pair = tuple[AnalyticsTracker, AnalyticsRetriever]


@pytest.fixture
def pair_for(server: Server) -> Callable[..., Pair]:
    """A tracker and a retriever of an index of their own, both made the same way."""
    index = f"i{uuid.uuid4().hex}"

    def make(application: str = "sdk-test") -> Pair:
        made = {"url": server.url}
        return AnalyticsTracker(application, made, index=index), AnalyticsRetriever(application, made, index=index)

    return make


@pytest.fixture
def pair(pair_for: Callable[..., Pair]) -> Pair:
    return pair_for()


def stored(retriever: AnalyticsRetriever, count: int) -> None:
    wait_for(lambda: sum(one["count"] for one in retriever.events()) == count, f"{count} events to be found")


def in_any_order(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["name"]: row["count"] for row in rows}


def test_the_first_example_of_the_contract(pair: Pair) -> None:
    tracker, retriever = pair
    now = datetime.now(UTC)
    while (now + timedelta(minutes=2)).month != now.month:  # both events are to be in one calendar month
        now -= timedelta(minutes=5)
    tracker.track("test_event", time=now.isoformat(), distinct_id="abc123", foo="bar", abc="123")
    tracker.track("test_event", time=now.isoformat(), distinct_id="123abc", abc="12345")
    stored(retriever, 2)

    assert retriever.applications() == [{"name": "sdk-test", "count": 2}]
    assert retriever.events() == [{"name": "test_event", "count": 2}]
    assert in_any_order(retriever.properties("test_event")) == {"abc": 2, "foo": 1}
    assert in_any_order(retriever.property_values("test_event", "abc")) == {"123": 1, "12345": 1}
    assert retriever.property_values("test_event", "foo") == [{"name": "bar", "count": 1}]
    month = f"{now:%Y-%m}-01T00:00:00.000+00:00"
    assert retriever.events_over_time(time_range=TimeRange.MONTH) == {"test_event": [{"count": 2, "time": month}]}
    assert retriever.events_over_time(event_name="test_event", property="foo") == {
        "bar": [{"count": 1, "time": month}],
        "NULL": [{"count": 1, "time": month}],
    }
    assert (retriever.unique_users("test_event"), retriever.unique_users()) == (2, 2)


WIDTHS = [
    pytest.param(
        ["2026-11-01T00:00:00", "2026-11-30T23:59:59"], TimeRange.MONTH, {"2026-11-01T00": 2}, id="both ends of a month"
    ),
    pytest.param(
        ["2026-10-31T23:59:59", "2026-11-01T00:00:00"], TimeRange.MONTH, {"2026-10-01T00": 1, "2026-11-01T00": 1}, id="two months"
    ),
    pytest.param(
        ["2026-11-01T12:00:00", "2026-11-02T00:00:00"], TimeRange.WEEK, {"2026-10-26T00": 1, "2026-11-02T00": 1}, id="weeks begin on Monday"
    ),
    pytest.param(
        ["2026-11-01T00:30", "2026-11-01T02:30"], "1h", {"2026-11-01T00": 1, "2026-11-01T01": 0, "2026-11-01T02": 1}, id="an hour without events"
    ),
    pytest.param(["2026-11-01T23:30:00-02:00"], TimeRange.DAY, {"2026-11-02T00": 1}, id="a time with its zone"),
    pytest.param(["1999-12-31T12:00:00"], TimeRange.MONTH, {"1999-12-01T00": 1}, id="an old time"),
]  # fmt: skip


@pytest.fixture
def later(gateway_for: Callable[..., Gateway], tmp_path: Path) -> Iterator[Live]:
    """A gateway behind a port, whose clock is past all times of the contract's examples."""
    live = Live(gateway_for(now=datetime(2026, 12, 15, tzinfo=UTC)), tmp_path)
    yield live
    live.stop()


@pytest.mark.parametrize(("times", "width", "counts"), WIDTHS)
def test_an_event_is_in_the_bucket_of_its_time(
    later: Live, times: list[str], width: str, counts: dict[str, int]
) -> None:
    tracker, retriever = AnalyticsTracker("a", {"url": later.url}), AnalyticsRetriever("a", {"url": later.url})
    for time in times:
        tracker.track("e", time=time)
    later.gateway.drain()
    expected = [{"count": count, "time": f"{hour}:00:00.000+00:00"} for hour, count in counts.items()]
    assert retriever.events_over_time(time_range=width) == {"e": expected}


def test_the_text_of_an_event_without_a_time_has_that_of_now_in_utc(pair: Pair) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    text = pair[0].track("e")
    time, _, rest = text.partition(" ")
    assert rest == 'application="sdk-test" event="e"  '
    assert before <= datetime.fromisoformat(time) <= datetime.now(UTC).replace(tzinfo=None)
    assert len(time) == len("2011-08-08T11:45:17.735045")


REFUSED = [
    pytest.param({"a": {"x": 1}}, id="a dictionary"),
    pytest.param({"a": [1]}, id="a list"),
    pytest.param({"application": "x"}, id="a property called application"),
    pytest.param({"event": "x"}, id="a property called event"),
]


@pytest.mark.parametrize("properties", REFUSED)
def test_what_can_be_no_property_is_an_assertion_error(pair: Pair, properties: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        pair[0].track("e", **properties)
    assert pair[1].events() == []


def test_guards_hold_when_python_runs_optimised(server: Server) -> None:
    program = f"from analytics.input import *\nAnalyticsTracker('a', {{'url': {server.url!r}}}).track('e', a=[1])"
    run = subprocess.run([sys.executable, "-O", "-c", program], env=alone(), capture_output=True, text=True)
    assert "BadProperty: a: a list can't be a value" in run.stderr


def test_values_come_back_as_given_and_the_text_has_what_fits(pair: Pair) -> None:
    tracker, retriever = pair
    given = {
        "quote": 'a"b',
        "lines": "a\nb",
        "number": 3.0,
        "flag": True,
        "nothing": None,
        "spaced name": "x",
        "empty": "",
    }
    text = tracker.track("e", **given)
    assert 'analytics_prop__quote="a\'b"' in text and 'analytics_prop__lines="a b"' in text
    stored(retriever, 1)
    found = {name: [row["name"] for row in retriever.property_values("e", name)] for name in given}
    assert found == {
        "quote": ['a"b'], "lines": ["a\nb"], "number": ["3.0"], "flag": ["True"], "nothing": ["None"],
        "spaced name": ["x"], "empty": [],
    }  # fmt: skip
    # An empty value is no value.
    assert set(in_any_order(retriever.properties("e"))) == set(given) - {"empty"}
    assert list(retriever.events_over_time("e", property="empty")) == ["NULL"]


NAMES = ['say "hi"', "list[0] > x", "two words", "*", "a/b/c", "café & <b>", "OTHER", "per%cent", "line\nbreak", "a=b"]


def test_names_are_matched_whole_whatever_is_in_them(pair_for: Callable[..., Pair]) -> None:
    shown = {name.replace('"', "'").replace("\n", " ") for name in NAMES}
    pairs = {name: pair_for(name) for name in NAMES}
    for name, (tracker, _) in pairs.items():
        tracker.track(name, **{name: name})
    any_of_them = pairs["*"][1]
    wait_for(lambda: len(any_of_them.applications()) == len(NAMES), "all of them to be found")
    assert in_any_order(any_of_them.applications()) == dict.fromkeys(shown, 1)
    for name, (_, retriever) in pairs.items():
        (event,) = retriever.events()
        assert event == {"name": name.replace('"', "'").replace("\n", " "), "count": 1}
        assert retriever.property_values(name, name) == [{"name": name, "count": 1}]
        assert list(retriever.events_over_time(name, property=name)) == [name]


def test_a_time_that_cannot_be_read_keeps_its_text_and_the_event_is_of_now(server: Server, pair: Pair) -> None:
    tracker, retriever = pair
    assert tracker.track("e", time="yesterday, around noon").startswith("yesterday, around noon application=")
    stored(retriever, 1)
    asked = Retriever("sdk-test", url=server.url).ask(
        "events", where=[{"field": "analytics_index", "op": "is", "value": tracker.index}]
    )
    (event,) = asked["result"]["events"]
    assert event["ts_client"] == "yesterday, around noon"
    assert event["@timestamp"] == event["received_at"]


def test_the_ten_largest_series_are_there_and_the_others_are_summed(pair: Pair) -> None:
    tracker, retriever = pair
    day = "2025-11-05T10:00:00"
    for number in range(12):
        for _ in range(2 if number < 10 else 1):
            tracker.track("e", time=day, kind=f"k{number:02}")
    tracker.track("e", time="2025-11-07T10:00:00")
    stored(retriever, 23)
    days = [f"2025-11-0{day}T00:00:00.000+00:00" for day in (5, 6, 7)]

    def series(*counts: int) -> list[dict[str, Any]]:
        return [{"count": count, "time": time} for count, time in zip(counts, days, strict=True)]

    assert retriever.events_over_time("e", TimeRange.DAY, "kind") == {
        **{f"k{number:02}": series(2, 0, 0) for number in range(10)}, "OTHER": series(2, 0, 0), "NULL": series(0, 0, 1),
    }  # fmt: skip


def test_a_value_that_is_called_other_can_be_told_from_the_rest(server: Server, pair: Pair) -> None:
    tracker, retriever = pair
    for number in range(11):
        tracker.track("e", time="2025-11-05", kind=f"k{number:02}")
    tracker.track("e", time="2025-11-05", kind="OTHER")
    tracker.track("e", time="2025-11-05", kind="OTHER")
    stored(retriever, 13)
    modern = Retriever("sdk-test", index=tracker.index, url=server.url)
    marked = [
        (one["special"], one["data"][0]["count"])
        for one in modern.over_time("e", property="kind")
        if one["name"] == "OTHER"
    ]
    assert marked == [(False, 2), (True, 2)]
    assert retriever.events_over_time("e", property="kind")["OTHER"] == [
        {"count": 4, "time": "2025-11-01T00:00:00.000+00:00"}
    ]


def test_nothing_selected_is_nothing(pair: Pair) -> None:
    retriever = pair[1]
    asked = [
        retriever.applications(),
        retriever.events(),
        retriever.properties("e"),
        retriever.property_values("e", "p"),
        retriever.events_over_time(),
    ]
    assert asked == [[], [], [], [], {}]
    assert retriever.unique_users() == 0


def test_events_of_other_dialects_are_an_applications_events_too(server: Server) -> None:
    app = f"pairwise-{uuid.uuid4().hex[:8]}"
    server.command("tick", json.dumps({"app": app, "event": "buy", "distinct_id": "ann", "price": 9.5, "vip": True}))
    AnalyticsTracker(app, {"url": server.url}).track("buy", distinct_id="ben", price="9.5", coupon="SPRING")
    retriever = AnalyticsRetriever(app, {"url": server.url})
    stored(retriever, 2)
    assert {"name": app, "count": 2} in retriever.applications()
    assert in_any_order(retriever.properties("buy")) == {"price": 1, "vip": 1, "coupon": 1}
    assert retriever.property_values("buy", "price") == [{"name": "9.5", "count": 2}]
    assert retriever.property_values("buy", "vip") == [{"name": "True", "count": 1}]
    assert retriever.unique_users("buy") == 2
    tracked = Retriever(app, url=server.url).ask("trend", series=[{"event": "buy"}], interval="total")
    assert tracked["result"]["series"][0]["total"] == 2


def test_a_funnel_of_tracked_events_is_answered_by_a_running_gateway(server: Server) -> None:
    app = f"funnel-{uuid.uuid4().hex[:8]}"
    tracker = AnalyticsTracker(app, {"url": server.url})
    for user, *events in (("ann", "login", "buy"), ("ben", "login"), ("cem", "buy", "login")):
        for event in events:
            tracker.track(event, distinct_id=user)
    retriever = Retriever(app, url=server.url)
    wait_for(lambda: sum(row["count"] for row in retriever.events()) == 5, "all events to be found")
    found = retriever.ask("funnel", steps=[{"event": "login"}, {"event": "buy"}], subject="distinct_id")
    assert [step["count"] for step in found["result"]["steps"]] == [3, 1]


def alone() -> dict[str, str]:
    """An environment in which nothing but the client can be imported."""
    return {"PYTHONPATH": str(ROOT / "clients/python"), "PATH": os.environ["PATH"]}


def test_a_program_of_the_documentation_runs_with_nothing_but_the_client(server: Server) -> None:
    host, _, port = server.bind.rpartition(":")
    run = subprocess.run(
        [sys.executable, "-S", str(ROOT / "tests/tracker/program.py"), host, port],
        env=alone(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "['myapp']",
        "[{'name': 'login', 'count': 1}]",
        "[{'name': 'jo', 'count': 1}]",
        "['login'] [1]",
        "['jo']",
    ]


def test_a_program_that_imports_the_package_alone_finds_both_classes() -> None:
    program = "import analytics; print(analytics.input.AnalyticsTracker.__name__, analytics.output.TimeRange.MONTH)"
    run = subprocess.run([sys.executable, "-S", "-c", program], env=alone(), capture_output=True, text=True, check=True)
    assert run.stdout == "AnalyticsTracker 1mon\n"


def test_the_client_is_a_distribution_of_its_own(tmp_path: Path) -> None:
    # As an archive has it: the links are files.
    subprocess.run(["cp", "-rL", str(ROOT / "clients/python"), str(tmp_path / "python")], check=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(tmp_path / "python")], check=True, capture_output=True)
    run = subprocess.run(
        [sys.executable, "-S", "-c", "import analytics, metronome.client.tracker as t; print(t.__file__)"],
        env={**alone(), "PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.stdout == f"{tmp_path}/site/metronome/client/tracker.py\n"


def test_the_examples_of_the_document_run(server: Server) -> None:
    page = (ROOT / "docs/tracker.md").read_text()
    log, _, get, example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    waited = "tracker.flush(30)\nimport time\n" + get.replace(
        "shop.applications()", "\nwhile not shop.events(): time.sleep(0.1)\nshop.applications()"
    )
    program = (log + waited + example + "print(shop.events())").replace(', key="mt_live_…"', "")
    port = server.bind.rpartition(":")[2]
    program = program.replace("http://127.0.0.1:8000", server.url).replace('"port": 8000', f'"port": {port}')
    run = subprocess.run([sys.executable, "-S", "-c", program], env=alone(), capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("[{'name': 'purchase', 'count': 1}]\n", "")


OPTIONS = [
    pytest.param({"apps": "x"}, TypeError, "'apps' isn't an option", id="another slip"),
    pytest.param({"hots": "x"}, TypeError, "'hots' isn't an option", id="a slip of the pen"),
    pytest.param({"url": "metronome:8000"}, ValueError, "isn't the address of a gateway", id="no scheme"),
    pytest.param({"scheme": "ftp"}, ValueError, "isn't the address of a gateway", id="another scheme"),
]


@pytest.mark.parametrize(("options", "kind", "text"), OPTIONS)
def test_options_that_lead_nowhere_are_told(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    for made in (AnalyticsTracker, AnalyticsRetriever):
        with pytest.raises(kind, match=text):
            made("a", options)


def test_options_of_the_system_that_programs_come_from_are_passed_over(server: Server) -> None:
    host, _, port = server.bind.rpartition(":")
    given = {
        "host": host,
        "port": port,
        "scheme": "http",
        "owner": None,
        "app": "search",
        "version": "5.0",
        "sharing": "app",
    }
    assert AnalyticsRetriever("nobody's", given).events() == []


def test_a_gateway_that_does_not_answer_is_told(pair: Pair) -> None:
    with pytest.raises(StoreUnavailable, match=r"no gateway answers at http://127\.0\.0\.1:1/"):
        AnalyticsRetriever("a", {"port": 1}).events()
    with pytest.raises(Refused, match="time_range: '1y' isn't known; there are 1h, 1d, 1w, 1mon"):
        pair[1].events_over_time(time_range="1y")
