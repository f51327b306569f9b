"""Commands that speak to a running gateway over HTTP: post events, and ask."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.load.counted import Counting


@click.command()
@click.argument("event", required=False)
@click.option("--file", "path", type=click.File("rb"), help="Post the JSON or NDJSON of a file; - is standard input.")
def tick(event: str | None, path: Any) -> None:
    """Post an EVENT, as JSON or as an item's id, and print the receipt.

    \b
    metronome tick home
    metronome tick '{"id": "report", "event": "download", "format": "csv"}'
    """
    from metronome.client import post

    if path is not None:
        body = path.read()
    elif event is None:
        raise click.UsageError("give an EVENT or --file")
    else:
        body = event.encode() if event.lstrip()[:1] in "{[" else json.dumps({"id": event}).encode()
    settings = Settings.from_env()
    click.echo(json.dumps(post(settings.url + "/tick?receipt=full", body, key=settings.key), indent=2))


@click.command()
@click.argument("item")
@click.option("--from", "first", help="First day, such as 2026-11-01, or instant.")
@click.option("--to", "last", help="Last day (included), or instant.")
@click.option("--tz", help="Time zone of the days, such as Europe/Paris.")
@click.option("--interval", help="hour, day, week, month or year.")
@click.option("--include", help="Further blocks: hits, visitors, robots, errors, geo.")
def tock(
    item: str, first: str | None, last: str | None, tz: str | None, interval: str | None, include: str | None
) -> None:
    """Print views, downloads and referers of an ITEM."""
    from metronome.client import get

    wanted = {"from": first, "to": last, "tz": tz, "interval": interval, "include": include}
    query = {name: value for name, value in wanted.items() if value}
    settings = Settings.from_env()
    found = get(f"{settings.url}/tock/{quote(item, safe='')}.json", query, key=settings.key)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format",
    "form",
    default="auto",
    help="auto, ndjson (events), json, common, combined, vhost_combined, splunk (the analytics example's event text), "
    "or a LogFormat string of Apache httpd.",
)
@click.option("--app", default="", help="Application or site to note on every event.")
@click.option("--source", default="", help="Server that wrote the log: two servers' equal lines are two events.")
@click.option("--batch", default=500, show_default=True, help="Events in a request.")
@click.option(
    "--unreadable",
    type=click.Path(path_type=Path),
    help="File for lines that can't be read (default: FILE.unreadable).",
)
@click.option("--restart", is_flag=True, help="Read from the beginning even if an earlier run got further.")
@click.option("--counter", "counted", is_flag=True, help="Views and downloads of an access log are counted usage.")
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="With --counter: an attribute of a usage and the column of the log that has it, such as "
    "counter.user_id=%u; again for several.",
)
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    help="With --counter: CSV or JSON lines that say what is used under which path; nothing else is counted.",
)
@click.option("--site", default="", help="With --counter: address of the site, where the log has no host.")
def load(
    file: Path,
    form: str,
    app: str,
    source: str,
    batch: int,
    unreadable: Path | None,
    restart: bool,
    counted: bool,
    **about: Any,
) -> None:
    """Load a FILE of events or an access log, plain or .gz; - is standard input.

    Page views, downloads and errors of an access log become events whose id is the path. Loading the same file again
    changes nothing, and a load that was cut goes on where it stopped.
    """
    from metronome.load.load import load_file

    settings = Settings.from_env()
    report = load_file(
        file,
        url=settings.url,
        key=settings.key,
        home=settings.home,
        form=form,
        app=app,
        origin=source,
        batch=batch,
        unreadable=unreadable,
        restart=restart,
        counting=_counting(counted, **about),
    )
    click.echo(report.text())
    if report.failed:
        sys.exit(2)


def _counting(counted: bool, columns: tuple[str, ...], items: Path | None, site: str) -> Counting | None:
    """What --counter and its companions ask for."""
    if not counted:
        if columns or items or site:
            raise click.UsageError("--map, --items and --site are for counted usage: add --counter")
        return None
    from metronome.load.counted import Counting, read_items

    pairs = [text.partition("=") for text in columns]
    if wrong := [name for name, sign, column in pairs if not (sign and name and column)]:
        raise click.BadParameter(f"{wrong[0]!r} isn't NAME=COLUMN, such as counter.user_id=%u", param_hint="--map")
    mapped = {name: column for name, _, column in pairs}
    return Counting(mapped, read_items(items) if items else None, site)
