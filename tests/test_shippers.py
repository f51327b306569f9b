"""The ways of shippers: their configurations in logstash/ over the real log, and a published logging handler."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from conftest import Gateway, free_port, wait_for
from live import NGINX, Live, count, tocks
from logstash_async.constants import constants
from logstash_async.formatter import LogstashFormatter
from logstash_async.handler import AsynchronousLogstashHandler
from logstash_async.transport import HttpTransport

from metronome.load.accesslog import ASSETS, DOWNLOADS, apache_reader, to_event

CONFIGS = Path(__file__).parent.parent / "logstash"
CLASSIFYING = sorted(path for path in CONFIGS.iterdir() if path.name != "rsyslog.conf")  # it sends lines as they are
PARSING = [path for path in CLASSIFYING if path.name != "nginx-events.conf"]


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    running = Live(gateway, tmp_path / "loads")
    yield running
    running.stop()


def expression(config: Path) -> re.Pattern[str]:
    """The regular expression of a configuration, in Python's spelling."""
    found = re.search(r"\^\\S\+ .*\)\?(?=['/])", config.read_text())
    assert found, config
    return re.compile(found[0].replace(r"\/", "/").replace("(?<", "(?P<"))


# --- Configurations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", PARSING, ids=lambda path: str(path.name))
def test_every_configuration_reads_the_log_as_load_does_and_no_address(config: Path) -> None:
    read = apache_reader("combined")
    pattern = expression(config)
    assert set(pattern.groupindex) == {"time", "method", "id", "status", "bytes", "referer", "user_agent"}
    for line in NGINX.read_text().splitlines():
        event = to_event(read(line.encode()))
        found = pattern.search(line)
        assert found, line
        if "\\" not in line and " " not in event.get("id", ""):  # shippers keep \xHH as the log has it
            for name in ("id", "referer", "user_agent", "method"):
                assert (found[name] or "-") == event.get(name, "-"), line
        assert (int(found["status"]), int(found["bytes"])) == (event["status"], event["bytes"])


@pytest.mark.parametrize("config", CLASSIFYING, ids=lambda path: str(path.name))
def test_every_configuration_knows_the_downloads_and_assets_of_load(config: Path) -> None:
    text = config.read_text()
    for words in (DOWNLOADS, ASSETS):
        if config.suffix == ".yaml":
            assert any(set(block.split()) == words for block in re.findall(r"\[\[(.*?)\]\]", text, re.S))
        else:
            assert f"({'|'.join(sorted(words))})" in text


@pytest.mark.parametrize("config", sorted(CONFIGS.iterdir()), ids=lambda path: str(path.name))
def test_every_configuration_says_what_to_change(config: Path) -> None:
    text = config.read_text()
    assert text.startswith("# ")
    assert text.count("CHANGE") >= 2
    assert "insert_id" in text


@pytest.mark.skipif(not shutil.which("syslog-ng"), reason="syslog-ng isn't installed")
def test_syslog_ng_ships_the_log_whole(live: Live, tmp_path: Path) -> None:
    config = (CONFIGS / "syslog-ng.conf").read_text()
    shutil.copy(NGINX, tmp_path / "access.log")
    config = config.replace("/var/log/nginx/access.log", f"{tmp_path}/access.log").replace(
        "http://127.0.0.1:8000", live.url
    )
    (tmp_path / "syslog-ng.conf").write_text(config)
    live.faults = ["busy", "lost answer"]
    arguments = ["--no-caps", "-F", "-f", "syslog-ng.conf", "-R", "persist", "-c", "control", "-p", "pid"]
    log = (tmp_path / "syslog-ng.log").open("wb")
    process = subprocess.Popen(["syslog-ng", *arguments], cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_for(lambda: len(live.gateway.documents()) == 328, "syslog-ng", 40)
        wait_for(lambda: not live.faults and live.posts >= 3, "the batch whose answer was lost", 40)
    finally:
        process.terminate()
        process.wait(20)
        log.close()
    documents = live.gateway.documents()
    assert len(documents) == 328
    assert not re.search(r"127\.0\.0\.1|Mozilla/5", json.dumps(documents))
    # It keeps the \xHH of the log, which a count that undoes them doesn't.
    escaped = {
        line.split('"')[1].split(" ")[1]
        for line in NGINX.read_text().splitlines()
        if line.count("\\x") and '"GET' in line
    }
    expected = {
        path: item for path, item in count(NGINX).items() if path not in escaped and path.isascii() and " " not in path
    }
    assert len(expected) > 45
    shipped = [path for path in expected if path in NGINX.read_text()]
    assert tocks(live.gateway, shipped) == {path: expected[path] for path in shipped}


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx isn't installed")
def test_nginx_itself_writes_events_that_load_takes(live: Live, tmp_path: Path) -> None:
    port = free_port()
    lines = (CONFIGS / "nginx-events.conf").read_text().replace("/var/log/nginx", str(tmp_path))
    places = "".join(
        f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ {places} access_log {tmp_path}/access.log combined;\n{lines}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 page; }} location /gone {{ return 410; }} }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: is_listening(port), "nginx")
        for path in ("/", "/data/Roads.CSV?v=3", "/caf%C3%A9", "/site.css", "/robots.txt", "/gone.csv", "/a.tar.gz"):
            agent = {"User-Agent": "Mozilla/5.0 Firefox/132.0", "Referer": "https://arcgis.com/"}
            with contextlib.suppress(HTTPError):
                urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=agent)).close()
    finally:
        process.terminate()
        process.wait(20)
    assert live.load(tmp_path / "events.log").text().endswith("7 lines read, 7 events loaded")
    expected = count(tmp_path / "access.log")
    assert tocks(live.gateway, expected) == expected
    live.load(tmp_path / "events.log", restart=True)
    assert len(live.gateway.documents()) == 7


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_documents_that_a_shipper_wrote_into_elasticsearch_count_alike(gateway: Gateway) -> None:
    """As access-log-to-elasticsearch.conf and fluentd-to-elasticsearch.conf leave them: raw, but for id and event."""
    from metronome.store import indices

    indices.install(gateway.elasticsearch, gateway.settings)
    read = apache_reader("combined")
    operations: list[dict[str, Any]] = []
    for line in NGINX.read_bytes().splitlines():
        event = {**to_event(read(line)), "@version": "1", "insert_id": str(uuid.uuid4())}
        day = event["@timestamp"][:10].replace("-", ".")
        head = {"_index": f"{gateway.settings.index_prefix}-{day}", "_id": event["insert_id"]}
        operations += [{"create": head}, event]
    for _ in range(2):  # a bulk that was sent again
        gateway.elasticsearch.bulk(operations=operations)
    expected = count(NGINX)
    paths = list(expected)
    found = tocks(gateway, paths)
    assert {path: {**tock, "errors": {}} for path, tock in found.items()} == {
        path: {**item, "errors": {}} for path, item in expected.items()
    }


