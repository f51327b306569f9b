"""`metronome load --counter`: an access log's usages are those that were posted, once each, and nobody is in them."""

from __future__ import annotations

import gzip
import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Gateway
from counter_oracle import figures
from doors import CHROME
from live import NGINX, Live, count
from months import MAY, Repository

from metronome.cli import main
from metronome.errors import BadQuestion
from metronome.load.accesslog import apache_reader, json_reader, to_event
from metronome.load.counted import Counting, Items, read_items

SITE = "https://repo.example"

#: Which item each path is, and what is known of it.
ITEMS: dict[str, dict[str, Any]] = {
    "/roads": {"item_guid": "roads", "counter.item.name": "On roads", "counter.item.data_type": "Article", "counter.item.access_type": "Open"},
    "/roads/file.pdf": {"item_guid": "roads", "counter.item.name": "On roads", "counter.item.data_type": "Article", "counter.item.access_type": "Open"},
    "/book/1.pdf": {"item_guid": "ch1", "counter.item.data_type": "Book_Segment", "counter.title.id": "b", "counter.title.data_type": "Book"},
    "/book/2.pdf": {"item_guid": "ch2", "counter.item.data_type": "Book_Segment", "counter.title.id": "b", "counter.title.data_type": "Book"},
    "/data/set.csv": {"counter.item.data_type": "Dataset", "counter.item.yop": "2024"},
}  # fmt: skip

AGENTS = (CHROME, "Mozilla/5.0 (X11; Linux) Firefox/131.0", "GPTBot/1.0", "-")


class Hit:
    """One request of a made-up log, which can say itself in each of the three ways."""

    def __init__(self, rng: random.Random) -> None:
        start = datetime.fromisoformat(rng.choice(["2026-05-03T09:59:20+00:00", "2026-05-03T23:59:30+00:00", "2026-05-31T23:59:20+00:00"]))  # fmt: skip
        self.at = start + timedelta(seconds=rng.randrange(90))
        self.path = rng.choice([*ITEMS, "/", "/style.css"])
        self.query = rng.choice(["", "", "?page=2"])
        self.address = f"198.51.100.{rng.randrange(3)}"
        self.agent = rng.choice(AGENTS)
        self.status = rng.choice([200, 200, 200, 304, 404, 206])

    def line(self) -> str:
        time = f"{self.at:%d/%b/%Y:%H:%M:%S} +0000"
        return f'{self.address} - - [{time}] "GET {self.path}{self.query} HTTP/1.1" {self.status} 5 "-" "{self.agent}"'

    def usage(self) -> dict[str, Any] | None:
        """What a server would post; None for what isn't the use of an item."""
        if self.path not in ITEMS or self.status not in (200, 304):
            return None
        told = ITEMS[self.path]
        counter: dict[str, Any] = {"timestamp": self.at.isoformat(), "ip": self.address, "status": self.status}
        counter["user_agent"] = self.agent.replace("-", "") if self.agent == "-" else self.agent
        for name, value in told.items():
            if name.startswith("counter."):
                _, thing, key = name.split(".")
                counter.setdefault(thing, {})[key] = value
        return {
            "action_labels": ["download" if "." in self.path else "view", "web"],
            "item_guid": told.get("item_guid", self.path),
            "pageview_info": {"page_url": SITE + self.path + self.query},
            "counter": counter,
        }


def items_file(folder: Path) -> Path:
    file = folder / "items.ndjson"
    file.write_text("".join(json.dumps({"path": path, **told}) + "\n" for path, told in ITEMS.items()))
    return file


@pytest.fixture
def repository(gateway: Gateway) -> Iterator[Repository]:
    found = Repository(gateway)
    yield found
    found.raw.close()


@pytest.fixture
def live(repository: Repository, tmp_path: Path) -> Iterator[Live]:
    running = Live(repository.gateway, tmp_path / "loads")
    yield running
    running.stop()


