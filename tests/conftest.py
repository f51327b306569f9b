"""Fixtures by power.

    settings        a Settings with a home and an index prefix of its own; no engine
    gateway         the whole application in this process, on the real Elasticsearch; its indices go when the test ends
    server          `metronome serve` and `metronome drain` as real processes, once a session
    elasticsearch   a client of the session's Elasticsearch

The session's Elasticsearch is the private node (METRONOME_NODE_VERSION chooses the version).
METRONOME_TEST_ENGINE=docker takes testcontainers' instead, and http://user:password@host:port what runs there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from elasticsearch import Elasticsearch

from metronome.client import is_ready
from metronome.drain.drain import Drain
from metronome.metrics import Metrics
from metronome.node.node import Node
from metronome.settings import Settings
from metronome.spool.spool import Spool
from metronome.store import indices, names
from metronome.store.address import Address
from metronome.store.client import connect
from metronome.web.app import Opened, create_app

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """Wait until `condition` gives something true, and give it; fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def engine_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that lead to the session's Elasticsearch."""
    wanted = os.environ.get("METRONOME_TEST_ENGINE", "node")
    plain = Settings.from_env(
        {name: value for name, value in os.environ.items() if name.startswith(("METRONOME_NODE", "METRONOME_CACHE"))}
    )
    if wanted.startswith("http"):
        given = urlsplit(wanted)
        yield replace(
            plain,
            elasticsearch_url=f"{given.scheme}://{given.hostname}:{given.port}",
            elasticsearch_username=given.username or "",
            elasticsearch_password=given.password or "",
        )
    elif wanted == "docker":
        from testcontainers.elasticsearch import ElasticSearchContainer

        image = f"elasticsearch:{plain.node_version}"
        with ElasticSearchContainer(image, mem_limit="2g") as container:
            yield replace(plain, elasticsearch_url=container.get_url())
    else:
        home = tmp_path_factory.mktemp("engine")
        node = Node(
            replace(plain, home=home, node_port="9400-9499"),
            say=lambda line: print(line, file=sys.__stderr__, flush=True),
        )
        address: Address = node.start()
        yield replace(
            plain,
            elasticsearch_url=address.url,
            elasticsearch_username=address.username,
            elasticsearch_password=address.password,
        )
        node.stop()


@pytest.fixture(scope="session")
def elasticsearch(engine_settings: Settings) -> Iterator[Elasticsearch]:
    client = connect(engine_settings)
    yield client
    client.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation of its own, without an engine: anything that asks Elasticsearch fails."""
    return Settings(
        home=tmp_path / "home",
        elasticsearch_url="http://127.0.0.1:1",
        index_prefix=f"t{uuid.uuid4().hex[:10]}",
    )


class Gateway:
    """The application in this process: post, drain, ask."""

    def __init__(self, settings: Settings, elasticsearch: Elasticsearch, now: datetime | None = None) -> None:
        self.settings = settings
        self.elasticsearch = elasticsearch
        self.now = now
        self.spool = Spool(settings.spool_dir)
        self.metrics = Metrics()
        self.app = create_app(
            settings,
            Opened(self.spool, elasticsearch),
            self.metrics,
            clock=lambda: self.now or datetime.now(UTC),
        )
        self.http = self.app.test_client()

    def tick(self, event: Any = None, **options: Any) -> Any:
        """POST /tick with a JSON value, or with what Flask's test client takes; gives the response."""
        if event is not None:
            options["json"] = event
        return self.http.post(options.pop("path", "/tick"), **options)

    def accepted(self, event: Any, **options: Any) -> dict[str, Any]:
        response = self.tick(event, **options)
        assert response.status_code == 202, response.text
        receipt: dict[str, Any] = response.json
        return receipt

    def drain(self) -> Drain:
        """Ship all that is spooled and make it searchable."""
        drain = Drain(self.settings, self.elasticsearch, self.metrics)
        drain.run(until_empty=True)
        self.elasticsearch.indices.refresh(index=names.pattern(self.settings), allow_no_indices=True)
        return drain

    def tock(self, item: str, **query: Any) -> Any:
        """The JSON of GET /tock, after a drain."""
        from urllib.parse import quote

        response = self.http.get(
            f"/tock/{quote(item, safe='')}.json", query_string={k.rstrip("_"): v for k, v in query.items()}
        )
        assert response.status_code == 200, response.text
        return json.loads(response.data)  # keeps the order of keys

    def documents(self) -> list[dict[str, Any]]:
        """Every stored document with its index and id: `{"_index", "_id", **source}`, ordered by id."""
        self.drain()
        found = self.elasticsearch.search(index=names.pattern(self.settings), size=10_000, allow_no_indices=True)
        rows = [{"_index": hit["_index"], "_id": hit["_id"], **hit["_source"]} for hit in found["hits"]["hits"]]
        return sorted(rows, key=lambda row: row["_id"])