# --- Python's logging -----------------------------------------------------------------------------------------


@pytest.fixture
def handler_for(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A logger whose records go to a URL; the second value sends what waits."""
    monkeypatch.setattr(constants, "QUEUE_CHECK_INTERVAL", 0.05)
    monkeypatch.setattr(constants, "QUEUED_EVENTS_FLUSH_INTERVAL", 0.05)

    def make(url: str, **options: Any) -> tuple[logging.Logger, AsynchronousLogstashHandler]:
        host, _, port = url.removeprefix("http://").partition(":")
        transport = HttpTransport(host, int(port), ssl_enable=False, timeout=10, path="tick")
        handler = AsynchronousLogstashHandler(host, int(port), database_path=None, transport=transport)
        handler.setFormatter(LogstashFormatter(**options))
        logger = logging.Logger(f"shipper-{uuid.uuid4().hex}")
        logger.addHandler(handler)
        return logger, handler

    return make


def tock(server: Any, item: str) -> Any:
    """None while the index is being made: its shard has to start first."""
    done = server.command("tock", item)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_python_logstash_async_sends_the_log_whole(live: Live, handler_for: Any) -> None:
    logger, handler = handler_for(live.url, extra_prefix=None)
    read = apache_reader("combined")
    for line in NGINX.read_bytes().splitlines():
        event = to_event(read(line))
        times = {"@timestamp": event.pop("@timestamp")}
        item = {"item_id": event.pop("id")} if "id" in event else {}
        logger.info("request", extra={**event, **item, "time": times["@timestamp"], "insert_id": uuid.uuid4().hex})
    handler.close()
    wait_for(lambda: len(live.gateway.documents()) == 328, "the handler's records")
    expected = count(NGINX)
    found = tocks(live.gateway, expected)
    for path, item in expected.items():
        # The formatter's own @timestamp wins, so all views are of today.
        assert sum(found[path]["views"].values()) == sum(item["views"].values()), path
        assert [found[path][block] for block in ("downloads", "referers", "errors")] == [
            item[block] for block in ("downloads", "referers", "errors")
        ]


def test_a_log_record_without_format_is_no_view_but_its_referer_counts(server: Any, handler_for: Any) -> None:
    """Contract 4.2, by the client itself."""
    item = f"record-{uuid.uuid4().hex}"
    logger, handler = handler_for(server.url)
    logger.warning("hello", extra={"item_id": item, "referer": "http://a/b"})
    logger.info("a file", extra={"item_id": item})
    handler.close()
    expected = {"views": {}, "downloads": {}, "referers": {"a/b": 1}}
    wait_for(lambda: tock(server, item) == expected, "the records")


def test_extra_fields_at_the_top_make_views_and_downloads(server: Any, handler_for: Any) -> None:
    item = f"record-{uuid.uuid4().hex}"
    logger, handler = handler_for(server.url, extra_prefix=None)
    logger.info("csv", extra={"item_id": item, "format": "csv", "referer": "https://arcgis.com/"})
    logger.info("page", extra={"item_id": item, "accept": "text/html", "user_agent": "Mozilla/5.0 Firefox/132.0"})
    logger.info("robot", extra={"item_id": item, "event": "view", "user_agent": "Googlebot/2.1"})
    handler.close()

    def counted() -> Any:
        found = tock(server, item)
        return found and (list(found["views"].values()), found["downloads"], found["referers"])

    wait_for(lambda: counted() == ([1], {"csv": 1}, {"arcgis.com": 1}), "the records")
