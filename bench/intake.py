"""(d) What intake costs an event, by how varied the events are: in this process, with a spool that keeps nothing.

Reading the body, the door and its steps, in yardsticks (an orjson round trip of the same events), without
fsync and HTTP.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

from bench.events import generate, yardstick_us, yesterday
from metronome.intake import Intake, Origin
from metronome.settings import Settings
from metronome.wire.events import read_events

BATCH = 500


class Nowhere:
    """A spool that keeps nothing."""

    def append(self, body: bytes, events: int) -> None: ...


def bench(*, events: int, runs: int) -> dict[str, Any]:
    """Yardsticks an event with 3,000, 30,000 and 300,000 distinct referers, all of them in turn."""
    cases = {f"referers_{n}": _bodies(events, referers=n) for n in (3_000, 30_000, 300_000)}
    cases["plain"] = _bodies(events, referers=3_000, agents=False)
    figures: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(runs + 1):
        for name, (lines, bodies) in cases.items():
            # A new intake each time: what was remembered in the run before doesn't count.
            cost = _cost_us(bodies, Intake(Settings(), Nowhere())) / yardstick_us(lines)
            if number:
                figures[name].append(cost)
        print(f"  run {number}: " + ", ".join(f"{n} {v[-1]:.2f}" for n, v in figures.items() if v), file=sys.stderr)
    found = {name: round(median(values), 2) for name, values in figures.items()}
    found["ratio"] = round(found["referers_300000"] / found["referers_3000"], 2)
    return {"events": events, **found}


def _bodies(events: int, *, referers: int, agents: bool = True) -> tuple[list[bytes], list[bytes]]:
    lines = generate(events, seed=4, end=yesterday(), days=1, agents=agents, referers=referers)
    return lines, [b"\n".join(lines[start : start + BATCH]) for start in range(0, len(lines), BATCH)]


def _cost_us(bodies: list[bytes], intake: Intake) -> float:
    started = time.process_time()
    count = 0
    for body in bodies:
        posted = read_events(body, "application/x-ndjson")
        count += intake.accept(posted.events, Origin("tick"), flat=posted.flat, addresses=posted.addresses).accepted
    return (time.process_time() - started) / count * 1e6
