"""Real processes under load: what was answered 202 is in Elasticsearch once, whoever is killed, reloaded or away."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from conftest import Server, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from proxy import ELASTIC, Proxy, Reply, error

from metronome.settings import Settings
from metronome.store import names


@dataclass
class Load:
    """Posters that note which events were acknowledged, and which requests got another answer or none."""

    server: Server
    keep_alive: bool = True
    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(thread,)) for thread in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _post(self, thread: int) -> None:
        connection = http.client.HTTPConnection(self.server.bind, timeout=30)
        number = 0
        while not self._stopping.is_set():
            names = [f"{uuid.uuid4().hex}" for _ in range(1 + number % 3)]
            self.sent.update(names)
            body = json.dumps([{"id": "home", "insert_id": name} for name in names])
            try:
                connection.request("POST", "/tick", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as broken:
                self.failed.append(repr(broken))
                connection.close()
                # Nobody listens: the next try needn't follow at once.
                self._stopping.wait(0.02)
                continue
            if response.status == 202:
                self.acknowledged.update(names)
            else:
                self.failed.append(str(response.status))
            if not self.keep_alive:
                connection.close()
            number += 1
        connection.close()

    def reach(self, more: int) -> None:
        """Wait until so many more events are acknowledged."""
        goal = len(self.acknowledged) + more
        wait_for(lambda: len(self.acknowledged) >= goal, f"{goal} acknowledged events")


class Installation(Server):
    """A server of its own, with Elasticsearch behind a proxy."""

    def __init__(self, settings: Settings, home: Path, elasticsearch: Elasticsearch) -> None:
        self.proxy = Proxy(settings.elasticsearch_url, free_port())
        self.settings = replace(settings, elasticsearch_url=self.proxy.url)
        self.elasticsearch = elasticsearch
        super().__init__(self.settings, home)

    def get(self, path: str) -> Any:
        with urlopen(self.url + path, timeout=10) as response:
            return json.load(response) if path != "/metrics" else response.read().decode()

    def post(self, body: Any) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.bind, timeout=20)
        connection.request("POST", "/tick", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def stored(self) -> set[str]:
        """The `_id` of every event; fails if one is there twice."""
        pattern = names.pattern(self.settings)
        self.elasticsearch.indices.refresh(index=pattern, allow_no_indices=True)
        found: list[str] = []
        after = None
        while True:
            page = self.elasticsearch.search(
                index=pattern, size=10_000, sort=["received_at", "id", "insert_id"], search_after=after, source=False
            )["hits"]["hits"]
            found += [hit["_id"] for hit in page]
            if len(page) < 10_000:
                break
            after = page[-1]["sort"]
        assert len(found) == len(set(found))
        return set(found)

    def all_arrives(self, load: Load) -> None:
        wait_for(lambda: self.get("/readyz")["spool"]["requests"] == 0, "the spools to be empty", 60)
        stored = self.stored()
        assert load.acknowledged - stored == set(), "every acknowledged event is there"
        assert stored - load.sent == set(), "and none that was never sent"

    def log(self, command: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home.parent / f"{command}.log").read_text().splitlines()]

    def workers(self) -> list[int]:
        """Process ids of the HTTP workers."""
        pid = self.processes["serve"].pid
        return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def installation(engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Iterator[Installation]:
    settings = replace(engine_settings, index_prefix=f"s{uuid.uuid4().hex[:10]}")
    found = Installation(settings, tmp_path / "home", elasticsearch)
    yield found
    found.stop()
    found.proxy.stop()
    remove_indices(elasticsearch, settings)


# --- Processes that die ----------------------------------------------------------------------------------------


def test_kill_9_of_everything_under_load_loses_nothing_and_doubles_nothing(installation: Installation) -> None:
    moments = random.Random(48)
    installation.proxy.start()
    installation.start("serve", "drain")
    installation.wait_until_ready()
    with Load(installation) as load:
        for _ in range(4):
            load.reach(moments.randrange(50, 600))
            installation.kill("serve")
            installation.kill("drain")
            installation.start("serve", "drain")
        load.reach(100)
    installation.all_arrives(load)
    assert load.failed, "it was killed while it worked"


def test_kill_9_of_the_drain_while_it_ships_doubles_nothing(installation: Installation) -> None:
    installation.environ["METRONOME_DRAIN_BULK_BYTES"] = "40000"
    installation.proxy.start()
    installation.start("serve", "drain")
    installation.wait_until_ready()
    with Load(installation) as load:
        for _ in range(4):
            bulks = len(installation.proxy.bulks)
            wait_for(lambda bulks=bulks: len(installation.proxy.bulks) > bulks + 5, "bulk requests")
            installation.kill("drain")
            installation.start("drain")
    installation.all_arrives(load)
    assert load.failed == [], "the doors stay open meanwhile"


def test_a_worker_that_is_killed_is_replaced_and_its_spool_taken_up(installation: Installation) -> None:
    installation.proxy.start()
    installation.start("serve", "drain")
    installation.wait_until_ready()
    with Load(installation) as load:
        for _ in range(3):
            load.reach(100)
            before = installation.workers()
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda before=before: len(set(installation.workers()) - set(before)) == 1, "a new worker")
        load.reach(100)
    installation.all_arrives(load)
    log = installation.log("serve")
    assert {line["spool"] for line in log if line["message"] == "worker ready"} == {"web-0", "web-1"}
    # SQLite writes the head of a frame, then its page. A kill between the two, over a frame of an earlier round of the
    # log, looks like damage (spool/wal.py): that file is rescued, and `all_arrives` has seen that it costs no event.
    left_behind = [line for line in log if "spool file" in line["message"]]
    assert [line for line in left_behind if "write-ahead log is damaged" not in line.get("problem", "")] == []


# --- Reload and stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [True, False], ids=["connections kept", "a connection each"])
def test_sighup_under_load_fails_no_request_and_loses_nothing(installation: Installation, keep_alive: bool) -> None:
    installation.proxy.start()
    installation.start("serve", "drain")
    installation.wait_until_ready()
    with Load(installation, keep_alive) as load:
        for _ in range(2):
            load.reach(100)
            before = set(installation.workers())
            installation.processes["serve"].send_signal(signal.SIGHUP)
            wait_for(
                lambda before=before: (
                    len(set(installation.workers())) == 2 and not before & set(installation.workers())
                ),
                "the old workers to be gone",
            )
        load.reach(100)
    assert load.failed == []
    installation.all_arrives(load)


def test_sigterm_answers_the_request_that_is_open(installation: Installation) -> None:
    installation.start("serve")
    installation.wait_until_ready()
    body = b'{"id": "home"}'
    with socket.create_connection(("127.0.0.1", int(installation.bind.rpartition(":")[2])), timeout=20) as client:
        client.sendall(b"POST /tick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
        # It is in a worker's hands once another request on a new connection was served by each.
        for _ in range(4):
            installation.get("/healthz")
        installation.processes["serve"].terminate()
        wait_for(lambda: len(installation.workers()) == 1, "the worker without a request to be gone")
        client.sendall(body[5:])
        answer = client.recv(10_000)
    installation.processes["serve"].wait(20)

    assert answer.startswith(b"HTTP/1.1 202")
    assert sum(1 for _ in installation.home.glob("spool/web-*.db")) == 2


# --- Connections that are kept ---------------------------------------------------------------------------------


def test_more_connections_are_kept_than_there_are_threads(installation: Installation) -> None:
    installation.environ |= {"METRONOME_WORKERS": "1", "METRONOME_THREADS": "4"}
    installation.start("serve")
    installation.wait_until_ready()
    clients = [http.client.HTTPConnection(installation.bind, timeout=20) for _ in range(12)]
    for _ in range(5):
        for client in clients:
            client.request("POST", "/tick", b'{"id": "home"}', {"Content-Type": "application/json"})
        # Were threads held for what may come, the others would wait for it.
        for client in clients:
            response = client.getresponse()
            assert (response.status, response.read()[:12]) == (202, b'{"accepted":')
    for client in clients:
        client.close()


def test_requests_sent_without_waiting_for_answers_are_answered_in_turn(server: Server) -> None:
    post = b'POST /tick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"id": "home"}'
    with socket.create_connection(("127.0.0.1", int(server.bind.rpartition(":")[2])), timeout=20) as client:
        # The last keeps no connection, so that its end is the end of the answers.
        client.sendall(post * 3 + post.replace(b"/tick", b"/nothing") + b"GET /healthz HTTP/1.0\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65_536), b""))
    assert re.findall(rb"HTTP/1\.. (\d+)", answers) == [b"202", b"202", b"202", b"404", b"200"]


# --- Elasticsearch away, a spool that is full ------------------------------------------------------------------


def test_ticks_are_taken_while_elasticsearch_is_down_from_the_start_and_arrive_once_it_is_there(
    installation: Installation,
) -> None:
    installation.start("serve", "drain")
    installation.wait_until_ready()
    with Load(installation) as load:
        load.reach(300)
    state = installation.get("/readyz")
    assert (load.failed, state["status"], state["spool"]["events"]) == ([], "degraded", len(load.acknowledged))
    assert state["elasticsearch"] == "Elasticsearch doesn't answer"

    installation.proxy.start()
    installation.all_arrives(load)
    wait_for(lambda: installation.get("/readyz")["status"] == "ready", "all to be well")


def test_a_full_spool_answers_503_with_a_time_and_recovers_by_itself(installation: Installation) -> None:
    installation.environ |= {"METRONOME_SPOOL_MAX_BYTES": "400000", "METRONOME_WORKERS": "1"}
    installation.start("serve")
    installation.wait_until_ready()
    batch = [{"id": "home", "text": "x" * 1000} for _ in range(50)]
    answers = [installation.post(batch) for _ in range(12)]
    taken = sum(answer.status == 202 for answer in answers)

    assert {answer.status for answer in answers} == {202, 503}
    assert answers[-1].getheader("Retry-After") == "30"
    installation.proxy.start()
    installation.start("drain")
    wait_for(lambda: installation.post(batch).status == 202, "room again")
    wait_for(lambda: installation.get("/readyz")["spool"]["requests"] == 0, "the spool to be empty")
    assert len(installation.stored()) >= 50 * (taken + 1)


def test_an_event_can_be_found_two_seconds_after_its_answer(installation: Installation) -> None:
    installation.proxy.start()
    installation.start("serve", "drain")
    installation.wait_until_ready()
    pattern = names.pattern(installation.settings)
    # The first event makes its index; of a daily index this happens once a day.
    for name in ("first", "a", "b", "c"):
        assert installation.post({"id": name}).status == 202
        answered = time.monotonic()
        wait_for(
            lambda name=name: (
                installation.elasticsearch.options(ignore_status=503)
                .search(index=pattern, query={"term": {"id": name}}, allow_no_indices=True)
                .body.get("hits", {})
                .get("hits")
            ),
            f"{name} to be found",
        )
        assert name == "first" or time.monotonic() - answered < 2


# --- What can be seen ------------------------------------------------------------------------------------------


def test_figures_add_up_over_two_workers_and_the_drain_also_after_a_restart(installation: Installation) -> None:
    installation.proxy.start()
    installation.start("serve", "drain")
    installation.wait_until_ready()
    with Load(installation, keep_alive=False) as load:
        load.reach(200)
        os.kill(installation.workers()[0], signal.SIGTERM)
        load.reach(200)
    installation.all_arrives(load)
    count = len(load.acknowledged)
    # What another worker has counted is known to the second.
    wait_for(
        lambda: f'metronome_events_accepted_total{{dialect="tick"}} {count:.1f}' in installation.get("/metrics"),
        "all workers' figures",
        5,
    )
    text = installation.get("/metrics")
    found = {name: float(value) for name, value in re.findall(r"^(metronome_\S+) (\S+)$", text, re.MULTILINE)}

    wait_for(
        lambda: f'metronome_bulk_items_total{{outcome="indexed"}} {count:.1f}' in installation.get("/metrics"),
        "the drain to have counted all",
        5,
    )
    assert found["metronome_drain_running"] == 1
    assert found["metronome_spool_events"] == 0
    requests = found['metronome_http_requests_total{route="/tick",status="202"}']
    assert found['metronome_http_request_seconds_count{route="/tick"}'] == requests
    assert len(list(installation.home.glob("metrics/*.counts"))) <= 4, "a file a slot, not a process"
    # One figure of each name: none of a process that is gone.
    assert [line for line in text.splitlines() if line.startswith("metronome_drain_running")] == [
        "metronome_drain_running 1.0"
    ]


def test_every_line_of_the_logs_is_a_json_object(installation: Installation) -> None:
    installation.environ["METRONOME_LOG_LEVEL"] = "debug"
    installation.start("serve", "drain")
    installation.wait_until_ready()
    installation.post({"id": "home"})
    wait_for(lambda: any("waiting for" in line["message"] for line in installation.log("drain")), "the drain to wait")
    installation.processes["serve"].send_signal(signal.SIGHUP)
    installation.stop()

    for command, role in (("serve", "web"), ("drain", "drain")):
        for line in installation.log(command):
            assert {"time", "level", "role", "message"} <= set(line), line
            assert line["role"] == role
    assert "worker ready" in {line["message"] for line in installation.log("serve")}


# --- Set-ups that can't work -----------------------------------------------------------------------------------


def nodes(version: str) -> Reply:
    return 200, ELASTIC, json.dumps({"nodes": {"n": {"version": version}}}).encode()


WRONG = [
    pytest.param({"/_nodes": nodes("7.17.9")}, "this cluster runs 7.17.9; Metronome needs 8.19", id="wrong version"),
    pytest.param({"/_nodes": nodes("7.17.9"), "/_cluster/health": (503, ELASTIC, error("played"))}, "this cluster runs 7.17.9; Metronome needs 8.19", id="wrong version, and no health in time"),
    pytest.param({"/_cluster/health": (401, ELASTIC, error("security_exception"))}, "refused our credentials or role", id="no access"),
    pytest.param({"/_cluster/health": (200, {"Content-Type": "text/html"}, b"<p>")}, "isn't Elasticsearch", id="something else"),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "text"), WRONG)
def test_up_says_in_one_line_what_is_wrong(installation: Installation, answers: dict[str, Reply], text: str) -> None:
    installation.proxy.answers |= answers
    installation.proxy.start()

    found = installation.command("up")

    assert found.returncode == 1
    assert text in found.stderr
    assert found.stderr.startswith("metronome: ")
    assert found.stderr.count("\n") == 1
    assert "Traceback" not in found.stdout + found.stderr


@pytest.mark.parametrize("red", [False, True], ids=["down", "red"])
def test_up_serves_while_elasticsearch_is_not_usable_yet(installation: Installation, red: bool) -> None:
    if red:
        installation.proxy.answers["/_cluster/health"] = (200, ELASTIC, b'{"status": "red"}')
        installation.proxy.start()
    installation.start("up")
    installation.wait_until_ready()
    assert installation.post({"id": "home", "insert_id": "a"}).status == 202
    if not red:
        installation.proxy.start()
    installation.proxy.answers.clear()

    wait_for(lambda: installation.get("/readyz")["status"] == "ready", "all to be well")
    wait_for(lambda: installation.get("/readyz")["spool"]["requests"] == 0, "the spool to be empty")
    assert installation.stored() == {"a"}
    assert "ticks are kept on disk" in (installation.home.parent / "up.log").read_text()


@pytest.mark.parametrize("command", ["serve", "drain"])
def test_a_home_that_cannot_be_used_is_told_in_one_line(installation: Installation, command: str) -> None:
    installation.home.parent.joinpath("file").touch()
    installation.environ["METRONOME_HOME"] = str(installation.home.parent / "file")

    found = installation.command(command)

    assert found.returncode != 0
    assert "METRONOME_HOME: the spool's folder" in found.stderr
    assert "Traceback" not in found.stderr
