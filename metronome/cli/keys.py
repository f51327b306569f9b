"""`metronome keys`: make, show, replace and revoke API keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from metronome.cli.address import connected
from metronome.settings import Settings


@click.group()
def keys() -> None:
    """API keys: who may post, ask and change. Making and changing them needs Elasticsearch."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=["write"],
    show_default=True,
    help="write, read, edit (with write and read), video (players) or admin (all); again for several.",
)
@click.option("--app", default="", help="Only events of this application.")
@click.option(
    "--publishable",
    is_flag=True,
    help="For pages and players: may only write, from its origins; `list` shows it again.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="Only from pages of this site, such as https://www.example.org; again for several.",
)
@click.option(
    "--network", "networks", multiple=True, help="Only from this network, such as 192.0.2.0/24; again for several."
)
@click.option("--rate", default="", help="At most so many requests, such as 100/second.")
@click.option(
    "--expires", "expires", default="", help="A day (2027-01-31), an instant, or a time from now such as 90d."
)
@click.option("--env", default="live", show_default=True, help="A word in the key itself, such as live or test.")
def keys_create(name: str, scopes: tuple[str, ...], expires: str, **wanted: Any) -> None:
    """Make a key called NAME and print it. It can't be shown again, unless it is publishable."""
    with _keys() as kept:
        key, token = kept.create(name, scopes=scopes, expires_at=_expiry(expires), **wanted)
    click.echo(token)
    click.echo(f"key {key.id} ({', '.join(key.scopes)}); keep it now, gateways know it within 5 s", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def keys_list(as_json: bool) -> None:
    """Show all keys, the oldest first; of publishable ones the key itself too."""
    now = datetime.now(UTC)
    with _keys() as kept:
        for key in kept.all():
            click.echo(json.dumps({**key.as_dict(), "state": key.state(now)}) if as_json else key.line(now))


@keys.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap", default="24h", show_default=True, help="How long the key before it stays valid: 0, 30m, 24h, 7d."
)
def keys_rotate(key_id: str, overlap: str) -> None:
    """Print a new key in place of that of ID; for a while both are valid."""
    from metronome.keys import read_span

    with _keys() as kept:
        _, token = kept.rotate(key_id, read_span(overlap))
    click.echo(token)
    click.echo(f"the key before it is valid for {overlap} longer", err=True)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
def keys_revoke(key_id: str) -> None:
    """Refuse the key of ID from now on: within 5 s in every worker of every host."""
    with _keys() as kept:
        key = kept.revoke(key_id)
    click.echo(f"key {key.id} ({key.name}) is revoked")


@contextmanager
def _keys() -> Iterator[Any]:
    """The keys in Elasticsearch, once the template of their index is there."""
    from metronome.keys import Keys
    from metronome.store.records import Records

    settings = Settings.from_env()
    with connected(settings) as client:
        yield Keys(Records(client, settings, "keys"))


def _expiry(text: str) -> datetime | None:
    """When a key ends: a day or instant, or a span from now."""
    from metronome.keys import read_span
    from metronome.periods import read_time

    try:
        return read_time(text) if "-" in text else datetime.now(UTC) + read_span(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from None
