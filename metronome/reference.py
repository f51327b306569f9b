"""The generated parts of the documents: fields, limits, routes and commands, read from the code that defines them."""

from __future__ import annotations

from typing import Any, cast

import click

from metronome.event.fields import FIELDS, OWNED
from metronome.settings import Settings
from metronome.web.app import Opened, create_app
from metronome.web.limits import limits


def fields_table() -> str:
    """The named fields as a Markdown table; those only the gateway sets are marked."""
    rows = ["| field | type | meaning |", "| --- | --- | --- |"]
    for field in FIELDS:
        mark = " †" if field.name in OWNED else ""
        rows.append(f"| `{field.name}`{mark} | {field.kind} | {field.meaning} |")
    return "\n".join(rows) + "\n\n† set by the gateway only; a property of this name is renamed.\n"


def limits_table() -> str:
    """`GET /limits` with the default settings, as a Markdown table."""
    rows = ["| limit | default | of what | setting | beyond it |", "| --- | --- | --- | --- | --- |"]
    for limit in limits(Settings()):
        setting = f"`{limit.setting}`" if limit.setting else ""
        value = "none" if limit.value is None else limit.value
        rows.append(f"| {limit.name} | {value} | {limit.unit} | {setting} | {limit.beyond} |")
    return "\n".join(rows)


def routes() -> str:
    """Every route of the OpenAPI description as a Markdown table, with the scope that a key needs for it."""
    rows = ["| route | scope | what it does |", "| --- | --- | --- |"]
    for path, operations in description()["paths"].items():
        for method, operation in operations.items():
            scope = next(iter(operation["security"][0].values()))[0] if operation["security"] else "(none)"
            rows.append(f"| `{method.upper()} {path}` | {scope} | {operation['summary']} |")
    return "\n".join(rows)


def description() -> dict[str, Any]:
    """The OpenAPI document, of an application that has nothing open."""
    app = create_app(Settings(), Opened(cast(Any, None), cast(Any, None)))
    found: dict[str, Any] = app.extensions["openapi"]()
    return found


def commands() -> str:
    """`--help` of every command, as Markdown."""
    from metronome.cli import main

    parts = [_help(main, "metronome")]
    for name, command in main.commands.items():
        parts.append(_help(command, f"metronome {name}"))
        if isinstance(command, click.Group):
            parts += _of_group(command, f"metronome {name}")
    return "\n\n".join(parts)


def _of_group(group: click.Group, name: str) -> list[str]:
    """The help of each command of a group, and of the groups within it."""
    parts = []
    for verb, command in group.commands.items():
        parts.append(_help(command, f"{name} {verb}"))
        if isinstance(command, click.Group):
            parts += _of_group(command, f"{name} {verb}")
    return parts


def _help(command: click.Command, name: str) -> str:
    # A command remembers the help option that it showed first, so this one is that of the command line.
    context = click.Context(
        command, info_name=name, help_option_names=["-h", "--help"], max_content_width=100, terminal_width=100
    )
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```"
