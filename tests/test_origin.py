"""Where a request's events come from: facts, steps of a dialect, the horizon, and the day of clamped events."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import NOW
from doors import CHROME, TICK, Door

from metronome.event import fields
from metronome.event.facts import Derivation
from metronome.event.fields import Field
from metronome.intake import NO_HORIZON, PUBLIC_HORIZON, Origin, Unacceptable, settle


@pytest.fixture
def door() -> Door:
    return Door()


BOUND = Origin("tick", key="k1", facts={"app": "shop", "visitor": "5f3a"})


def test_facts_of_a_request_are_in_every_document_and_in_the_id(door: Door) -> None:
    door.accept({"insert_id": "a"}, {"insert_id": "b", "app": "shop"}, {"insert_id": "c", "app": None}, origin=BOUND)
    assert [
        (doc_id, source["app"], source["visitor"], source["dialect"]) for _, doc_id, source in door.spool.documents()
    ] == [(f"shop:{name}", "shop", "5f3a", "tick") for name in "abc"]
    for body, _ in door.spool.bodies:
        assert [line.count(b'"app"') for line in body.splitlines()[1::2]] == [1, 1, 1]


def test_an_event_of_another_app_than_the_keys_is_refused_and_costs_the_others_nothing(door: Door) -> None:
    receipt = door.accept({"app": "other", "insert_id": "a"}, {"insert_id": "b"}, origin=BOUND)
    reason = "the key is bound to the app 'shop'; send that one or none"
    assert receipt.rejected == [{"index": 0, "id": "a", "field": "app", "reason": reason}]
    assert [doc_id for _, doc_id, _ in door.spool.documents()] == ["shop:b"]


def test_another_value_of_a_fact_is_kept_beside_it(door: Door) -> None:
    event = door.stored({"visitor": "mine", "id": "a"}, BOUND)
    assert (event["visitor"], event["renamed.visitor"], event["flags"]) == ("5f3a", "mine", ["renamed_keys"])


def test_facts_of_one_request_are_not_those_of_the_next(door: Door) -> None:
    for app in ("a", "b"):
        door.accept({"insert_id": "i"}, origin=Origin("tick", facts={"app": app}))
    door.accept({"insert_id": "i"})
    assert [(doc_id, source.get("app")) for _, doc_id, source in door.spool.documents()] == [
        ("a:i", "a"),
        ("b:i", "b"),
        ("i", None),
    ]


def test_agent_address_and_key_are_never_stored(door: Door) -> None:
    door.accept({"id": "a"}, {"id": "b", "x": {"y": 1}}, origin=Origin("tick", CHROME, "192.0.2.7", "secret-key"))
    ((body, _),) = door.spool.bodies
    assert [text for text in (b"Mozilla", b"192.0.2.7", b"secret-key") if text in body] == []
    assert [source["browser"] for _, _, source in door.spool.documents()] == ["Chrome", "Chrome"]


def test_a_shippers_record_is_one_without_version_too(door: Door) -> None:
    assert "event" not in door.stored({"id": "a"}, Origin("tick", shipped=True))


@pytest.fixture
def video(monkeypatch: pytest.MonkeyPatch) -> Origin:
    """The origin of a dialect that derives a position, as a number, from what was sent as text."""
    section = (Field("video.position", "double", "Where it stands.", owned=True, dialect="video"),)
    monkeypatch.setattr(fields, "FIELDS", fields.FIELDS + section)
    monkeypatch.setattr(settle, "OWNED", fields.OWNED | {"video.position"})

    def position(event: dict[str, Any]) -> None:
        try:
            event["video.position"] = float(event["from"])
        except ValueError:
            raise Unacceptable("is not a position in seconds", "from") from None

    step = Derivation(position, frozenset(("from",)), frozenset(("video.position",)))
    return Origin("video", steps=(step,), horizon=NO_HORIZON)


def test_a_dialects_own_steps_run_after_the_common_ones(door: Door, video: Origin) -> None:
    receipt = door.accept(
        {"from": "3.25", "insert_id": "a", "video.position": 9, "ts": 123},
        {"from": "start", "insert_id": "b"},
        {"id": "x", "insert_id": "c"},
        origin=video,
    )
    found = {doc_id: source for _, doc_id, source in door.spool.documents()}
    assert {name: source.get("video.position") for name, source in found.items()} == {"a": 3.25, "c": None}
    assert (found["a"]["renamed.video.position"], found["a"]["dialect"]) == (9, "video")
    assert receipt.rejected == [{"index": 1, "id": "b", "field": "from", "reason": "is not a position in seconds"}]


def test_a_dialects_own_fields_can_be_set_by_no_client_of_another(door: Door, video: Origin) -> None:
    assert door.stored({"id": "a", "video.position": 9})["renamed.video.position"] == 9


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param(Origin("tick", steps=(Derivation(dict.clear, None, frozenset(("page_path",))),)), id="a field of nobody"),
        pytest.param(Origin("tick", steps=(Derivation(dict.clear, None, frozenset(("is_robot",))),)), id="a common field"),
        pytest.param(Origin("tick", facts={"is_robot": False}), id="a common field as fact"),
        pytest.param(Origin("tick", facts={"event": "view"}), id="a derived field as fact"),
        pytest.param(Origin("tick", facts={"@timestamp": "2026-11-22"}), id="a time as fact"),
    ],
)  # fmt: skip
def test_a_dialect_that_would_set_a_field_that_isnt_its_own_is_an_error(door: Door, origin: Origin) -> None:
    with pytest.raises(ValueError, match=r"^the dialect 'tick' can't set "):
        door.accept({"id": "a"}, origin=origin)
    assert door.spool.bodies == []


# --- Horizon and clamped times -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "event", "taken"),
    [
        pytest.param(TICK, {"ts": "1880-01-01"}, False, id="a wrong century"),
        pytest.param(TICK, {"time": 312}, False, id="a duration called time"),
        pytest.param(TICK, {"@timestamp": "1970-01-01T00:00:00.000Z"}, False, id="in the form as stored"),
        pytest.param(TICK, {"@timestamp": "2006-11-22T00:00:00.000Z"}, True, id="twenty years back"),
        pytest.param(TICK, {"@timestamp": "2006-11-21T23:59:59.999Z"}, False, id="a day more"),
        pytest.param(Origin("tick", horizon=PUBLIC_HORIZON), {"ts": "2025-10-18"}, True, id="400 days by a public key"),
        pytest.param(Origin("tick", horizon=PUBLIC_HORIZON), {"ts": "2025-10-17"}, False, id="more by a public key"),
        pytest.param(Origin("v1", horizon=NO_HORIZON), {"ts": 123}, True, id="any time where a dialect says so"),
        pytest.param(Origin("v1", horizon=NO_HORIZON), {"ts": "0001-01-01"}, True, id="even the year one"),
    ],
)
def test_a_time_outside_the_horizon_is_not_taken(origin: Origin, event: dict[str, Any], taken: bool) -> None:
    receipt = Door().accept(event, origin=origin)
    assert receipt.accepted == taken
    assert [
        row["reason"].endswith("(METRONOME_HORIZON_DAYS, and less for a public key)") for row in receipt.rejected
    ] == ([] if taken else [True])


AHEAD = {"ts": "2026-12-24", "insert_id": "i1"}


def test_a_clamped_event_that_comes_again_after_midnight_stays_one_document(tmp_path: Path) -> None:
    evening, morning = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
    found = []
    for now in (evening, morning, morning + timedelta(days=2)):
        door = Door(now, folder=tmp_path)  # another worker, or the same one after a restart
        door.accept({"id": "x"}, AHEAD, AHEAD, {**AHEAD, "app": "shop"}, {**AHEAD, "insert_id": f"i{now.day}"})
        found += [(index[-5:], doc_id) for index, doc_id, _ in door.spool.documents() if len(doc_id) < 36]
    assert found == [
        *[("11.22", "i1"), ("11.22", "shop:i1"), ("11.22", "i22")],
        *[("11.22", "i1"), ("11.22", "shop:i1"), ("11.23", "i23")],
        *[("11.22", "i1"), ("11.22", "shop:i1"), ("11.25", "i25")],
    ]


def test_notes_on_clamped_events_are_forgotten_after_eight_days(tmp_path: Path) -> None:
    for days in (0, 9):
        Door(NOW + timedelta(days=days), folder=tmp_path).accept({**AHEAD, "ts": "2100-01-01", "insert_id": f"i{days}"})
    rows = sqlite3.connect(tmp_path / "clamped.db").execute("select id, day from day").fetchall()
    assert rows == [("i9", "2026-12-01")]


def test_a_damaged_file_of_notes_costs_no_event(tmp_path: Path) -> None:
    (tmp_path / "clamped.db").write_bytes(b"this is no database, and long enough to be read as a header " * 20)
    door = Door(folder=tmp_path)
    assert door.accept(AHEAD).accepted == 1
    assert [index for index, _, _ in door.spool.documents()] == ["logstash-2026.11.22"]
