"""`metronome demo video`, the example page and its files, and the sample key of a fresh installation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from conftest import Gateway
from playing import KEY

from metronome.settings import Settings, environment
from metronome.web.example import FILES


def environ_of(settings: Settings) -> dict[str, str]:
    kept = {name: text for name, text in environment().items() if not name.startswith(("METRONOME_", "ELASTICSEARCH_"))}
    changed = ("home", "index_prefix", "elasticsearch_url", "elasticsearch_username", "elasticsearch_password")
    names = {row.name: row.metadata["variable"] for row in fields(Settings)}
    return {**kept, **{names[name]: str(getattr(settings, name)) for name in changed}}


def test_demo_video_stores_the_examples_once_and_makes_the_sample_key(gateway: Gateway) -> None:
    said = []
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", "metronome", "demo", "video"],
            env=environ_of(gateway.settings), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        said.append(run.stdout)
        gateway.drain()
    assert [KEY in text for text in said] == [True, False]
    gateway.app.extensions["keyring"].refresh()
    assert gateway.http.get("/api/v1/keys").json == {"keys": [{"disabled_at": None, "key": KEY}]}
    since = {"identifier": "label name", "timeframe": 1672531200}
    (row,) = ask(gateway, "plays", **since, interval="1 day", minimum_watch_seconds=3)["views"]
    assert (row["interval"], row["views"], row["total_view_time"]) == ("2023-05-02T00:00:00.000000", 1, 6.267)
    assert (row["browser"]["chrome"], row["device_type"]["desktop"], row["platform"]["mac"]) == (1, 1, 1)
    assert [(row["interval"], row["path"], row["views"]) for row in ask(gateway, "sources", **since, interval="1 minute")["sources"]] == [
        ("2023-04-02T08:29:00.000000", "http://example.com/", 1),
        ("2023-05-02T08:29:00.000000", "http://example.com/", 1),
        ("2023-05-02T08:41:00.000000", "http://example.com/", 1),
    ]  # fmt: skip
    sample = ask(gateway, "video/summary", query={"video": {"demo": True}}, timeframe="2 months")["summary"]
    assert sample["sessions"] == 240 and sample["duration_s"] == 12.5


def ask(gateway: Gateway, path: str, **wanted: Any) -> Any:
    return gateway.http.post(f"/api/v1/{path}", json=wanted).json


def test_the_example_page_is_at_the_root_on_port_3000_alone(gateway_for: Callable[..., Gateway]) -> None:
    there, elsewhere = gateway_for(bind="127.0.0.1:3000"), gateway_for()
    page = there.http.get("/videos/")
    assert there.http.get("/").data == page.data and KEY in page.text
    assert b"METRONOME" in elsewhere.http.get("/").data and elsewhere.http.get("/videos/").data == page.data
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", FILES)
def test_what_the_page_needs_is_served_in_ranges(gateway: Gateway, name: str) -> None:
    whole = gateway.http.get(f"/videos/{name}")
    assert whole.status_code == 200 and whole.headers["Accept-Ranges"] == "bytes"
    part = gateway.http.get(f"/videos/{name}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, whole.data[10:20])
