"""`metronome load`: real logs through a gateway into Elasticsearch, each line once, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway, wait_for
from live import NGINX, ROBOT, Live, count, tocks

from metronome.errors import BadQuestion, SetupError, StoreUnavailable
from metronome.load import load
from metronome.load.load import load_file


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    running = Live(gateway, tmp_path / "loads")
    yield running
    running.stop()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A copy of the log, beside which files may be written."""
    return Path(shutil.copy(NGINX, tmp_path / "access.log"))


def ids(gateway: Gateway) -> list[str]:
    return [str(document["_id"]) for document in gateway.documents()]


# --- Numbers --------------------------------------------------------------------------------------------------


def test_tocks_equal_what_a_count_of_the_log_says(live: Live, log: Path) -> None:
    report = live.load(log)
    assert (report.lines, report.loaded, report.rejected, report.unreadable) == (328, 328, 0, 0)
    expected = count(log)
    assert len(expected) > 50
    assert sum(sum(item["views"].values()) for item in expected.values()) > 60
    assert tocks(live.gateway, expected) == expected


def test_robots_are_loaded_but_not_counted(live: Live, log: Path) -> None:
    live.load(log)
    robots = sum(1 for line in log.read_text().splitlines() if ROBOT.search(line.split('"')[5]))
    documents = live.gateway.documents()
    assert sum(1 for document in documents if document.get("is_robot")) == robots > 40


def test_no_address_name_or_agent_of_a_visitor_is_stored(live: Live, log: Path) -> None:
    log.write_text(log.read_text().replace("127.0.0.1 - - ", "198.51.100.7 - bob "))
    live.load(log)
    stored = json.dumps(live.gateway.documents())
    assert not re.search(r"198\.51\.100|bob|Mozilla/5", stored)


@pytest.mark.parametrize("restart", [False, True])
def test_loading_twice_changes_nothing(live: Live, log: Path, restart: bool) -> None:
    live.load(log, batch=100)
    before = live.gateway.documents()
    again = live.load(log, batch=100, restart=restart)
    assert (again.loaded, again.before) == ((328, 0) if restart else (0, 328))
    assert live.gateway.documents() == before


def test_a_renamed_copy_a_gzip_and_standard_input_are_the_same_file(live: Live, log: Path, tmp_path: Path) -> None:
    live.load(log)
    before = ids(live.gateway)
    renamed = Path(shutil.copy(log, tmp_path / "access.log.1"))
    packed = tmp_path / "access.log.2.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert live.load(renamed).before == 328
    assert live.load(packed).before == 328
    for file in (renamed, packed):
        assert live.load(file, restart=True).loaded == 328
    for data in (log.read_bytes(), packed.read_bytes()):
        done = live.run("-", input=data)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(
            b"stdin: 328 lines read, 328 events loaded (107 hit, 96 view, 89 download, 36 error)"
        )
    assert ids(live.gateway) == before
    assert len(before) == 328


def test_the_same_log_of_another_app_is_counted_apart(live: Live, log: Path) -> None:
    live.load(log)
    assert live.load(log, app="atlas").before == 0
    documents = live.gateway.documents()
    assert len(documents) == 656
    assert Counter(document.get("app") for document in documents) == {None: 328, "atlas": 328}


def test_json_lines_give_the_same_numbers(live: Live) -> None:
    report = live.load(NGINX.with_suffix(".json"))
    assert (report.loaded, report.unreadable) == (328, 0)
    expected = count(NGINX)
    for item in expected.values():
        item["referers"].pop("maps.example.org/atlas", None)  # this log has the host, so its own pages are no referers
    assert tocks(live.gateway, expected) == expected


# --- Cut, grown, away -----------------------------------------------------------------------------------------


def test_a_load_that_was_killed_goes_on_where_it_stopped(live: Live, log: Path) -> None:
    log.write_bytes(NGINX.read_bytes() * 20)
    live.delay_s = 0.02
    process = subprocess.Popen(live.command("--batch", "20", log), env=live.environ, stdout=subprocess.DEVNULL)
    wait_for(lambda: live.posts > 40, "the load to be under way")
    process.kill()
    process.wait()
    live.delay_s = 0
    report = live.load(log)
    assert 0 < report.before < 6560
    assert report.before + report.lines == 6560
    assert len(live.gateway.documents()) == 6560
    expected = count(NGINX)
    paths = ["/about.html", "/data/roads.csv", '/with"quote']
    twenty = {path: {name: {k: n * 20 for k, n in c.items()} for name, c in expected[path].items()} for path in paths}
    assert tocks(live.gateway, paths) == twenty


