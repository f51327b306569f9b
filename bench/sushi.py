"""The COUNTER API: one Title Report of many titles over twelve months, in one answer, as a harvester asks for it."""

from __future__ import annotations

import http.client
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.host import Gateway, Host, gateway
from bench.memory import highest_kb
from metronome.counter.customers import Customers
from metronome.counter.facts import Fact, Performance, Subject
from metronome.counter.kept import Kept
from metronome.counter.reports import months
from metronome.store import indices
from metronome.store.client import connect

PREFIX = "reports"
CUSTOMER = "bench"
MONTHS = 12


def bench(host: Host, *, titles: int, runs: int) -> dict[str, Any]:
    """Seconds from the request to the last byte, the best of `runs`; and how much memory the workers came to."""
    last = months.before(months.month_of(datetime.now(UTC)))
    begin = months.from_number(months.to_number(last) - MONTHS + 1)
    asked = {"customer_id": CUSTOMER, "requestor_id": CUSTOMER, "begin_date": begin, "end_date": last}
    with gateway(host, PREFIX, METRONOME_WORKERS="1") as running:
        asked["api_key"] = _fill(host, titles, months.through(begin, last))
        before = _memory_mb(running)
        figures = {form: [_ask(running, {**asked, "format": form}) for _ in range(runs)] for form in ("json", "tsv")}
        after = _memory_mb(running)
    best = {form: min(found) for form, found in figures.items()}
    return {
        "titles": titles,
        "months": MONTHS,
        **{f"{form}_s": round(seconds, 2) for form, (seconds, _) in best.items()},
        **{f"{form}_bytes": size for form, (_, size) in best.items()},
        "memory_mb": round(after - before),
    }


def _fill(host: Host, titles: int, wanted: list[str]) -> str:
    """Facts of each month, and a customer that they are of; gives its key."""
    settings = replace(
        host.settings,
        elasticsearch_url=host.address.url,
        elasticsearch_username=host.address.username,
        elasticsearch_password=host.address.password,
        index_prefix=PREFIX,
    )
    with connect(settings) as client:
        indices.install(client, settings)
        kept = Kept(client, settings)
        for number, month in enumerate(wanted):
            kept.replace(month, [(CUSTOMER, "TR", _facts(titles, number))], at=datetime.now(UTC))
            print(f"  the facts of {month} are in", file=sys.stderr)
        return Customers(client, settings).add(CUSTOMER, "Bench University")[1]


def _facts(titles: int, seed: int) -> Iterator[Fact]:
    chance = random.Random(seed)
    for number in range(titles):
        yield Fact(
            Subject(
                f"t-{number:07}",
                f"Journal of Roads and Bridges, series {number}",
                "Journal",
                (("DOI", f"10.1234/{number}"), ("Online_ISSN", "1234-5679")),
                "Publisher",
            ),
            None,
            tuple(
                Performance(
                    {
                        "Total_Item_Investigations": chance.randint(5, 90),
                        "Total_Item_Requests": 3,
                        "Unique_Item_Investigations": 4,
                        "Unique_Item_Requests": 2,
                    },
                    "Journal",
                    str(2020 + number % 5),
                    access_type,
                )
                for access_type in ("Controlled", "Open")
            ),
        )


def _ask(running: Gateway, asked: dict[str, str]) -> tuple[float, int]:
    """Seconds and bytes of one answer."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(running.bind, timeout=600)
    connection.request("GET", f"/r51/reports/tr?{urlencode(asked)}")
    answer = connection.getresponse()
    size = 0
    while piece := answer.read(2**20):
        size += len(piece)
    seconds = time.perf_counter() - started
    connection.close()
    assert answer.status == 200 and size > 1000
    return seconds, size


def _memory_mb(running: Gateway) -> float:
    """The most memory that the processes of `metronome serve` ever had, in MB."""
    serve = running.pids[0]
    children = Path(f"/proc/{serve}/task/{serve}/children").read_text().split()
    return sum(map(highest_kb, (str(serve), *children))) / 1024
