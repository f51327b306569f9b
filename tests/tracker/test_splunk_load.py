"""Old exports of the tracker's text come in, once, as the same events that the tracker would send today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Gateway
from live import Live

from metronome.client.text import printed

LINES = [
    '2011-08-08T11:45:17.735045 application="myapp" event="login" distinct_id="42"  analytics_prop__username="jo" analytics_prop__plan="free" ',
    '2011-08-09T00:00:00 event="login" application="myapp" analytics_prop__username="an\'n"',
    printed("2012-01-01T00:00:00+02:00", "other", "ping", None, {}),
    json.dumps({"preview": False, "result": {"_raw": printed("2012-01-02T00:00:00", "other", "ping", 7, {"a b": "c=d"})}}),
]  # fmt: skip

STORED = [
    {
        "@timestamp": "2011-08-08T11:45:17.735Z", "app": "myapp", "event": "login", "distinct_id": "42",
        "props.username": "jo", "props.plan": "free",
    },
    {"@timestamp": "2011-08-09T00:00:00.000Z", "app": "myapp", "event": "login", "props.username": "an'n"},
    {"@timestamp": "2011-12-31T22:00:00.000Z", "app": "other", "event": "ping"},
    {"@timestamp": "2012-01-02T00:00:00.000Z", "app": "other", "event": "ping", "distinct_id": "7", "props.a b": "c=d"},
]  # fmt: skip

UNREADABLE = {
    'application="a" event="e"': "its time '' is not an ISO 8601 time",
    'yesterday application="a" event="e"': "its time 'yesterday' is not an ISO 8601 time",
    '2011-08-08 event="e"': 'has no application="…"',
    '198.51.100.7 - - [22/Nov/2026:09:30:00 +0000] "GET / HTTP/1.1" 200 5': "no part such as application=",
    '{"result": {"host": "a"}}': "is JSON without an event's text in _raw",
}


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    running = Live(gateway, tmp_path / "home")
    yield running
    running.stop()


def test_an_export_is_loaded_once_and_what_cannot_be_read_is_kept_with_its_reason(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "export.txt"
    file.write_text("\n".join([*LINES[:2], *UNREADABLE, *LINES[2:], ""]))
    report = live.load(file, form="splunk")
    assert (report.lines, report.loaded, report.unreadable, report.rejected) == (9, 4, 5, 0)
    assert dict(report.happened) == {"login": 2, "ping": 2}
    kept = [json.loads(line) for line in (tmp_path / "export.txt.unreadable").read_text().splitlines()]
    assert [(row["text"], reason in row["reason"]) for row, reason in zip(kept, UNREADABLE.values(), strict=True)] == [
        (text, True) for text in UNREADABLE
    ]
    live.load(file, form="splunk", restart=True)
    found = sorted(live.gateway.documents(), key=lambda one: one["@timestamp"])
    wanted = {name for event in STORED for name in event}
    assert [{name: value for name, value in one.items() if name in wanted} for one in found] == STORED


def test_loaded_events_are_an_applications_events(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "export.txt"
    file.write_text("\n".join(LINES))
    live.load(file, form="splunk")
    live.gateway.drain()
    found = live.gateway.http.get("/api/application/myapp?event_name=login&property=plan").json
    assert found["events"] == [{"name": "login", "count": 2}]
    assert found["data"] == [{"label": "free", "data": [[1312156800000, 1]]}]
