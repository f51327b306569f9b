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


@pytest.fixture(scope="module", name="moto")
def opened_moto() -> Iterator[str]:
    """moto's server, over HTTP."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield from _served(process, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module", name="seaweed")
def opened_seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SeaweedFS, or the S3 that METRONOME_TEST_S3 names.

    One a module: two at once would want the same fixed ports.
    """
    if given := os.environ.get("METRONOME_TEST_S3"):
        _make_bucket(given)
        yield given
        return
    folder = tmp_path_factory.mktemp("seaweed")
    ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    grpc = {f"{name}.grpc": free_port() for name in ports}
    options = {**ports, **grpc, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": folder, "volume.max": 20}
    options |= {"master.volumeSizeLimitMB": 64, "s3.iam": "false", "webdav": "false", "admin": "false"}
    config = folder / "s3.json"
    key = {"accessKey": os.environ["AWS_ACCESS_KEY_ID"], "secretKey": os.environ["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "tests", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    config.write_text(json.dumps({"identities": [identity]}))
    weed = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
    help_text = subprocess.run([weed, "server", "-h"], capture_output=True, text=True, check=False)
    known = help_text.stdout + help_text.stderr
    arguments = [f"-{name}={value}" for name, value in options.items() if f"  -{name}" in known]
    command = [weed, "server", *arguments, "-filer", "-s3", f"-s3.config={config}"]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    yield from _served(process, f"http://127.0.0.1:{ports['s3.port']}", timeout_s=60)


def _served(process: subprocess.Popen[bytes], endpoint: str, timeout_s: float = 30) -> Iterator[str]:
    try:
        wait_for(lambda: process.poll() is not None or _answers(endpoint), f"{endpoint} to answer", timeout_s)
        assert process.poll() is None, "the S3 ended at once"
        _make_bucket(endpoint)
        yield endpoint
    finally:
        # Nothing that they hold is needed any more, and SeaweedFS takes long to say goodbye.
        process.kill()
        process.wait(20)


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
