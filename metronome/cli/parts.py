"""`metronome parts`: build, compare, list and delete day parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from metronome.cli.address import address
from metronome.settings import Settings


@click.group()
def parts() -> None:
    """Day parts: each day's events as columns on disk, made from Elasticsearch and deletable at will.

    DAYS are one UTC day such as 2026-11-03, or first and last day: 2026-11-01..2026-11-30. Without DAYS: all there are.
    """


@parts.command("build")
@click.argument("days", required=False)
def parts_build(days: str | None) -> None:
    """Bring the parts of DAYS up to date, each as one file."""
    from metronome.parts import commands

    with _parts() as opened:
        for line in commands.build(opened, days):
            click.echo(line)


@parts.command("verify")
@click.argument("days", required=False)
def parts_verify(days: str | None) -> None:
    """Compare the parts of DAYS with Elasticsearch, count by count and id by id. Exits with 1 if any differs."""
    from metronome.parts import commands

    agrees = True
    with _parts() as opened:
        for verdict in commands.verify(opened, days):
            click.echo(commands.verdict_text(verdict))
            agrees = agrees and verdict.agrees
    sys.exit(0 if agrees else 1)


@parts.command("list")
def parts_list() -> None:
    """Show every part: day, events, bytes, files, last reading."""
    from metronome.parts import commands

    for line in commands.listing(Settings.from_env()):
        click.echo(line)


@parts.command("drop")
@click.argument("days", required=False)
def parts_drop(days: str | None) -> None:
    """Delete the parts of DAYS; they are made again when they are needed."""
    from metronome.parts import commands

    for line in commands.drop(Settings.from_env(), days):
        click.echo(line)


@contextmanager
def _parts() -> Iterator[Any]:
    """What the commands of `parts` work with, on the configured Elasticsearch."""
    from metronome.parts.commands import opened

    settings = Settings.from_env()
    with opened(settings, address(settings)) as builder:
        yield builder
