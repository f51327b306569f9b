"""docs/counter.md runs as it stands: from a customer to a report, with the usage of last month."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
from conftest import Server
from schema import schema

PAGE = (Path(__file__).parents[2] / "docs/counter.md").read_text()


def test_the_first_report_is_there_after_the_commands_of_the_page(server: Server, tmp_path: Path) -> None:
    section = PAGE[PAGE.index("## The first report") : PAGE.index("## The routes")]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    script = script.replace("http://127.0.0.1:8000", server.url)
    script = re.sub(r"^metronome ", f"{sys.executable} -m metronome ", script, flags=re.MULTILINE)
    script = script.replace("\ncurl -s ", "\necho; curl -sf ")
    run = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=server.environ, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    report = json.loads(next(line for line in lines if line.startswith('{"Report_Header"')))
    jsonschema.validate(report, schema("TR"))
    assert len(report["Report_Items"]) == 1, run.stdout
    (title,) = report["Report_Items"]
    (performance,) = title["Attribute_Performance"]
    assert (title["Title"], title["Item_ID"], performance["Data_Type"]) == (
        "Journal of Roads", {"Proprietary": "metronome:j-1", "Online_ISSN": "1234-5679"}, "Journal",
    )  # fmt: skip
    assert {metric: list(months.values()) for metric, months in performance["Performance"].items()} == {
        "Total_Item_Investigations": [1],
        "Total_Item_Requests": [1],
        "Unique_Item_Investigations": [1],
        "Unique_Item_Requests": [1],
    }
    assert "\ufeffReport_Name\tJournal Article Requests" in lines
    (row,) = [line.split("\t") for line in lines if line.startswith("On roads\t") and "Total_Item_Requests" in line]
    assert (row[-2:], "Journal of Roads" in row, "Open" in row) == (["1", "1"], True, True)
    assert any("Total_Item_Requests+1" in line for line in lines), "explain names the event"
