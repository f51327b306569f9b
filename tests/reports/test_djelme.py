"""PyPI django-elasticsearch-metrics, the data layer of the original, passes its own tests on our Elasticsearch.

The private Elasticsearch is the core of the server. It has neither the field type `version` nor the tokenizer
`path_hierarchy`, which are in modules that whole distributions have. There, the client's requests say `keyword` and
`standard` in their place, and its answers what was meant; elsewhere nothing stands between.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from conftest import Gateway
from elasticsearch import Elasticsearch
from other_python import python_with

from metronome.settings import Settings
from metronome.store import indices

LIBRARY = "django-elasticsearch-metrics==2026.0.6"

MODULES = {"mapper-version", "analysis-common"}

INSTEAD = """
import sys
import elastic_transport

OTHERS = {"version": "keyword", "path_hierarchy": "standard"}

def ask(value):
    if isinstance(value, list):
        return [ask(one) for one in value]
    if not isinstance(value, dict):
        return value
    other = OTHERS.get(value["type"]) if isinstance(value.get("type"), str) else None
    if other == "keyword":
        return {**value, "type": other, "meta": {"instead_of": "version"}}
    if other:
        return {**value, "type": other, "instead_of": value["type"]}
    return {name: ask(one) for name, one in value.items()}

def tell(value):
    if isinstance(value, list):
        return [tell(one) for one in value]
    if not isinstance(value, dict):
        return value
    for holder in (value.get("meta"), value):
        if isinstance(holder, dict) and "instead_of" in holder:
            kept = {name: one for name, one in value.items() if name not in ("meta", "instead_of")}
            return {**kept, "type": holder["instead_of"]}
    return {name: tell(one) for name, one in value.items()}

perform = elastic_transport.Transport.perform_request

def translated(self, method, target, *, body=None, **options):
    answer = perform(self, method, target, body=ask(body), **options)
    return elastic_transport.TransportApiResponse(answer.meta, tell(answer.body))

if sys.argv[1] == "instead":
    elastic_transport.Transport.perform_request = translated

from django.core.management import execute_from_command_line
execute_from_command_line(["django", "test", "elasticsearch_metrics"])
"""


@pytest.fixture
def lacking(elasticsearch: Elasticsearch) -> Iterator[set[str]]:
    """Modules that this Elasticsearch lacks. What the library's tests leave is removed afterwards."""
    before = _templates(elasticsearch)
    found = elasticsearch.nodes.info(metric="plugins", filter_path="nodes.*.modules.name")["nodes"].values()
    yield MODULES - {module["name"] for node in found for module in node["modules"]}
    for name in _templates(elasticsearch) - before:
        elasticsearch.indices.delete_index_template(name=name)


def _templates(elasticsearch: Elasticsearch) -> set[str]:
    listed = elasticsearch.indices.get_index_template(filter_path="index_templates.name")
    return {one["name"] for one in listed.get("index_templates", []) if "_dummy8app_" in f"_{one['name']}"}


def test_the_tests_of_the_original_data_layer_pass_beside_ours(
    gateway: Gateway, engine_settings: Settings, lacking: set[str]
) -> None:
    python = python_with(LIBRARY.replace("==", "[anydjango,elastic8]=="), "elasticsearch8>=8.19,<9")
    indices.install(gateway.elasticsearch, gateway.settings)
    gateway.accepted({"id": "home"})
    user = f"{engine_settings.elasticsearch_username}:{engine_settings.elasticsearch_password}@"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "elasticsearch_metrics.tests.settings",
        "ELASTICSEARCH8_URL": engine_settings.elasticsearch_url.replace("://", f"://{user.removeprefix(':@')}"),
    }
    environment.pop("PYTHONPATH", None)
    run = subprocess.run(
        [str(python), "-c", INSTEAD, "instead" if lacking else "as it is"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert (re.findall(r"^(?:Ran (\d+) tests|(OK|FAILED.*))", run.stderr, re.MULTILINE)) == [("73", ""), ("", "OK")]
    # Neither stands in the other's way.
    assert indices.outdated(gateway.elasticsearch, gateway.settings) == []
    assert [document["id"] for document in gateway.documents()] == ["home"]
