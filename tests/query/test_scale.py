"""docs/scale.md: its SQL gives the numbers of `/query/funnel` on the same parts, and its cut loses no event."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from conftest import Gateway

PAGE = (Path(__file__).parent.parent.parent / "docs/scale.md").read_text()


def sql(name: str) -> str:
    found = re.search(rf"```sql {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def events() -> list[dict[str, Any]]:
    """Histories of 60 subjects, with equal times, events before and after the range, and some of nobody."""
    rng, start = random.Random(7), datetime(2026, 9, 29, tzinfo=UTC)
    rows = []
    for number in range(900):
        at = start + timedelta(hours=rng.randrange(18 * 24))
        who = rng.choice([None, *(f"u{n}" for n in range(60))])
        row = {"insert_id": f"e{number}", "id": "x", "ts": at.isoformat(), "event": rng.choice(["view", "cart", "buy", "other"])}  # fmt: skip
        if rng.random() < 0.5:
            row["seq"] = rng.randrange(3)
        rows.append(row | ({"distinct_id": who} if who else {"session_id": "s"}))
    return rows


def test_the_sql_counts_what_the_gateway_counts(gateway_for: Callable[..., Gateway], tmp_path: Path) -> None:
    gateway = gateway_for(now=datetime(2026, 11, 1, tzinfo=UTC))
    for start in range(0, 900, 300):
        gateway.accepted(events()[start : start + 300])
    gateway.drain()
    asked = {
        "steps": [{"event": "view"}, {"event": "cart"}, {"event": "buy"}],
        "window": "7d", "subject": "distinct_id", "robots": "all", "from": "2026-10-01", "to": "2026-10-07",
    }  # fmt: skip
    answer = gateway.http.post("/query/funnel", json=asked)
    assert answer.status_code == 200, answer.text
    counts = tuple(step["count"] for step in answer.json["result"]["steps"])
    parts = f"{gateway.settings.home}/parts/**/*.parquet"
    database = duckdb.connect()
    database.execute("set TimeZone = 'UTC'")
    assert database.execute(sql("duckdb").replace("PARTS", parts)).fetchone() == counts
    assert counts[0] > counts[1] > counts[2] > 0

    database.execute(sql("cut").replace("PARTS", parts).replace("CUT", str(tmp_path / "cut")))
    cut = f"read_parquet('{tmp_path}/cut/**/*.parquet', union_by_name = true)"
    assert database.execute(f"select count(*), count(distinct _id) from {cut}").fetchone() == (900, 900)
    # No subject is in two shards, so counts of shards add up.
    shards = f"select count(distinct shard) from {cut} where _subject is not null group by _subject"
    assert set(database.execute(shards).fetchall()) == {(1,)}
