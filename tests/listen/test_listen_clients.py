"""Published clients, unmodified, and what is left when the gateway is killed under them."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from elasticsearch import Elasticsearch
from fluent.sender import FluentSender
from listening import Listening, ack, listening, opened_listening, pack, pack_entries  # noqa: F401  (a fixture)

from metronome.settings import Settings

NPM = ("fluent-logger@3.4.1", "@fluent-org/logger@1.0.10")
SECRETS = {
    "METRONOME_FORWARD_SHARED_KEY": "very secret",
    "METRONOME_FORWARD_USERNAME": "ann",
    "METRONOME_FORWARD_PASSWORD": "pass",
}


@pytest.fixture(scope="module")
def node(engine_settings: Settings) -> Path:
    """A folder with the clients of npm, kept for the next run."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("Node.js isn't installed")
    folder = engine_settings.cache / "npm-clients"
    if not (folder / "node_modules/@fluent-org/logger").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", *NPM]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=170)
        if done.returncode:
            pytest.skip(f"npm can't install the clients: {done.stderr[-300:]}")
    return folder


def script(node: Path, text: str, **values: Any) -> subprocess.Popen[str]:
    """Run JavaScript that finds `values` in `given`."""
    code = f"const given = {json.dumps(values)};\n{text}"
    return subprocess.Popen(["node", "-e", code], cwd=node, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> Any:
    """The JSON in the last line of what it printed."""
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return json.loads(out.strip().splitlines()[-1])


def counted(running: Listening, item: str) -> Any:
    """Downloads and referers; every event of an item has the format csv."""
    running.gateway.drain()
    found = running.gateway.tock(item)
    return found["downloads"], found["referers"]


def rows(running: Listening, item: str) -> list[dict[str, Any]]:
    return [row for row in running.gateway.documents() if row.get("item_id") == item]


def test_pythons_fluent_logger(running: Listening) -> None:
    item = uuid.uuid4().hex
    record = {"item_id": item, "format": "csv", "referer": "http://arcgis.com/"}
    with FluentSender("metronome", host="127.0.0.1", port=running.forward) as sender:
        for _ in range(100):
            assert sender.emit("access", record)
    wait_for(lambda: counted(running, item) == ({"csv": 100}, {"arcgis.com": 100}), "the records")


def test_pythons_fluent_logger_with_nanoseconds(running: Listening) -> None:
    item = uuid.uuid4().hex
    with FluentSender("metronome", host="127.0.0.1", port=running.forward, nanosecond_precision=True) as sender:
        assert sender.emit_with_time("access", 1421884800.25, {"item_id": item})
        assert sender.emit("access", {"item_id": item})
    wait_for(lambda: len(rows(running, item)) == 2, "the records")
    first, second = sorted(row["@timestamp"] for row in rows(running, item))
    assert first == "2015-01-22T00:00:00.250Z"
    assert second.startswith(time.strftime("%Y-%m-%dT", time.gmtime()))


FLUENT_LOGGER = """
const logger = require('fluent-logger').createFluentSender('metronome', {
  host: '127.0.0.1', port: given.port, eventMode: given.mode, requireAckResponse: true, ackResponseTimeout: 20000,
  reconnectInterval: 200, flushInterval: 50, internalLogger: {info() {}, error() {}}, security: given.security,
});
let acked = 0, failed = 0;
for (let n = 0; n < given.count; n++) {
  logger.emit('access', {item_id: given.item, format: 'csv', n}, (error) => {
    error ? failed++ : acked++;
    if (acked + failed === given.count) {
      console.log(JSON.stringify({acked, failed}));
      logger.end();
    }
  });
}
"""


@pytest.mark.parametrize("mode", ["Message", "PackedForward", "CompressedPackedForward"])
def test_npms_fluent_logger_with_acknowledgements(running: Listening, node: Path, mode: str) -> None:
    item = uuid.uuid4().hex
    done = result(script(node, FLUENT_LOGGER, port=running.forward, mode=mode, item=item, count=50))
    assert done == {"acked": 50, "failed": 0}
    assert counted(running, item) == ({"csv": 50}, {})


FLUENT_ORG = """
const {FluentClient} = require('@fluent-org/logger');
const logger = new FluentClient('metronome', {
  socket: {host: '127.0.0.1', port: given.port, timeout: 10000}, eventMode: given.mode,
  ack: {ackTimeout: 20000}, security: given.security, onSocketError() {},
});
(async () => {
  const sent = await Promise.allSettled(Array.from(
    {length: given.count}, (_, n) => logger.emit('access', {item_id: given.item, format: 'csv', n})));
  const acked = sent.filter((one) => one.status === 'fulfilled').length;
  console.log(JSON.stringify({acked, failed: given.count - acked}));
  await logger.disconnect();
})();
"""


@pytest.mark.parametrize("mode", ["Message", "Forward", "PackedForward", "CompressedPackedForward"])
def test_fluent_orgs_logger_with_acknowledgements(running: Listening, node: Path, mode: str) -> None:
    item = uuid.uuid4().hex
    done = result(script(node, FLUENT_ORG, port=running.forward, mode=mode, item=item, count=50))
    assert done == {"acked": 50, "failed": 0}
    assert counted(running, item) == ({"csv": 50}, {})


@pytest.mark.parametrize("client", [FLUENT_LOGGER, FLUENT_ORG], ids=["fluent-logger", "@fluent-org/logger"])
def test_npms_clients_shake_hands(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path, node: Path, client: str
) -> None:
    item = uuid.uuid4().hex
    security = {
        "clientHostname": socket.gethostname(),
        "sharedKey": "very secret",
        "username": "ann",
        "password": "pass",
    }
    with listening(engine_settings, elasticsearch, tmp_path, **SECRETS) as guarded:
        values = {"port": guarded.forward, "mode": "Message", "item": item, "count": 5}
        assert result(script(node, client, **values, security=security)) == {"acked": 5, "failed": 0}
        assert counted(guarded, item) == ({"csv": 5}, {})


class Sender(threading.Thread):
    """Sends chunks one after another, each until it is acknowledged, as Fluentd does."""

    def __init__(self, running: Listening, item: str, number: int) -> None:
        super().__init__()
        self._running_ = running
        self._item = item
        self._number = number
        self._chance = random.Random(number)
        self.stopping = threading.Event()
        self.acked = 0
        self.sent = 0

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            count = self._chance.randrange(1, 40)
            chunk = f"chunk-{self._number}-{number}"
            entries = [(1421884800 + n, {"item_id": self._item, "format": "csv"}) for n in range(count)]
            message = pack(["metronome.access", pack_entries(*entries), {"chunk": chunk}])
            while not self._acknowledged(message, chunk):
                time.sleep(0.05)  # the back-off of a sender
            self.acked += count

    def _acknowledged(self, message: bytes, chunk: str) -> bool:
        self.sent += 1
        try:
            with self._running_.connect() as sender:
                sender.sendall(message)
                return sender.recv(100) == ack(chunk)
        except OSError:
            return False


def test_nothing_acknowledged_is_lost_and_nothing_counts_twice_when_it_is_killed(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    seed = 7
    chance = random.Random(seed)
    item = uuid.uuid4().hex
    with listening(engine_settings, elasticsearch, tmp_path) as alone:
        senders = [Sender(alone, item, number) for number in range(6)]
        for sender in senders:
            sender.start()
        for _ in range(8):
            time.sleep(chance.uniform(0.05, 0.4))  # a moment at random
            alone.kill()
            alone.start()
        for sender in senders:
            sender.stopping.set()
        for sender in senders:
            sender.join()
        acked = sum(sender.acked for sender in senders)
        assert acked > 0
        assert counted(alone, item) == ({"csv": acked}, {}), seed


@pytest.mark.parametrize("mode", ["Message", "CompressedPackedForward"])
def test_what_npms_fluent_logger_calls_delivered_is_there_after_a_kill(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path, node: Path, mode: str
) -> None:
    """It gives up what was under way when its connection broke, so the count is at least what it was told."""
    text = """
    const logger = require('fluent-logger').createFluentSender('metronome', {
      host: '127.0.0.1', port: given.port, eventMode: given.mode, requireAckResponse: true, ackResponseTimeout: 1000,
      reconnectInterval: 100, flushInterval: 20, internalLogger: {info() {}, error() {}},
    });
    logger.on('error', () => {});
    const acked = [];
    let n = 0;
    const timer = setInterval(() => {
      const mine = n++;
      logger.emit('access', {item_id: given.item, n: mine}, (error) => { if (!error) acked.push(mine); });
    }, 5);
    setTimeout(() => { clearInterval(timer); }, 3500);
    setTimeout(() => { console.log(JSON.stringify(acked)); process.exit(0); }, 5000);
    """
    item = uuid.uuid4().hex
    with listening(engine_settings, elasticsearch, tmp_path) as alone:
        client = script(node, text, port=alone.forward, mode=mode, item=item)
        wait_for(lambda: alone.spooled() > 20, "the first events")
        alone.kill()
        alone.start()
        acked = result(client)
        found = [row["n"] for row in rows(alone, item)]
        assert len(acked) > 20
        assert sorted(set(acked) - set(found)) == []
        assert len(found) == len(set(found))
