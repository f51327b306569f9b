"""Index templates: put them into Elasticsearch, look whether they are there, write them as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import SetupError
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.documents import Template, template
from metronome.store.names import template_name


def templates(settings: Settings) -> list[Template]:
    """Every index template that this installation needs."""
    events = template(settings.index_prefix, settings.shards, settings.refresh_s)
    return [Template(template_name(settings), events)]


def install(client: Elasticsearch, settings: Settings) -> bool:
    """Put each index template that is missing or another; says whether one was put.

    Raises SetupError where another template of the same priority claims the same indices.
    """
    put = [_install(client, wanted) for wanted in templates(settings)]
    return any(put)


def _install(client: Elasticsearch, wanted: Template) -> bool:
    if _installed(client, wanted.name) == wanted.body:
        return False
    body = _as_arguments(wanted.body)
    with our_errors():
        response = client.options(ignore_status=400).indices.put_index_template(name=wanted.name, **body)
    if response.meta.status == 400:
        raise SetupError(
            f"the index template {wanted.name!r} can't be installed: {response['error']['reason']}; remove the other "
            "template or give it another priority than ours, or set METRONOME_INDEX_PREFIX"
        )
    return True


def is_current(client: Elasticsearch, settings: Settings) -> bool:
    """Whether the templates in Elasticsearch are those of these settings."""
    return all(_installed(client, wanted.name) == wanted.body for wanted in templates(settings))


def _installed(client: Elasticsearch, name: str) -> dict[str, Any] | None:
    with our_errors():
        response = client.options(ignore_status=404).indices.get_index_template(name=name)
    found = response.body.get("index_templates") if response.meta.status == 200 else None
    if not found:
        return None
    body: dict[str, Any] = found[0]["index_template"]
    return {key: body.get(key) for key in ("index_patterns", "priority", "template", "_meta")}


def _as_arguments(body: dict[str, Any]) -> dict[str, Any]:
    return {"meta" if key == "_meta" else key: value for key, value in body.items()}


def write_files(folder: Path, settings: Settings) -> list[Path]:
    """Write each template as JSON, ready for `PUT _index_template/…`, and give the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for wanted in templates(settings):
        path = folder / f"{wanted.name}.json"
        path.write_text(json.dumps(wanted.body, indent=2) + "\n")
        paths.append(path)
    return paths
