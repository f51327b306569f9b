"""`metronome up` as a user runs it: everything starts, everything stops, nothing accepted is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch

from metronome.client import get, is_ready, post
from metronome.settings import Settings


class Up(Server):
    """One `metronome up`, with what it printed."""

    def begin(self) -> None:
        self.log = self.home.parent / "up.log"
        self.start("up")

    def ready(self) -> None:
        wait_for(lambda: self.ended() or is_ready(self.bind), "metronome up to be ready", 120)
        assert self.ended() is None, self.log.read_text()

    def ended(self) -> int | None:
        return self.processes["up"].poll()

    def family(self) -> set[int]:
        """Every living process that was started for this home, the node's JVMs included."""
        return {pid for pid in _pids() if pid != os.getpid() and _belongs(pid, str(self.home))}

    def end(self) -> str:
        process = self.processes.pop("up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        return self.log.read_text()


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _belongs(pid: int, home: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and (f"METRONOME_HOME={home}\0".encode() in environ or home.encode() in command)


@pytest.fixture
def up(engine_settings: Settings, settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Iterator[Up]:
    """On the session's Elasticsearch, as your own cluster would be."""
    mine = replace(engine_settings, index_prefix=settings.index_prefix)
    running = Up(mine, tmp_path / "home")
    yield running
    for pid in running.family():
        os.kill(pid, signal.SIGKILL)
    running.processes.clear()
    remove_indices(elasticsearch, mine)


def counted(up: Up, item: str) -> int:
    body = get(f"{up.url}/tock/{item}.json", {})
    return sum(body["views"].values())


def test_everything_starts_says_where_and_stops_without_a_trace(up: Up) -> None:
    up.begin()
    up.ready()
    post(f"{up.url}/tick", b'{"id": "home"}')
    wait_for(lambda: counted(up, "home") == 1, "the tick to be counted", 10)
    text = up.end()
    assert f"Metronome listens on {up.url}" in text
    assert f"curl {up.url}/tock/home.json" in text
    assert text.rstrip().endswith("Stopped. Everything accepted is on disk.")
    assert up.family() == set()


def test_nothing_accepted_is_lost_when_all_is_killed(up: Up) -> None:
    up.begin()
    up.ready()
    for number in range(20):
        post(f"{up.url}/tick", json.dumps([{"id": "home", "insert_id": f"k{number}-{n}"} for n in range(10)]).encode())
    for pid in up.family():
        os.kill(pid, signal.SIGKILL)
    up.processes.pop("up").wait()
    wait_for(lambda: up.family() == set(), "every process to be gone")
    up.begin()
    up.ready()
    wait_for(lambda: counted(up, "home") == 200, "all ticks to be counted", 20)
    up.end()


def test_nothing_is_left_running_when_up_alone_is_killed(up: Up) -> None:
    up.begin()
    up.ready()
    process = up.processes.pop("up")
    process.kill()
    process.wait()
    wait_for(lambda: up.family() == set(), "its children to be gone", 60)


def test_a_child_that_dies_is_started_again(up: Up) -> None:
    up.begin()
    up.ready()
    before = up.family()
    drains = [pid for pid in before if b"drain" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in drains:
        os.kill(pid, signal.SIGKILL)
    post(f"{up.url}/tick", b'{"id": "after"}')
    wait_for(lambda: counted(up, "after") == 1, "a new drain to ship", 20)
    up.end()


def listens(path: Path) -> bool:
    """Whether a process listens at a socket: one that was killed leaves the file behind."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def test_live_connections_have_a_process_that_is_started_again_too(up: Up) -> None:
    def streams() -> list[int]:
        return [pid for pid in up.family() if b"\0streams\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    up.begin()
    up.ready()
    (before,) = wait_for(streams, "the streams process")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: streams() not in ([], [before]), "another one", 20)
    wait_for(lambda: listens(up.home / "streams.sock"), "it to listen")
    up.end()
    assert not (up.home / "streams.sock").exists()


def test_http_goes_on_while_the_drain_cannot_run_and_all_arrives_once_it_can(up: Up) -> None:
    lock = up.home / "spool" / "drain.lock"
    up.home.mkdir()
    lock.parent.mkdir(mode=0o700)
    lock.mkdir()  # nobody can lock this: each drain ends at once
    up.begin()
    up.ready()
    wait_for(lambda: up.log.read_text().count("drain.lock can't be written") >= 4, "the drain to be tried some times")
    post(f"{up.url}/tick", b'{"id": "home"}')
    assert up.ended() is None

    lock.rmdir()
    wait_for(lambda: counted(up, "home") == 1, "the drain to be started again", 40)
    up.end()


def test_http_that_cannot_be_started_in_the_first_place_ends_all_with_its_message(up: Up) -> None:
    (up.home / "spool").parent.mkdir()
    (up.home / "spool").write_text("a file where the folder should be")
    run = up.command("up")
    assert run.returncode == 1
    assert "metronome serve ends at once (exit 1); its messages are above" in run.stderr
    assert "the spool's folder" in run.stderr


def test_an_address_that_is_taken_is_one_line_with_the_way_out(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        up.environ["METRONOME_BIND"] = f"127.0.0.1:{taken.getsockname()[1]}"
        run = up.command("up")
    assert run.returncode == 1
    assert "METRONOME_BIND" in run.stderr and "Traceback" not in run.stderr


@pytest.fixture
def alone(tmp_path: Path, engine_settings: Settings) -> Iterator[Up]:
    """Without any Elasticsearch: the private one comes with it."""
    running = Up(replace(engine_settings, index_prefix="logstash"), tmp_path / "home")
    for name in ("ELASTICSEARCH_URL", "ELASTICSEARCH_USERNAME", "ELASTICSEARCH_PASSWORD"):
        del running.environ[name]
    running.environ |= {
        "METRONOME_NODE_VERSION": engine_settings.node_version,
        "METRONOME_NODE_PORT": str(free_port()),
        "METRONOME_CACHE": str(engine_settings.cache),
        "PATH": _without_java(os.environ["PATH"]),
    }
    yield running
    for pid in running.family():
        os.kill(pid, signal.SIGKILL)


def _without_java(path: str) -> str:
    return os.pathsep.join(part for part in path.split(os.pathsep) if not (Path(part) / "java").exists())


def test_with_no_elasticsearch_and_no_java_it_brings_its_own(alone: Up) -> None:
    alone.begin()
    alone.ready()
    post(f"{alone.url}/tick", b'{"id": "home"}')
    wait_for(lambda: counted(alone, "home") == 1, "the tick to be counted", 10)
    checked = doctor(alone)
    assert checked["elasticsearch"] and checked["template"] and checked["drain"] and checked["http"]
    post(f"{alone.url}/tick", b'{"id": "home", "event": "view", "distinct_id": "ann"}')
    wait_for(lambda: counted(alone, "home") == 2, "the other one to be counted", 10)
    # What is answered from day parts reads them from the same node.
    funnel = post(f"{alone.url}/query/funnel", b'{"steps": [{"event": "view"}, {"event": "buy"}]}')["result"]
    assert [step["count"] for step in funnel["steps"]] == [1, 0]
    alone.end()
    assert alone.family() == set()
    alone.begin()
    alone.ready()
    assert counted(alone, "home") == 2
    alone.end()


def doctor(up: Up) -> dict[str, bool]:
    """What `metronome doctor` finds: thing looked at to whether it is well."""
    lines = up.command("doctor").stdout.splitlines()
    return {line[5:].partition(":")[0]: line.startswith("ok") for line in lines}


def test_the_doctor_says_what_to_mend(up: Up) -> None:
    found = up.command("doctor")
    assert found.returncode == 1
    assert "bad  http: nothing ready at" in found.stdout
    assert "bad  drain: not running" in found.stdout
    up.environ["METRONOME_WORKRES"] = "3"
    misspelt = up.command("doctor")
    assert misspelt.stdout.startswith("bad  settings: METRONOME_WORKRES is not a setting of Metronome")


def test_without_anything_running_the_commands_say_what_to_start(alone: Up) -> None:
    for command in ("serve", "drain"):
        run: subprocess.CompletedProcess[Any] = alone.command(command)
        assert run.returncode == 1
        assert "no Elasticsearch: set ELASTICSEARCH_URL, or start the private one" in run.stderr
    run = alone.command("tick", "home")
    assert (run.returncode, "set METRONOME_URL" in run.stderr) == (1, True)
