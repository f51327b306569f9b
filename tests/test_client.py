"""Connecting: every error of Elasticsearch and its client becomes one of ours, and says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import free_port
from elasticsearch import Elasticsearch
from proxy import ELASTIC, Proxy, Reply, error

from metronome.errors import MetronomeError, SetupError, StoreFailed, StoreUnavailable
from metronome.settings import Settings
from metronome.store.client import check, connect, from_status, health, wait_until_usable

HEALTH, NODES = "/_cluster/health", "/_nodes"


def answer(body: Any, status: int = 200, headers: dict[str, str] = ELASTIC) -> Reply:
    return status, headers, json.dumps(body).encode()


def nodes(*versions: str) -> Reply:
    return answer({"nodes": {f"n{at}": {"version": version} for at, version in enumerate(versions)}})


@pytest.fixture
def proxy(engine_settings: Settings) -> Iterator[Proxy]:
    found = Proxy(engine_settings.elasticsearch_url, free_port())
    yield found
    found.stop()


@pytest.fixture
def client(engine_settings: Settings, proxy: Proxy) -> Iterator[Elasticsearch]:
    found = connect(replace(engine_settings, elasticsearch_url=proxy.url), timeout_s=2)
    yield found
    found.close()


VERSIONS = [
    pytest.param(["8.19.0"], "8.19.0", id="the oldest"),
    pytest.param(["9.2.0", "8.19.3"], "8.19.3", id="of two nodes the older counts"),
    pytest.param(["9.11.4-SNAPSHOT"], "9.11.4", id="a snapshot of 9.x"),
    pytest.param(["8.18.9"], None, id="too old"),
    pytest.param(["7.17.1"], None, id="much too old"),
    pytest.param(["10.0.0"], None, id="too new"),
    pytest.param(["8.19.0", "8.9.0"], None, id="one node too old: 9 is less than 19"),
]


@pytest.mark.parametrize(("versions", "found"), VERSIONS)
def test_a_cluster_is_taken_by_its_version(
    client: Elasticsearch, proxy: Proxy, versions: list[str], found: str | None
) -> None:
    proxy.answers[NODES] = nodes(*versions)
    proxy.start()
    if found is not None:
        assert check(client) == found
    else:
        with pytest.raises(
            SetupError, match=r"ELASTICSEARCH_URL: this cluster runs \S+; Metronome needs 8\.19 or a newer"
        ):
            check(client)


ANSWERS = [
    pytest.param(answer({"status": "red"}), StoreUnavailable, "the cluster's state is red", id="red"),
    pytest.param(
        (401, ELASTIC, error("security_exception")), SetupError, "docs/elasticsearch.md has the minimal role (401 security_exception", id="no access"
    ),
    pytest.param((403, ELASTIC, error("security_exception")), SetupError, "minimal role", id="no role"),
    pytest.param((503, ELASTIC, error("not_yet")), StoreUnavailable, "can't answer just now (503", id="not yet"),
    pytest.param((429, ELASTIC, error("busy")), StoreUnavailable, "can't answer just now (429", id="busy"),
    pytest.param((502, {"Content-Type": "text/html"}, b"<p>"), StoreUnavailable, "(502", id="a proxy without a backend"),
    pytest.param((500, ELASTIC, error("odd")), StoreFailed, "refused a request (500", id="an error of its own"),
    pytest.param(answer({"status": "green"}, headers={"Content-Type": "application/json"}), SetupError, "isn't Elasticsearch", id="another product"),
    pytest.param((200, {"Content-Type": "text/html"}, b"<p>hello"), SetupError, "isn't Elasticsearch", id="some web site"),
    pytest.param((404, {"Content-Type": "text/html"}, b"<p>hello"), StoreFailed, "(404", id="some web site without such a page"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "kind", "text"), ANSWERS)
def test_what_a_cluster_answers_becomes_an_error_of_ours(
    client: Elasticsearch, proxy: Proxy, reply: Reply, kind: type[MetronomeError], text: str
) -> None:
    proxy.answers[HEALTH] = reply
    proxy.start()
    with pytest.raises(kind, match=re.escape(text)) as told:
        wait_until_usable(client, timeout_s=0)
    assert type(told.value) is kind


def test_a_cluster_that_does_not_listen_is_unavailable(client: Elasticsearch) -> None:
    with pytest.raises(StoreUnavailable, match="Elasticsearch doesn't answer \\(ConnectionError\\)"):
        health(client)


def test_a_cluster_that_starts_is_waited_for_and_the_waiting_is_told(client: Elasticsearch, proxy: Proxy) -> None:
    proxy.answers[HEALTH] = answer({"status": "red"})
    proxy.start()
    told = []

    def on_wait(text: str) -> None:
        told.append(text)
        proxy.answers.clear()

    assert re.fullmatch(r"\d+\.\d+\.\d+", wait_until_usable(client, timeout_s=20, on_wait=on_wait))
    assert told == ["the cluster's state is red: a primary shard is missing"]


SETTINGS = [
    pytest.param({"elasticsearch_url": "not a url"}, "ELASTICSEARCH_URL: 'not a url' can't be used", id="no URL"),
    pytest.param({"elasticsearch_url": "es:9200"}, "write https://host:9200", id="no scheme"),
    pytest.param(
        {"elasticsearch_url": "https://es:9200", "elasticsearch_ca_certs": "/no/such/file"}, "CERTS: there is no file /no/such", id="no such CA file"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "text"), SETTINGS)
def test_settings_that_lead_nowhere_are_told(settings: Settings, changed: dict[str, Any], text: str) -> None:
    with pytest.raises(SetupError, match=re.escape(text)):
        connect(replace(settings, **changed))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, SetupError), (403, SetupError), (429, StoreUnavailable), (503, StoreUnavailable), (504, StoreUnavailable), (400, StoreFailed), (500, StoreFailed)],
)  # fmt: skip
def test_a_status_has_its_kind_of_error(status: int, kind: type[MetronomeError]) -> None:
    assert type(from_status(status, "x")) is kind
