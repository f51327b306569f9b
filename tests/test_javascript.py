"""The JavaScript client: its own tests in Node, its built files, and what the gateway serves of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from keyed import Kept
from live import Live

from metronome.web.scripts import PATHS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "clients/javascript"
SERVED = ROOT / "metronome/web/apis/client.js"
SERVED_FOR_VIDEOS = ROOT / "metronome/web/apis/video.js"
BUILT = (
    PACKAGE / "lib/metronome.cjs",
    PACKAGE / "lib/metronome.min.js",
    PACKAGE / "lib/metronome-video.min.js",
    SERVED,
    SERVED_FOR_VIDEOS,
)


def node(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", *map(str, arguments)], cwd=PACKAGE, capture_output=True, text=True, timeout=120, **options
    )


def _node_version() -> int:
    if shutil.which("node") is None:
        return 0
    return int(node("--version").stdout.strip("v\n").split(".")[0])


needs_node = pytest.mark.skipif(_node_version() < 20, reason="needs Node 20 or newer: there is none on the path")
needs_modules = pytest.mark.skipif(
    _node_version() < 20 or not (PACKAGE / "node_modules").is_dir(),
    reason="needs Node and its tools: run `npm ci` in clients/javascript",
)


@needs_node
@pytest.mark.parametrize("file", sorted((PACKAGE / "test").glob("*.test.js")), ids=lambda file: file.name.split(".")[0])
def test_the_tests_in_node_pass(file: Path) -> None:
    run = node("--test", "--test-reporter=tap", file)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert re.search(r"^# skipped 0$", run.stdout, re.MULTILINE), run.stdout


def sources_hash() -> str:
    """What the first line of a built file says, as build.js makes it."""
    found = hashlib.sha256()
    names = ["build.js", "package.json", *sorted(f"src/{path.name}" for path in (PACKAGE / "src").iterdir())]
    for name in names:
        found.update(name.encode() + b"\0" + (PACKAGE / name).read_bytes() + b"\0")
    return found.hexdigest()


@pytest.mark.parametrize("file", BUILT, ids=lambda file: file.name)
def test_built_files_are_made_of_the_sources_that_are_here(file: Path) -> None:
    version = json.loads((PACKAGE / "package.json").read_text())["version"]
    first = file.read_text().partition("\n")[0]
    assert first == f"/*! metronome-events {version}, Apache-2.0, sources {sources_hash()} */", (
        "run `make client`: it builds the client again"
    )


def test_the_script_of_the_package_is_the_one_that_the_gateway_serves_and_small() -> None:
    script = (PACKAGE / "lib/metronome.min.js").read_bytes()
    assert SERVED.read_bytes() == script
    assert len(gzip.compress(script, 9)) < 5 * 1024
    script = (PACKAGE / "lib/metronome-video.min.js").read_bytes()
    assert SERVED_FOR_VIDEOS.read_bytes() == script
    assert len(gzip.compress(script, 9)) < 4 * 1024


@needs_modules
def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    run = node("build.js", tmp_path)
    assert run.returncode == 0, run.stderr
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*js")}
    assert made == {file.relative_to(ROOT): file.read_bytes() for file in BUILT}


@needs_modules
def test_the_types_fit_what_users_write() -> None:
    compiler = PACKAGE / "node_modules/.bin/tsc"
    for project in ("test/types", "test/types/browser"):
        run = subprocess.run([compiler, "-p", project], cwd=PACKAGE, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stdout


def test_the_package_needs_no_other() -> None:
    described = json.loads((PACKAGE / "package.json").read_text())
    assert {"dependencies", "peerDependencies", "optionalDependencies"} & set(described) == set()
    imported = {
        name
        for file in (PACKAGE / "src").iterdir()
        for name in re.findall(r'(?:from|import|require)[ (]*"([^"]+)"', file.read_text())
    }
    assert {name for name in imported if not name.startswith("./")} - {"metronome-events"} == set()


@pytest.mark.parametrize("path", PATHS)
def test_the_gateway_serves_the_script(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert (answer.status_code, answer.data) == (200, SERVED.read_bytes())
    assert {
        name: answer.headers.get(name) for name in ("Content-Type", "Cache-Control", "Vary", "Content-Encoding")
    } == {
        "Content-Type": "text/javascript; charset=utf-8",
        "Cache-Control": "public, max-age=3600",
        "Vary": "Accept-Encoding",
        "Content-Encoding": None,
    }
    packed = gateway.http.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert (packed.headers["Content-Encoding"], gzip.decompress(packed.data)) == ("gzip", answer.data)
    assert packed.headers["ETag"] != answer.headers["ETag"]
    for known, options in ((answer, {}), (packed, {"Accept-Encoding": "gzip"})):
        again = gateway.http.get(path, headers={"If-None-Match": known.headers["ETag"], **options})
        assert (again.status_code, again.data) == (304, b"")


def test_the_script_needs_no_key_and_any_page_may_load_it(gateway: Gateway) -> None:
    kept = Kept(gateway)
    kept.make()
    assert kept.ask().status_code == 401
    answer = gateway.http.get(PATHS[0], headers={"Origin": "https://www.example.org"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_the_script_comes_with_the_installed_package(tmp_path: Path) -> None:
    arguments = ["egg_info", "--egg-base", tmp_path, "build_py", "--build-lib", tmp_path / "built"]
    code = "import sys; from setuptools import setup; setup(script_args=sys.argv[1:])"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "built/metronome/web/apis/client.js").read_bytes() == SERVED.read_bytes()


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    running = Live(gateway, tmp_path)
    yield running
    running.stop()


PROGRAM = """
import { Metronome } from "metronome-events";
const [url, key] = process.argv.slice(1);
const client = new Metronome(url, { key, interval: 20, common: { app: "shop" } });
for (let at = 0; at < 250; at++) client.tick({ id: "home", event: at % 5 ? "view" : "download", format: at % 5 ? undefined : "csv" });
for (let left = 1; left;) {
  left = await client.flush();
  await new Promise((wake) => setTimeout(wake, 20));
}
await client.close();
"""


@needs_node
@pytest.mark.parametrize(
    "faults",
    [[], ["busy", "busy"], ["lost answer"], ["", "lost answer", "busy", "lost answer"]],
    ids=["no fault", "the gateway is busy", "an answer is lost", "all sorts of trouble"],
)
def test_each_event_of_a_program_is_counted_once(live: Live, faults: list[str]) -> None:
    live.faults = list(faults)
    kept = Kept(live.gateway)
    _, token = kept.make()
    run = node("--input-type=module", "-e", PROGRAM, live.url, token)
    assert (run.returncode, run.stderr) == (0, "")
    assert live.faults == []
    documents = live.gateway.documents()
    assert sorted(document["seq"] for document in documents) == list(range(1, 251))
    assert {document["app"] for document in documents} == {"shop"}
    assert [document["event"] for document in documents].count("view") == 200
    assert all(document["_id"] == f"shop:{document['insert_id']}" for document in documents)
