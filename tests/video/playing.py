"""Players for tests: a running gateway with its streams process, and frames of Phoenix Channels over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conftest import Server, remove_indices, wait_for
from elasticsearch import Elasticsearch
from websockets.sync.client import ClientConnection, connect

from metronome.drain.drain import Drain
from metronome.keyring import make_sample
from metronome.keys import Keys
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.store import indices, names
from metronome.store.records import Records

TOPIC = "session:LVMbxIe4PEY6bDtNLdOJj"
KEY = "HDsj3NfKQTNwn5Ix9g+cfQ=="
OTHER = "session:aaaaaaaaaaaaaaaaaaaaa"

CHROME = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
    "Safari/537.36"
)

JOIN = {
    "identifier": "label name",
    "metadata": {"custom_query_id": 1234},
    "session_data": {"sess": "x"},
    "source_url": "http://example.test/page/one?utm=1#frag",
    "key": KEY,
}


class Gateway(Server):
    """`serve` and `streams` as processes; `drain` ships what they spooled."""

    opened: ExitStack
    limits: dict[str, float]

    def __init__(self, settings: Settings, home: Path, elasticsearch: Elasticsearch) -> None:
        super().__init__(settings, home)
        self.settings = replace(settings, home=home)
        self.elasticsearch = elasticsearch
        self.environ |= {"METRONOME_OPEN": "yes", "METRONOME_WORKERS": "1"}
        self.limits = {}

    def start(self, *commands: str) -> None:
        for command in commands:
            launcher = (
                [str(Path(__file__).with_name("timed_streams.py"))] if command == "streams" else ["-m", "metronome"]
            )
            with (self.home.parent / f"{command}.log").open("ab") as log:
                self.processes[command] = subprocess.Popen(
                    [sys.executable, *launcher, command],
                    env={**self.environ, "PLAYING_LIMITS": json.dumps(self.limits)},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def begin(self, **limits: float) -> None:
        self.limits = limits
        indices.install(self.elasticsearch, self.settings)
        make_sample(self.elasticsearch, self.settings)
        self.start("serve", "streams")
        self.wait_until_ready()
        self.wait_for_streams()
        wait_for((self.home / "keys.json").exists, "the worker to know the keys")

    def wait_for_streams(self) -> None:
        wait_for(lambda: "streams ready" in self.log("streams"), "the streams process to listen")

    def log(self, command: str) -> str:
        return (self.home.parent / f"{command}.log").read_text()

    @property
    def keys(self) -> Keys:
        return Keys(Records(self.elasticsearch, self.settings, "keys"))

    def player(self, *, agent: str | None = CHROME, source: str | None = "http://example.test/page/one") -> Player:
        query = f"source_url={quote(source, safe='')}&" if source is not None else ""
        address = f"ws://{self.bind}/socket/websocket?{query}key={quote(KEY, safe='')}&vsn=2.0.0"
        socket = self.opened.enter_context(
            connect(address, compression=None, close_timeout=2, user_agent_header=agent, ping_interval=None)
        )
        return Player(socket)

    def drain(self) -> None:
        """Ship all that is spooled and make it searchable."""
        Drain(self.settings, self.elasticsearch, Metrics()).run(until_empty=True)
        self.elasticsearch.indices.refresh(index=names.pattern(self.settings), allow_no_indices=True)

    def documents(self, *events: str) -> list[dict[str, Any]]:
        """The documents of these events (`watch`, `play`), by time."""
        self.drain()
        found = self.elasticsearch.search(
            index=names.pattern(self.settings),
            size=10_000,
            allow_no_indices=True,
            query={"terms": {"event": [f"video.{event}" for event in events]}},
            sort=[{"@timestamp": {"order": "asc", "unmapped_type": "date"}}],
        )
        return [{"_id": hit["_id"], **hit["_source"]} for hit in found["hits"]["hits"]]

    def stretches(self) -> list[tuple[float, float, float]]:
        """(from, to, elapsed) of what was watched."""
        return sorted(
            (row["stretch.from"], row["stretch.to"], row["stretch.elapsed"]) for row in self.documents("watch")
        )


class Player:
    """One socket. Frames are compared as texts, byte for byte."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.ref = 2

    def say(self, frame: Any) -> None:
        self.socket.send(frame if isinstance(frame, str) else json.dumps(frame, separators=(",", ":")))

    def hear(self) -> str:
        found = self.socket.recv(20)
        assert isinstance(found, str)
        return found

    def ask(self, frame: Any) -> str:
        self.say(frame)
        return self.hear()

    def join(self, topic: str = TOPIC, join_ref: str = "3", **changed: Any) -> str:
        return self.ask([join_ref, join_ref, topic, "phx_join", {**JOIN, **changed}])

    def event(self, name: str, *, topic: str = TOPIC, join_ref: str | None = "3", **payload: Any) -> None:
        self.ref += 1
        self.say([join_ref, str(self.ref), topic, "event", {"name": name, **payload}])

    def leave(self, topic: str = TOPIC, join_ref: str = "3") -> list[str]:
        return [self.ask([join_ref, "99", topic, "phx_leave", {}]), self.hear()]

    def settle(self) -> None:
        """Return once all that was said before is done: a heartbeat is answered in turn."""
        assert self.ask([None, "77", "phoenix", "heartbeat", {}]) == (
            '[null,"77","phoenix","phx_reply",{"status":"ok","response":{}}]'
        )


def started(settings: Settings, elasticsearch: Elasticsearch, folder: Path, **limits: float) -> Iterator[Gateway]:
    """A gateway that runs until the generator is closed."""
    running = Gateway(settings, folder / "home", elasticsearch)
    try:
        with ExitStack() as opened:
            running.opened = opened
            running.begin(**limits)
            yield running
    finally:
        running.stop()
        remove_indices(elasticsearch, running.settings)
