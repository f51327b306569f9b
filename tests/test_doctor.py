"""`metronome doctor`: what the role lacks, and who gets in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway, free_port
from proxy import ELASTIC, Proxy

from metronome.doctor import Finding, _elasticsearch
from metronome.keys import Keys
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.records import Records
from metronome.store.role import CLUSTER, EVENTS, RECORDS, role


@pytest.fixture
def proxy(engine_settings: Settings) -> Iterator[Proxy]:
    found = Proxy(engine_settings.elasticsearch_url, free_port())
    found.start()
    yield found
    found.stop()


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in _elasticsearch(settings)}


PRIVILEGES = "/_security/user/_has_privileges"


@pytest.mark.parametrize(
    ("lacking", "well", "text"),
    [
        pytest.param({}, True, "metronome may write and read logstash-* and metronome-*", id="nothing lacks"),
        pytest.param({"cluster": {"monitor"}}, False, "metronome lacks monitor; docs/elasticsearch.md has the minimal role", id="of the cluster"),
        pytest.param({"logstash-*": {"create_doc"}}, False, "metronome lacks create_doc of logstash-*; docs/elasticsearch.md has the minimal role", id="of events"),
        pytest.param({"logstash-*": {"monitor", "maintenance"}}, False, "metronome lacks maintenance of logstash-*, monitor of logstash-*; docs/elasticsearch.md has the minimal role", id="of day parts"),
        pytest.param({"metronome-*": {"write", "read"}}, False, "metronome lacks write of metronome-*, read of metronome-*; docs/elasticsearch.md has the minimal role", id="of records"),
    ],
)  # fmt: skip
def test_the_role_is_looked_at_for_events_and_for_records(
    engine_settings: Settings, proxy: Proxy, lacking: dict[str, set[str]], well: bool, text: str
) -> None:
    def has(names: tuple[str, ...], of: str) -> dict[str, bool]:
        return {name: name not in lacking.get(of, set()) for name in names}

    answer: dict[str, Any] = {
        "username": "metronome",
        "cluster": has(CLUSTER, "cluster"),
        "index": {"logstash-*": has(EVENTS, "logstash-*"), "metronome-*": has(RECORDS, "metronome-*")},
    }
    proxy.answers[PRIVILEGES] = (200, ELASTIC, json.dumps(answer).encode())
    found = findings(replace(engine_settings, elasticsearch_url=proxy.url))
    assert found["role"] == Finding("role", well, text)
    needed = role(Settings())
    assert json.loads(proxy.asked[PRIVILEGES]) == {"cluster": needed["cluster"], "index": needed["indices"]}


def test_the_role_of_the_documents_is_the_one_that_is_needed() -> None:
    page = (Path(__file__).parent.parent / "docs/elasticsearch.md").read_text()
    found = re.search(r"PUT _security/role/metronome\n(.*?)```", page, re.DOTALL)
    assert found and json.loads(found[1]) == role(Settings())


def test_it_says_who_gets_in_and_which_template_is_missing(gateway: Gateway) -> None:
    settings = gateway.settings
    prefix = settings.index_prefix
    found = findings(settings)
    missing = ", ".join(indices.templates(settings))
    assert missing.split(", ")[0] == f"metronome-{prefix}" and f"metronome-records-keys-{prefix}" in missing
    assert found["template"].text.startswith(f"{missing}: missing or another")
    assert found["keys"] == Finding("keys", True, "everybody who reaches 127.0.0.1:8000 may post and ask")
    elsewhere = findings(replace(settings, bind="0.0.0.0:8000"))["keys"]
    assert (elsewhere.well, "there is no key yet" in elsewhere.text) == (False, True)

    indices.install(gateway.elasticsearch, settings)
    Keys(Records(gateway.elasticsearch, settings, "keys")).create("x")
    found = findings(settings)
    assert found["template"].well
    assert found["keys"] == Finding("keys", True, "who posts or asks needs a key; `metronome keys list` shows them")
