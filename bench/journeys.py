"""(f) Journeys: funnels and retention beside chdb and DuckDB over the same events; answers are compared before times.

Q2    three-step ordered funnel, 7-day window ÷ chdb's `windowFunnel` over the same Parquet, and ÷ its MergeTree
Q3    retention 30 × 30 days ÷ DuckDB's plain SQL over the same Parquet
Q4    a funnel of 20 steps ÷ one of 5
Q5    a strict funnel with an exclusion, by browser ÷ Q2
Q8    memory of the funnel of Q2, in a process of its own: what it has at the most beside what it began with

Q6, Q7 and Q9 are in persons.py, since they take Elasticsearch.

The events are day parts as the gateway keeps them, written straight from generated documents: no Elasticsearch runs.
What is measured is the median of runs that take turns, of all that comes after the parts are up to date and their
columns are merged (parts/merged.py); how long merging takes is `merged_s`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import duckdb

from metronome.parts.folder import FORMAT, Folder, Part
from metronome.parts.index import Counters, Documents
from metronome.parts.sort import Sorter
from metronome.periods import Period, to_ms, to_text
from metronome.query import Funnel, Is, Retention
from metronome.query.journeys import engine
from metronome.query.journeys.days import Budget, Days
from metronome.query.journeys.questions import Exclusion
from metronome.settings import Settings

START = date(2026, 7, 1)
DAYS, PEOPLE = 90, 100_000
NAMES = [f"step{n}" for n in range(20)] + ["other"] * 10
NOW = datetime(2026, 12, 1, tzinfo=UTC)
PERIOD = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 9, 29, tzinfo=UTC))


#: Nothing here asks Elasticsearch.
NO_CLIENT: Any = None


class Kept(Days):
    """Parts that are up to date as they are."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NO_CLIENT)
        self._folder = Folder(settings.parts_dir, settings.parts_max_bytes)

    def builder(self) -> Any:
        return SimpleNamespace(folder=self._folder)

    def update(self) -> list[date]:
        return self._folder.days()


def _merge(days: Kept) -> float:
    """Merge the columns that all questions so far could use, as a gateway does in the background; seconds."""
    started = time.perf_counter()
    while not days.merger().make(days.builder().folder):
        time.sleep(0.1)
    return round(time.perf_counter() - started, 2)


def fill(settings: Settings, events: int) -> None:
    """Parts of 90 days. Times are unique, so that other engines' order is ours."""
    rng = random.Random(1)
    folder = Folder(settings.parts_dir, settings.parts_max_bytes)
    a_day = events // DAYS
    for number in range(DAYS):
        day = START + timedelta(days=number)
        midnight = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
        times = rng.sample(range(86_400_000), a_day)
        sources = [json.dumps(source(rng, midnight + ms)).encode() for ms in times]
        building = folder.building(day)
        with Sorter(building) as sorter:
            sorter.add(Documents([f"{number}-{n}" for n in range(a_day)], sources))
            path = building / "part.parquet"
            ids = sorter.ids_sha256()
            sorter.write(path, {"format": FORMAT})
        file = folder.take_in(day, path, a_day, ids)
        folder.replace(Part(FORMAT, day, "bench", Counters("bench", {}), (file,)))


def source(rng: random.Random, ms: int) -> dict[str, Any]:
    """An event of this moment."""
    at = to_text(datetime.fromtimestamp(ms / 1000, UTC))
    return {
        "@timestamp": at,
        "received_at": at,
        "event": rng.choice(NAMES),
        "distinct_id": f"u{rng.randrange(PEOPLE)}",
        "browser": rng.choice(("Chrome", "Firefox", "Safari", "Edge")),
        "is_robot": False,
        "url": f"https://shop.example/item/{rng.randrange(10**6)}",
    }


def funnel(steps: int, **further: Any) -> Funnel:
    return Funnel(tuple(Is("event", f"step{n}") for n in range(steps)), period=PERIOD, **further)


THREE, FIVE, TWENTY = funnel(3), funnel(5), funnel(20)
STRICT = replace(THREE, order="strict", exclusions=(Exclusion(Is("event", "other"), 2, 3),), by="browser")
RETENTION = Retention(
    Is("event", "step0"),
    Is("event", "step1"),
    period=Period(PERIOD.start, datetime(2026, 7, 31, tzinfo=UTC)),
    periods=30,
)


