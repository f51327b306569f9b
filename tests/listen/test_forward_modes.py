"""The forward protocol over a real connection to a real process: modes, times, ids and answers, as documents."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from elasticsearch import Elasticsearch
from listening import Listening, Raw, ack, event_time, everything, listening, opened_listening, pack, pack_entries  # noqa: F401  (a fixture)

from metronome.settings import Settings
from metronome.spool.quarantine import Quarantine

DAY = 1421884800  # 2015-01-22T00:00:00Z

#: Contract 4.1: the frames of senders, and the bytes of their answers.
VECTORS = {
    "Message, integer time": (
        "93b06d6574726f6e6f6d652e616363657373ce54c03d8082a76974656d5f6964a3616263a772656665726572b2687474703a2f2f6172636769732e636f6d2f",
        "",
    ),
    "Message, EventTime": (
        "93b06d6574726f6e6f6d652e616363657373d70054c03d801dcd650081a26964a3616263",
        "",
    ),
    "Message, with chunk": (
        "94b06d6574726f6e6f6d652e616363657373ce54c03d8081a76974656d5f6964a361626381a56368756e6bb84c3653324d6273446956502b6261714e44346f5147413d3d",
        "81a361636bb84c3653324d6273446956502b6261714e44346f5147413d3d",
    ),
    "Forward": (
        "93b06d6574726f6e6f6d652e6163636573739292ce54c03d8081a76974656d5f6964a16192ce54c03d8181a76974656d5f6964a16281a56368756e6bb8414141414141414141414141414141414141414141413d3d",
        "81a361636bb8414141414141414141414141414141414141414141413d3d",
    ),
    "PackedForward": (
        "93b06d6574726f6e6f6d652e616363657373c42292ce54c03d8081a76974656d5f6964a16192ce54c03d8181a76974656d5f6964a16281a56368756e6bb8414141414141414141414141414141414141414141413d3d",
        "81a361636bb8414141414141414141414141414141414141414141413d3d",
    ),
    "CompressedPackedForward": (
        "93b06d6574726f6e6f6d652e616363657373c4271f8b08000000000000039b742ee4806d43e3f2cc92d4dcf8cc94c58949c9007a31be291300000084a56368756e6bb86c572f5368524d775763456d6b5a51526a61595149673d3da473697a6527aa636f6d70726573736564a4677a6970b26576656e74456e7472794461746153697a6513",
        "81a361636bb86c572f5368524d775763456d6b5a51526a61595149673d3d",
    ),
}

FIRST = "2015-01-22T00:00:00.000Z"

#: What all of them together store: Forward and PackedForward share chunk and records, and count once.
STORED = [
    {"@timestamp": FIRST, "item_id": "a"},
    {"@timestamp": FIRST, "item_id": "abc"},
    {"@timestamp": FIRST, "item_id": "abc", "referer": "http://arcgis.com/", "referer_page": "arcgis.com"},
    {"@timestamp": "2015-01-22T00:00:00.500Z", "id": "abc"},
    {"@timestamp": "2015-01-22T00:00:01.000Z", "item_id": "b"},
    {"@timestamp": "2015-01-22T00:00:00.000Z", "item_id": "abc"},
]


def of(running: Listening, name: str) -> list[dict[str, Any]]:
    """The documents whose `test` is `name`, without it, in the order of their times."""
    found = [row for row in running.records() if row.get("test") == name]
    return [{k: v for k, v in row.items() if k != "test"} for row in sorted(found, key=lambda row: row["@timestamp"])]


def tock(running: Listening, item: str) -> Any:
    running.gateway.drain()
    return running.gateway.tock(item)


@pytest.fixture
def alone(engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Iterator[Listening]:
    with listening(engine_settings, elasticsearch, tmp_path) as found:
        yield found


def test_the_frames_of_the_contract_are_stored_and_answered_byte_for_byte(alone: Listening) -> None:
    frames = [bytes.fromhex(frame) for frame, _ in VECTORS.values()]
    expected = "".join(answer for _, answer in VECTORS.values())
    assert alone.exchange(*frames).hex() == expected
    # Cut into single bytes, and all at once, it is the same stream.
    assert alone.exchange(b"".join(frames)).hex() == expected
    with alone.connect() as sender:
        for byte in b"".join(frames[2:]):
            sender.sendall(bytes((byte,)))
        sender.shutdown(socket.SHUT_WR)
        assert everything(sender).hex() == expected
    stored = alone.records()
    without_chunk = STORED[2:4]
    expected_rows = STORED + without_chunk  # who sends these twice has them twice: they have no identity
    assert sorted(map(repr, map(sorted, map(dict.items, stored)))) == sorted(
        map(repr, map(sorted, map(dict.items, expected_rows)))
    )
    assert {row["dialect"] for row in alone.gateway.documents()} == {"forward"}


@pytest.mark.parametrize("name", VECTORS)
def test_each_frame_of_the_contract_has_its_own_answer(running: Listening, name: str) -> None:
    frame, answer = VECTORS[name]
    assert running.exchange(bytes.fromhex(frame)).hex() == answer


#: A message, as the row's name wants it; the documents that it makes.
TIMES: dict[str, tuple[Any, str]] = {
    "integer seconds": (DAY, FIRST),
    "a float": (DAY + 0.25, "2015-01-22T00:00:00.250Z"),
    "EventTime as fixext 8": (event_time(DAY, 500_000_000), "2015-01-22T00:00:00.500Z"),
    "EventTime as ext 8": (Raw(b"\xc7\x08\x00" + struct.pack(">II", DAY, 7_000_000)), "2015-01-22T00:00:00.007Z"),
    "seconds as 64 bits": (Raw(b"\xcf" + struct.pack(">Q", DAY)), FIRST),
    "milliseconds, as npm's fluent-logger can send them": (DAY * 1000 + 5, "2015-01-22T00:00:00.005Z"),
    "Fluent Bit's time with metadata": ([event_time(DAY), {"otlp": {"severity": 9}}], FIRST),
    "MessagePack's own timestamp": (msgpack.Timestamp(DAY, 1_000_000), "2015-01-22T00:00:00.001Z"),
}


@pytest.mark.parametrize("form", TIMES)
def test_a_time_is_read_in_every_form_and_mode(running: Listening, form: str) -> None:
    time, stamp = TIMES[form]
    entry = pack([time, {"test": form, "id": "x"}])
    body = pack(time) + pack({"test": form, "id": "x"})
    running.exchange(b"\x93\xa1t" + body)
    running.exchange(b"\x92\xa1t\x91" + entry)
    running.exchange(b"\x92\xa1t" + pack(entry))
    running.exchange(b"\x93\xa1t" + pack(gzip.compress(entry)) + pack({"compressed": "gzip"}))
    assert of(running, form) == [{"@timestamp": stamp, "id": "x"}] * 4


def test_the_records_own_timestamp_wins_and_its_time_and_ts_do_not(running: Listening) -> None:
    name = "own time"
    own = "2020-05-05T05:05:05.005Z"
    running.exchange(
        pack(["t", DAY, {"test": name, "@timestamp": own}]),
        pack(["t", DAY, {"test": name, "time": own, "ts": 1, "n": 1}]),
        pack(["t", DAY + 1, {"test": name, "@timestamp": None, "timestamp": own, "n": 2}]),
    )
    assert of(running, name) == [
        {"@timestamp": FIRST, "time": own, "ts": 1, "n": 1},
        {"@timestamp": "2015-01-22T00:00:01.000Z", "timestamp": own, "n": 2},
        {"@timestamp": own},
    ]


def test_a_sender_without_a_clock_gets_the_time_of_arrival(running: Listening) -> None:
    running.exchange(pack(["t", 0, {"test": "no clock"}]), pack(["t", None, {"test": "no clock"}]))
    found = [row for row in running.gateway.documents() if row.get("test") == "no clock"]
    assert [row["@timestamp"] == row["received_at"] for row in found] == [True, True]


def test_a_record_is_a_shippers_neither_view_nor_download_unless_it_says_so(running: Listening) -> None:
    rows = [
        {"id": "shipped", "referer": "https://arcgis.com/x"},
        {"id": "shipped", "accept": "text/html"},
        {"id": "shipped", "format": "csv"},
        {"id": "shipped", "event": "view"},
        {"id": "shipped", "accept": "application/json"},
    ]
    running.exchange(pack(["t", pack_entries(*((DAY, row) for row in rows)), {}]))
    assert tock(running, "shipped") == {
        "views": {"2015-01-22": 2},
        "downloads": {"csv": 1},
        "referers": {"arcgis.com/x": 1},
    }


def test_a_chunk_sent_again_counts_once_whatever_mode_carries_it(running: Listening) -> None:
    rows = [(DAY, {"id": "again", "event": "view"}), (DAY, {"id": "again", "event": "view", "insert_id": "own-1"})]
    option = {"chunk": "again+/=="}
    answers = b""
    for _ in range(2):
        answers += running.exchange(pack(["t", list(map(list, rows)), option]))
        answers += running.exchange(pack(["t", pack_entries(*rows), option]))
        compressed = {**option, "compressed": "gzip"}
        answers += running.exchange(pack(["t", gzip.compress(pack_entries(*rows)), compressed]))
    assert answers == ack("again+/==") * 6
    assert tock(running, "again")["views"] == {"2015-01-22": 2}
    ids = [row["_id"] for row in running.gateway.documents() if row.get("id") == "again"]
    assert "own-1" in ids and all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found) for found in ids)


def test_a_chunk_within_one_batch_counts_once_too(running: Listening) -> None:
    message = pack(["t", DAY, {"id": "twin", "event": "view"}, {"chunk": "twin"}])
    assert running.exchange(message * 3) == ack("twin") * 3
    assert tock(running, "twin")["views"] == {"2015-01-22": 1}


@pytest.mark.parametrize(
    "chunk", ["text", b"bytes", "x" * 300, b"\xff\xfe"], ids=["text", "binary", "long", "not UTF-8"]
)
def test_the_ack_repeats_the_chunk_byte_for_byte(running: Listening, chunk: Any) -> None:
    raw = pack(chunk) if chunk != b"\xff\xfe" else b"\xa2\xff\xfe"
    message = b"\x94\xa1t" + pack(DAY) + pack({"test": "chunks"}) + b"\x81\xa5chunk" + raw
    assert running.exchange(message) == b"\x81\xa3ack" + raw


def test_several_gzip_members_are_one_chunk(running: Listening) -> None:
    members = [gzip.compress(pack_entries((DAY + n, {"test": "members", "n": n}))) for n in range(3)]
    option = {"compressed": "gzip", "chunk": "members", "size": 3}
    assert running.exchange(pack(["t", b"".join(members), option])) == ack("members")
    assert [row["n"] for row in of(running, "members")] == [0, 1, 2]


def test_a_chunk_of_more_events_than_a_request_may_have_is_taken_whole(running: Listening) -> None:
    rows = [(DAY, {"id": "many", "event": "view"})] * 4500
    assert running.exchange(pack(["t", pack_entries(*rows), {"chunk": "many"}])) == ack("many")
    assert tock(running, "many")["views"] == {"2015-01-22": 4500}


#: What MessagePack can say and JSON can't, and how it is stored.
VALUES: dict[str, tuple[dict[Any, Any], dict[str, Any]]] = {
    "text as binary, as Ruby sends it": ({"id": b"x", b"path": "/a"}, {"id": "x", "path": "/a"}),
    "text that isn't UTF-8": ({"title": Raw(b"\xa3a\xffb")}, {"title": "a\ufffdb"}),
    "nested maps": ({"a": {"b": {"c": 1}}}, {"a.b.c": 1}),
    "binary deep inside": ({"a": {"b": [b"x", b"y"]}}, {"a.b": ["x", "y"]}),
    "numbers for names": ({1: "one", 2.5: "two"}, {"1": "one", "2.5": "two"}),
    "an EventTime as a value": ({"at": event_time(DAY)}, {"at": FIRST}),
    "an unknown extension": ({"ext": msgpack.ExtType(7, b"abc")}, {"ext": "YWJj"}),
    "the largest number": ({"n": 2**64 - 1}, {"n": 2**64 - 1}),
    "no number": ({"n": float("nan"), "m": 1}, {"n": None, "m": 1}),
    "NUL": ({"n": "a\0b"}, {"n": "a\0b"}),
    "a private name": ({"ip": "192.0.2.1", "n": 1}, {"n": 1, "flags": ["withheld"]}),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_only_messagepack_can_say_is_kept(running: Listening, name: str) -> None:
    record, stored = VALUES[name]
    assert running.exchange(pack(["t", DAY, {"test": name, **record}, {"chunk": name}])) == ack(name)
    assert of(running, name) == [{"@timestamp": FIRST, **stored}]


#: A record that can't be taken, among two that can.
UNTAKEN: dict[str, Any] = {
    "a record that is no map": "text",
    "an item's id of 600 bytes": {"id": "x" * 600},
    "an insert_id of other letters": {"insert_id": "a b"},
    "a time that is none": {"@timestamp": "yesterday"},
    "a record of 40 KB": {"text": "x" * 40_000},
    "a record of 200 KB": {"text": "x" * 200_000},
    "an array for a name": Raw(b"\x81\x91\x01\x01"),
    "nesting of 900": Raw(b"\x81\xa1a" * 900 + b"\x01"),
    "nesting of 900 arrays": Raw(b"\x81\xa1a" + b"\x91" * 900 + b"\x01"),
    "binary below nesting of 500": Raw(b"\x81\xa1a" * 500 + b"\xc4\x01x"),
}


@pytest.mark.parametrize("name", UNTAKEN)
def test_a_record_that_cannot_be_taken_costs_its_neighbours_nothing(running: Listening, name: str) -> None:
    rows = [[DAY, {"test": name, "n": 1}], [DAY + 1, UNTAKEN[name]], [DAY + 2, {"test": name, "n": 2}]]
    assert running.exchange(pack(["t", rows, {"chunk": name}])) == ack(name)
    assert [row["n"] for row in of(running, name)] == [1, 2]
    assert "an event wasn't taken: " in running.log.read_text()


def test_what_cannot_be_taken_is_in_the_quarantine_once_even_if_it_came_alone(alone: Listening) -> None:
    for _ in range(2):
        for name, record in UNTAKEN.items():
            assert alone.exchange(pack(["t", DAY, record, {"chunk": name}])) == ack(name)
    with contextlib.closing(Quarantine(alone.gateway.settings.spool_dir)) as kept:
        reasons = [row.reason for row in kept.list()]
    assert len(reasons) == len(UNTAKEN), reasons
    assert all(reasons)


def test_heartbeats_are_answered_or_passed_over(running: Listening) -> None:
    assert running.exchange(b"\xc0", pack(["", []]), b"\xc0", pack(["t", DAY, {"test": "beat"}])) == b""
    assert len(of(running, "beat")) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(10)
        sender.sendto(b"\0", ("127.0.0.1", running.forward))
        assert sender.recv(10) == b"\0"


def test_a_connection_is_kept_for_the_next_message(running: Listening) -> None:
    with running.connect() as sender:
        for number in range(5):
            sender.sendall(pack(["t", DAY + number, {"test": "kept", "n": number}, {"chunk": f"kept-{number}"}]))
            assert sender.recv(100) == ack(f"kept-{number}")
    assert [row["n"] for row in of(running, "kept")] == [0, 1, 2, 3, 4]
