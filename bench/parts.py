"""(d) Day parts: building one, against reading the same documents out of Elasticsearch and doing nothing with them.

B1    build, events/s ÷ reading with a point in time, events/s; both in processes of their own, in turn
B2    bytes of the part ÷ the same documents with their ids as ndjson.gz, and ÷ what the index takes in Elasticsearch
B6    the build's memory at its highest, in bytes
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import uuid
from datetime import timedelta
from statistics import median
from typing import Any

from bench import load
from bench.events import generate, yesterday
from bench.host import Host, settle
from metronome.store.documents import template

BATCH = 2000

#: What a process does; it prints events, seconds, processor seconds, and its memory at the highest in KB.
_PROGRAM = """
import sys, time
from datetime import date
from bench.memory import highest_kb
from metronome.parts.build import Builder
from metronome.parts.index import Index
from metronome.settings import Settings
from metronome.store.client import connect, unread
from metronome.store.names import day_index

what, day, settings = sys.argv[1], date.fromisoformat(sys.argv[2]), Settings.from_env()
client = unread(connect(settings, timeout_s=300))
builder = Builder(settings, client)
index = Index(client, day_index(settings, day))
counters = index.counters()
started, cpu, events = time.perf_counter(), time.process_time(), 0
if what == "build":
    events = builder.update(day).events
else:
    for number, shard in counters.shards.items():
        with index.moment(number) as moment:
            events += sum(len(page.ids) for page in moment.pages(-1, shard.checkpoint))
elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
print(events, elapsed, cpu, highest_kb())
"""


def bench(host: Host, *, events: int, runs: int) -> dict[str, Any]:
    """One day of `events`, read and built `runs` times in turn, after one of each that isn't measured."""
    day = (yesterday() - timedelta(days=1)).date()
    archived = _fill(host, events)
    rates: dict[str, list[float]] = {"read": [], "build": []}
    cpu_us: dict[str, list[float]] = {"read": [], "build": []}
    memory_kb, part_bytes = 0, 0
    for run in range(runs + 1):
        home = host.settings.home / f"parts-{run}"
        for what in ("read", "build"):
            settle()
            count, elapsed_s, cpu_s, kb = _run(host, what, str(day), str(home))
            assert count == events, f"{what}: {count} of {events}"
            if run:
                rates[what].append(events / elapsed_s)
                cpu_us[what].append(cpu_s / events * 1e6)
            if what == "build":
                memory_kb = max(memory_kb, int(kb))
        part_bytes = sum(path.stat().st_size for path in home.glob("parts/*/*.parquet"))
    store = host.ask("GET", "/parts-*/_stats/store")["_all"]["primaries"]["store"]["size_in_bytes"]
    figures = {
        "events": events,
        "read_per_s": round(median(rates["read"])),
        "build_per_s": round(median(rates["build"])),
        "ratio": round(median(build / read for build, read in zip(rates["build"], rates["read"], strict=True)), 2),
        "cpu_us": {what: round(median(values), 1) for what, values in cpu_us.items()},
        "part_bytes": part_bytes,
        "of_ndjson_gz": round(part_bytes / archived, 2),
        "of_store": round(part_bytes / store, 2),
        "memory_mb": round(memory_kb / 1024),
    }
    print(f"  {figures}", file=sys.stderr)
    return figures


def _fill(host: Host, events: int) -> int:
    """Index one day of events as intake stores them; gives their size as ndjson.gz."""
    host.ask("PUT", "/_index_template/metronome-parts", template("parts"))
    stamps = b',"received_at":"2026-01-01T00:00:00.000Z","dialect":"tick","@version":"1"'
    stamps += b',"referer_page":"site%d.example/page/%d"}'
    compressed, step = 0, 100_000
    for start in range(0, events, step):
        lines = generate(min(step, events - start), seed=500 + start, end=yesterday(), days=1)
        sources = [line[:-1] + stamps % (n % 50, n % 20) for n, line in enumerate(lines)]
        index = (yesterday() - timedelta(days=1)).strftime("parts-%Y.%m.%d")
        actions = [json.dumps({"create": {"_index": index, "_id": f"shop:{uuid.uuid4()}"}}).encode() for _ in sources]
        both = [b"%b\n%b\n" % pair for pair in zip(actions, sources, strict=True)]
        # An archive of lines has to keep the ids too: as bulk requests do.
        compressed += len(gzip.compress(b"".join(both), 6))
        requests = [host.bulk(b"".join(both[first : first + BATCH])) for first in range(0, len(both), BATCH)]
        load.run(host.elasticsearch, requests, 2)
        print(f"  {start + len(lines):,} events are in", file=sys.stderr)
    host.ask("POST", "/parts-*/_forcemerge?max_num_segments=1")
    assert host.count("parts-*") == events
    return compressed


def _run(host: Host, what: str, day: str, home: str) -> list[float]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "ELASTICSEARCH_"))}
    environ = plain | {
        "METRONOME_HOME": home,
        "METRONOME_INDEX_PREFIX": "parts",
        "ELASTICSEARCH_URL": host.address.url,
        "ELASTICSEARCH_USERNAME": host.address.username,
        "ELASTICSEARCH_PASSWORD": host.address.password,
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, what, day], env=environ, text=True, stdout=subprocess.PIPE, check=True
    )
    return [float(text) for text in done.stdout.split()]