def test_the_same_usages_posted_ticked_and_logged_come_to_the_same_facts(
    gateway_for: Callable[..., Gateway], tmp_path: Path
) -> None:
    rng = random.Random(13)
    hits = sorted((Hit(rng) for _ in range(200)), key=lambda hit: hit.at)
    usages = [usage for hit in hits if (usage := hit.usage()) is not None]
    log = tmp_path / "access.log"
    log.write_text("".join(hit.line() + "\n" for hit in hits))

    def posted(repository: Repository) -> None:
        repository.post(*usages)

    def ticked(repository: Repository) -> None:
        assert repository.gateway.accepted(usages)["accepted"] == len(usages)

    def logged(repository: Repository) -> None:
        live = Live(repository.gateway, tmp_path / "loads")
        report = live.load(log, counting=Counting(items=read_items(items_file(tmp_path)), site=SITE))
        live.stop()
        assert (report.loaded, report.counted, report.rejected) == (200, len(usages), 0)

    found = []
    for number, way in enumerate((posted, ticked, logged)):
        repository = Repository(gateway_for(index_prefix=f"w{uuid.uuid4().hex[:10]}", home=tmp_path / f"home{number}"))
        repository.customers.add("c1", "One", networks=["198.51.100.0/31"])
        way(repository)
        repository.process()
        found.append(repository.figures())
        repository.raw.close()
    told = [{**usage, "counter": {**usage["counter"], "customer_id": ["c1"] if usage["counter"]["ip"][-1] in "01" else []}} for usage in usages]  # fmt: skip
    expected = figures(told, MAY, {})
    assert {key[-1] for key in expected} >= {"Unique_Title_Requests", "Total_Item_Investigations"}
    assert {key[0] for key in expected} == {"0000000000000000", "c1"}
    assert found == [expected] * 3


