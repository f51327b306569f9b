"""What can't be read, is too much or too slow costs its own connection, and nobody else anything."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import socket
import time
from pathlib import Path

import pytest
from conftest import wait_for
from elasticsearch import Elasticsearch
from listening import Listening, Raw, ack, everything, listening, opened_listening, pack, pack_entries  # noqa: F401  (a fixture)

from metronome.listen.forward import read_message
from metronome.listen.framing import Messages, Unframed
from metronome.settings import Settings

DAY = 1421884800
GOOD = pack(["t", DAY, {"id": "good"}, {"chunk": "good"}])
MOST = 10 * 2**20


def bomb(size: int) -> bytes:
    """gzip of so many zero bytes, itself small."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as file:
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    return out.getvalue()


def compressed(data: bytes) -> bytes:
    return pack(["t", data, {"compressed": "gzip", "chunk": "bad"}])


ENTRY = pack_entries((DAY, {"id": "bad"}))

#: What is no message of the four modes, or claims too much.
MALFORMED: dict[str, bytes] = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "JSON": b'{"id": "bad"}\n',
    "a byte that MessagePack hasn't": b"\xc1",
    "a byte that MessagePack hasn't, inside": b"\x93\xa1t\xc1",
    "a number": pack(5),
    "a text": pack("t"),
    "a map": pack({"id": "bad"}),
    "an empty array": pack([]),
    "an array of one": pack(["t"]),
    "an array of five": pack(["t", DAY, {"id": "bad"}, {}, 1]),
    "a tag without anything": pack(["t", DAY]),
    "a tag that is a number": pack([1, DAY, {"id": "bad"}]),
    "a PING where there is no handshake": pack(["PING", "a", "b", "c", "", ""]),
    "entries that are numbers": pack(["t", [1, 2]]),
    "an entry of one": pack(["t", [[DAY]]]),
    "an entry of three": pack(["t", [[DAY, {}, {}]]]),
    "packed entries that are cut": pack(["t", ENTRY[:-1], {"chunk": "bad"}]),
    "packed entries with rubbish behind": pack(["t", ENTRY + b"\x01", {"chunk": "bad"}]),
    "packed entries that aren't MessagePack": pack(["t", b"\xc1", {"chunk": "bad"}]),
    "an option that is a text": pack(["t", ENTRY, "option"]),
    "an option that is a number, in Forward": pack(["t", [[DAY, {}]], 7]),
    "a chunk that is a number": pack(["t", ENTRY, {"chunk": 7}]),
    "an unknown compression": pack(["t", ENTRY, {"compressed": "zstd", "chunk": "bad"}]),
    "compressed entries that aren't gzip": compressed(b"no gzip"),
    "compressed entries that are cut": compressed(gzip.compress(ENTRY * 100)[:-9]),
    "compressed entries with rubbish behind": compressed(gzip.compress(ENTRY) + b"rubbish"),
    "a gzip bomb of 50 MB": compressed(bomb(50 * 2**20)),
    "gzip that inflates more than a hundredfold": compressed(bomb(8 * 2**20)),
    "a binary of 4 GB, declared": b"\x93\xa1t\xc6\xff\xff\xff\xff",
    "a text of 4 GB, declared": b"\x93\xa1t\xdb\xff\xff\xff\xff",
    "a tag of 4 GB, declared": b"\x93\xdb\xff\xff\xff\xff",
    "a binary one byte too large, declared": b"\x93\xa1t\xc6" + MOST.to_bytes(4, "big"),
    "nesting without end": b"\x93\xa1t" + b"\x91" * 5000,
    "nesting of arrays of 4 billion": b"\x93\xa1t" + b"\xdd\xff\xff\xff\xff" * 5000,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_it_closes_the_connection_and_what_came_before_stays(running: Listening, name: str) -> None:
    before = running.resident_bytes()
    with running.connect() as bystander, running.connect() as sender:
        bystander.sendall(GOOD[:10])
        started = time.monotonic()
        sender.sendall(GOOD + MALFORMED[name])
        assert everything(sender) == ack("good")
        assert time.monotonic() - started < 5
        bystander.sendall(GOOD[10:])
        assert bystander.recv(100) == ack("good")
    assert running.resident_bytes() - before < 60 * 2**20


def test_none_of_it_was_stored(running: Listening) -> None:
    assert [row for row in running.records() if row.get("id") == "bad"] == []


def test_a_message_that_never_ends_is_cut_off_at_the_limit(running: Listening) -> None:
    before = running.resident_bytes()
    sent = 0
    with running.connect() as sender, contextlib.suppress(ConnectionError):
        sender.sendall(b"\x93\xa1t\xdd\xff\xff\xff\xff")  # as many entries as it takes
        while sent < 4 * MOST:
            sender.sendall(ENTRY * 1000)
            sent += 1000 * len(ENTRY)
    assert MOST // 2 < sent < 2 * MOST
    assert running.resident_bytes() - before < 8 * MOST


