"""Real processes in trouble: ticks, `/readyz` and `/metrics` go on, the trouble is told, and all is well by itself later."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from elasticsearch import ApiError, Elasticsearch
from test_held import NOWHERE
from test_server import Installation
from test_slow_clients import UNFINISHED

from metronome.settings import Settings
from metronome.spool.files import spool_files
from metronome.spool.status import drain_status, held


class Troubled(Installation):
    """An installation whose answers are looked at, whatever they are."""

    def ask(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.bind, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        found = response.status, response.read().decode()
        connection.close()
        return found

    def tick(self, name: str, **fields: Any) -> int:
        return self.post({"id": "home", "insert_id": name, **fields}).status

    def answers(self) -> None:
        """Every route that watches is answered, and figures are complete."""
        assert self.ask("/healthz")[0] == 200
        status, ready = self.ask("/readyz")
        assert (status, json.loads(ready)["status"]) in ((200, "ready"), (200, "degraded"), (503, "unready"))
        status, text = self.ask("/metrics")
        assert status == 200
        assert "metronome_spool_events " in text
        assert "metronome_http_requests_total{" in text
        assert self.ask("/nowhere")[0] == 404

    def arrives(self, *names: str) -> None:
        def all_there() -> bool:
            try:
                return set(names) <= self.stored()
            except ApiError:  # an index is being made
                return False

        wait_for(all_there, f"{names} to be stored", 30)


@pytest.fixture
def troubled(engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Iterator[Troubled]:
    from conftest import remove_indices

    settings = replace(engine_settings, index_prefix=f"s{uuid.uuid4().hex[:10]}")
    found = Troubled(settings, tmp_path / "home", elasticsearch)
    found.environ["METRONOME_DISK_RESERVE_BYTES"] = "0"
    found.proxy.start()
    yield found
    found.stop()
    found.proxy.stop()
    remove_indices(elasticsearch, settings)


@pytest.fixture
def small_disk(troubled: Troubled) -> Iterator[Path]:
    """METRONOME_HOME on a disk of its own of 24 MB."""
    troubled.home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(troubled.home)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here: that takes root and the right to mount")
    yield troubled.home
    troubled.stop()
    subprocess.run(["umount", "-l", str(troubled.home)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room of a disk."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as out:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    return file


def published(home: Path) -> str:
    """What the processes have counted, as they tell each other once a second."""
    return "".join(file.read_text(errors="replace") for file in home.glob("**/*.counts"))


def is_well(troubled: Troubled) -> bool:
    return json.loads(troubled.ask("/readyz")[1])["status"] == "ready"


@pytest.mark.parametrize(
    "reserve", [pytest.param(0, id="to the last byte"), pytest.param(6 * 2**20, id="to its reserve")]
)
def test_on_a_full_disk_ticks_are_refused_and_everything_else_is_answered(
    troubled: Troubled, small_disk: Path, reserve: int
) -> None:
    troubled.environ["METRONOME_DISK_RESERVE_BYTES"] = str(reserve)
    troubled.start("serve", "drain")
    troubled.wait_until_ready()
    assert troubled.tick("before") == 202
    troubled.arrives("before")
    workers = troubled.workers()
    wait_for(
        lambda: "metronome_http_requests" in published(small_disk), "the tick to be in the figures that are shared"
    )
    filler = small_disk / "filler"
    if reserve:
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - reserve + 2**20))
    else:
        fill(small_disk)

    def is_refused() -> bool:
        connection = http.client.HTTPConnection(troubled.bind, timeout=20)
        connection.request(
            "POST", "/tick", json.dumps({"id": "home", "text": "x" * 30_000}), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        told = response.status, response.headers["Retry-After"] is not None, json.loads(response.read())
        connection.close()
        return told[:2] == (503, True) and told[2]["error"]["code"] in ("spool_full", "spool_unavailable")

    wait_for(is_refused, "a tick to be refused")
    for _ in range(5):
        troubled.answers()
    assert troubled.workers() == workers, "no worker died"
    # Each worker finds out for itself.
    wait_for(lambda: is_refused() and troubled.ask("/readyz")[0] == 503, "to be unready")

    filler.unlink()
    wait_for(lambda: troubled.tick("after") == 202, "ticks to be taken again")
    troubled.arrives("before", "after")
    wait_for(lambda: is_well(troubled), "all to be well")
    assert troubled.workers() == workers


#: What `stored` sorts by.
SORTED_BY = {"received_at": {"type": "date"}, "id": {"type": "keyword"}, "insert_id": {"type": "keyword"}}


@pytest.mark.parametrize("damage", ["no database", "read-only folder in its place"])
def test_a_quarantine_that_cannot_be_used_keeps_nothing_from_starting(troubled: Troubled, damage: str) -> None:
    spool = troubled.home / "spool"
    spool.mkdir(parents=True, mode=0o700)
    if damage == "no database":
        (spool / "quarantine.db").write_bytes(b"no database at all" * 1000)
    else:
        (spool / "quarantine.db").mkdir()
    # Somebody's own index, where `size` is a number and nothing else: one event will be refused for good.
    index = f"{troubled.prefix}-2026.11.22"
    troubled.elasticsearch.indices.create(
        index=index,
        settings={"index.mapping.ignore_malformed": False},
        mappings={"properties": {"size": {"type": "long"}, **SORTED_BY}},
    )
    troubled.start("serve", "drain")
    troubled.wait_until_ready()

    assert troubled.tick("good") == 202
    assert troubled.tick("bad", time="2026-11-22T09:30:00Z", size="large") == 202
    troubled.arrives("good")
    if damage != "no database":
        wait_for(lambda: "quarantine can't be written" in drain_status(spool)["trouble"], "the trouble to be told")
        assert json.loads(troubled.ask("/readyz")[1])["spool"]["events"] >= 1
        troubled.answers()
        (spool / "quarantine.db").rmdir()
    wait_for(lambda: json.loads(troubled.ask("/readyz")[1])["quarantined"] == 1, "the event to be in quarantine")
    assert len(list(spool.glob("quarantine.db.damaged-*"))) == (damage == "no database")


REMOVALS = {
    "the file": lambda spool: [path.unlink() for path in spool_files(spool)],
    "the file and its log": lambda spool: [path.unlink() for path in spool.glob("web-*")],
    "the log alone": lambda spool: [path.unlink() for path in spool.glob("*.db-wal")],
    "the folder": lambda spool: shutil.rmtree(spool),
    "the folder, by a new name": lambda spool: spool.rename(spool.with_name("elsewhere")),
}


@pytest.mark.parametrize("removed", REMOVALS)
def test_what_is_acknowledged_after_spool_files_were_removed_under_the_workers_is_stored(
    troubled: Troubled, removed: str
) -> None:
    troubled.start("serve", "drain")
    troubled.wait_until_ready()
    assert troubled.tick("before") == 202
    troubled.arrives("before")

    REMOVALS[removed](troubled.home / "spool")

    names = [f"n{number}" for number in range(20)]
    assert [troubled.tick(name) for name in names] == [202] * 20
    troubled.arrives(*names)
    wait_for(lambda: is_well(troubled), "all to be well")


def test_one_trouble_after_the_other_costs_no_event(troubled: Troubled, small_disk: Path) -> None:
    """Read this to see how each shows itself, and that nobody has to do anything but to end it."""
    spool = troubled.home / "spool"
    host, _, port = troubled.bind.rpartition(":")
    troubled.start("serve", "drain")
    troubled.wait_until_ready()
    wait_for(lambda: is_well(troubled), "all to be well")

    # 1. The index of one day has no primary shard: its events wait, today's don't.
    red = f"{troubled.prefix}-2026.11.20"
    troubled.elasticsearch.indices.create(index=red, settings=NOWHERE, wait_for_active_shards="0")
    assert troubled.tick("late", time="2026-11-20T12:00:00Z") == 202
    assert troubled.tick("today") == 202
    wait_for(lambda: held(spool), "the late event to be set aside")
    told = wait_for(lambda: json.loads(troubled.ask("/readyz")[1])["drain"]["trouble"], "the trouble to be told")
    assert told.startswith("an index takes nothing just now, the oldest event waits for ")
    assert f'metronome_undelivered_age_seconds{{index="{red}"}}' in troubled.ask("/metrics")[1]
    troubled.answers()

    # 2. The disk is full: ticks get 503 and come again; everything else is answered.
    filler = fill(small_disk)
    wait_for(lambda: troubled.tick("full", text="x" * 30_000) == 503, "a tick to be refused")
    troubled.answers()
    filler.unlink()
    wait_for(lambda: troubled.tick("full") == 202, "ticks to be taken again")

    # 3. The quarantine is damaged: it is moved aside when it is needed.
    (spool / "quarantine.db").write_bytes(b"damaged" * 1000)
    troubled.answers()

    # 4. The spools' files are removed while they are in use.
    for path in spool.glob("web-*"):
        path.unlink()
    assert troubled.tick("removed") == 202
    troubled.answers()

    # 5. The clock is set back: what the drain last said is of the future.
    status = json.loads((spool / "drain.json").read_text())
    (spool / "drain.json").write_text(json.dumps({**status, "at": status["at"] + 86_400}))
    wait_for(lambda: json.loads((spool / "drain.json").read_text())["at"] < status["at"] + 60, "the drain's word")

    # 6. 200 clients begin requests and don't go on: nobody waits for them.
    with ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(200)]
        for number, client in enumerate(slow):
            client.sendall(list(UNFINISHED.values())[number % len(UNFINISHED)])
        assert [troubled.tick(f"beside-{number}") for number in range(20)] == [202] * 20
        troubled.answers()
        assert select.select(slow, [], [], 0)[0] == [], "none of the slow ones had to be closed for that"

    # 7. The drain is killed, and another starts.
    troubled.kill("drain")
    assert troubled.tick("killed") == 202
    troubled.answers()
    troubled.start("drain")

    # The end of the first trouble: all is stored, by itself.
    troubled.elasticsearch.indices.put_settings(index=red, settings={next(iter(NOWHERE)): None})
    wait_for(lambda: not held(spool), "the late event to go", 60)
    troubled.arrives("late", "today", "full", "removed", "killed", *(f"beside-{number}" for number in range(20)))
    wait_for(lambda: is_well(troubled), "all to be well")


def test_workers_that_are_killed_leave_their_figures_and_a_new_one_goes_on_from_them(troubled: Troubled) -> None:
    troubled.environ["METRONOME_WORKERS"] = "1"
    troubled.start("serve")
    troubled.wait_until_ready()
    accepted = 'metronome_events_accepted_total{dialect="tick"} '
    for round_ in range(1, 4):
        assert troubled.tick(f"n{round_}") == 202
        counts = troubled.home / "metrics" / "web-0.counts"
        wait_for(
            lambda path=counts, wanted=f"{round_}.0": (
                wanted in path.read_bytes().decode(errors="replace").partition("events_accepted")[2][:80]
            ),
            "the count",
        )
        (worker,) = troubled.workers()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda dead=worker: troubled.workers() not in ([], [dead]), "another worker")
        troubled.wait_until_ready()
        assert f"{accepted}{round_}.0" in troubled.ask("/metrics")[1].splitlines()
    assert len(list((troubled.home / "metrics").glob("*.counts"))) == 1


def test_a_stand_by_drain_publishes_nothing(troubled: Troubled) -> None:
    troubled.start("serve", "drain")
    troubled.wait_until_ready()
    first = troubled.processes.pop("drain")
    troubled.tick("a")
    troubled.arrives("a")
    counts = troubled.home / "metrics" / "drain.counts"
    wait_for(lambda: counts.exists() and b'"indexed"},1.0]' in counts.read_bytes(), "the first one's count")
    troubled.start("drain")
    log = troubled.home.parent / "drain.log"
    wait_for(lambda: "another drain empties this folder" in log.read_text(), "the second to wait")
    troubled.tick("b")
    troubled.arrives("b")
    wait_for(lambda: b'"indexed"},2.0]' in counts.read_bytes(), "the count to rise")
    pid = json.loads((troubled.home / "spool" / "drain.json").read_text())["pid"]
    assert pid == first.pid
    troubled.kill("drain")
    assert b'"indexed"},2.0]' in counts.read_bytes()
    first.terminate()
    first.wait(30)
