"""(e) The archive, on a folder: what moving days there and back costs, and what a tock of archived days does.

B3    `archive run`, events/s ÷ building the same parts, events/s
B4    restore, events/s ÷ `_bulk` of the same documents from one connection, events/s
B5    a tock over the archived days ÷ the same over their indices: the first of a process, and repeated ones

All in this process, one after another, with small days of equal size.
"""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.events import generate, yesterday
from bench.host import Host, settle
from metronome.archive.asking import open_door as with_archive
from metronome.archive.work import Work, opened
from metronome.dialects.tick.ask import TockQuerySchema, to_questions
from metronome.parts.build import documents_of
from metronome.query import open_door
from metronome.settings import Settings
from metronome.store.documents import template

PREFIX = "moved"
BATCH = 2000
REPEATED = 50


def bench(host: Host, *, events: int, days: int) -> dict[str, Any]:
    """`days` days of together `events` events."""
    there = _fill(host, events, days)
    home = host.settings.home / "moved"
    settings = replace(
        Settings(),
        home=home,
        index_prefix=PREFIX,
        archive=f"file://{home}/archive",
        elasticsearch_url=host.address.url,
        elasticsearch_username=host.address.username,
        elasticsearch_password=host.address.password,
    )
    home.mkdir()
    with opened(settings, None) as work:
        built_s = _timed(lambda: [work.builder.update(day, one_file=True) for day in there])
        for day in there:
            work.builder.folder.drop(day)
        indexed_first_ms, indexed_ms = _tocks(settings, work, archived=False)
        settle()
        moved_s = _timed(lambda: _archive(work, there))
        archived_first_ms, archived_ms = _tocks(settings, work, archived=True)
        settle()
        restored_s = _timed(lambda: [work.restorer.restore(day) for day in there])
        bulk_s = _bulk(host, work, there)
    shutil.rmtree(home)
    figures = {
        "events": events,
        "days": days,
        "build_per_s": round(events / built_s),
        "run_per_s": round(events / moved_s),
        "run_of_build": round(built_s / moved_s, 2),
        "restore_per_s": round(events / restored_s),
        "bulk_per_s": round(events / bulk_s),
        "restore_of_bulk": round(bulk_s / restored_s, 2),
        "tock_ms": {"first": round(archived_first_ms, 1), "repeated": round(archived_ms, 1)},
        "indexed_tock_ms": {"first": round(indexed_first_ms, 1), "repeated": round(indexed_ms, 1)},
        "first_ratio": round(archived_first_ms / indexed_first_ms, 2),
        "repeated_ratio": round(archived_ms / indexed_ms, 2),
    }
    print(f"  {figures}", file=sys.stderr)
    return figures


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _archive(work: Work, days: list[date]) -> None:
    lease = work.lease()
    with lease.held():
        archiver = work.archiver(lease)
        for day in days:
            done = archiver.archive(day)
            assert done.deleted, done.problem


def _tocks(settings: Settings, work: Work, *, archived: bool) -> tuple[float, float]:
    """Milliseconds of the first tock of a process, and the median of repeated ones, of one item over all days."""
    now = lambda: datetime.now(UTC)  # noqa: E731
    ask = with_archive(settings, work.client, now) if archived else open_door(work.client, settings, now)
    questions = list(to_questions("item-0", TockQuerySchema().load({})).values())
    first_s = _timed(lambda: ask(*questions))
    return first_s * 1000, median(_timed(lambda: ask(*questions)) for _ in range(REPEATED)) * 1000


def _fill(host: Host, events: int, days: int) -> list[date]:
    host.ask("PUT", "/_index_template/metronome-moved", template(PREFIX))
    stamps = (
        b',"received_at":"2026-01-01T00:00:00.000Z","dialect":"tick","@version":"1","referer_page":"site%d.example"}'
    )
    lines = generate(events, seed=700, end=yesterday(), days=days)
    there: set[date] = set()
    for first in range(0, len(lines), BATCH):
        body = b""
        for number, line in enumerate(lines[first : first + BATCH]):
            day = json.loads(line)["@timestamp"][:10]
            there.add(date.fromisoformat(day))
            body += b'{"create":{"_index":"%b-%b"}}\n' % (PREFIX.encode(), day.replace("-", ".").encode())
            body += line[:-1] + stamps % (number % 50) + b"\n"
        _post(host, body)
    host.ask("POST", f"/{PREFIX}-*/_refresh")
    assert host.count(f"{PREFIX}-*") == events
    return sorted(there)


def _bulk(host: Host, work: Work, days: list[date]) -> float:
    """Seconds that `_bulk` takes for the same documents with their ids, into indices that are made by it."""
    host.remove(f"{PREFIX}-*")
    bodies = []
    for day in days:
        kept = work.catalogue.get(day)
        assert kept is not None
        index = f"{PREFIX}-{day.isoformat().replace('-', '.')}"
        paths = [Path(work.settings.archive.removeprefix("file://")) / part.key for part in kept.manifest.parts]
        for page in documents_of(paths, work.settings.home):
            actions = (json.dumps({"create": {"_index": index, "_id": number}}).encode() for number in page.ids)
            bodies.append(b"".join(b"%b\n%b\n" % pair for pair in zip(actions, page.sources, strict=True)))
    settle()

    def post() -> None:
        for body in bodies:
            _post(host, body)
        host.ask("POST", f"/{PREFIX}-*/_refresh")

    elapsed = _timed(post)
    host.remove(f"{PREFIX}-*")
    return elapsed


def _post(host: Host, body: bytes) -> None:
    connection = http.client.HTTPConnection(host.elasticsearch, timeout=300)
    connection.request("POST", "/_bulk", body, {**host.headers, "Content-Type": "application/x-ndjson"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert not answer["errors"]
