"""Commands about the set-up: index templates, settings, and what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from metronome.cli.address import address
from metronome.settings import Settings
from metronome.settings_table import in_force
from metronome.settings_table import markdown as table_as_markdown


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("mappings"))
@click.option("--install", is_flag=True, help="Put the templates into Elasticsearch instead of writing them.")
def mappings(folder: Path, install: bool) -> None:
    """Write the index templates as JSON into FOLDER (default: mappings), or install them."""
    from metronome.keyring import make_sample
    from metronome.store import indices
    from metronome.store.client import connect, wait_until_usable

    settings = Settings.from_env()
    if not install:
        for path in indices.write_files(folder, settings):
            click.echo(path)
        return
    client = connect(settings, address(settings))
    wait_until_usable(client, timeout_s=0)
    changed = indices.install(client, settings)
    make_sample(client, settings)
    click.echo(f"{', '.join(indices.templates(settings))}: {'installed' if changed else 'already there'}")


@click.command()
@click.option("--markdown", is_flag=True, help="As the table of docs/settings.md.")
def settings(markdown: bool) -> None:
    """List every setting: its value, what it means, what it takes, and what is wrong with it."""
    if markdown:
        click.echo(table_as_markdown())
        return
    for row, text, wrong in in_force():
        click.echo(f"{row.variable}={text}\n    {row.meaning} Takes {row.takes}.")
        if wrong:
            click.echo("    " + click.style(f"Wrong: {wrong}", fg="red"))


@click.command()
def doctor() -> None:
    """Say what is wrong with the set-up and how to mend it. Exits with 1 if anything is."""
    from metronome.doctor import examine

    healthy = True
    for finding in examine():
        mark = click.style("ok  ", fg="green") if finding.well else click.style("bad ", fg="red")
        click.echo(f"{mark} {finding.what}: {finding.text}")
        healthy = healthy and finding.well
    sys.exit(0 if healthy else 1)
