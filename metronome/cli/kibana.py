"""`metronome kibana`: a data view, charts and a dashboard of the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from metronome.settings import Settings


@click.group()
def kibana() -> None:
    """A dashboard for Kibana: views, downloads, referers, errors, shippers and robots."""


@kibana.command("export")
@click.argument("file", type=click.File("w", lazy=True), default="-")
def kibana_export(file: Any) -> None:
    """Write the saved objects into FILE (default: standard output), for Kibana's import.

    In Kibana: Stack Management, Saved Objects, Import.
    """
    from metronome.kibana.objects import export

    file.write(export(Settings.from_env()))


@kibana.command("install")
@click.option("--url", default="http://127.0.0.1:5601", show_default=True, help="Kibana's address.")
@click.option("--space", default="", help="Space to install into (default: the default one).")
@click.option("--username", default="", help="User who may change saved objects; the password is asked for.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the password, so that nobody is asked.",
)
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds an API key (encoded), in place of user and password.",
)
def kibana_install(url: str, space: str, username: str, password_file: Path | None, api_key_file: Path | None) -> None:
    """Put data view, charts and dashboard into Kibana. Again: they are replaced."""
    from metronome.kibana.install import Kibana, install

    password = api_key = ""
    if api_key_file is not None:
        api_key = api_key_file.read_text().strip()
    elif username:
        given = None if password_file is None else password_file.read_text().strip()
        password = click.prompt("Password", hide_input=True) if given is None else given
    count = install(Kibana(url, username, password, api_key, space), Settings.from_env())
    click.echo(f"{count} objects installed; look for the dashboard “Usage events”")