#: Messages within the limit that would take a hundred times their bytes as objects.
DENSE: dict[str, bytes] = {
    "a time of empty maps": pack(["t", [[Raw(b"\xdd\x00\x3f\x00\x00" + b"\x80" * 0x3F0000), {}]], {"chunk": "dense"}]),
    "a record of empty maps": pack(
        ["t", [[DAY, {"a": Raw(b"\xdd\x00\x3f\x00\x00" + b"\x80" * 0x3F0000)}]], {"chunk": "dense"}]
    ),
    "entries of next to nothing": pack(["t", b"\x92\x00\x80" * 100_000, {"chunk": "dense"}]),
    "records of 30 KB of empty arrays": pack(
        ["t", pack_entries(*[(DAY, {"a": Raw(b"\xdc\x75\x30" + b"\x90" * 30_000)})] * 30), {"chunk": "dense"}]
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_records_take_a_bounded_multiple_of_their_bytes(running: Listening, name: str) -> None:
    highest = before = running.resident_bytes()
    with running.connect() as sender:
        sender.sendall(DENSE[name])
        sender.settimeout(0.05)
        answer = b""
        deadline = time.monotonic() + 120
        while not answer and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                answer = sender.recv(100)
            highest = max(highest, running.resident_bytes())
    assert answer == ack("dense")
    assert highest - before < 250 * 2**20


def test_a_chunk_that_takes_long_keeps_no_small_message_waiting(running: Listening) -> None:
    with running.connect() as sender:
        sender.sendall(pack(["t", b"\x92\x00\x80" * 200_000, {"chunk": "long"}]))
        waits = []
        for _ in range(10):
            began = time.monotonic()
            assert running.exchange(GOOD) == ack("good")
            waits.append(time.monotonic() - began)
        sender.setblocking(False)
        with pytest.raises(BlockingIOError):  # it is still at work
            sender.recv(100)
        assert max(waits) < 1
        sender.settimeout(60)
        assert sender.recv(100) == ack("long")


def test_random_bytes_never_end_the_process(running: Listening) -> None:
    seed = 20261124
    chance = random.Random(seed)
    valid = [
        GOOD,
        pack(["t", [[DAY, {"n": 1}]], {"chunk": "c"}]),
        pack(["t", ENTRY, {"chunk": "c"}]),
        compressed(gzip.compress(ENTRY)),
    ]
    for _ in range(400):
        kind = chance.random()
        if kind < 0.3:
            data = chance.randbytes(chance.randrange(200))
        elif kind < 0.5:
            data = b"\x93\xa1t" + chance.randbytes(chance.randrange(200))
        else:
            changed = bytearray(chance.choice(valid))
            for _ in range(chance.randrange(1, 6)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            data = bytes(changed)
        running.exchange(data)
    assert running.exchange(GOOD) == ack("good")
    assert "unforeseen" not in running.log.read_text()
    assert "Traceback" not in running.log.read_text(), seed


def test_random_bytes_are_read_or_refused_and_nothing_else() -> None:
    """The same without a connection, so that there may be more of it."""
    settings = Settings()
    chance = random.Random(20261125)
    valid = [GOOD, pack(["t", [[DAY, {"n": 1}]], {"chunk": "c"}]), compressed(gzip.compress(ENTRY))]
    valid += [pack(["t", pack_entries((DAY, {"a": {"b": [1, 2.5, None]}})), {"chunk": "c", "size": 1}])]
    outcomes = {"read": 0, "refused": 0, "unfinished": 0}
    for _ in range(30_000):
        data = bytearray(chance.choice(valid))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        framer = Messages(settings.max_body_bytes)
        middle = chance.randrange(len(data))
        try:
            frames = [*framer.feed(bytes(data[:middle])), *framer.feed(bytes(data[middle:]))]
            for frame in frames:
                assert len([event for event, _ in read_message(frame, settings).events(settings)]) >= 0
            outcomes["read" if frames else "unfinished"] += 1
        except Unframed:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 1000, outcomes


def test_two_thousand_idle_connections_cost_little_and_slow_nobody(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    with listening(engine_settings, elasticsearch, tmp_path) as alone, contextlib.ExitStack() as open_ones:
        alone.exchange(GOOD)
        before = alone.resident_bytes()
        started = time.monotonic()
        idle = [open_ones.enter_context(alone.connect()) for _ in range(2000)]
        for one in idle:
            one.sendall(GOOD[:20])  # half a message each
        waits = []
        for _ in range(20):
            began = time.monotonic()
            assert alone.exchange(GOOD) == ack("good")
            waits.append(time.monotonic() - began)
        assert time.monotonic() - started < 30
        assert sorted(waits)[10] < 0.5
        assert (alone.resident_bytes() - before) / 2000 < 30_000
        for one in idle:
            one.sendall(GOOD[20:])
        assert [one.recv(100) for one in idle] == [ack("good")] * 2000


def test_beyond_the_limit_of_connections_newcomers_are_turned_away(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    few = {"METRONOME_LISTEN_CONNECTIONS": "10"}
    with listening(engine_settings, elasticsearch, tmp_path, **few) as alone, contextlib.ExitStack() as open_ones:
        wait_for(lambda: alone.exchange(GOOD) == ack("good"), "the first connections to be gone")
        kept = [open_ones.enter_context(alone.connect()) for _ in range(10)]
        for one in kept:
            one.sendall(GOOD)
            assert one.recv(100) == ack("good")
        assert alone.exchange(GOOD) == b""
        kept[0].close()
        wait_for(lambda: alone.exchange(GOOD) == ack("good"), "room for one more")


def test_a_sender_that_never_reads_its_answers_is_not_read_any_more(running: Listening) -> None:
    before = running.resident_bytes()
    chunk = "x" * 2000
    message = pack(["t", DAY, {"id": "unread"}, {"chunk": chunk}]) * 100
    sent = 0
    with running.connect() as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sender.settimeout(3)
        with contextlib.suppress(TimeoutError):
            for _ in range(500):
                sent += sender.send(message)
        assert sent < 400 * len(message), "it reads on, though its answers pile up"
        assert running.exchange(GOOD) == ack("good")
    assert running.resident_bytes() - before < 60 * 2**20