def test_without_a_list_of_items_every_view_and_download_is_one_of_its_path(live: Live, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(NGINX.read_text())
    report = live.load(log, counting=Counting())
    documents = live.gateway.documents()
    counted = [one for one in documents if "counter.about" in one]
    assert report.counted == len(counted) == sum(one["event"] in ("view", "download") for one in documents) > 60
    assert {one["event"] for one in documents if "counter.about" not in one} == {"hit", "error"}
    assert {json.loads(one["counter.about"])["item"]["id"] for one in counted} <= set(count(log))
    assert f"{report.counted} of the lines are counted usage" in report.text()


def test_a_log_is_counted_once_however_often_it_is_loaded(live: Live, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(NGINX.read_text())
    live.faults = ["", "lost answer"]
    live.load(log, counting=Counting(), batch=100)
    before = live.gateway.documents()
    assert len(before) == 328
    live.load(log, counting=Counting(), batch=100, restart=True)
    zipped = tmp_path / "access.log.1.gz"
    zipped.write_bytes(gzip.compress(log.read_bytes()))
    live.load(zipped, counting=Counting(), restart=True)
    # A usage that comes again is hashed again, but the document that is there stays.
    assert live.gateway.documents() == before


def test_nobody_of_a_log_reaches_a_disk_and_an_old_one_is_linked_within_itself(live: Live, tmp_path: Path) -> None:
    lines = [
        f'198.51.100.7 - bob [03/May/2026:10:0{minute}:00 +0000] "GET /a{minute} HTTP/1.1" 200 5 "-" "{CHROME}"'
        for minute in range(3)
    ]
    log = tmp_path / "logs" / "access.log"
    log.parent.mkdir()
    log.write_text("\n".join(lines) + "\n")
    live.load(log, counting=Counting({"counter.user_id": "%u"}))
    documents = live.gateway.documents()
    assert len({one["session_id"] for one in documents}) == 1
    assert {tuple(one["flags"]) for one in documents} == {("visitor_unlinked",)}
    assert {one["user_is_authenticated"] for one in documents} == {True}
    kept = [path for folder in (live.gateway.settings.home, live.home) for path in folder.rglob("*") if path.is_file()]
    on_disk = b"".join(path.read_bytes() for path in kept) + json.dumps(documents).encode()
    assert b"/a1" in on_disk
    assert [secret for secret in ("198.51.100.7", "bob", "Windows NT") if secret.encode() in on_disk] == []


COMBINED = (
    '198.51.100.7 - bob [03/May/2026:10:00:00 +0000] "GET /a.pdf?v=1 HTTP/1.1" 200 5 "https://x.example/" "Firefox"'
)
MAIN = f'{COMBINED} "203.0.113.1, 203.0.113.9"'
NGINX_JSON = '{"time_iso8601":"2026-05-03T10:00:00+00:00","remote_addr":"198.51.100.7","host":"repo.example","scheme":"https","request":"GET /a HTTP/1.1","status":"403","http_user_agent":"Firefox","upstream_http_x_denied":"No_License"}'
CADDY = '{"ts":1777802400,"request":{"remote_ip":"10.0.0.1","client_ip":"198.51.100.7","method":"GET","host":"repo.example","uri":"/a","headers":{"User-Agent":["Firefox"]}},"status":200,"user_id":"bob"}'

WHO = {"counter.ip": "198.51.100.7", "counter.user_agent": "Firefox"}


@pytest.mark.parametrize(
    ("line", "counting", "told"),
    [
        pytest.param(COMBINED, Counting(), {"action_labels": ["download", "web"], **WHO}, id="combined"),
        pytest.param(COMBINED, Counting(site="https://repo.example/"), {"action_labels": ["download", "web"], **WHO, "pageview_info.page_url": "https://repo.example/a.pdf?v=1"}, id="a page has its query"),
        pytest.param(COMBINED.replace('"Firefox"', '"-"'), Counting(), {"action_labels": ["download", "web"], **WHO, "counter.user_agent": ""}, id="no agent"),
        pytest.param(COMBINED, Counting({"counter.user_id": "%u", "client_session_id": "%l"}), {"action_labels": ["download", "web"], **WHO, "counter.user_id": "bob"}, id="a column without a value says nothing"),
        pytest.param(MAIN, Counting({"counter.ip": "%{X-Forwarded-For}i"}), {"action_labels": ["download", "web"], **WHO, "counter.ip": "203.0.113.9"}, id="behind a proxy"),
        pytest.param(CADDY, Counting({"counter.user_id": "User_Id"}), {"action_labels": ["view", "web"], **WHO, "counter.user_id": "bob", "pageview_info.page_url": "http://repo.example/a"}, id="Caddy"),
        pytest.param(NGINX_JSON, Counting({"counter.denial": "upstream_http_x_denied"}), {"action_labels": ["view", "web"], **WHO, "counter.denial": "No_License", "pageview_info.page_url": "https://repo.example/a"}, id="a denial, whatever its status"),
        pytest.param(NGINX_JSON, Counting(), {}, id="an error without a denial"),
        pytest.param(COMBINED, Counting(items=Items([("/b", {})])), {}, id="not in the list of items"),
        pytest.param(COMBINED, Counting({"item_guid": "%u"}, Items([("/*", {"item_guid": "x", "provider_id": "osf"})])), {"action_labels": ["download", "web"], **WHO, "item_guid": "bob", "provider_id": "osf"}, id="a column before the list"),
        pytest.param(COMBINED.replace("GET", "HEAD"), Counting(), {}, id="a hit"),
    ],
)  # fmt: skip
def test_what_a_line_says_for_counter(line: str, counting: Counting, told: dict[str, Any]) -> None:
    logged = json_reader(line.encode()) if line[0] == "{" else apache_reader("auto")(line.encode())
    plain = to_event(logged)
    event = dict(plain)
    assert counting.complete(event, logged) == bool(told)
    assert {name: value for name, value in event.items() if plain.get(name) != value} == told


@pytest.mark.parametrize(
    ("line", "form", "reason"),
    [
        pytest.param(COMBINED.partition(' "https')[0], "common", "has no agent of the visitor; name its column: --map counter.user_agent=COLUMN", id="common"),
        pytest.param(COMBINED.partition(" ")[2], '%l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"', "has no address of the visitor; name its column: --map counter.ip=COLUMN", id="no address"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_tell_visitors_apart_is_not_counted(live: Live, tmp_path: Path, line: str, form: str, reason: str) -> None:  # fmt: skip
    log = tmp_path / "access.log"
    log.write_text(line + "\n")
    report = live.load(log, form=form, counting=Counting())
    assert (report.failed, report.loaded) == (True, 0)
    assert json.loads(Path(f"{log}.unreadable").read_text())["reason"] == reason


ROWS = {
    "/a": {"item_guid": "a", "counter.item.name": "A, and B"},
    "/j/*": {"counter.title.id": "j"},
    "/j/x/*": {"counter.title.id": "x"},
}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\n".join(json.dumps({"path": path, **row}) for path, row in ROWS.items()), id="JSON lines"),
        pytest.param('\ufeffpath,item_guid,counter.item.name,counter.title.id\r\n/a,a,"A, and B",\r\n/j/*,,,j\r\n/j/x/*,,,x\r\n', id="CSV"),
        pytest.param("path\titem_guid\tcounter.item.name\tcounter.title.id\n/a\ta\tA, and B\n/j/*\t\t\tj\n/j/x/*\t\t\tx\n", id="with tabs"),
    ],
)  # fmt: skip
def test_a_list_of_items_says_what_is_under_a_path(tmp_path: Path, text: str) -> None:
    file = tmp_path / "items"
    file.write_text(text)
    items = read_items(file)
    assert len(items) == 3
    paths = {"/a": "/a", "/a/b": None, "/j": None, "/j/": "/j/*", "/j/1": "/j/*", "/j/x/1/2": "/j/x/*", "": None}
    assert {path: items.find(path) for path in paths} == {path: ROWS.get(row or "") for path, row in paths.items()}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("id,name\n1,x\n", "line 2: it isn't a path with attributes, such as path,item_guid,counter.item.name", id="no path"),
        pytest.param("path,item_guid\n/a,a,b\n", "line 2: it isn't a path with attributes, such as path,item_guid,counter.item.name", id="a cell too many"),
        pytest.param('{"path": "/a"}\n{"path"\n', "line 2: it isn't a path with attributes, such as path,item_guid,counter.item.name", id="no JSON"),
        pytest.param("path,title\n/a,x\n", "line 2: 'title' is no attribute of a usage; docs/counter.md has them all", id="an unknown column"),
        pytest.param("path,counter.item.doi\n/a,x\n", "line 2: counter.item.doi: Unknown field.", id="an unknown part"),
        pytest.param("path,counter.item.yop\n/a,2024\n/b,24\n", "line 3: counter.item.yop: Four digits; 0001 where it isn't known, 9999 in press.", id="a value that isn't one"),
    ],
)  # fmt: skip
def test_a_list_of_items_with_a_mistake_names_its_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "items"
    file.write_text(text)
    with pytest.raises(BadQuestion) as error:
        read_items(file)
    assert str(error.value).endswith(f"{file}, {problem}")


@pytest.mark.parametrize(
    ("lines", "options", "problem"),
    [
        pytest.param(COMBINED, ["--map", "counter.staus=%u"], "--map: 'counter.staus' is no attribute of a usage", id="an attribute that there isn't"),
        pytest.param(COMBINED, ["--map", "counter.user_id=%{Login}i"], "--map: counter.user_id=%{Login}i: the log's format has no %{Login}i", id="a column that there isn't"),
        pytest.param(COMBINED, ["--map", "counter.user_id"], "isn't NAME=COLUMN", id="no column"),
        pytest.param(COMBINED, ["--site", "repo.example"], "--site: 'repo.example' isn't the address of a site", id="no address of a site"),
        pytest.param(COMBINED, ["--items", "nowhere.csv"], "--items: nowhere.csv: No such file or directory", id="no list"),
        pytest.param('{"id": "a", "@timestamp": "2026-05-03"}', [], "--counter is for access logs", id="a file of events"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_said_before_a_line_is_sent(
    tmp_path: Path, lines: str, options: list[str], problem: str
) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines + "\n")
    nowhere = {"METRONOME_URL": "http://127.0.0.1:1", "METRONOME_HOME": str(tmp_path / "home")}
    done = CliRunner(env=nowhere).invoke(main, ["load", str(log), "--counter", *options])
    assert done.exit_code != 0
    assert problem in done.output + str(done.exception)


def test_the_command_counts_and_says_what_was_loaded_otherwise(live: Live, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(f"{COMBINED}\n")
    assert "add --counter" in CliRunner(env=live.environ).invoke(main, ["load", str(log), "--site", SITE]).output
    live.load(log)
    log.write_text(f"{COMBINED}\n{COMBINED.replace('10:00', '11:00')}\n")
    done = live.run(log, "--counter", "--items", items_file(tmp_path), "--map", "counter.user_id=%u", "--site", SITE, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "  0 of the lines are counted usage\n  up to line 1 it was loaded without --counter" in done.stdout
    log.write_text(log.read_text() + COMBINED.replace("a.pdf?v=1", "roads") + "\n")
    done = live.run(log, "--counter", "--items", items_file(tmp_path), text=True)
    assert "1 lines read, 1 events loaded (1 view)\n  1 of the lines are counted usage\n" in done.stdout
    assert "up to line 1 it was loaded without --counter" in done.stdout
