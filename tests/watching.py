"""A gateway with its live routes as real processes, and watchers of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from conftest import remove_indices
from test_streams import Streaming

from metronome.client import post
from metronome.settings import Settings


class Watching(Streaming):
    """`metronome serve`, `streams` and `drain`."""

    def begin(self) -> None:
        super().begin()
        Streaming.start(self, "drain")

    def tick(self, *events: dict[str, Any]) -> None:
        receipt = post(self.url + "/tick", json.dumps(events).encode())
        assert receipt["accepted"] == len(events)

    def watch(self, path: str = "/live/events", **headers: str) -> Watcher:
        answer = self.events(path, **headers)
        assert answer.status == 200, answer.read()
        return Watcher(answer)


class Watcher:
    """Reads server-sent events: (event, data, id) of each."""

    def __init__(self, answer: HTTPResponse) -> None:
        self._answer = answer
        #: The last id that came, as a browser remembers it.
        self.cursor = ""

    def next(self) -> tuple[str, Any]:
        """The next event that has a name; what has none only brings an id."""
        fields: dict[str, str] = {}
        while True:
            line = self._answer.readline().decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            self.cursor = fields.get("id", self.cursor)
            if "event" in fields:
                return fields["event"], json.loads(fields["data"])
            fields = {}

    def ids(self, count: int) -> list[str]:
        return sorted(self.next()[1]["_id"] for _ in range(count))

    def until_it_watches(self) -> Watcher:
        """A watcher is told a cursor once it misses nothing any more."""
        assert self._answer.readline() == b"retry: 2000\n"
        self.cursor = self._answer.readline().decode().removeprefix("id: ").rstrip("\n")
        return self


@contextmanager
def running(engine_settings: Settings, elasticsearch: Any, tmp_path: Path, **environ: str) -> Iterator[Watching]:
    """Started, with indices of its own that go in the end. `environ` are further settings."""
    settings = replace(engine_settings, index_prefix=f"l{uuid.uuid4().hex[:10]}")
    gateway = Watching(settings, tmp_path / "home")
    with ExitStack() as opened:
        gateway.opened = opened
        gateway.environ |= environ
        gateway.begin()
        yield gateway
    gateway.stop()
    remove_indices(elasticsearch, settings)
