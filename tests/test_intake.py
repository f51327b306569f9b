"""The door in: ids, times, robots, bulk-ready bytes, and a receipt that says what became of each event."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from conftest import NOW
from doors import CHROME, NOTHING, SETTINGS, TICK, Door, Kept

from metronome.errors import SpoolFull, TooLarge
from metronome.event.agents import ROBOT_LIST
from metronome.event.facts import derive
from metronome.event.fields import AGENT_NAMES, Event
from metronome.intake import Intake, Origin, Unreadable


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.mark.parametrize(
    ("event", "index"),
    [
        pytest.param({}, "logstash-2026.11.22", id="the day of its id"),
        pytest.param({"ts": "2100-01-01"}, "logstash-2026.11.22", id="also where its time was no use"),
        pytest.param({"ts": "2026-11-20"}, "logstash-2026.11.20", id="but its own time comes first"),
        pytest.param({"insert_id": "by-hand-1"}, "logstash-2026.11.23", id="another id tells no day"),
        pytest.param(
            {"insert_id": "7fffffff-0000-7000-8000-000000000000"}, "logstash-2026.11.23", id="nor one to come"
        ),
    ],
)
def test_a_retry_after_midnight_meets_the_index_of_the_day_in_its_id(event: dict[str, Any], index: str) -> None:
    door = Door(datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC))
    (minted,) = door.accept({"id": "a"}).ids
    door.now += timedelta(seconds=2)
    door.accept({"id": "a", "insert_id": minted, **event})
    assert [found for found, _, _ in door.spool.documents()] == ["logstash-2026.11.22", index]


def test_an_event_becomes_two_bulk_lines(door: Door) -> None:
    door.accept({"id": "a", "app": "shop", "insert_id": "i-1", "time": "2026-11-21T23:59:59.9Z"})
    assert door.spool.bodies == [
        (
            b'{"create":{"_index":"logstash-2026.11.21","_id":"shop:i-1"}}\n'
            b'{"id":"a","app":"shop","insert_id":"i-1","time":"2026-11-21T23:59:59.9Z","@timestamp":"2026-11-21T23:59:59.900Z",'
            b'"event":"view","@version":"1","received_at":"2026-11-22T09:30:00.000Z","dialect":"tick"}\n',
            1,
        )
    ]


def test_the_receipt_says_what_became_of_each_event(door: Door) -> None:
    receipt = door.accept(
        {"id": "a", "insert_id": "i1"},
        {"id": "b", "insert_id": "not an id"},
        {"id": "c", "insert_id": "i1"},
        {"id": "d", "insert_id": "i2", "_id": "x", "ip": "192.0.2.7"},
        Unreadable("the line isn't JSON"),
        7,
        {"id": "e", "insert_id": "i3", "ts": "soon"},
        {"a": [[[[[[[]]]]]]]},
    )
    assert receipt.as_dict(full=True) == {
        "accepted": 2,
        "duplicate": 1,
        "quarantined": 0,
        "ids": ["i1", None, "i1", "i2", None, None, None, None],
        "rejected": [
            {"index": 1, "id": "not an id", "field": "insert_id", "reason": "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -"},
            {"index": 4, "id": None, "field": None, "reason": "the line isn't JSON"},
            {"index": 5, "id": None, "field": None, "reason": 'an event is a JSON object, such as {"id": "home"}'},
            {"index": 6, "id": "i3", "field": "ts", "reason": "'soon' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z"},
            {"index": 7, "id": None, "field": None, "reason": "arrays are nested too deep"},
        ],
        "rejected_total": 5,
        "renamed": [{"index": 3, "from": "_id", "to": "renamed._id"}],
        "renamed_total": 1,
        "withheld": [{"index": 3, "field": "ip"}],
        "withheld_total": 1,
    }  # fmt: skip
    assert [(doc_id, source["id"]) for _, doc_id, source in door.spool.documents()] == [("i1", "a"), ("i2", "d")]
    assert [events for _, events in door.spool.bodies] == [2]


def test_nothing_accepted_spools_nothing(door: Door) -> None:
    assert door.accept(1, {"insert_id": "?"}).accepted == 0
    assert door.accept().as_dict(full=True) == {**NOTHING, "ids": [], "rejected": [], "rejected_total": 0}
    assert door.spool.bodies == []


def test_a_full_spool_promises_nothing() -> None:
    class Full:
        def append(self, body: bytes, events: int) -> None:
            raise SpoolFull("the spool is full")

    with pytest.raises(SpoolFull):
        Intake(SETTINGS, Full()).accept([{"id": "a"}], TICK)


class Door503(Kept):
    """A spool that is full the first time."""

    def append(self, body: bytes, events: int) -> None:
        super().append(body, events)
        if len(self.bodies) == 1:
            raise SpoolFull("the spool is full")


SENT = [
    pytest.param({"id": "a", "insert_id": "i1", "ts": "2026-11-20T10:00:00+01:00"}, id="a plain event"),
    pytest.param({"id": "a", "insert_id": "i1", "@timestamp": 1795000000, "user_agent": "curl/8"}, id="one with an agent"),
    pytest.param({"id": "a", "insert_id": "i1", "@timestamp": "2100-01-01", "@version": "1"}, id="one to be clamped"),
    pytest.param({"insert_id": "i1", "_id": 1, "is_robot": False, "a": [{"b": 1}], "ip": "192.0.2.7"}, id="one to be settled"),
    pytest.param({"id": "a", "insert_id": "i1", "referer": "https://a.example/x", "accept": "text/csv", "app": "shop"}, id="one with facts"),
]  # fmt: skip


@pytest.mark.parametrize("origin", [TICK, Origin("tick", "curl/8", facts={"app": "shop"})], ids=["plain", "bound"])
@pytest.mark.parametrize("event", SENT)
def test_a_batch_that_met_a_full_spool_is_accepted_byte_for_byte_the_same(
    event: dict[str, Any], origin: Origin
) -> None:
    spool = Door503()
    intake = Intake(SETTINGS, spool, clock=lambda: NOW)
    sent = [event, {**event, "insert_id": "i2"}]
    before = json.dumps(sent)
    with pytest.raises(SpoolFull):
        intake.accept(sent, origin)
    receipts = [intake.accept(sent, origin, flat=False) for _ in range(2)]
    assert json.dumps(sent) == before
    assert [receipt.accepted for receipt in receipts] == [2, 2]
    assert spool.bodies[0] == spool.bodies[1] == spool.bodies[2]


def test_with_echo_the_records_are_those_that_were_spooled(door: Door) -> None:
    receipt = door.intake.accept([{"id": "a"}, 1, {"id": "b", "n": 2**70}], TICK, echo=True)
    records = [record and json.loads(record) for record in receipt.records]
    stored = [source for _, _, source in door.spool.documents()]
    assert records == [stored[0], None, stored[1]]


@pytest.mark.parametrize(
    ("event", "time"),
    [
        pytest.param({}, {"@timestamp": "2026-11-22T09:30:00.000Z"}, id="without a time it is now"),
        pytest.param({"@timestamp": "2026-11-22T09:00:00.123Z"}, {"@timestamp": "2026-11-22T09:00:00.123Z"}, id="@timestamp as stored stays"),
        pytest.param({"@timestamp": "2026-11-22T10:00:00+01:00"}, {"@timestamp": "2026-11-22T09:00:00.000Z", "ts_client": "2026-11-22T10:00:00+01:00"}, id="@timestamp in another form is kept beside"),
        pytest.param({"@timestamp": 1421884800}, {"@timestamp": "2015-01-22T00:00:00.000Z", "ts_client": 1421884800}, id="@timestamp in seconds"),
        pytest.param({"@timestamp": "2026-11-22T09:00:00.123456Z"}, {"@timestamp": "2026-11-22T09:00:00.123Z", "ts_client": "2026-11-22T09:00:00.123456Z"}, id="microseconds are kept beside"),
        pytest.param({"timestamp": 1421884800500}, {"@timestamp": "2015-01-22T00:00:00.500Z", "timestamp": 1421884800500}, id="timestamp in milliseconds"),
        pytest.param({"time": "2026-11-22T10:00:00+01:00"}, {"@timestamp": "2026-11-22T09:00:00.000Z", "time": "2026-11-22T10:00:00+01:00"}, id="time"),
        pytest.param({"ts": "1421884800"}, {"@timestamp": "2015-01-22T00:00:00.000Z", "ts": "1421884800"}, id="ts as text, from a form"),
        pytest.param({"@timestamp": "2026-11-22T09:00:00.000Z", "timestamp": 1, "time": 2, "ts": "x"}, {"@timestamp": "2026-11-22T09:00:00.000Z", "timestamp": 1, "time": 2, "ts": "x"}, id="@timestamp first"),
        pytest.param({"timestamp": 1421884800, "time": 2, "ts": 3}, {"@timestamp": "2015-01-22T00:00:00.000Z", "timestamp": 1421884800, "time": 2, "ts": 3}, id="then timestamp"),
        pytest.param({"timestamp": None, "time": 1421884800, "ts": 3}, {"@timestamp": "2015-01-22T00:00:00.000Z", "timestamp": None, "time": 1421884800, "ts": 3}, id="then time; null is none"),
        pytest.param({"ts": 0}, {"@timestamp": "1970-01-01T00:00:00.000Z", "ts": 0}, id="zero is a time"),
        pytest.param({"time": {"zone": "CET"}}, {"@timestamp": "2026-11-22T09:30:00.000Z", "time.zone": "CET"}, id="an object named time is none"),
        pytest.param({"ts": "2026-11-22T10:30:00Z"}, {"@timestamp": "2026-11-22T10:30:00.000Z", "ts": "2026-11-22T10:30:00Z"}, id="an hour ahead is let pass"),
        pytest.param({"ts": "2026-11-22T10:30:01Z"}, {"@timestamp": "2026-11-22T09:30:00.000Z", "ts": "2026-11-22T10:30:01Z", "ts_client": "2026-11-22T10:30:01Z", "flags": ["clamped"]}, id="more is clamped to now"),
        pytest.param({"@timestamp": "2026-11-22T10:30:00.001Z"}, {"@timestamp": "2026-11-22T09:30:00.000Z", "ts_client": "2026-11-22T10:30:00.001Z", "flags": ["clamped"]}, id="also in the form as stored"),
        pytest.param({"@timestamp": "2100-01-01", "ts_client": "noon"}, {"@timestamp": "2026-11-22T09:30:00.000Z", "ts_client": "noon", "renamed.@timestamp": "2100-01-01", "flags": ["clamped", "renamed_keys"]}, id="beside a ts_client as sent, neither is lost"),
        pytest.param({"ts": "2016-12-31T23:59:60.5Z"}, {"@timestamp": "2017-01-01T00:00:00.500Z", "ts": "2016-12-31T23:59:60.5Z"}, id="a leap second is the second after"),
        pytest.param({"@timestamp": "2026-11-22T10:29:60+01:00"}, {"@timestamp": "2026-11-22T09:30:00.000Z", "ts_client": "2026-11-22T10:29:60+01:00"}, id="in any zone"),
        pytest.param({"ts": "2100-01-01", "_id": 1}, {"@timestamp": "2026-11-22T09:30:00.000Z", "ts": "2100-01-01", "ts_client": "2100-01-01", "renamed._id": 1, "flags": ["renamed_keys", "clamped"]}, id="a flag beside another"),
    ],
)  # fmt: skip
def test_when_it_happened(event: dict[str, Any], time: dict[str, Any]) -> None:
    assert Door(horizon_days=0).stored(event) == {**time, "event": "view"}


@pytest.mark.parametrize(
    ("time", "index"),
    [
        pytest.param("2026-11-22T00:00:00Z", "logstash-2026.11.22", id="midnight begins its day"),
        pytest.param("2026-11-21T23:59:59.999Z", "logstash-2026.11.21", id="the last millisecond ends its day"),
        pytest.param("2026-11-22T00:30:00+01:00", "logstash-2026.11.21", id="days are UTC"),
        pytest.param("1970-01-01", "logstash-1970.01.01", id="1970"),
        pytest.param("2100-01-01", "logstash-2026.11.22", id="a clamped one goes to today"),
    ],
)
def test_the_index_is_the_day_of_the_event(time: str, index: str) -> None:
    door = Door(horizon_days=0)
    door.accept({"ts": time})
    assert [found for found, _, _ in door.spool.documents()] == [index]


@pytest.mark.parametrize(
    ("event", "field", "reason"),
    [
        pytest.param({"ts": "NaN"}, "ts", "'NaN' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z", id="NaN as text"),
        pytest.param({"time": True}, "time", "is not a time: send ISO 8601 text or a Unix time in seconds or milliseconds", id="a flag"),
        pytest.param({"@timestamp": "2026-13-01T00:00:00.000Z"}, "@timestamp", "'2026-13-01T00:00:00.000Z' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z", id="a 13th month"),
        pytest.param({"timestamp": 1e300}, "timestamp", "1e+300 is out of range for a time", id="a number past the end of time"),
        pytest.param({"timestamp": [1, 2]}, "timestamp", "is not a time: send ISO 8601 text or a Unix time in seconds or milliseconds", id="an array"),
        pytest.param({"id": "x" * 513}, "id", "an item's id has at most 512 bytes", id="an item's id too long"),
        pytest.param({"id": "é" * 257}, "id", "an item's id has at most 512 bytes", id="too long in bytes"),
        pytest.param({"item_id": "x" * 513}, "item_id", "an item's id has at most 512 bytes", id="under its other name"),
        pytest.param({"extra": {"item_id": "x" * 513}}, "extra.item_id", "an item's id has at most 512 bytes", id="as a log record carries it"),
        pytest.param({"ts": 10**400}, "ts", "1000000000000000000000000000000000000000 is out of range for a time", id="a number that no float holds"),
        pytest.param({"distinct_id": "x" * 201}, "distinct_id", "at most 200 characters", id="a person's id too long"),
        pytest.param({"insert_id": "x" * 65}, "insert_id", "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -", id="an insert_id too long"),
        pytest.param({"insert_id": "a:b"}, "insert_id", "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -", id="a colon in it"),
        pytest.param({"insert_id": "a\n"}, "insert_id", "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -", id="a line's end in it"),
        pytest.param({"insert_id": ["a"]}, "insert_id", "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -", id="an array for it"),
        pytest.param({"text": "x" * 32_768}, None, "32907 bytes as stored; at most 32768 are taken (METRONOME_MAX_EVENT_BYTES)", id="an event too large"),
    ],
)  # fmt: skip
def test_what_is_refused_says_where_and_why(door: Door, event: dict[str, Any], field: str | None, reason: str) -> None:
    receipt = door.accept(event)
    insert_id = event.get("insert_id") if event.get("insert_id") != ["a"] else None
    assert receipt.rejected == [{"index": 0, "id": insert_id, "field": field, "reason": reason}]
    assert door.spool.bodies == []


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"id": "x" * 512}, id="an item's id of 512 bytes"),
        pytest.param({"id": "é" * 256}, id="of 512 bytes in two-byte characters"),
        pytest.param({"distinct_id": "é" * 200}, id="a person's id of 200 characters"),
        pytest.param({"insert_id": "Aa0_-" + "x" * 59}, id="an insert_id of 64 characters"),
        pytest.param({"insert_id": 12345}, id="a number as insert_id"),
        pytest.param({"insert_id": ""}, id="an empty insert_id is none"),
        pytest.param({"text": "x" * 32_000}, id="an event just small enough"),
        pytest.param({}, id="an empty event"),
    ],
)
def test_what_is_at_the_limits_is_accepted(door: Door, event: dict[str, Any]) -> None:
    assert door.accept(event).accepted == 1


def test_a_batch_past_the_limit_is_refused_whole() -> None:
    door = Door(max_batch_events=2)
    with pytest.raises(TooLarge, match=r"^3 events in one request; send at most 2 \(METRONOME_MAX_BATCH_EVENTS\)$"):
        door.accept({}, {}, {})
    assert door.accept({}, {}).accepted == 2


@pytest.mark.parametrize(
    ("events", "ids"),
    [
        pytest.param([{"insert_id": "a"}, {"insert_id": "b"}], ["a", "b"], id="an id each"),
        pytest.param([{"insert_id": "a", "app": "x"}, {"insert_id": "a", "app": "y"}, {"insert_id": "a"}], ["x:a", "y:a", "a"], id="the same id in two apps is two events"),
        pytest.param([{"insert_id": "a", "app": ""}, {"insert_id": "a", "app": None}, {"insert_id": "a"}], ["a"], id="no app, however it is said"),
        pytest.param([{"insert_id": "a", "n": 1}, {"insert_id": "a", "n": 2}], ["a"], id="of two with one id the first stays"),
        pytest.param([{"insert_id": 5}, {"insert_id": "5"}], ["5"], id="a number and its text are one id"),
        pytest.param([{"insert_id": 0}, {"insert_id": "0"}, {"insert_id": 0}], ["0"], id="zero is an id"),
        pytest.param([{"insert_id": "a", "app": 5}, {"insert_id": "a", "app": "5"}], ["5:a"], id="and one app"),
        pytest.param([{"insert_id": "c", "app": "a:b"}, {"insert_id": "b-c", "app": "a"}], ["a:b:c", "a:b-c"], id="an app with a colon collides with none"),
        pytest.param([{"insert_id": "a", "app": 'x"}}\n'}], ["#63cf236c37fa8b3f0489ab8c60fa4e04:a"], id="an app can't break out of its line"),
        pytest.param([{"insert_id": "a", "app": "Geschäft"}, {"insert_id": "a", "app": "geschäft"}], ["#c43853db6fae2c5348c4520c67227844:a", "#e57904b378d132a34d139f6ad3653f0a:a"], id="an app beyond ASCII"),
        pytest.param([{"insert_id": "a", "app": 1}, {"insert_id": "a", "app": True}, {"insert_id": "a", "app": 1.0}], ["1:a", "True:a", "1.0:a"], id="apps that Python holds equal"),
        pytest.param([{"insert_id": "a", "app": 0.0}, {"insert_id": "a", "app": -0.0}], ["0.0:a", "-0.0:a"], id="whatever their type"),
        pytest.param([{"insert_id": "a", "app": "x" * 400}], ["x" * 400 + ":a"], id="an app of 400 characters"),
    ],
)  # fmt: skip
def test_the_document_id_comes_from_app_and_insert_id(door: Door, events: list[dict[str, Any]], ids: list[str]) -> None:
    receipt = door.accept(*events)
    assert (receipt.accepted, receipt.duplicate) == (len(ids), len(events) - len(ids))
    assert [doc_id for _, doc_id, _ in door.spool.documents()] == ids


def test_an_app_of_any_length_leaves_an_id_that_elasticsearch_takes(door: Door) -> None:
    door.accept({"insert_id": "x" * 64, "app": "a" * 401}, {"insert_id": "x" * 64, "app": "a" * 402})
    ids = {doc_id for _, doc_id, _ in door.spool.documents()}
    assert [len(doc_id) for doc_id in ids] == [98, 98]


def test_the_same_id_gives_the_same_document_id_in_every_process() -> None:
    doors = [Door(), Door()]
    for door in doors:
        door.accept({"insert_id": "a", "app": "Geschäft", "ts": "2026-11-20T10:00:00Z"})
    first, second = ([(index, doc_id) for index, doc_id, _ in door.spool.documents()] for door in doors)
    assert first == second


def test_a_minted_id_sorts_by_time_and_carries_its_day(door: Door) -> None:
    minted: list[str] = []
    for _ in range(3):
        minted += [str(found) for found in door.accept(*[{}] * 500).ids]
        door.now += timedelta(milliseconds=1)
    assert len(set(minted)) == 1500
    batches = [minted[:500], minted[500:1000], minted[1000:]]
    assert [max(batch) < min(later) for batch, later in pairwise(batches)] == [True, True]
    assert batches == [sorted(batch) for batch in batches]
    for text in minted[::500]:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
    assert datetime.fromtimestamp((uuid.UUID(minted[0]).int >> 80) / 1000, UTC) == NOW
    assert [doc_id for _, doc_id, _ in door.spool.documents()] == minted


ROBOT = {"is_robot": True, "is_machine": False, "robot_pattern": "bot", "robot_list": ROBOT_LIST}
PERSON = {"is_robot": False, "is_machine": False, "browser": "Chrome", "platform": "Windows"}


@pytest.mark.parametrize(
    ("event", "agent", "fields"),
    [
        pytest.param({}, None, {}, id="no agent known, nothing said"),
        pytest.param({}, CHROME, PERSON, id="the request's, where there is one"),
        pytest.param(
            {"user_agent": "SomeBot/1.0"}, CHROME, {**ROBOT, "browser": "SomeBot"}, id="the event's own goes first"
        ),
        pytest.param({"user-agent": CHROME}, "SomeBot/1.0", PERSON, id="under a header's name"),
        pytest.param({"user_agent": {"original": CHROME}}, None, PERSON, id="in the Elastic Common Schema"),
        pytest.param({"user_agent": ""}, CHROME, PERSON, id="an empty one is none"),
        pytest.param({"user_agent": "-"}, None, {}, id="a dash is none"),
        pytest.param(
            {"user_agent": CHROME, "browser": "Edge"}, None, {**PERSON, "browser": "Edge"}, id="a family as sent stays"
        ),
        pytest.param({"browser": "Edge"}, CHROME, {**PERSON, "browser": "Edge"}, id="also before the request's"),
        pytest.param({"user_agent": 5}, None, {**ROBOT, "robot_pattern": "^.?$"}, id="a number is judged as text"),
    ],
)
def test_the_agent_is_judged_and_never_stored(
    door: Door, event: dict[str, Any], agent: str | None, fields: dict[str, Any]
) -> None:
    assert door.stored(event, Origin("tick", agent)) == {
        **fields,
        "@timestamp": "2026-11-22T09:30:00.000Z",
        "event": "view",
    }


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        pytest.param({}, {"event": "view"}, id="a tick is a view"),
        pytest.param({"event": ""}, {"event": "view"}, id="an empty name is none"),
        pytest.param({"event": "login"}, {"event": "login"}, id="a name as sent stays"),
        pytest.param({"accept": "text/csv"}, {"event": "download", "format": "csv"}, id="a download gets its format"),
        pytest.param({"format": "KML"}, {"event": "download"}, id="a format as sent stays"),
        pytest.param({"event": "download", "url": "/a.zip"}, {"event": "download", "format": "zip"}, id="a download by name gets one too"),
        pytest.param({"accept": "application/json"}, {}, id="an API call is neither"),
        pytest.param({"@version": "1"}, {}, id="a shipped record without accept and format is neither"),
        pytest.param({"@version": "1", "accept": "text/html"}, {"event": "view"}, id="a shipped page is a view"),
        pytest.param({"referer": "https://A.example/x/?q"}, {"event": "view", "referer": "https://A.example/x/", "referer_page": "a.example/x"}, id="a referer gets its key"),
        pytest.param({"extra": {"referer": "https://a.example/"}}, {"event": "view", "referer_page": "a.example"}, id="also a log record's"),
        pytest.param({"referer": "https://a.example/x", "url": "https://a.example/y"}, {"event": "view"}, id="not that of the own host"),
        pytest.param({"referer": None}, {"event": "view"}, id="a null referer gets none"),
    ],
)  # fmt: skip
def test_what_is_derived_stands_beside_what_was_sent(door: Door, event: dict[str, Any], facts: dict[str, Any]) -> None:
    sent = {
        ("extra.referer" if name == "extra" else name): value if name != "extra" else value["referer"]
        for name, value in event.items()
    }
    sent.pop("@version", None)
    assert door.stored(event) == {**sent, **facts, "@timestamp": "2026-11-22T09:30:00.000Z"}


def test_numbers_of_more_than_64_bits_are_stored_with_every_digit(door: Door) -> None:
    huge = 123456789012345678901234567890
    door.accept({"n": huge, "m": 1}, {"n": [huge, "x"]}, {"n": 1.5})
    assert [source["n"] for _, _, source in door.spool.documents()] == [huge, [str(huge), "x"], 1.5]


@pytest.mark.parametrize("shipped", [False, True], ids=["a tick", "a log record"])
@pytest.mark.parametrize(
    "referer", [{}, {"referer": "https://a.example/x?utm_id=1"}, {"extra.referer": "http://b.example"}]
)
@pytest.mark.parametrize("agent", [{}, {"user-agent": CHROME}, {"http_user_agent": "SomeBot/1.0"}])
@pytest.mark.parametrize("family", [{}, {"browser": "Edge"}, {"platform": None}])
@pytest.mark.parametrize(
    "what", [{}, {"event": ""}, {"event": "buy"}, {"format": "KML"}, {"accept": "text/csv"}, {"accept": "*/*"}]
)
def test_reading_a_raw_document_derives_what_intake_stores(
    door: Door, shipped: bool, referer: Event, agent: Event, family: Event, what: Event
) -> None:
    raw = {"url": "https://a.example/y", **referer, **agent, **family, **what}
    stored = door.stored({**raw, "@version": "1"} if shipped else raw)
    derive(raw, shipped=shipped)
    assert stored.pop("@timestamp") == "2026-11-22T09:30:00.000Z"
    assert stored == {name: value for name, value in raw.items() if name not in AGENT_NAMES}