def test_a_grown_file_gives_only_what_is_new(live: Live, log: Path) -> None:
    lines = NGINX.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:200]))
    assert live.load(log).loaded == 200
    log.write_bytes(b"".join(lines))
    report = live.load(log)
    assert (report.before, report.lines, report.loaded) == (200, 128, 128)
    expected = count(NGINX)
    assert tocks(live.gateway, expected) == expected


def test_a_rotated_file_is_another_file(live: Live, log: Path) -> None:
    lines = NGINX.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:200]))
    live.load(log)
    log.write_bytes(b"".join(lines[200:]))
    assert live.load(log).loaded == 128
    assert len(live.gateway.documents()) == 328


def test_a_file_that_only_starts_like_another_is_read_from_its_beginning(live: Live, log: Path) -> None:
    lines = NGINX.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:10]))
    live.load(log)
    log.write_bytes(lines[0] + b"".join(lines[100:200]))
    for before, loaded in [(0, 101), (101, 0)]:
        report = live.load(log)
        assert (report.before, report.loaded) == (before, loaded)
        assert len(live.gateway.documents()) == 111
    assert live.load(log, restart=True).loaded == 101
    assert len(live.gateway.documents()) == 111


def two_servers(folder: Path) -> list[Path]:
    """Logs of two servers: three equal lines of a health check, then lines of the server's own and further checks."""
    check = '203.0.113.9 - - [22/Nov/2026:00:00:0{} +0000] "GET /health HTTP/1.1" 200 2 "-" "-"\n'
    own = '203.0.113.9 - - [22/Nov/2026:00:01:00 +0000] "GET /{} HTTP/1.1" 200 12 "-" "-"\n'
    logs = []
    for name in ("one", "two"):
        log = folder / name / "access.log"
        log.parent.mkdir()
        log.write_text("".join(map(check.format, (1, 2, 3))) + own.format(name) + "".join(map(check.format, (4, 5))))
        logs.append(log)
    return logs


HEALTHY = {"/health": 10, "/one": 1, "/two": 1}


def views(gateway: Gateway) -> dict[str, int]:
    return dict(Counter(document["id"] for document in gateway.documents()))


def test_two_servers_logs_that_begin_with_the_same_lines_are_both_counted_whole(live: Live, tmp_path: Path) -> None:
    one, two = two_servers(tmp_path)
    for log in (one, two):
        assert live.load(log).loaded == 6
    assert views(live.gateway) == HEALTHY
    # Later both are known: renamed, packed, cut back to an older copy, or read from the beginning.
    packed = tmp_path / "two.gz"
    packed.write_bytes(gzip.compress(two.read_bytes()))
    older = tmp_path / "older.log"
    older.write_bytes(b"".join(two.read_bytes().splitlines(keepends=True)[:5]))
    for log, restart in [(one, False), (packed, False), (older, False), (two, True), (packed, True), (one, True)]:
        live.load(log, restart=restart)
    with two.open("a") as log_of_two:
        log_of_two.write(one.read_text().splitlines(keepends=True)[3])
    assert live.load(two).loaded == 1
    assert views(live.gateway) == {**HEALTHY, "/one": 2}


def test_two_logs_are_told_apart_where_the_first_was_only_begun(live: Live, tmp_path: Path) -> None:
    one, two = two_servers(tmp_path)
    whole = one.read_bytes()
    one.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    for log, loaded in [(one, 2), (two, 4)]:  # so far the second can't be told from the first, grown
        assert live.load(log).loaded == loaded
    one.write_bytes(whole)
    assert live.load(one).loaded == 6
    assert views(live.gateway) == HEALTHY


def test_equal_logs_and_streams_are_told_apart_by_their_source(live: Live, tmp_path: Path) -> None:
    one, two = two_servers(tmp_path)
    for log, source in [(one, "one"), (one, "two"), (one, "one"), (two, "three")]:
        live.load(log, origin=source)
        done = live.run("--source", source, "-", input=log.read_bytes())
        assert (done.returncode, done.stderr) == (0, b"")
    assert views(live.gateway) == {"/health": 15, "/one": 2, "/two": 1}