def bench(*, events: int, runs: int) -> dict[str, Any]:
    """Seconds and ratios; raises AssertionError where two engines disagree."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        settings = Settings(home=Path(folder))
        fill(settings, events)
        days = Kept(settings)
        files = [str(path) for path in sorted(settings.parts_dir.glob("*/*.parquet"))]
        ours = {
            name: partial(ask, days, question)
            for name, question in (("q2", THREE), ("five", FIVE), ("twenty", TWENTY), ("q5", STRICT), ("q3", RETENTION))
        }
        theirs: dict[str, Callable[[], Any]] = {"duckdb": lambda: _duckdb(files)}
        theirs |= _chdb(settings, files)
        answers = {name: asking() for name, asking in (ours | theirs).items()}
        _compare(answers)
        merged_s = _merge(days)
        merged = {name: asking() for name, asking in ours.items()}
        assert merged == {name: answers[name] for name in ours}, "merged columns give other answers than day parts"
        memory_mb = _memory_mb(settings, [step.count for step in answers["q2"].steps])
        seconds: dict[str, list[float]] = {name: [] for name in answers}
        for _ in range(runs):
            for name, asking in (ours | theirs).items():
                started = time.perf_counter()
                asking()
                seconds[name].append(time.perf_counter() - started)
    found: dict[str, Any] = {name: round(median(times), 4) for name, times in seconds.items()}
    pairs = (("q2", "chdb"), ("q2", "mergetree"), ("q3", "duckdb"), ("twenty", "five"), ("q5", "q2"))
    ratios = {f"{one}/{other}": round(found[one] / found[other], 2) for one, other in pairs if other in found}
    return {"events": events, "seconds": found, "ratios": ratios, "memory_mb": memory_mb, "merged_s": merged_s}


#: What the process of Q8 does: it prints the funnel, and its memory in KB before and at the highest.
_PROGRAM = """
import json, sys
from pathlib import Path
from bench import journeys
from bench.memory import highest_kb
from metronome.settings import Settings

journeys.ask(journeys.Kept(Settings(home=Path(sys.argv[1]) / "none")), journeys.THREE)
before = highest_kb()
found = journeys.ask(journeys.Kept(Settings(home=Path(sys.argv[1]))), journeys.THREE)
print(json.dumps([[step.count for step in found.steps], before, highest_kb()]))
"""


def _memory_mb(settings: Settings, expected: list[int]) -> dict[str, float]:
    """Q8: the funnel's memory, and the whole process's with Python and the libraries that it has loaded."""
    run = [sys.executable, "-c", _PROGRAM, str(settings.home)]
    counts, before, most = json.loads(subprocess.run(run, stdout=subprocess.PIPE, check=True).stdout)
    assert counts == expected, "the funnel differs in a process of its own"
    return {"funnel": round((most - before) / 1024), "process": round(most / 1024)}


def ask(days: Days, question: Any) -> Any:
    return engine.answer(question, days, NOW, Budget(days.settings, time.monotonic()))


def _compare(answers: dict[str, Any]) -> None:
    levels = [step.count for step in answers["q2"].steps]
    for name in ("chdb", "mergetree"):
        if name in answers:
            assert answers[name] == levels, (name, answers[name], levels)
    table = [(row.size, list(row.returned)) for row in answers["q3"].table.cohorts]
    assert answers["duckdb"] == table, "retention differs"


_PAIRS = """
with e as (select distinct_id u, "@timestamp"::timestamp t, event from read_parquet({files})
  where event in ('step0', 'step1')),
b as (select u, min(t) born from e where event = 'step0' group by u having born < timestamp '2026-07-31'),
r as (select b.u, born, date_diff('day', born, t) k from b join e on e.u = b.u and e.event = 'step1' and t > born),
c as (select date_trunc('day', born) c, k, count(distinct u) n from r where k <= 30 group by all),
s as (select date_trunc('day', born) c, count(*) size from b group by all)
select s.c, size, k, n from s left join c on s.c = c.c order by s.c, k
"""


def _duckdb(files: list[str]) -> list[tuple[int, list[int]]]:
    with duckdb.connect(config={"threads": 1}) as database:
        database.execute("set TimeZone = 'UTC'")
        rows = database.execute(_PAIRS.format(files=files)).fetchall()
    cohorts: dict[Any, tuple[int, list[int]]] = {}
    for cohort, size, k, count in rows:
        found = cohorts.setdefault(cohort, (size, [0] * 31))
        if k is not None:
            found[1][k] = count
    return list(cohorts.values())


def _chdb(settings: Settings, files: list[str]) -> dict[str, Callable[[], Any]]:
    """chdb's own funnel, over the parts' Parquet and over its MergeTree sorted by user; none without chdb."""
    try:
        from chdb.session import Session
    except ImportError:
        return {}
    session = Session(str(settings.home / "chdb"))
    source = f"file('{settings.parts_dir}/*/*.parquet', Parquet)"
    session.query("create database if not exists b engine = Atomic")
    session.query(
        "create table b.e (u String, t DateTime64(3), event LowCardinality(String)) engine = MergeTree order by (u, t)"
    )
    session.query(f"insert into b.e select distinct_id, `@timestamp`, event from {source}")
    session.query("optimize table b.e final")
    window = 7 * 86_400_000
    conditions = ", ".join(f"event = 'step{n}'" for n in range(3))

    def levels(table: str, user: str, at: str) -> list[int]:
        moment = f"toUInt64(toUnixTimestamp64Milli({at}))"
        funnels = f"select {user} u, windowFunnel({window})({moment}, {conditions}) level from {table}"
        wanted = "where event in ('step0', 'step1', 'step2') group by u"
        query = f"select level, count() from ({funnels} {wanted}) group by level settings max_threads = 1"
        rows = (line.split(",") for line in str(session.query(query, "CSV")).split())
        counts = {int(level): int(count) for level, count in rows}
        return [sum(count for level, count in counts.items() if level > k) for k in range(3)]

    return {
        "chdb": lambda: levels(source, "distinct_id", "toDateTime64(`@timestamp`, 3)"),
        "mergetree": lambda: levels("b.e", "u", "t"),
    }


if __name__ == "__main__":
    print(json.dumps(bench(events=int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, runs=3), indent=1))
