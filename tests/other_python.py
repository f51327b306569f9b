"""Pythons with other people's packages, whose requirements this project can't live with.

Each has a virtual environment of its own in the user's cache, which is made once. Where it can't be, tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metronome.files import Lock
from metronome.settings import Settings


def python_with(*requirements: str) -> Path:
    """The Python of an environment that has them. The first one, `name==version`, names the environment."""
    name, _, version = requirements[0].partition("==")
    folder = Settings().cache / f"test-{name.partition('[')[0]}-{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin/python"
    with Lock(folder.parent / f"{folder.name}.lock"):
        if not (folder / "complete").exists():
            _install(folder, python, requirements)
    return python


def _install(folder: Path, python: Path, requirements: tuple[str, ...]) -> None:
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--retries", "1", "--timeout", "15", *requirements],
    ]
    for command in commands:
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if run.returncode:
            pytest.skip(f"{requirements[0]} can't be installed: {run.stderr.strip()[-300:]}")
    (folder / "complete").touch()
