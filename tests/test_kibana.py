"""The dashboard for Kibana: what Kibana's import checks, checked here, since no Kibana runs in the tests."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metronome.cli import main
from metronome.event.fields import FIELDS
from metronome.kibana.charts import CHARTS
from metronome.kibana.objects import export, objects
from metronome.settings import Settings

KINDS = {field.name: field.kind for field in FIELDS}
OBJECTS = objects(Settings())
BY_TYPE = {kind: [one for one in OBJECTS if one["type"] == kind] for kind in ("index-pattern", "lens", "dashboard")}

#: The latest versions that Kibana 8.9 knows. It refuses newer ones, and migrates older ones.
KNOWN = {"index-pattern": (8, 0, 0), "lens": (8, 9, 0), "dashboard": (8, 9, 0)}


def problems(lines: list[dict[str, Any]]) -> list[str]:
    """What Kibana's import would refuse, or show as broken."""
    found = []
    ids = {(one["type"], one["id"]) for one in lines}
    for one in lines:
        name = f"{one['type']} {one['id']}"
        version = tuple(map(int, one["typeMigrationVersion"].split(".")))
        if one["type"] not in KNOWN or version > KNOWN[one["type"]] or one["coreMigrationVersion"] > "8.8.0":
            found.append(f"{name}: of a newer Kibana")
        if not one["attributes"].get("title"):
            found.append(f"{name}: no title")
        missing = [(to["type"], to["id"]) for to in one["references"] if (to["type"], to["id"]) not in ids]
        found += [f"{name}: refers to {kind} {to}, which isn't there" for kind, to in missing]
    if len(ids) != len(lines):
        found.append("an id is there twice")
    return found


def test_the_file_is_what_the_code_makes() -> None:
    file = Path(__file__).parent.parent / "docker/kibana/metronome.ndjson"
    assert file.read_text() == export(Settings()), "run: metronome kibana export docker/kibana/metronome.ndjson"


def test_kibana_would_take_every_object() -> None:
    assert problems(OBJECTS) == []
    assert {kind: len(some) for kind, some in BY_TYPE.items()} == {"index-pattern": 1, "lens": 14, "dashboard": 1}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"typeMigrationVersion": "9.0.0"}, "newer Kibana"),
        ({"references": [{"type": "lens", "id": "x", "name": "n"}]}, "isn't there"),
        ({"attributes": {}}, "no title"),
        ({"id": OBJECTS[1]["id"]}, "twice"),
    ],
)
def test_what_kibana_refuses_is_found(change: dict[str, Any], problem: str) -> None:
    assert problem in " ".join(problems([*OBJECTS[:2], {**OBJECTS[2], **change}, *OBJECTS[3:]]))


def test_the_data_view_is_that_of_the_events() -> None:
    (view,) = BY_TYPE["index-pattern"]
    assert (view["attributes"]["title"], view["attributes"]["timeFieldName"]) == ("logstash-*", "@timestamp")


@pytest.mark.parametrize("lens", BY_TYPE["lens"], ids=lambda lens: lens["id"])
def test_a_chart_is_whole_and_its_fields_exist(lens: dict[str, Any]) -> None:
    state = lens["attributes"]["state"]
    ((layer_id, layer),) = state["datasourceStates"]["formBased"]["layers"].items()
    names = [reference["name"] for reference in lens["references"]]
    assert names == [f"indexpattern-datasource-layer-{layer_id}"]
    assert set(layer["columnOrder"]) == set(layer["columns"])
    for column in layer["columns"].values():
        if column["operationType"] != "count":
            kind = KINDS[column["sourceField"]]
            assert column["dataType"] == {"keyword": "string", "long": "number", "date": "date"}[kind]
        if column["operationType"] == "terms":
            assert column["params"]["orderBy"]["columnId"] in layer["columns"]
    drawn = state["visualization"]
    (shown,) = drawn.get("layers", [drawn])
    assert shown["layerId"] == layer_id
    accessors = [shown[name] for name in ("metricAccessor", "xAccessor", "splitAccessor") if name in shown]
    accessors += [*shown.get("accessors", ()), *(column["columnId"] for column in shown.get("columns", ()))]
    assert sorted(accessors) == sorted(layer["columns"])
    queried = re.findall(r"([\w.@]+) (?:[:>]|>=) ", state["query"]["query"])
    assert set(queried) <= set(KINDS)


