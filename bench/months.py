"""COUNTER processing: a month of counted usages, from its day parts to all facts in Elasticsearch.

The parts are as the gateway keeps them, written straight from generated documents: fifty usages an item on the average,
with a long tail, by 50,000 visitors of 20 customers. The month is processed by a process of its own, as `metronome
counter process` does it once the parts are up to date; its memory is that at the highest.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from bench.events import zipf
from bench.host import Host
from metronome.counter.about import written
from metronome.parts.folder import FORMAT, Folder, Part
from metronome.parts.index import Counters, Documents
from metronome.parts.sort import Sorter
from metronome.periods import to_ms, to_text
from metronome.settings import Settings

MONTH, FIRST, DAYS = "2026-05", date(2026, 5, 1), 31
USAGES_OF_AN_ITEM, ITEMS_OF_A_TITLE, CUSTOMERS = 50, 50, 20
PAGE = 50_000

#: What the process does; it prints seconds, and its memory at the highest in KB.
_PROGRAM = """
import sys, time
from bench.memory import highest_kb
from metronome.counter.kept import Kept
from metronome.counter.process import Processor
from metronome.counter.source import Source
from metronome.parts.build import Builder
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.client import connect

class Parts(Source):
    def days(self, first, last, done):
        return [day for day in self._builder.folder.days() if first <= day <= last]

settings = Settings.from_env()
client = connect(settings, timeout_s=300)
indices.install(client, settings)
processor = Processor(settings, Kept(client, settings), Parts(settings, client, Builder(settings, client)))
started, cpu = time.perf_counter(), time.process_time()
processor.process(sys.argv[1])
elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
print(elapsed, cpu, highest_kb())
"""


def bench(host: Host, *, usages: int) -> dict[str, Any]:
    home = host.settings.home / "months"
    fill(home, usages)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "ELASTICSEARCH_"))}
    environ = plain | {
        "METRONOME_HOME": str(home),
        "METRONOME_INDEX_PREFIX": "months",
        "ELASTICSEARCH_URL": host.address.url,
        "ELASTICSEARCH_USERNAME": host.address.username,
        "ELASTICSEARCH_PASSWORD": host.address.password,
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, MONTH], env=environ, text=True, stdout=subprocess.PIPE, check=True
    )
    elapsed_s, cpu_s, memory_kb = map(float, done.stdout.split())
    return {
        "usages": usages,
        "seconds": round(elapsed_s, 2),
        "usages_per_s": round(usages / elapsed_s),
        "usages_per_cpu_s": round(usages / cpu_s),
        "memory_mb": round(memory_kb / 1024),
    }


def fill(home: Path, usages: int) -> None:
    """A part for each day of the month, all of one size."""
    settings = Settings(home=home)
    folder = Folder(settings.parts_dir, settings.parts_max_bytes)
    for number in range(DAYS):
        day, count = FIRST + timedelta(days=number), usages // DAYS + (number < usages % DAYS)
        building = folder.building(day)
        with Sorter(building) as sorter:
            for sources in _sources(day, count, max(1, usages // USAGES_OF_AN_ITEM)):
                sorter.add(Documents([str(uuid.uuid4()) for _ in sources], sources))
            path, ids = building / "part.parquet", sorter.ids_sha256()
            sorter.write(path, {"format": FORMAT})
        file = folder.take_in(day, path, count, ids)
        folder.replace(Part(FORMAT, day, "bench", Counters("bench", {}), (file,)))
        print(f"  the usages of {day} are in", file=sys.stderr)


def _sources(day: date, count: int, of: int) -> Iterator[list[bytes]]:
    rng = random.Random(day.toordinal())
    midnight = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
    items = zipf(rng, of, count)
    for start in range(0, count, PAGE):
        page = items[start : start + PAGE]
        yield [
            _source(rng, midnight + rng.randrange(86_400_000), f"{day}-{start + n}", one) for n, one in enumerate(page)
        ]


def _source(rng: random.Random, ms: int, name: str, item: int) -> bytes:
    at = to_text(datetime.fromtimestamp(ms / 1000, UTC))
    visitor, download = rng.randrange(50_000), rng.random() < 0.5
    # Some visitors read a few items again and again: among them are double clicks.
    link = f"{visitor}-{item if rng.random() < 0.9 else item % 3}"
    event = {
        "@timestamp": at,
        "received_at": at,
        "id": f"i-{item}",
        "event": "download" if download else "view",
        "insert_id": name,
        "session_id": f"{visitor:016x}{ms // 3_600_000 % 24:02}",
        "is_robot": rng.random() < 0.05,
        "counter.key": name,
        "counter.click": link,
        "counter.about": _about(item, download, visitor % CUSTOMERS),
    }
    return orjson.dumps(event)


def _about(item: int, download: bool, customer: int) -> str:
    title = item // ITEMS_OF_A_TITLE
    return written(
        {
            "labels": ["download" if download else "view", "web"],
            "customers": [f"c{customer}"] if customer % 3 else [],
            "item": {
                "id": f"i-{item}",
                "name": f"On roads, part {item}",
                "data_type": "Article",
                "yop": str(2015 + item % 10),
                "access_type": "Open" if item % 4 else "Controlled",
                "ids": {"DOI": f"10.1234/{item}"},
            },
            "title": {"id": f"j-{title}", "name": f"Journal of Roads {title}", "data_type": "Journal"},
            "publisher": {"name": "Publisher"},
        }
    )
