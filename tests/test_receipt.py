"""What became of each event: answers of bounded length, the quarantine of what can't be taken, and the counters."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NOW
from doors import NOTHING, SETTINGS, TICK, Door, Kept

from metronome.errors import NothingAccepted
from metronome.intake import Intake, Origin, Unreadable
from metronome.metrics import Metrics, exposition
from metronome.spool.quarantine import Quarantine


@pytest.fixture
def door() -> Door:
    return Door()


# --- What can't be taken of a batch --------------------------------------------------------------------------


def set_aside(folder: Path) -> list[tuple[str, str]]:
    """(bytes as posted, reason) of each event in quarantine."""
    with closing(Quarantine(folder)) as quarantine:
        return [(row.source.decode(), row.reason) for row in quarantine.list()]


@pytest.fixture
def kept(tmp_path: Path) -> Door:
    return Door(folder=tmp_path)


def test_what_cant_be_taken_of_a_batch_is_kept_in_quarantine_with_its_reason(kept: Door, tmp_path: Path) -> None:
    good = {"id": "a"}
    receipt = kept.accept(
        good, {"ts": "soon", "n": 2**70, "ip": "192.0.2.7", "h": {"id": 1}}, Unreadable("cut", b"{\xff"), 7
    )
    assert (receipt.accepted, receipt.quarantined, len(receipt.rejected)) == (1, 3, 3)
    assert [(row.source, row.reason, row.kind, row.action) for row in _rows(tmp_path)] == [
        (b'{"ts": "soon", "n": 1180591620717411303424, "h": {"id": 1}}', "ts: 'soon' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z", "not_accepted", b""),
        (b"{\xff", "cut", "not_accepted", b""),
        (b"7", 'an event is a JSON object, such as {"id": "home"}', "not_accepted", b""),
    ]  # fmt: skip


def _rows(folder: Path) -> list[Any]:
    with closing(Quarantine(folder)) as quarantine:
        return list(quarantine.list())


def test_a_batch_of_which_nothing_is_taken_stays_the_senders(kept: Door, tmp_path: Path) -> None:
    receipt = kept.accept({"ts": "soon"}, 7)
    assert (receipt.is_refusal, receipt.quarantined) == (True, 0)
    assert not (tmp_path / "quarantine.db").exists()


def test_an_event_outside_the_horizon_is_kept_even_alone(kept: Door, tmp_path: Path) -> None:
    receipt = kept.accept({"time": 312, "id": "a"})
    assert (receipt.is_refusal, receipt.accepted, receipt.quarantined) == (False, 0, 1)
    assert set_aside(tmp_path) == [
        (
            '{"time":312,"id":"a"}',
            "time: 1970-01-01T00:05:12.000Z is before 2006-11-22, the oldest day that is taken (METRONOME_HORIZON_DAYS, "
            "and less for a public key)",
        )
    ]


def test_a_quarantine_that_is_removed_under_a_running_worker_is_made_again(kept: Door, tmp_path: Path) -> None:
    for reason in ("soon", "later"):
        kept.accept({"id": "a"}, {"ts": reason})
        assert [source for source, _ in set_aside(tmp_path)] == [f'{{"ts":"{reason}"}}']
        for file in tmp_path.glob("quarantine.db*"):
            file.unlink()


def test_an_event_nested_too_deep_to_be_written_costs_the_others_nothing(kept: Door, tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    receipt = kept.accept({"id": "a"}, {"ts": "soon"}, {"a": deep})
    assert (receipt.accepted, receipt.quarantined, len(receipt.rejected)) == (1, 1, 2)
    assert [source for source, _ in set_aside(tmp_path)] == ['{"ts":"soon"}']


def test_a_batch_that_comes_again_is_in_quarantine_once(kept: Door, tmp_path: Path) -> None:
    for _ in range(2):
        kept.accept({"id": "a"}, {"ts": "soon"})
    assert len(set_aside(tmp_path)) == 1


def test_a_damaged_quarantine_is_replaced_and_the_event_is_kept(tmp_path: Path) -> None:
    (tmp_path / "quarantine.db").write_bytes(b"this is no database, and long enough to be read as a header " * 20)
    receipt = Door(folder=tmp_path).accept({"id": "a"}, {"ts": "soon"})
    assert (receipt.accepted, receipt.quarantined, len(receipt.rejected)) == (1, 1, 1)
    assert [source for source, _ in set_aside(tmp_path)] == ['{"ts":"soon"}']


def test_a_quarantine_that_is_full_costs_no_event(tmp_path: Path) -> None:
    (tmp_path / "quarantine.db").write_bytes(b"")
    os.truncate(tmp_path / "quarantine.db", 2**20)
    door = Door(folder=tmp_path, spool_max_bytes=2**20 - 1)
    receipt = door.accept({"id": "a"}, {"ts": "soon"})
    assert (receipt.accepted, receipt.quarantined, len(receipt.rejected)) == (1, 0, 1)
    (tmp_path / "quarantine.db").unlink()  # mended
    assert door.accept({"id": "a"}, {"ts": "soon"}).quarantined == 1


def test_what_fails_after_the_events_are_on_disk_is_logged_and_answered_as_accepted(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door.intake, "_count", lambda *_: 1 / 0)
    assert door.accept({"id": "a"}).accepted == 1
    assert [record.message for record in caplog.records] == ["events were accepted, but not counted"]


def test_a_receipt_can_be_written_whatever_the_ids_were(door: Door) -> None:
    receipt = door.accept({"insert_id": 10**29}, {"insert_id": 10**29, "ts": "soon"}, {"insert_id": {"a": 1}, "ts": ""})
    assert orjson.loads(orjson.dumps(receipt.as_dict(full=True)))["rejected"][0]["id"] == str(10**29)
    assert receipt.accepted == 1


def test_half_a_character_costs_only_its_event(door: Door) -> None:
    receipt = door.accept({"id": "a"}, {"id": "\ud83d"}, {"\ud83d": 2**70}, {"insert_id": "\ud83d" * 3})
    assert (receipt.accepted, [row["index"] for row in receipt.rejected]) == (1, [1, 2, 3])
    for full in (True, False):
        assert b"???" in orjson.dumps(receipt.as_dict(full=full))


# --- Answers and counters ------------------------------------------------------------------------------------


LONG = {"insert_id": "i" * 64, "id": "\x00" * 128}


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([{**LONG, "insert_id": f"{number:064d}"} for number in range(2000)], id="2,000 with long ids"),
        pytest.param([{"ts": "\x00" * 99, "insert_id": "\x00" * 9999} for _ in range(2000)], id="2,000 refused"),
        pytest.param([{"\x00" * 256 + "x": 1} for _ in range(2000)], id="2,000 with names too long"),
        pytest.param([{"_id": n, "": 1, "\x00" * 255: 1} for n in range(2000)], id="2,000 renamed"),
        pytest.param([{f"{'x' * 240}": {"y": 1}, "a": {"IP": 1}, "client": {"ip": 2}} for _ in range(2000)], id="2,000 withheld"),
        pytest.param([{"is_robot" if n % 2 else "ts": "\x00" * 300, "ip": 1} for n in range(2000)], id="2,000 of each kind"),
    ],
)  # fmt: skip
def test_the_answer_to_a_batch_is_under_3_kb_whatever_it_held(door: Door, events: list[Any]) -> None:
    receipt = door.accept(*events)
    short, full = receipt.as_dict(full=False), receipt.as_dict(full=True)
    assert len(orjson.dumps(short)) < 3000
    assert len(orjson.dumps(NothingAccepted("x" * 300, short).body())) < 3000
    for name in ("rejected", "renamed", "withheld"):
        rows = full.get(name, [])
        assert short.get(f"{name}_total", 0) == full.get(f"{name}_total", 0) == len(rows)
        assert bool(short.get(name)) == bool(rows)
    assert (len(full["ids"]), "ids" in short) == (2000, False)


def test_a_single_events_answer_has_its_id(door: Door) -> None:
    receipt = door.accept({"insert_id": "i1"})
    assert receipt.as_dict(full=False, ids=True) == {**NOTHING, "accepted": 1, "ids": ["i1"], "rejected": [], "rejected_total": 0}  # fmt: skip


def test_intake_counts_what_became_of_events_by_dialect(tmp_path: Path) -> None:
    metrics = Metrics()
    intake = Intake(SETTINGS, Kept(), metrics, folder=tmp_path, clock=lambda: NOW)
    intake.accept([{"insert_id": "a"}, {"insert_id": "a"}, {"ts": "soon"}, {"": 1, "x" * 300: 1}, 7], TICK)
    intake.accept([{"id": "a"}], Origin("v1"))
    text = exposition(metrics, {}).decode()
    found = [line for line in text.splitlines() if re.match(r"metronome_(events|spool)_\w+(_total|_count){", line)]
    assert found == [
        'metronome_events_accepted_total{dialect="tick"} 1.0',
        'metronome_events_accepted_total{dialect="v1"} 1.0',
        'metronome_events_duplicate_total{dialect="tick"} 1.0',
        'metronome_events_duplicate_total{dialect="v1"} 0.0',
        'metronome_events_refused_total{dialect="tick",field="ts"} 1.0',
        'metronome_events_refused_total{dialect="tick",field="other"} 2.0',
        'metronome_events_set_aside_total{dialect="tick"} 3.0',
        'metronome_events_set_aside_total{dialect="v1"} 0.0',
        'metronome_spool_append_seconds_count{dialect="tick"} 1.0',
        'metronome_spool_append_seconds_count{dialect="v1"} 1.0',
    ]
