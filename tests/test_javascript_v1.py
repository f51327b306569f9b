"""The OpenMetrics client in Node against a gateway's own `/v1`: with a key, by GET with `q`, by POST as text/plain."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from keyed import Kept
from live import Live
from test_javascript import PACKAGE, needs_node, node

pytestmark = needs_node

#: Sends what `say` says and prints what each callback was given.
SCRIPT = """
const [, , library, url, key, say] = process.argv;
const client = require(library)(url, key ? { key } : {});
const answers = [];
const done = (name) => (...answer) => { answers.push([name, ...answer]); };
eval(say);
client.destroy();
process.on("exit", () => console.log(JSON.stringify(answers)));
"""


class Noted(Live):
    """Remembers method, target and type of each request to /v1."""

    def __init__(self, gateway: Gateway, home: Path) -> None:
        self.requests: list[tuple[str, str, str]] = []
        super().__init__(gateway, home)

    def _application(self, environ: Any, start_response: Callable[..., Any]) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        kind = environ.get("CONTENT_TYPE", "") if body else "q" if "q=" in environ["QUERY_STRING"] else ""
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], kind))
        return super()._application(environ, start_response)


@pytest.fixture
def kept(gateway_for: Callable[..., Gateway]) -> Iterator[Kept]:
    made = Kept(gateway_for(open="no"))
    yield made
    made.gateway.app.extensions["gate"].rates.close()


@pytest.fixture
def gate(kept: Kept, tmp_path: Path) -> Iterator[Noted]:
    running = Noted(kept.gateway, tmp_path)
    yield running
    running.stop()


def said(gate: Noted, key: str, text: str, tmp_path: Path) -> list[Any]:
    script = tmp_path / "say.cjs"
    script.write_text(SCRIPT)
    run = node(script, PACKAGE / "lib/metronome.cjs", gate.url, key, text)
    assert run.returncode == 0, run.stderr
    answers: list[Any] = json.loads(run.stdout)
    return sorted(answers)


def test_short_events_go_by_get_and_long_ones_as_text(kept: Kept, gate: Noted, tmp_path: Path) -> None:
    _, key = kept.make()
    long = "é" * 3000
    answers = said(
        gate,
        key,
        """
        client.setUserId("s1", "u 1&x", done("id"));
        client.logEvent({ sessionId: "s1" }, "login", { t: "café 日本 + 100%" }, done("short"));
        client.logEvent({ sessionId: "s2" }, "long", { t: "é".repeat(3000) }, done("long"));
        client.setUserProperties({ sessionId: "s1" }, { "first-name": "jane" }, done("props"));
        """,
        tmp_path,
    )
    assert answers == [[name, None, "ok"] for name in ("id", "long", "props", "short")]
    assert sorted(gate.requests) == [
        ("GET", "/v1/events", "q"),
        ("GET", "/v1/setUserId", "q"),
        ("GET", "/v1/setUserProps", "q"),
        ("POST", "/v1/events", "text/plain;charset=UTF-8"),
    ]
    stored = kept.gateway.documents()
    events = {row["event"]: (row["session_id"], row["props.t"]) for row in stored if not row["event"].startswith("$")}
    assert events == {"login": ("s1", "café 日本 + 100%"), "long": ("s2", long)}
    identified = [row["distinct_id"] for row in stored if row["event"] == "$identify"]
    assert identified == ["u 1&x"]


@pytest.mark.parametrize("kind", ["no key", "a wrong key", "a key to read"])
def test_without_a_key_that_may_write_the_callback_hears_of_it(
    kept: Kept, gate: Noted, tmp_path: Path, kind: str
) -> None:
    _, reader = kept.make(scopes=("read",))
    key = {"no key": "", "a wrong key": reader[:-1] + ("a" if reader[-1] != "a" else "b"), "a key to read": reader}[
        kind
    ]
    answers = said(gate, key, 'client.logEvent({ sessionId: "s" }, "login", {}, done("login"));', tmp_path)
    assert answers == [["login", True]]
    assert kept.gateway.documents() == []
