"""A build's memory doesn't grow with the day."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from part_days import DAY, Days, event, opened_days  # noqa: F401  (a fixture)
from test_part_updates import started

from metronome.parts.index import MOST_A_PAGE

#: Sorts a day of so many events in runs of the usual size, and says by how many MB memory rose after the first run.
_SORT = """
import resource, sys
from pathlib import Path
from metronome.parts.index import Documents
from metronome.parts.sort import Sorter

def document(n):
    at = f"2026-11-03T{n % 24:02}:{n % 60:02}:{n % 59:02}.{n % 1000:03}Z"
    return (f'{{"@timestamp":"{at}","id":"item-{n % 997}","event":"view","distinct_id":"u{n * 7919 % 50021}",'
            f'"url":"https://shop.example/item/{n * 31 % 10007}","referer":"https://site{n % 50}.example/page/{n % 20}",'
            f'"status":200,"load_ms":{n % 1000}.5,"session_id":"s{n // 7:08x}"}}').encode()

def mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

events, start = int(sys.argv[2]), mb()
with Sorter(Path(sys.argv[1])) as sorter:
    for first in range(0, events, 5000):
        sorter.add(Documents([f"id-{n}" for n in range(first, first + 5000)], [document(n) for n in range(first, first + 5000)]))
    sorter.ids_sha256()
    sorter.write(Path(sys.argv[1]) / "part.parquet", {})
print(mb() - start, sorter.events)
"""


def test_a_day_of_two_hundred_thousand_events_is_sorted_in_three_hundred_megabytes(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _SORT, str(tmp_path), "200000"]
    found = subprocess.run(program, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent.parent)
    rise_mb, events = map(int, found.stdout.split())
    assert events == 200_000
    assert rise_mb <= 300


def test_pages_of_large_documents_are_small(days: Days) -> None:
    days.write([event(n, text="x" * 30_000) for n in range(600)])
    sizes: list[int] = []
    days.builder.update(DAY, progress=sizes.append)
    assert sum(sizes) == 600
    # The first page's size is fixed; later ones hold about four megabytes.
    assert max(sizes[1:]) * 30_000 <= 5 * 2**20 < MOST_A_PAGE * 30_000


def test_building_in_a_process_of_its_own_leaves_no_folder_behind(days: Days) -> None:
    days.write([event(1)])
    assert started(days).communicate(timeout=60)[0] == "started\n1\n"
    assert sorted(path.name for path in days.folder.root.iterdir()) == ["2026-11-03", "2026-11-03.lock"]
