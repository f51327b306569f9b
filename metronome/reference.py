"""The generated parts of the documents: fields, routes and commands, read from the code that defines them."""

from __future__ import annotations

import click

from metronome.event.fields import FIELDS, OWNED
from metronome.web.openapi import description


def fields_table() -> str:
    """The named fields as a Markdown table; those only the gateway sets are marked."""
    rows = ["| field | type | meaning |", "| --- | --- | --- |"]
    for field in FIELDS:
        mark = " †" if field.name in OWNED else ""
        rows.append(f"| `{field.name}`{mark} | {field.kind} | {field.meaning} |")
    return "\n".join(rows) + "\n\n† set by the gateway only; a property of this name is renamed.\n"


def routes() -> str:
    """Every route of the OpenAPI description as a Markdown table."""
    rows = ["| route | what it does |", "| --- | --- |"]
    for path, operations in description()["paths"].items():
        for method, operation in operations.items():
            rows.append(f"| `{method.upper()} {path}` | {operation['summary']} |")
    return "\n".join(rows)


def commands() -> str:
    """`--help` of every command, as Markdown."""
    from metronome.cli import main

    parts = [_help(main, "metronome")]
    for name, command in main.commands.items():
        parts.append(_help(command, f"metronome {name}"))
        if isinstance(command, click.Group):
            parts += [_help(inner, f"metronome {name} {verb}") for verb, inner in command.commands.items()]
    return "\n\n".join(parts)


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```"
