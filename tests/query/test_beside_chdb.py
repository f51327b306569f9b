"""Levels are those of ClickHouse's windowFunnel where the definitions agree: distinct steps, unique times, no exclusions.

chdb runs in a process of its own, since it brings its own allocator.
"""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from datetime import timedelta

import pytest
from columned import columns_of
from test_funnel import MINUTE, START, at

from metronome.periods import Period
from metronome.query import Funnel, Is, Window
from metronome.query.journeys import funnel

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("chdb") is None, reason="chdb isn't installed: pip install -e '.[bench]'"
)


@pytest.mark.parametrize("minutes", [5, 40, 600])
def test_levels_are_those_of_window_funnel(minutes: int) -> None:
    rng = random.Random(minutes)
    events = [
        {"event": rng.choice("ABCDX"), "@timestamp": at(when / 4), "u": f"u{rng.randrange(150)}", "_id": str(when)}
        for when in rng.sample(range(20_000), 3000)
    ]
    steps = tuple(Is("event", name) for name in "ABCD")
    period = Period(START, START + timedelta(days=30))
    question = Funnel(steps, subject="u", window=Window(minutes * MINUTE), period=period)
    columns = columns_of(events, "u", funnel.conditions(question))
    ours = [step.count for step in funnel.answer(question, columns, START + timedelta(days=90)).steps]
    rows = ", ".join(f"('{event['u']}', {event['@timestamp']}, '{event['event']}')" for event in events)
    conditions = ", ".join(f"e = '{name}'" for name in "ABCD")
    query = (
        f"select level, count() from (select u, windowFunnel({minutes * MINUTE})(t, {conditions}) level "
        f"from values('u String, t UInt64, e String', {rows}) group by u) group by level"
    )
    run = subprocess.run(
        [sys.executable, "-c", "import sys, chdb; print(chdb.query(sys.stdin.read(), 'JSONCompact'))"],
        input=query, capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts = {int(level): int(count) for level, count in json.loads(run.stdout)["data"]}
    assert ours == [sum(count for level, count in counts.items() if level > k) for k in range(4)]