def test_two_loads_at_the_same_time_tell_their_logs_apart(live: Live, tmp_path: Path) -> None:
    live.delay_s = 0.3
    loads = [
        subprocess.Popen(live.command(log), env=live.environ, stdout=subprocess.DEVNULL)
        for log in two_servers(tmp_path)
    ]
    assert [load.wait(60) for load in loads] == [0, 0]
    assert views(live.gateway) == HEALTHY


def test_a_file_whose_last_line_is_too_long_stays_the_same_file(live: Live, log: Path) -> None:
    log.write_bytes(log.read_bytes() + b"x" * (2**20 + 9) + b"\n")
    assert live.load(log).unreadable == 1
    report = live.load(log)
    assert (report.before, report.lines) == (329, 0)


def test_an_older_copy_of_a_file_changes_nothing(live: Live, log: Path) -> None:
    live.load(log)
    older = log.with_name("older.log")
    older.write_bytes(b"".join(NGINX.read_bytes().splitlines(keepends=True)[:300]))
    assert live.load(older).failed is False
    assert live.load(log).before == 328
    assert len(live.gateway.documents()) == 328


def test_a_last_line_that_is_still_being_written_waits(live: Live, log: Path) -> None:
    lines = NGINX.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:60])
    report = live.load(log)
    assert (report.lines, report.loaded, report.unreadable, report.cut) == (3, 3, 0, True)
    assert "isn't finished" in report.text()
    # Whole but for the newline: it is taken, and isn't doubled when the newline comes.
    log.write_bytes(b"".join(lines[:3]) + lines[3].rstrip())
    assert live.load(log).loaded == 1
    log.write_bytes(b"".join(lines[:5]))
    assert live.load(log).loaded == 2
    assert len(live.gateway.documents()) == 5


def test_a_number_at_the_end_may_grow_so_it_waits_too(live: Live, log: Path) -> None:
    line = b'127.0.0.1 - - [21/Nov/2026:09:30:00 +0000] "GET /grows HTTP/1.1" 200 12'
    log.write_bytes(line)
    assert live.load(log, form="common").cut
    os.utime(log, (time.time() - 120, time.time() - 120))
    assert live.load(log, form="common").loaded == 1