def test_the_dashboard_shows_every_chart_once_and_none_over_another() -> None:
    (dashboard,) = BY_TYPE["dashboard"]
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    referred = {reference["name"]: reference["id"] for reference in dashboard["references"]}
    shown = [referred[f"{panel['panelIndex']}:{panel['panelRefName']}"] for panel in panels]
    assert shown == [lens["id"] for lens in BY_TYPE["lens"]]
    assert len(referred) == len(panels) == len(CHARTS)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridData"]
        assert grid["i"] == panel["panelIndex"] and grid["x"] + grid["w"] <= 48
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells
        taken |= cells
    assert json.loads(dashboard["attributes"]["optionsJSON"])["useMargins"]


def test_another_prefix_has_objects_of_its_own() -> None:
    others = objects(Settings(index_prefix="usage"))
    assert others[0]["attributes"]["title"] == "usage-*"
    assert {one["id"] for one in others}.isdisjoint(one["id"] for one in OBJECTS)


class Kibana(BaseHTTPRequestHandler):
    """Checks an import as Kibana does; `server.answer` is what it says to one that is well formed."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen = {"path": self.path, "authorization": self.headers.get("Authorization")}  # type: ignore[attr-defined]
        if not self.headers.get("kbn-xsrf"):
            self.say(
                400, {"statusCode": 400, "error": "Bad Request", "message": "Request must contain a kbn-xsrf header."}
            )
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        (part,) = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
        assert part.get_param("name", header="content-disposition") == "file"
        assert str(part.get_filename()).endswith(".ndjson")
        lines = [json.loads(line) for line in part.get_content().decode().splitlines() if line]
        self.server.lines = lines  # type: ignore[attr-defined]
        status, answer = self.server.answer  # type: ignore[attr-defined]
        self.say(status, answer or {"success": not problems(lines), "successCount": len(lines)})

    def say(self, status: int, answer: Any) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def kibana() -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), Kibana) as server:
        server.answer = (200, None)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def install(kibana: Any, *options: str, given: str = "") -> Result:
    url = f"http://127.0.0.1:{kibana.server_port}"
    return CliRunner().invoke(main, ["kibana", "install", "--url", url, *options], input=given)


def test_install_imports_every_object(kibana: Any) -> None:
    done = install(kibana)
    assert (done.exit_code, done.output) == (0, "16 objects installed; look for the dashboard “Usage events”\n")
    assert kibana.lines == OBJECTS
    assert kibana.seen == {"path": "/api/saved_objects/_import?overwrite=true", "authorization": None}


def test_install_logs_in_as_it_is_told_and_into_a_space(kibana: Any, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("abc=\n")
    assert install(kibana, "--username", "elastic", given="secret\n").exit_code == 0
    assert kibana.seen["authorization"] == "Basic ZWxhc3RpYzpzZWNyZXQ="
    assert install(kibana, "--username", "elastic", "--password-file", str(key)).exit_code == 0
    assert kibana.seen["authorization"] == "Basic ZWxhc3RpYzphYmM9"
    assert install(kibana, "--api-key-file", str(key), "--space", "a b").exit_code == 0
    assert kibana.seen == {"path": "/s/a%20b/api/saved_objects/_import?overwrite=true", "authorization": "ApiKey abc="}


REFUSED = [
    pytest.param((401, {"message": "unauthorized"}), "answered 401: unauthorized; give --username", id="no login"),
    pytest.param((404, {"message": "Not Found"}), "is --url Kibana's address", id="another server"),
    pytest.param((500, {"message": "sorry"}), "answered 500: sorry", id="its own fault"),
    pytest.param((200, {"hello": 1}), "isn't Kibana's import", id="something else"),
    pytest.param((200, {"success": False, "successCount": 15, "errors": [{"type": "lens", "id": "x", "error": {"type": "conflict"}}]}), "took 15 objects, and refused lens x: {'type': 'conflict'}", id="some objects"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "told"), REFUSED)
def test_install_says_what_kibana_refused(kibana: Any, answer: tuple[int, Any], told: str) -> None:
    kibana.answer = answer
    done = install(kibana)
    assert (done.exit_code, told in done.output) == (1, True), done.output


def test_install_without_a_kibana_says_so() -> None:
    away = CliRunner().invoke(main, ["kibana", "install", "--url", "http://127.0.0.1:1"])
    assert (away.exit_code, "no Kibana answers at http://127.0.0.1:1" in away.output) == (1, True)
    wrong = CliRunner().invoke(main, ["kibana", "install", "--url", "file:///etc/passwd"])
    assert (wrong.exit_code, "isn't Kibana's address" in wrong.output) == (1, True)


def test_export_writes_a_file_or_to_standard_output(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["kibana", "export"]).output == export(Settings())
    assert CliRunner().invoke(main, ["kibana", "export", str(tmp_path / "x.ndjson")]).output == ""
    assert (tmp_path / "x.ndjson").read_text() == export(Settings())
