"""One setting: how a row of the table is declared, and how its text is read. The one place that reads the environment.

`environment` gives a copy to a room that starts another program.
"""

from __future__ import annotations

import os
from dataclasses import Field, field
from pathlib import Path
from typing import Any

from metronome.errors import SetupError
from metronome.kinds import Kind

KB, MB, GB, TB = 2**10, 2**20, 2**30, 2**40


def setting(
    variable: str, kind: Kind, default: Any, meaning: str, *, shown: str | None = None, secret: bool = False
) -> Any:
    """One row of the table. `shown` is the default's text where the value itself depends on the machine."""
    metadata = {"variable": variable, "kind": kind, "meaning": meaning, "shown": shown, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def environment() -> dict[str, str]:
    """A copy of this process's environment, for a process that is started from it."""
    return dict(os.environ)


def xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "metronome"


def read(row: Field[Any], text: str) -> Any:
    """The value of one setting; raises SetupError as `Settings.from_env` does."""
    kind: Kind = row.metadata["kind"]
    try:
        return kind.read(text)
    except ValueError:
        raise SetupError(f"{row.metadata['variable']}: {_quoted(row, text)} isn't {kind.takes}") from None


def _quoted(row: Field[Any], text: str) -> str:
    return "the value" if row.metadata["secret"] else repr(row.metadata["kind"].mask(text)[:100])
