"""Index templates: put them into Elasticsearch, look whether they are there, write them as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import SetupError
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.documents import template
from metronome.store.names import template_name


def event_template(settings: Settings) -> dict[str, Any]:
    return template(settings.index_prefix, settings.shards, settings.refresh_s)


def install(client: Elasticsearch, settings: Settings) -> bool:
    """Put the index template if it is missing or another; says whether it was put.

    Raises SetupError where another template of the same priority claims the same indices.
    """
    body = event_template(settings)
    name = template_name(settings)
    if is_current(client, settings):
        return False
    with our_errors():
        response = client.options(ignore_status=400).indices.put_index_template(name=name, **_as_arguments(body))
    if response.meta.status == 400:
        raise SetupError(
            f"the index template {name!r} can't be installed: {response['error']['reason']}; remove the other template "
            "or give it another priority than ours, or set METRONOME_INDEX_PREFIX"
        )
    return True


def is_current(client: Elasticsearch, settings: Settings) -> bool:
    """Whether the template in Elasticsearch is the one of these settings."""
    return _installed(client, template_name(settings)) == event_template(settings)


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
    """Write the template as JSON, ready for `PUT _index_template/…`, and give the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{template_name(settings)}.json"
    path.write_text(json.dumps(event_template(settings), indent=2) + "\n")
    return [path]