@pytest.fixture
def gateway_for(
    settings: Settings, engine_settings: Settings, elasticsearch: Elasticsearch
) -> Iterator[Callable[..., Gateway]]:
    """Make a gateway with some settings changed; `now` fixes its clock."""
    opened: list[Gateway] = []

    def make(now: datetime | None = None, **changed: Any) -> Gateway:
        found = replace(
            settings,
            elasticsearch_url=engine_settings.elasticsearch_url,
            elasticsearch_username=engine_settings.elasticsearch_username,
            elasticsearch_password=engine_settings.elasticsearch_password,
            **changed,
        )
        gateway = Gateway(found, elasticsearch, now)
        opened.append(gateway)
        return gateway

    yield make
    for gateway in opened:
        gateway.spool.close()
        remove_indices(elasticsearch, gateway.settings)


def remove_indices(elasticsearch: Elasticsearch, settings: Settings) -> None:
    """Delete a prefix's indices by name (wildcards are refused by default) and its templates."""
    patterns = [names.pattern(settings), names.record_pattern(settings)]
    made = list(elasticsearch.indices.get(index=patterns, allow_no_indices=True, features=["settings"]))
    for start in range(0, len(made), 50):
        elasticsearch.indices.delete(index=made[start : start + 50])
    installed = set(indices.templates(settings)) - set(indices.outdated(elasticsearch, settings))
    if installed:
        elasticsearch.indices.delete_index_template(name=",".join(installed))


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway]) -> Gateway:
    """A gateway with default limits and the real clock."""
    return gateway_for()


class Server:
    """Real processes: `metronome serve` and `metronome drain`, with an environment of their own."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self.bind = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.bind}"
        self.home = home
        self.prefix = settings.index_prefix
        self.environ = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("METRONOME_", "ELASTICSEARCH_"))
            },
            "METRONOME_HOME": str(home),
            "METRONOME_BIND": self.bind,
            "METRONOME_URL": self.url,
            "METRONOME_INDEX_PREFIX": settings.index_prefix,
            "ELASTICSEARCH_URL": settings.elasticsearch_url,
            "ELASTICSEARCH_USERNAME": settings.elasticsearch_username,
            "ELASTICSEARCH_PASSWORD": settings.elasticsearch_password,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *commands: str) -> None:
        for command in commands:
            log = (self.home.parent / f"{command}.log").open("ab")
            self.processes[command] = subprocess.Popen(
                [sys.executable, "-m", "metronome", command],
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.close()

    def wait_until_ready(self) -> None:
        wait_for(lambda: is_ready(self.bind), "the server to be ready")

    def kill(self, command: str) -> None:
        """kill -9 of the command and all its workers."""
        process = self.processes.pop(command)
        os.killpg(process.pid, 9)
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)
        self.processes.clear()

    def command(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a `metronome` command against this server."""
        return subprocess.run(
            [sys.executable, "-m", "metronome", *arguments],
            env=self.environ,
            text=True,
            capture_output=True,
            timeout=120,
            **options,
        )


@pytest.fixture(scope="session")
def server(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One running server for all tests that only post and ask."""
    settings = replace(engine_settings, index_prefix=f"s{uuid.uuid4().hex[:10]}")
    running = Server(settings, tmp_path_factory.mktemp("server") / "home")
    running.start("serve", "drain")
    running.wait_until_ready()
    yield running
    running.stop()
    remove_indices(elasticsearch, settings)
