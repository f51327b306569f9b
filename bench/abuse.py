"""(e) What inputs cost that are made to cost much: processor time and peak memory of each, in the whole application.

Inputs of the listening ports go through their door. The spool is in memory; there is no network, no Elasticsearch.
Time is in milliseconds and in yardsticks, which are orjson round trips of an ordinary batch of 500 events (150 KB).
Memory is what Python allocates at the peak, beside the body itself.
"""

from __future__ import annotations

import gc
import gzip
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgpack
import orjson

from bench.events import generate, yardstick_us, yesterday
from metronome.event import agents
from metronome.intake import Intake
from metronome.listen.batch import FORWARD, LINES, Door, Frame
from metronome.listen.counted import Counted
from metronome.process import THRESHOLD
from metronome.settings import Settings
from metronome.web.app import Opened, create_app

KB, MB = 2**10, 2**20
JSON, NDJSON, FORM = "application/json", "application/x-ndjson", "application/x-www-form-urlencoded"

#: Kinds of bodies for the listening ports.
PORTS = (FORWARD, LINES)


@dataclass(frozen=True)
class Input:
    """One request, and what it is."""

    name: str
    body: bytes
    kind: str = JSON
    encoding: str = ""
    #: Where it has very many events, how many: each is stored, and costs what an event costs.
    events: int = 0

    @property
    def batches(self) -> float:
        """How many ordinary batches of 500 events and 200 KB of JSON it weighs. `[],` is one byte in MessagePack."""
        size = len(self.body) * (3 if self.kind == FORWARD else 1)
        return max(1.0, size / (200 * KB), self.events / 500)


@dataclass(frozen=True)
class Cost:
    """What a request cost: `yardsticks` are round trips of an ordinary event, `memory` is bytes at the peak."""

    status: int
    ms: float
    yardsticks: float
    memory: int


class Nowhere:
    """A spool that keeps nothing."""

    def append(self, body: bytes, events: int) -> None: ...


def ordinary() -> Input:
    """A batch as shippers send it."""
    return Input("ordinary batch of 500", b"\n".join(generate(500, 1, end=yesterday(), days=1, agents=True)), NDJSON)


