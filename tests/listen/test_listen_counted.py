"""Counted usage by the forward protocol and as JSON lines: the same event as by a tick, with nobody in it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from listening import OURS, Listening, everything, opened_listening, pack  # noqa: F401  (a fixture)

from metronome.errors import SetupError, StoreUnavailable
from metronome.intake import Intake
from metronome.listen.batch import LINES, Door, Frame
from metronome.listen.counted import Counted
from metronome.settings import Settings
from metronome.spool.quarantine import Quarantine
from metronome.spool.spool import Spool

AT = 1_769_072_489  # 2026-01-22T09:01:29Z

USAGE = {
    "action_labels": ["download", "web"],
    "item_guid": "ab12c",
    "pageview_info": {"page_url": "https://repo.example/ab12c/file.pdf?token=1"},
    "counter": {
        "timestamp": "2026-01-22T09:01:29.000Z",
        "ip": "198.51.100.7",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
        "user_id": "login-7",
        "item": {"name": "On roads", "data_type": "Article"},
    },
}

SECRETS = ("198.51.100.7", "login-7", "X11; Linux")


def forward(running: Listening, *records: dict[str, Any]) -> None:
    assert running.exchange(pack(["t", [[AT, record] for record in records], {"chunk": records[0]["way"]}]))


def lines(running: Listening, *records: dict[str, Any]) -> None:
    with running.connect(running.lines) as sender:
        sender.sendall(b"".join(json.dumps(record).encode() + b"\n" for record in records))
        sender.shutdown(socket.SHUT_WR)
        assert everything(sender) == b""


WAYS = pytest.mark.parametrize("send", [forward, lines])


def stored(running: Listening, way: str) -> dict[str, Any]:
    """The one document that came so, without what is of its way."""
    (found,) = (row for row in running.gateway.documents() if row.get("way") == way)
    return {name: value for name, value in found.items() if name not in (*OURS, "way", "item_id")}


@WAYS
def test_a_shipped_usage_is_what_a_tick_makes_of_it_and_other_records_stay(
    running: Listening, send: Callable[..., None]
) -> None:
    way = send.__name__
    running.gateway.accepted({**USAGE, "way": f"{way}-tick"})
    send(running, {**USAGE, "way": way}, {"id": "plain", "counter_of_cars": 3, "way": f"{way}-plain"})
    assert stored(running, way) == stored(running, f"{way}-tick")
    assert stored(running, f"{way}-plain")["counter_of_cars"] == 3


def test_who_it_was_is_nowhere(running: Listening) -> None:
    forward(running, {**USAGE, "way": "nowhere"})
    home = running.gateway.settings.home
    on_disk = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    documents = json.dumps(running.gateway.documents())
    assert "ab12c" in documents and b"ab12c" in on_disk
    assert [secret for secret in SECRETS if secret in documents or secret.encode() in on_disk] == []


@WAYS
def test_a_usage_that_cant_be_taken_is_kept_with_its_reason_and_without_anybody(
    running: Listening, send: Callable[..., None]
) -> None:
    way = f"{send.__name__}-bad"
    nobody = {**USAGE, "counter": {"item": {"name": "On roads", "data_type": "Article"}}}
    wrong = {**USAGE, "counter": {**USAGE["counter"], "status": "fine"}}  # type: ignore[dict-item]
    send(running, *({**one, "way": way, "n": n} for n, one in enumerate((nobody, wrong, USAGE))))
    quarantine = Quarantine(running.gateway.settings.spool_dir)
    kept = [(row.reason, row.source) for row in quarantine.list() if way.encode() in row.source]
    quarantine.close()
    assert len(kept) == 2 and stored(running, way)["id"] == "ab12c"
    assert "a record that is shipped has to have one" in kept[0][0]
    assert [secret for secret in SECRETS for _, source in kept if secret.encode() in source] == []


def test_while_nobody_knows_whose_usage_it_is_it_waits_and_other_records_dont(gateway: Gateway, tmp_path: Path) -> None:
    settings: Settings = gateway.settings
    away = True

    def find() -> None:
        if away:
            raise SetupError("no Elasticsearch")

    spool = Spool(settings.spool_dir, role="listen")
    door = Door(settings, Intake(settings, spool, folder=settings.spool_dir), Counted(settings, find))
    plain, usage = ({"id": "plain"}, {**USAGE, "insert_id": "u"})
    frames = [Frame(LINES, json.dumps(one).encode(), lambda _: None) for one in (usage, plain)]
    door.commit(frames)
    assert [(type(frame.failure), frame.stored) for frame in frames] == [(StoreUnavailable, 0), (type(None), 1)]
    away = False
    door.commit(frames[:1])
    assert (frames[0].failure, frames[0].stored) == (None, 1)
    spool.close()
    assert sorted(row["id"] for row in gateway.documents()) == ["ab12c", "plain"]
