"""A library's own client, PyPI celus-nigiri, harvests PR, DR, TR and IR over HTTP, and reads what the facts say.

The client pins versions of click and requests that this project can't live with, so it has an environment of its own in
the user's cache. Where that can't be made, the tests are skipped.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from elasticsearch import Elasticsearch
from harvest import random_facts
from other_python import python_with

from metronome.counter.facts import REPORTS, order
from metronome.counter.kept import Kept
from metronome.counter.reports import months
from metronome.settings import Settings

#: Of these random facts every report has many.
SEED = 0

CLIENT = "celus-nigiri==4.2.2"

#: What the client sends and reads, as JSON: {report: {"errors": […], "records": [[…], …]}}.
SCRIPT = """
import io, json, sys
from celus_nigiri.client import Sushi51Client

url, customer, requestor, key, begin, end = sys.argv[1:]
client = Sushi51Client(url, customer, requestor, extra_params={"api_key": key})
found = {}
for report_id in ("pr", "dr", "tr", "ir"):
    output = io.BytesIO()
    report = client.get_report_data(report_id, begin, end, output_content=output)
    header, items = report.fd_to_dicts(output)
    records = [
        [one.title, dict(one.title_ids), one.item, dict(one.item_ids or {}), one.dimension_data, one.metric,
         one.start.strftime("%Y-%m"), one.value]
        for one in report.read_report(header, items)
    ]
    said = [str(one) for one in (*report.errors, *report.warnings, *report.infos)]
    found[report_id.upper()] = {"said": said, "queued": report.queued, "records": records}
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def client_python() -> Path:
    """The Python that has the client."""
    return python_with(CLIENT)


def expected(facts: dict[tuple[str, str, str], Any], report_id: str) -> Counter[tuple[Any, ...]]:
    """Records as the client names them: (proprietary id, data type, YOP, access type, method, metric, month)."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for (month, _, sort), several in facts.items():
        for fact in several if sort == report_id else ():
            name = f"metronome:{fact.subject.id}" if fact.subject else ""
            for one in fact.performances:
                for metric, count in one.counts.items():
                    shown = (one.data_type, one.yop, one.access_type, one.access_method)
                    counts[(name, *shown, metric, month)] += count
    return counts


def test_a_librarys_client_reads_what_the_facts_say(
    server: Server, elasticsearch: Elasticsearch, client_python: Path
) -> None:
    last = months.before(months.month_of(datetime.now(UTC)))
    asked = months.through(months.before(months.before(last)), last)
    facts = random_facts(random.Random(SEED), asked)
    added = server.command("counter", "customers", "add", "harvested", "--name", "Example University")
    credentials = json.loads(added.stdout)
    kept = Kept(elasticsearch, Settings.from_env(server.environ))
    for month in asked:
        portions = [("harvested", sort, sorted(facts[month, "c1", sort], key=order)) for sort in REPORTS]
        kept.replace(month, portions, at=datetime.now(UTC))
    run = subprocess.run(
        [str(client_python), "-c", SCRIPT, server.url, *credentials.values(), f"{asked[0]}-01", f"{last}-01"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    for report_id, read in json.loads(run.stdout).items():
        assert (read["said"], read["queued"]) == ([], False)
        counts: Counter[tuple[Any, ...]] = Counter()
        for _, title_ids, _, item_ids, said, metric, month, value in read["records"]:
            shown = (said.get(name, "") for name in ("Data_Type", "YOP", "Access_Type", "Access_Method"))
            ids = item_ids if report_id == "IR" else title_ids
            counts[(ids.get("Proprietary", ""), *shown, metric, month)] += value
        assert counts == expected(facts, report_id), report_id
        assert sum(counts.values()) > 50
