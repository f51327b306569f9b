"""Fixtures of the archive: a folder, moto's S3 and SeaweedFS, each over HTTP where it is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from archiving import Installation, open_installation
from conftest import Gateway, free_port, wait_for

BUCKET = "archive"


@pytest.fixture(scope="session", autouse=True, name="credentials")
def opened_credentials() -> Iterator[None]:
    """Credentials that no real S3 takes, unless the environment has some for METRONOME_TEST_S3."""
    given = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_DEFAULT_REGION": "us-east-1"}
    patch = pytest.MonkeyPatch()
    for name, value in given.items():
        if name not in os.environ:
            patch.setenv(name, value)
    yield
    patch.undo()


def s3_client(endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=endpoint)


#: The servers that run, by kind: every module of tests has these fixtures, and one server of a kind is enough.
_RUNNING: dict[str, str] = {}


@pytest.fixture(scope="session", name="moto")
def opened_moto() -> Iterator[str]:
    """moto's server, over HTTP."""
    yield from _shared("moto", _moto)


@pytest.fixture(scope="session", name="seaweed")
def opened_seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SeaweedFS, or the S3 that METRONOME_TEST_S3 names."""
    yield from _shared("seaweed", lambda: _seaweed(tmp_path_factory.mktemp("seaweed")))


@pytest.fixture(scope="session", name="minio")
def opened_minio() -> Iterator[str]:
    """MinIO in a container, where Docker answers."""
    yield from _shared("minio", _minio)


def _shared(kind: str, start: Callable[[], Iterator[str]]) -> Iterator[str]:
    if kind in _RUNNING:
        yield _RUNNING[kind]
        return
    for endpoint in start():
        _RUNNING[kind] = endpoint
        yield endpoint
        del _RUNNING[kind]


def _moto() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with started(command, Path.cwd(), subprocess.DEVNULL) as process:
        wait_for_answer(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


def _minio() -> Iterator[str]:
    asked = shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False)
    if not asked or asked.returncode:
        pytest.skip("Docker doesn't answer, so there is no MinIO")
    from testcontainers.minio import MinioContainer

    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    with MinioContainer(access_key=key, secret_key=secret) as container:
        endpoint = f"http://{container.get_config()['endpoint']}"
        _make_bucket(endpoint)
        yield endpoint


def _seaweed(folder: Path) -> Iterator[str]:
    if given := os.environ.get("METRONOME_TEST_S3"):
        _make_bucket(given)
        yield given
        return
    config = folder / "s3.json"
    key = {"accessKey": os.environ["AWS_ACCESS_KEY_ID"], "secretKey": os.environ["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "tests", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    config.write_text(json.dumps({"identities": [identity]}))
    weed = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
    # Another process may take a free port before SeaweedFS opens it, and then SeaweedFS ends at once.
    for attempt in range(3):
        home = folder / str(attempt)
        home.mkdir()
        ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
        grpc = {f"{name}.grpc": free_port() for name in ports}
        options = {**ports, **grpc, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": home, "volume.max": 20}
        options |= {"master.volumeSizeLimitMB": 64, "s3.config": config, "s3.iam": "false", "master.telemetry": "false"}
        # These two are the same for every SeaweedFS of a machine unless they are switched off: a second one ended.
        options |= {"s3.port.iceberg": 0, "s3.port.lance": 0}
        command = [weed, "server", *(f"-{name}={value}" for name, value in options.items()), "-filer", "-s3"]
        with (home / "weed.log").open("wb") as log, started(command, home, log) as process:
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            if wait_for_answer(process, endpoint):
                yield endpoint
                return
    pytest.fail(f"SeaweedFS didn't start; its logs are in {folder}")


@contextmanager
def started(command: list[str], folder: Path, output: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is killed at the end: nothing that it holds is needed then."""
    process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def wait_for_answer(process: subprocess.Popen[bytes], endpoint: str) -> bool:
    """Wait for the S3, and make the bucket; says whether it runs."""
    wait_for(lambda: process.poll() is not None or _answers(endpoint), f"{endpoint} to answer", 60)
    if process.poll() is None:
        _make_bucket(endpoint)
    return process.poll() is None


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _make_bucket(endpoint: str) -> None:
    client = s3_client(endpoint)
    deadline = time.monotonic() + 30
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
        except client.exceptions.BucketAlreadyOwnedByYou:
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


Places = Callable[[str], tuple[str, str]]


@pytest.fixture(name="place")
def opened_place(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """An archive of its own by kind: its METRONOME_ARCHIVE and METRONOME_ARCHIVE_ENDPOINT."""

    def make(kind: str) -> tuple[str, str]:
        if kind == "folder":
            return f"file://{tmp_path / 'archive'}", ""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}", request.getfixturevalue(kind)

    return make


@pytest.fixture(name="installation_for")
def opened_installation_for(
    gateway_for: Callable[..., Gateway], place: Places
) -> Iterator[Callable[..., Installation]]:
    """An installation with an archive of a kind: `folder`, `moto` or `seaweed`."""
    opened: list[Any] = []

    def make(kind: str = "folder", **options: Any) -> Installation:
        archive, endpoint = place(kind)
        options = {"archive": archive, "archive_endpoint": endpoint, **options}
        generator = open_installation(gateway_for(**options))
        opened.append(generator)
        return next(generator)

    yield make
    for generator in opened:
        next(generator, None)


@pytest.fixture(name="installation")
def opened_installation(installation_for: Callable[..., Installation]) -> Installation:
    """One with an archive in a folder."""
    return installation_for()
