"""COUNTER: the platform's name and id in reports, and whether reports are made unasked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from metronome import kinds
from metronome.kinds import Kind, choice
from metronome.settings.row import setting


def _id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_./]{1,17}", text):
        raise ValueError
    return text


@dataclass(frozen=True)
class Counter:
    """COUNTER: the platform's name and id in reports, and whether reports are made unasked."""

    platform: str = setting(
        "METRONOME_PLATFORM", kinds.TEXT, "Metronome", "Name of the platform in COUNTER reports, as libraries know it."
    )
    platform_id: str = setting(
        "METRONOME_PLATFORM_ID",
        Kind("1 to 17 letters, digits and _ . /", _id),
        "metronome",
        "Namespace of the platform's own identifiers in COUNTER reports.",
    )
    platform_folder: Path | None = setting(
        "METRONOME_PLATFORM_FOLDER",
        kinds.FOLDER,
        None,
        "Where the platform's own jobs write figures of its database, for reports; docs/reports.md has the form.",
        shown="(empty)",
    )
    report_modules: tuple[str, ...] = setting(
        "METRONOME_REPORT_MODULES",
        kinds.NAMES,
        (),
        "Python modules that add reports of your own; docs/reports.md shows one.",
        shown="(empty)",
    )
    reports: str = setting(
        "METRONOME_REPORTS",
        choice("yes", "no"),
        "no",
        "yes: beside the drain, daily and monthly reports are made once they are due, and COUNTER months processed.",
    )
    raw: str = setting(
        "METRONOME_RAW",
        choice("yes", "no"),
        "no",
        "yes: `/_/metrics/raw/` passes requests of a key of scope admin through to Elasticsearch.",
    )
    on_demand: str = setting(
        "METRONOME_ON_DEMAND",
        choice("yes", "no"),
        "yes",
        "yes: a COUNTER month is processed once a report of it is asked for; no: only by command, or on schedule.",
    )