def test_a_busy_gateway_is_asked_again_and_counts_once(
    live: Live, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.faults = ["busy", "lost answer", "busy"]
    assert live.load(log, batch=200).loaded == 328
    assert live.posts == 5
    assert capsys.readouterr().err.count("again in") == 3
    assert len(live.gateway.documents()) == 328


def test_without_a_gateway_the_load_gives_up_and_says_how_to_go_on(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "PATIENCE_FIRST_S", 2)
    with pytest.raises(StoreUnavailable, match=r"no gateway answers at .* run the same command again"):
        load_file(log, url="http://127.0.0.1:1", home=tmp_path)


# --- What can't be read ---------------------------------------------------------------------------------------


def test_garbage_goes_to_a_file_of_its_own_with_line_and_reason(live: Live, log: Path, tmp_path: Path) -> None:
    lines = NGINX.read_bytes().splitlines(keepends=True)
    garbage = {
        5: b"\x00\x00\x00garbage\xff\n",
        11: b"[error] 123#0: not an access log\n",
        20: b"x" * (2**20 + 9) + b"\n",
    }
    for number, line in garbage.items():
        lines.insert(number - 1, line)
    lines.insert(30, b"\r\n")
    log.write_bytes(b"".join(lines))
    report = live.load(log, batch=7)
    assert (report.lines, report.loaded, report.unreadable) == (331, 328, 3)
    kept = tmp_path / "access.log.unreadable"
    assert f"3 lines can't be read: see {kept}" in report.text()
    rows = [json.loads(row) for row in kept.read_text().splitlines()]
    assert [row["line"] for row in rows] == [5, 11, 20]
    assert rows[0]["text"] == "\x00\x00\x00garbage\\xff"
    assert rows[0]["offset"] == sum(map(len, lines[:4]))
    assert [row["reason"] for row in rows] == [
        "isn't a line of an access log in common or combined format",
        "is a JSON array; write one event a line (NDJSON), or post it by `metronome tick --file`",
        "is longer than 1048576 bytes",
    ]
    assert kept.stat().st_mode & 0o777 == 0o600
    live.load(log, restart=True)
    assert len(kept.read_text().splitlines()) == 3
    expected = count(NGINX)
    assert tocks(live.gateway, ["/", "/data/roads.csv"]) == {path: expected[path] for path in ("/", "/data/roads.csv")}


def test_what_the_gateway_refuses_is_kept_with_its_reason(live: Live, log: Path, tmp_path: Path) -> None:
    line = '127.0.0.1 - - [21/Nov/2026:09:30:00 +0000] "GET /{} HTTP/1.1" 200 12 "-" "-"\n'
    log.write_text(line.format("a") + line.format("b" * 600))
    done = live.run("--unreadable", tmp_path / "kept", log)
    assert done.returncode == 2
    assert f"1 events were refused: see {tmp_path}/kept" in done.stdout.decode()
    row = json.loads((tmp_path / "kept").read_text())
    assert (row["line"], row["reason"]) == (2, "refused by the gateway: id: an item's id has at most 512 bytes")


def test_a_gzip_that_is_cut_short_loads_what_it_holds_and_says_so(live: Live, tmp_path: Path) -> None:
    packed = tmp_path / "access.log.gz"
    packed.write_bytes(gzip.compress(NGINX.read_bytes())[:3000])
    report = live.load(packed)
    assert 0 < report.loaded < 328
    assert report.failed
    assert "is damaged or cut short" in report.text()
    assert len(live.gateway.documents()) == report.loaded


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("absent.log", {}, SetupError, "absent.log: No such file"),
        ("", {}, SetupError, "Is a directory"),
        ("access.log", {"form": "cvs"}, BadQuestion, "--format: 'cvs' is none of auto, ndjson"),
        ("access.log", {"form": "%Y"}, BadQuestion, "--format: '%Y' is no LogFormat"),
        ("broken.gz", {}, SetupError, "broken.gz is damaged or cut short"),
    ],
)
def test_mistakes_are_told(
    log: Path, tmp_path: Path, name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(error, match=message):
        load_file(tmp_path / name, url="http://127.0.0.1:1", home=tmp_path, **options)


def test_an_empty_file_is_no_mistake(live: Live, tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    assert live.load(tmp_path / "empty.log").text() == f"{tmp_path}/empty.log: 0 lines read, 0 events loaded"


# --- Events ---------------------------------------------------------------------------------------------------

EVENTS = """\
{"id": "report", "event": "download", "format": "csv", "@timestamp": "2026-11-20T10:00:00Z", "big": 12345678901234567890}
{"id": "report", "time": 1795168800, "insert_id": "own-1", "app": "theirs"}
{"id": "report"}
{"id": "report", "@timestamp": "2026-11-21T10:00:00Z", "insert_id": null, "app": ""}
not json
["report"]
{"id": "report", "@timestamp": "never"}
"""


def test_events_as_ndjson(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(EVENTS)
    report = live.load(file, app="ours")
    assert (report.lines, report.loaded, report.rejected, report.unreadable) == (7, 3, 1, 3)
    rows = [json.loads(row) for row in (tmp_path / "events.ndjson.unreadable").read_text().splitlines()]
    reasons = {row["line"]: row["reason"].partition(";")[0].partition(":")[0] for row in rows}
    assert reasons == {
        3: "has no @timestamp",
        5: "isn't JSON",
        6: 'is JSON, but no event, such as {"id"',
        7: "refused by the gateway",
    }
    documents = live.gateway.documents()
    assert sorted((document["app"], document["@timestamp"]) for document in documents) == [
        ("ours", "2026-11-20T10:00:00.000Z"),
        ("ours", "2026-11-21T10:00:00.000Z"),
        ("theirs", "2026-11-20T10:00:00.000Z"),
    ]
    assert "theirs:own-1" in [document["_id"] for document in documents]
    live.load(file, app="ours", restart=True)
    assert live.gateway.documents() == documents
    assert live.gateway.tock("report")["downloads"] == {"csv": 1}


# --- The command ----------------------------------------------------------------------------------------------


def test_the_command_against_running_processes(server: Any, log: Path) -> None:
    done = server.command("load", str(log))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{log}: 328 lines read, 328 events loaded (107 hit, 96 view, 89 download, 36 error)\n"
    expected = count(NGINX)["/data/roads.csv"]["downloads"]["csv"]

    def downloads() -> Any:
        return json.loads(server.command("tock", "/data/roads.csv").stdout)["downloads"].get("csv") == expected

    wait_for(downloads, "the drain")
