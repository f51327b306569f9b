"""What shippers know of a visitor is neither stored nor spooled nor quarantined: their real records, byte by byte."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NOW, Gateway
from logstash_async.formatter import LogstashFormatter

PAYLOADS = Path(__file__).parent / "payloads"
ADDRESS, AGENT, SECRET = (
    "198.51.100.77",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "s3cr3t",
)
LINE = f'{ADDRESS} - ann [22/Nov/2026:09:30:00 +0000] "GET /p?token={SECRET} HTTP/1.1" 200 5 "-" "{AGENT}"'


def lines(path: str) -> list[dict[str, Any]]:
    """The records of a log, with the visitor's address and a secret where the log's own machine had neither."""
    text = (
        (PAYLOADS / path)
        .read_text(errors="replace")
        .replace("127.0.0.1", ADDRESS)
        .replace('"Cookie":[]', f'"Cookie":["id={SECRET}"]')
    )
    return [json.loads(line) for line in text.splitlines()]


def from_python() -> list[dict[str, Any]]:
    """Records of python-logstash-async, with its own prefix and without."""
    found = []
    for prefix in ("extra", None):
        record = logging.LogRecord("app", logging.INFO, "/srv/app.py", 1, "hello", None, None)
        record.__dict__.update(
            {"ip": ADDRESS, "cookie": SECRET, "authorization": f"Bearer {SECRET}", "user_agent": AGENT}
            | {"referer": f"https://ann:{SECRET}@a.example/x?token={SECRET}&utm_source=mail", "item_id": "a"}
        )
        found.append(json.loads(LogstashFormatter(extra_prefix=prefix).format(record)))
    return found


#: As Logstash (with and without the Elastic Common Schema), Fluentd, Fluent Bit, syslog-ng, rsyslog and browsers say it.
BY_HAND: list[dict[str, Any]] = [
    {"@version": "1", "message": LINE, "clientip": ADDRESS, "agent": AGENT, "host": ADDRESS, "request": f"/p?t={SECRET}"},
    {"message": LINE, "source": {"address": ADDRESS, "ip": ADDRESS}, "user_agent": {"original": AGENT, "name": "Firefox"}},
    {"url": {"original": f"/p?token={SECRET}", "query": f"token={SECRET}"}, "http": {"request": {"referrer": f"/a#{SECRET}"}}},
    {"remote": ADDRESS, "host": "-", "user": "-", "agent": AGENT, "path": f"/p?token={SECRET}", "referer": f"/?{SECRET}"},
    {"log": LINE, "stream": "stdout", "kubernetes": {"pod_ip": ADDRESS}},
    {"MESSAGE": LINE, "SOURCEIP": ADDRESS, "HOST_FROM": ADDRESS},
    {"msg": LINE, "fromhost-ip": ADDRESS, "hostname": ADDRESS},
    {"url": f"https://a.example/p?token={SECRET}#{SECRET}", "$ip": ADDRESS, "userAgent": AGENT, "ipAddress": ADDRESS},
    {"context": {"ip": ADDRESS, "userAgent": AGENT}, "page": {"url": f"https://a.example/?sid={SECRET}"}},
    {"headers": {"cookie": SECRET, "Authorization": [f"Bearer {SECRET}"], "cf-connecting-ip": ADDRESS, "User-Agent": [AGENT]}},
    {"http_x_forwarded_for": f"{ADDRESS}, {ADDRESS}", "remote_host": ADDRESS, "whatever": f" {ADDRESS}", "seen": [ADDRESS, "x"]},
    {"a": [{"b": [{"addr": f"{ADDRESS}:52114"}]}, {"cookie": SECRET}], "c": [[{"cookie": SECRET, "d": ADDRESS}]]},
    {"ref": "2001:db8::198.51.100.77", "whom": "::ffff:198.51.100.77", "tokens": {"access_token": SECRET}},
]  # fmt: skip

RECORDS = [
    pytest.param(lines("nginx/access.json"), id="nginx in JSON"),
    pytest.param(lines("caddy/access.json"), id="Caddy"),
    pytest.param(from_python(), id="python-logstash-async"),
    pytest.param(BY_HAND, id="the names of the others"),
]


@pytest.mark.parametrize("coding", ["array", "lines", "one by one"])
@pytest.mark.parametrize("records", RECORDS)
def test_nothing_of_a_visitor_is_on_any_disk(gateway: Gateway, records: list[dict[str, Any]], coding: str) -> None:
    # Each record comes a second time, with a time that can't be read: that one goes to the quarantine.
    events = [*({**record, "@timestamp": "2026-11-22T09:30:00Z"} for record in records), {"id": "good"}]
    events += [{**record, "@timestamp": f"soon {number}"} for number, record in enumerate(records)]
    bodies = {
        "array": [orjson.dumps(events)],
        "lines": [b"\n".join(map(orjson.dumps, events)) + b"\n" + LINE.encode() + b'\n{"ip": "198.51.100.77", "x": '],
        "one by one": [orjson.dumps(event) for event in events[: len(records)]],
    }[coding]
    for body in bodies:
        kind = "application/x-ndjson" if coding == "lines" else "application/json"
        answer = gateway.tick(data=body, content_type=kind)
        assert answer.status_code == 202, answer.text
    found = json.dumps(gateway.documents()).encode()
    for path in gateway.settings.spool_dir.iterdir():
        found += path.read_bytes()
    assert [text for text in (ADDRESS, "Mozilla", SECRET, "Bearer") if text.encode() in found] == []
    assert b"2001:db8" not in found
    if coding == "one by one":
        assert len(gateway.documents()) == len(records)
    else:
        assert (gateway.settings.spool_dir / "quarantine.db").exists()


def test_agents_under_any_name_are_judged(gateway: Gateway) -> None:
    for name in ("userAgent", "http_user_agent", "agent", "User-Agent"):
        gateway.accepted({"id": name, name: "Googlebot/2.1"})
    gateway.accepted({"id": "list", "headers": {"User-Agent": ["Googlebot/2.1"]}})
    assert [row["is_robot"] for row in gateway.documents()] == [True] * 5


def test_the_receipt_and_the_metrics_say_what_was_withheld_and_cut(gateway: Gateway) -> None:
    events = [{"id": "a", "ip": "198.51.100.7", "x": "198.51.100.7"}, {"id": "b", "url": "/p?token=1&utm_id=2"}]
    receipt = gateway.accepted(events)
    assert receipt["withheld"] == [{"index": 0, "field": "ip"}, {"index": 0, "field": "x"}]
    assert (receipt["cut"], receipt["cut_total"]) == ([{"index": 1, "field": "url"}], 1)
    assert [row.get("url") for row in gateway.documents()] == [None, "/p?utm_id=2"]
    metrics = gateway.http.get("/metrics").text
    found = sorted(line for line in metrics.splitlines() if line.startswith("metronome_properties_hidden_total"))
    assert found == [f'metronome_properties_hidden_total{{kind="{kind}"}} 1.0' for kind in ("address", "name", "page")]


def test_what_the_settings_name_is_stored_whole(gateway_for: Any) -> None:
    gateway = gateway_for(now=NOW, keep_fields=("node.ip", "url"), keep_parameters=("lang",))
    event = {"node": {"ip": "10.0.0.1"}, "url": "/p?a=1", "referer": "/q?lang=de&utm_id=1", "app_version": "141.0.0.0"}
    gateway.accepted([event])
    (row,) = gateway.documents()
    assert {name: row.get(name) for name in ("node.ip", "url", "referer", "app_version")} == {
        "node.ip": "10.0.0.1",
        "url": "/p?a=1",
        "referer": "/q?lang=de",
        "app_version": "141.0.0.0",
    }


def test_a_robot_in_quarantine_is_still_one_once_it_is_mended(gateway: Gateway) -> None:
    from contextlib import closing

    from metronome.spool.quarantine import Quarantine

    gateway.accepted([{"id": "a"}, {"id": "b", "ts": "soon", "user_agent": "Googlebot/2.1"}])
    with closing(Quarantine(gateway.settings.spool_dir)) as quarantine:
        (row,) = quarantine.list()
    mended = {**json.loads(row.source), "ts": "2026-11-22"}
    gateway.accepted(mended)
    assert {row["id"]: row.get("is_robot") for row in gateway.documents()} == {"a": None, "b": True}
