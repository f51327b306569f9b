"""What only the platform's own database knows: how many projects, users, files there are.

A platform implements `Platform`, and hands it to `run.Runner`. The one that comes along reads files: where
METRONOME_PLATFORM_FOLDER is set, the platform's nightly job writes there, a file a report and day or month:

    node_summary/2026-05-03.json        {"nodes": {"total": 12, "public": 7}}
    preprint_summary/2026-05-03.json    [{"provider_key": "osf", "preprint_count": 3}, …]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from metronome.errors import ReportInvalid

Row = Mapping[str, Any]


class Platform(Protocol):
    """The platform's own figures."""

    def rows(self, report: str, when: str) -> Iterable[Row] | None:
        """The fields of each report of a kind (`node_summary`) of a day or month (`2026-05-03`, `2026-05`).

        None where the platform has no such figures. Fields are those of the report's class.
        """
        ...


class NoPlatform:
    """A gateway that no platform's database stands behind."""

    def rows(self, report: str, when: str) -> Iterable[Row] | None:
        return None


class FilesOfPlatform:
    """Reads figures that the platform wrote as JSON files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self, report: str, when: str) -> Iterable[Row] | None:
        path = self._folder / report / f"{when}.json"
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ReportInvalid(f"{path} can't be read: {error}") from None
        rows = found if isinstance(found, list) else [found]
        if not all(isinstance(row, dict) for row in rows):
            raise ReportInvalid(f"{path} holds neither an object nor a list of objects")
        return rows
