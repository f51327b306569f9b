"""Index templates: put them into Elasticsearch, check that they are there and in force, write them as files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import SetupError
from metronome.settings import Settings
from metronome.store import documents, records
from metronome.store.client import our_errors
from metronome.store.names import TEMPLATES, day_shape, record_index, record_template_name, template_name

_LISTED = "index_templates.name,index_templates.index_template.index_patterns,index_templates.index_template.priority"


def event_template(settings: Settings) -> dict[str, Any]:
    return documents.template(settings.index_prefix, settings.shards, settings.refresh_s)


def templates(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every template of an installation, by its name: that of the events first, then one for each kind of records."""
    found = {template_name(settings): event_template(settings)}
    for kind in records.KINDS:
        found[record_template_name(settings, kind)] = records.template(settings, kind)
    return found


def install(client: Elasticsearch, settings: Settings) -> bool:
    """Put each template that is missing or outdated; returns whether any was put.

    An index of records that is there already gets the fields that its template has got since. Raises SetupError if
    another template of the same priority claims the same indices.
    """
    bodies, installed = templates(settings), _installed(client)
    missing = [name for name, body in bodies.items() if installed.get(name) != body]
    if missing:
        # Elasticsearch makes one change of its state of those that come together, and each change costs it a write.
        with ThreadPoolExecutor(len(missing)) as together:
            list(together.map(lambda name: _put(client, name, bodies[name]), missing))
    for kind in records.KINDS:
        name = record_template_name(settings, kind)
        if name in missing and name in installed:
            _add_fields(client, record_index(settings, kind), bodies[name]["template"]["mappings"]["properties"])
    return bool(missing)


def outdated(client: Elasticsearch, settings: Settings) -> list[str]:
    """Names of the templates that are missing in Elasticsearch, or differ from those of these settings."""
    wanted = templates(settings)
    installed = _installed(client)
    return [name for name, body in wanted.items() if installed.get(name) != body]


@dataclass(frozen=True)
class Rival:
    """Somebody's template that stands above one of ours, so that new indices get its settings and mapping."""

    ours: str
    name: str
    priority: int

    def __str__(self) -> str:
        return f"{self.name} (priority {self.priority}) stands above {self.ours}"


def rivals(client: Elasticsearch, settings: Settings) -> list[Rival]:
    """Templates of a higher priority than ours that match our indices. Elasticsearch takes only the highest one."""
    with our_errors():
        found = client.indices.get_index_template(filter_path=_LISTED).body.get("index_templates", [])
    shapes = {template_name(settings): day_shape(settings)}
    shapes |= {record_template_name(settings, kind): record_index(settings, kind) for kind in records.KINDS}
    return [
        Rival(ours, other["name"], other["index_template"].get("priority", 0))
        for ours, body in templates(settings).items()
        for other in found
        if other["index_template"].get("priority", 0) > body["priority"]
        and any(matches(pattern, shapes[ours]) for pattern in other["index_template"]["index_patterns"])
    ]


@cache
def matches(pattern: str, shape: str) -> bool:
    """Whether a pattern with `*` fits any of the names that a shape stands for, in which `#` is a digit."""
    if pattern[:1] == "*":
        return matches(pattern[1:], shape) or (bool(shape) and matches(pattern, shape[1:]))
    if not pattern or not shape:
        return pattern == shape
    fits = pattern[0] == shape[0] or (shape[0] == "#" and pattern[0].isdecimal())
    return fits and matches(pattern[1:], shape[1:])


def _put(client: Elasticsearch, name: str, body: dict[str, Any]) -> None:
    with our_errors():
        response = client.options(ignore_status=400).indices.put_index_template(name=name, **_as_arguments(body))
    if response.meta.status == 400:
        raise SetupError(
            f"the index template {name!r} can't be installed: {response['error']['reason']}; remove the other "
            "template or give it another priority than ours, or set METRONOME_INDEX_PREFIX"
        )


def _add_fields(client: Elasticsearch, index: str, fields: dict[str, Any]) -> None:
    with our_errors():
        client.options(ignore_status=404).indices.put_mapping(index=index, properties=fields)


def _installed(client: Elasticsearch) -> dict[str, dict[str, Any]]:
    """Every template whose name looks like one of ours, by its name; also those of other installations."""
    with our_errors():
        found = client.options(ignore_status=404).indices.get_index_template(name=TEMPLATES).body["index_templates"]
    keys = ("index_patterns", "priority", "template", "_meta")
    return {one["name"]: {key: one["index_template"].get(key) for key in keys} for one in found}


def _as_arguments(body: dict[str, Any]) -> dict[str, Any]:
    return {"meta" if key == "_meta" else key: value for key, value in body.items()}


def write_files(folder: Path, settings: Settings) -> list[Path]:
    """Write each template as JSON, ready for `PUT _index_template/…`, and give the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, body in templates(settings).items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(body, indent=2) + "\n")
        paths.append(path)
    return paths