def inputs() -> Iterator[Input]:
    """The ordinary batch first, then those of ill will; made one by one, since some are large."""
    yield ordinary()
    for rows in (5_300, 70_000):
        yield Input(f"an array of {rows} objects, each with a name of its own", _columns(rows))
    yield Input("gzip of 62,500 empty members", gzip.compress(b"") * 62_500, NDJSON, "gzip")
    yield Input("gzip bomb, 10 MB to 10 GB", gzip.compress(b"0" * 10 * MB) * 1000, NDJSON, "gzip")
    yield Input(
        "gzip of what can't be compressed, 9 MB", gzip.compress(random.Random(1).randbytes(9 * MB), 1), NDJSON, "gzip"
    )
    yield Input("1 MB of lines x", b"x\n" * (MB // 2), NDJSON)
    yield Input("the same called JSON", b"x\n" * (MB // 2))
    yield Input("1 MB of blank lines", b"\n" * MB, NDJSON)
    yield Input("1 MB of lines {}", b"{}\n" * (MB // 3), NDJSON)
    blank = {" " * number: 1 for number in range(1, 256)}
    yield Input("250 events of 255 blank names", orjson.dumps([blank] * 250))
    yield Input("100,000 names", orjson.dumps({f"k{number}": 1 for number in range(100_000)}))
    yield Input("20 events of 20,000 names", orjson.dumps([{f"k{n}": 1 for n in range(20_000)}] * 20))
    for text in (b"[]", b"{}", b'{"a":1}', b"1.5", b'"ab"'):
        yield Input(f"4 MB of [{text.decode()},…]", b"[" + b",".join([text] * (4 * MB // (len(text) + 1))) + b"]")
    yield Input("300,000 brackets, one in another", b"[" * 300_000)
    yield Input("an event nested 900 deep", b'{"a":' * 900 + b"1" + b"}" * 900)
    yield Input(
        "arrays nested 900 deep in 500 events",
        orjson.dumps([{"id": "a"}] * 500)[:-1] + b"," + b'{"a":' + b"[" * 900 + b"]" * 900 + b"}]",
    )
    yield Input(
        "2,000 different agents of 500 characters", orjson.dumps([{"user_agent": _agent(n)} for n in range(2000)])
    )
    yield Input("one event of 4 MB", orjson.dumps({"id": "a", "text": "x" * 4 * MB}))
    yield Input("one line of 4 MB", orjson.dumps({"id": "a", "text": "x" * 4 * MB}), NDJSON)
    yield Input("1 MB of parameters in an address", orjson.dumps([{"url": "/p?" + "a=1&" * 7500}] * 35))
    yield Input("a whole number of 1 MB", b'{"n":' + b"9" * MB + b"}", NDJSON)
    yield Input("900 KB of NaN", b"[" + b",".join([b'{"a":NaN}'] * 90_000) + b"]")
    yield Input("2,000 lines with half an emoji", b'{"a":"\\ud83d"}\n' * 2000, NDJSON)
    yield Input("a form of 500,000 fields", b"a=1&" * 500_000, FORM)
    yield Input("500 events of 200 addresses", orjson.dumps([{f"a{n}": "198.51.100.7" for n in range(200)}] * 500))
    values: tuple[tuple[str, Any, int], ...] = (
        ("empty arrays", [], 30_000),
        ("empty maps", {}, 30_000),
        ("arrays of empty arrays", [[]], 15_000),
        ("bytes", b"\xff", 9_000),
        ("maps with numbers for names", {1: 1}, 9_000),
    )
    for what, value, count in values:
        record = {"a": [value] * count}
        yield Input(f"forward: a record of {count:,} {what}", _forward([record]), FORWARD)
        yield Input(f"forward: 30 records of {count:,} {what}", _forward([record] * 30), FORWARD)
    yield Input(
        "forward: 30 records of 10,000 numbers for names", _forward([dict.fromkeys(range(10_000))] * 30), FORWARD
    )
    yield Input("forward: 1 MB of empty records", _forward([{}] * 330_000), FORWARD, events=330_000)
    # Lines come in blocks of what one reading of the socket brought.
    yield Input("lines: 2 of 10,000 empty arrays", (b'{"a":[' + b",".join([b"[]"] * 10_000) + b"]}\n") * 2, LINES)
    yield Input("lines: 64 KB of {}", b"{}\n" * 21_845, LINES, events=21_845)
    yield Input("under 1 KB: a record of 900 empty arrays", _forward([{"a": [[]] * 900}]), FORWARD)
    yield Input("under 1 KB: columns", _columns(70))
    yield Input("under 1 KB: blank names", orjson.dumps({" " * number: 1 for number in range(1, 36)}))
    yield Input("under 1 KB: an agent", orjson.dumps({"user_agent": _agent(0)}))
    yield Input("under 1 KB: gzip of 40 members", gzip.compress(b"") * 40, NDJSON, "gzip")
    yield Input("under 1 KB: brackets", b"[" * 1000)


def _columns(rows: int) -> bytes:
    return b'{"a":[' + b",".join(b'{"k%d":0}' % row for row in range(rows)) + b"]}"


def _forward(records: list[dict[Any, Any]]) -> bytes:
    """A message of the forward protocol."""
    found: bytes = msgpack.packb(["t", [[1795426200, record] for record in records]])
    return found


def _agent(number: int) -> str:
    return f"Mozilla/5.0 ({number}) " + " ".join(f"Word{number}x{part}/1.{part}" for part in range(40))


class Measured:
    """The application in this process, and a yardstick."""

    def __init__(self, home: Path) -> None:
        settings = Settings(home=home, elasticsearch_url="http://127.0.0.1:1")
        app = create_app(settings, Opened(Nowhere(), Mock()))  # type: ignore[arg-type]
        self._http = app.test_client()
        self._door = Door(settings, Intake(settings, Nowhere(), folder=home), Counted(settings, lambda: None))
        self._yardstick_us = yardstick_us(generate(2000, 1, end=yesterday(), days=1, agents=True))
        self.cost(ordinary())  # what is made at the first request isn't its cost

    def post(self, given: Input) -> Any:
        headers = {"Content-Encoding": given.encoding} if given.encoding else {}
        return self._http.post("/tick", data=given.body, content_type=given.kind, headers=headers)

    def send(self, given: Input) -> int:
        """Take an input in; gives the status of its answer. Ports have none: 202 stands for what was taken."""
        if given.kind not in PORTS:
            return int(self.post(given).status_code)
        frame = Frame(given.kind, given.body, lambda outcome: None)
        self._door.commit([frame])
        return 202 if frame.failure is None else 400

    def cost(self, given: Input) -> Cost:
        """The better of two runs for time, and a third for memory: tracing makes everything slow."""
        seconds = min(_seconds(lambda: self.send(given)) for _ in range(2))
        tracemalloc.start()
        status = self.send(given)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return Cost(status, seconds * 1e3, seconds * 1e6 / self._yardstick_us, peak)


def _seconds(run: Callable[[], Any]) -> float:
    agents.judged.clear()  # agents of ill will are new each time
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLD)  # as in every process of the gateway
    started = time.process_time()
    run()
    seconds = time.process_time() - started
    gc.set_threshold(*before)
    return seconds


def bench(home: Path) -> str:
    """The table for docs/operations.md."""
    measured = Measured(home)
    rows = ["| input | bytes | answer | ms | yardsticks | peak memory |", "| --- | --- | --- | --- | --- | --- |"]
    for given in inputs():
        cost = measured.cost(given)
        size, memory = len(given.body), f"{cost.memory / MB:.1f} MB"
        name = given.name.replace("|", "\\|")
        rows.append(f"| {name} | {size:,} | {cost.status} | {cost.ms:.1f} | {cost.yardsticks:,.0f} | {memory} |")
    return "\n".join(rows)
