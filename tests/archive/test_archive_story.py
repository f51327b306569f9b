"""The story of docs/archive.md, run as it stands there: a month from the log to the receipt."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import duckdb
import pytest
from archive_places import (  # noqa: F401  (fixtures)
    BUCKET,
    opened_credentials,
    opened_installation,
    opened_installation_for,
    opened_minio,
    opened_moto,
    opened_place,
    opened_seaweed,
)
from archiving import Installation
from conftest import free_port
from test_archive_run import environment
from werkzeug.serving import make_server

PAGE = Path(__file__).parents[2] / "docs/archive.md"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
START = datetime(2026, 10, 1, tzinfo=UTC)


def story() -> str:
    """The commands of the story."""
    found = re.search(r"## A month, from the log to the receipt\n.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def write_month(folder: Path) -> Counter[str]:
    """access.log and visitors.ndjson of October; gives the events of each day."""
    rng = random.Random(10)
    days: Counter[str] = Counter()
    lines, visits = [], []
    for second in sorted(rng.randrange(31 * 86400) for _ in range(600)):
        at = START + timedelta(seconds=second)
        path = rng.choice(["/index.html", "/data/7.csv", "/about"])
        referer = rng.choice(["-", "https://www.example.org/list?page=2"])
        lines.append(
            f'192.0.2.{rng.randrange(250)} - - [{at:%d/%b/%Y:%H:%M:%S} +0000] "GET {path} HTTP/1.1" 200 512 "{referer}" "{AGENT}"'
        )
        days[str(at.date())] += 1
    for number in range(60):
        at = START + timedelta(hours=12 * number)
        who = f"visitor-{number % 3 + 6}"
        visits.append({"id": "/index.html", "event": "play", "distinct_id": who, "@timestamp": at.isoformat()})
        days[str(at.date())] += 1
    (folder / "access.log").write_text("\n".join(lines) + "\n")
    (folder / "visitors.ndjson").write_text("".join(json.dumps(visit) + "\n" for visit in visits))
    return days


@pytest.fixture(name="served")
def opened_served() -> Iterator[Callable[[Installation], str]]:
    """Serves an installation over HTTP; gives the address."""
    servers = []

    def serve(found: Installation) -> str:
        port = free_port()
        server = make_server("127.0.0.1", port, found.gateway.app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_month_from_the_log_to_the_receipt(
    installation_for: Callable[..., Installation],
    served: Callable[[Installation], str],
    seaweed: str,
    tmp_path: Path,
) -> None:
    found = installation_for("seaweed")
    days = write_month(tmp_path)
    (tmp_path / "metronome").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m metronome "$@"\n')
    (tmp_path / "metronome").chmod(0o755)
    env = {**environment(found), "METRONOME_URL": f"http://{served(found)}", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-ex"], input=story(), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]

    # Two days are back; all others are in the archive alone.
    assert list(map(str, found.days())) == ["2026-10-01", "2026-10-02"]
    assert list(map(str, found.work.catalogue.days())) == sorted(days)
    assert json.loads((tmp_path / "before.json").read_text()) == json.loads((tmp_path / "after.json").read_text())
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert sum(row["deleted"] for row in receipt["found"]["archive"]) == 20
    assert "visitor-7" not in (tmp_path / "receipt.json").read_text()

    # Whoever reads Parquet counts the same.
    files = tmp_path / "parquet"
    files.mkdir()
    client = boto3.client("s3", endpoint_url=seaweed)
    for key in found.keys():  # noqa: SIM118 - a method of its own
        if "/part-" in key:
            client.download_file(BUCKET, key, str(files / key.replace("/", "_")))
    counted = f"select strftime(\"@timestamp\", '%Y-%m-%d'), count(*) from read_parquet('{files}/*.parquet', union_by_name = true) group by 1"
    gone = Counter(str((START + timedelta(hours=12 * number)).date()) for number in range(1, 60, 3))
    assert dict(duckdb.sql(counted).fetchall()) == dict(days - gone)
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    names = [pandas.read_parquet(path, columns=["_subject"]) for path in files.iterdir()]
    assert pandas.concat(names)["_subject"].value_counts().to_dict() == {"visitor-6": 20, "visitor-8": 20}
