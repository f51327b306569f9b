"""The commands of the archive as processes: what they print, and how they exit."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from archive_places import (  # noqa: F401  (fixtures)
    opened_credentials,
    opened_installation,
    opened_installation_for,
    opened_minio,
    opened_moto,
    opened_place,
    opened_seaweed,
)
from archiving import Installation
from test_archive_run import environment
from test_numbers import fill, random_events

START = datetime(2026, 10, 23, tzinfo=UTC)
DAY = START.date()


def command(found: Installation, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metronome", *arguments],
        env={**environment(found), **more},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_day_is_archived_listed_verified_and_restored(installation: Installation) -> None:
    fill(installation.gateway, random_events(random.Random(1), START, 2, 30))
    sources = installation.sources()
    dry = command(installation, "archive", "run", "--before", "2026-10-24", "--dry-run")
    assert (dry.returncode, dry.stdout.split()[0], installation.keys()) == (0, "2026-10-23", [])
    kept = command(installation, "archive", "run", "--day", "2026-10-23", "--keep-index")
    assert (kept.returncode, "index kept" in kept.stdout, len(installation.days())) == (0, True, 2), kept
    gone = command(installation, "archive", "run", "--before", "2026-10-24")
    assert (gone.returncode, "index deleted" in gone.stdout) == (0, True), gone
    assert installation.days() == [date(2026, 10, 24)]
    listed = command(installation, "archive", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["2026-10-23"]
    verified = command(installation, "archive", "verify", "--deep")
    assert (verified.returncode, verified.stdout.splitlines()[0][:14]) == (0, "2026-10-23  ok"), verified
    restored = command(installation, "restore", "2026-10-23")
    assert restored.returncode == 0, restored
    assert installation.sources() == sources


def test_verify_fails_on_what_is_missing_or_changed_and_names_orphans_without_failing(
    installation: Installation, tmp_path: Path
) -> None:
    fill(installation.gateway, random_events(random.Random(1), START, 1, 30))
    installation.archive(DAY)
    root = Path(installation.settings.archive.removeprefix("file://")) / f"day={DAY}"
    (part,) = root.glob("part-*.parquet")
    (root / "part-0001-0000000000000000.parquet").write_bytes(b"killed")
    named = command(installation, "archive", "verify")
    assert (named.returncode, "orphan: day=2026-10-23/part-0001" in named.stdout) == (0, True), named
    folded = command(installation, "archive", "compact")
    assert (folded.returncode, len(installation.keys())) == (0, 3), folded
    whole = part.read_bytes()
    part.write_bytes(whole[:-50] + bytes(50))
    changed = command(installation, "archive", "verify")
    assert (changed.returncode, "DAMAGED" in changed.stdout) == (1, True), changed
    part.unlink()
    missing = command(installation, "archive", "verify")
    assert (missing.returncode, "is missing" in missing.stdout) == (1, True), missing


def test_an_index_that_should_have_gone_and_stayed_is_exit_status_1(installation: Installation) -> None:
    fill(installation.gateway, random_events(random.Random(1), START, 1, 10))
    failed = command(
        installation,
        "archive",
        "run",
        METRONOME_ARCHIVE="s3://nowhere/p",
        METRONOME_ARCHIVE_ENDPOINT="http://127.0.0.1:9",
    )
    assert (failed.returncode, installation.days()) == (1, [DAY])
    assert "NOT archived, its index stays" in failed.stdout


def test_without_an_archive_the_commands_say_what_to_set(installation: Installation) -> None:
    failed = command(installation, "archive", "list", METRONOME_ARCHIVE="")
    assert (failed.returncode, "METRONOME_ARCHIVE" in failed.stderr) == (1, True)


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_events_are_exported_from_wherever_they_are_each_once(
    installation: Installation, tmp_path: Path, form: str
) -> None:
    events = random_events(random.Random(4), START, 3, 60)
    fill(installation.gateway, events)
    installation.archive(DAY)
    installation.archive(date(2026, 10, 24), keep_index=True)
    path = tmp_path / f"events.{form}"
    options = ["--from", "2026-10-23", "--to", "2026-10-24", "--where", '{"field": "status", "op": "is", "value": 404}']
    done = command(installation, "export", *options, "--format", form, "-o", str(path))
    assert done.returncode == 0, done.stderr
    if form == "ndjson":
        found = [json.loads(line)["@timestamp"] for line in path.read_text().splitlines()]
    elif form == "csv":
        rows = csv.DictReader(io.StringIO(path.read_text()))
        found = [row["@timestamp"].replace(" ", "T").replace("+00", "Z") for row in rows]
    else:
        query = f"select strftime(\"@timestamp\", '%Y-%m-%dT%H:%M:%S.%gZ') from read_parquet('{path}')"
        found = [row[0] for row in duckdb.sql(query).fetchall()]
    wanted = [event["at"] for event in events if event.get("status") == 404 and event["at"].date() < date(2026, 10, 25)]
    assert sorted(map(datetime.fromisoformat, found)) == sorted(wanted)


def test_a_filter_restores_some_events_into_another_prefix(installation: Installation) -> None:
    fill(installation.gateway, random_events(random.Random(4), START, 1, 40))
    sources = installation.sources()
    installation.archive(DAY)
    prefix = f"{installation.settings.index_prefix}x"
    where = '{"field": "beta", "op": "is", "value": true}'
    try:
        done = command(installation, "restore", "2026-10-23", "--where", where, "--to-prefix", prefix)
        assert done.returncode == 0, done.stderr
        found = installation.client.search(index=f"{prefix}-2026.10.23", size=100)["hits"]["hits"]
        wanted = sorted(
            key.rpartition("/")[2] for key, source in sources.items() if b'"beta":true' in source.replace(b" ", b"")
        )
        assert sorted(hit["_id"] for hit in found) == wanted
        assert installation.days() == []
    finally:
        installation.client.options(ignore_status=404).indices.delete(index=f"{prefix}-2026.10.23")
