"""The settings as people see them: the table of docs/settings.md, and what `metronome settings` prints."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, NamedTuple

from metronome.errors import SetupError
from metronome.settings import Settings, environment, read


class Row(NamedTuple):
    """One setting for people: `takes` is its range, `default` and the value in force are texts without secrets."""

    variable: str
    default: str
    takes: str
    meaning: str


def table() -> list[Row]:
    """Every setting, in the order in which they are declared."""
    return [
        Row(row.metadata["variable"], _default(row), row.metadata["kind"].takes, row.metadata["meaning"])
        for row in fields(Settings)
    ]


def markdown() -> str:
    """The table for docs/settings.md."""
    lines = ["| variable | default | takes | meaning |", "| --- | --- | --- | --- |"]
    for row in table():
        takes = row.takes.replace("|", "\\|")
        lines.append(f"| `{row.variable}` | `{row.default}` | {takes} | {row.meaning} |")
    return "\n".join(lines)


def _default(row: Field[Any]) -> str:
    shown: str | None = row.metadata["shown"]
    if shown is not None:
        return shown
    value = row.default if row.default is not MISSING else ""
    text: str = row.metadata["kind"].show(value)
    return text or "(empty)"


def in_force() -> list[tuple[Row, str, str]]:
    """Every setting with the text that holds now, and what is wrong with it ("" where nothing is).

    Secrets are `(set)`; user names and passwords inside addresses are masked.
    """
    found, environ = [], environment()
    for row, shown in zip(fields(Settings), table(), strict=True):
        text, wrong = shown.default, ""
        if given := environ.get(shown.variable):
            text = "(set)" if row.metadata["secret"] else row.metadata["kind"].mask(given)
            try:
                read(row, given)
            except SetupError as error:
                wrong = error.message
        found.append((shown, text, wrong))
    return found
