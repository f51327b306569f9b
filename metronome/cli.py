"""The commands: a thin shell over the rooms, with their verbs."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from metronome import __version__, logs, process
from metronome.errors import MetronomeError, SetupError
from metronome.settings import Settings, in_force
from metronome.settings import markdown as table_as_markdown


class Commands(click.Group):
    """The group: commands in the order in which a user meets them, and our errors as one line without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetronomeError as error:
            click.echo(f"metronome: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="metronome")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Usage events in, numbers out, over the Elasticsearch you already run.

    Start everything with `metronome up`. Settings are environment variables: `metronome settings` lists them.
    """
    # Each command reads the settings itself, so that --help and `settings` work where one of them is wrong.


@main.command()
def up() -> None:
    """Start everything: Elasticsearch if none is configured, the drain, live connections and HTTP.

    Ctrl-C or SIGTERM stops all of it in order; SIGHUP restarts the HTTP workers.
    """
    from metronome import up as installation

    installation.run(Settings.from_env())


@main.command()
def serve() -> None:
    """Serve HTTP: takes ticks into the spool, answers tocks. Needs a drain beside it."""
    from metronome.web.server import serve as run

    settings = Settings.from_env()
    run(settings, _address(settings))


@main.command()
def streams() -> None:
    """Serve websockets and event streams, which `serve` hands over. One process a METRONOME_HOME."""
    from metronome.streams.run import run

    run(Settings.from_env())


@main.command()
@click.option("--until-empty", is_flag=True, help="Return as soon as nothing waits any more.")
def drain(until_empty: bool) -> None:
    """Ship spooled events to Elasticsearch. One drain a METRONOME_HOME; a second waits as a stand-by."""
    from metronome.drain.drain import Drain
    from metronome.metrics import Metrics
    from metronome.spool.files import make_folder
    from metronome.store.client import connect

    settings = Settings.from_env()
    make_folder(settings.spool_dir)
    logs.configure(settings.log_level, "drain")
    client = connect(settings, _address(settings), timeout_s=settings.drain_timeout_s, exact=False)
    run = Drain(settings, client, Metrics())
    process.after_start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.stop())
    run.run(until_empty=until_empty)


@main.command()
def listen() -> None:
    """Take events by Fluentd's forward protocol, and as JSON lines over TCP and UDP. Needs a drain beside it.

    METRONOME_FORWARD_BIND, METRONOME_LINES_BIND and METRONOME_LINES_UDP_BIND say where; `up` starts it with them.
    """
    from metronome.listen.server import listen as run

    run(Settings.from_env())


@main.command()
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


@main.command()
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


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("mappings"))
@click.option("--install", is_flag=True, help="Put the templates into Elasticsearch instead of writing them.")
def mappings(folder: Path, install: bool) -> None:
    """Write the index templates as JSON into FOLDER (default: mappings), or install them."""
    from metronome.store import indices
    from metronome.store.client import connect, wait_until_usable

    settings = Settings.from_env()
    if not install:
        for path in indices.write_files(folder, settings):
            click.echo(path)
        return
    client = connect(settings, _address(settings))
    wait_until_usable(client, timeout_s=0)
    changed = indices.install(client, settings)
    click.echo(f"{', '.join(indices.templates(settings))}: {'installed' if changed else 'already there'}")


@main.command()
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


@main.group()
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
    help="write, read, edit (with write and read) or admin (all); again for several.",
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


@main.group()
def quarantine() -> None:
    """What the gateway or Elasticsearch refused for good: look at it, and send it again."""


@quarantine.command("list")
@click.option("--reason", default="", help="Only those whose reason has this text, in any case.")
@click.option("--since", type=click.DateTime(), help="Only those refused since this time (UTC).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the whole event.")
def quarantine_list(reason: str, since: datetime | None, as_json: bool) -> None:
    """Show refused events, oldest first."""
    with closing(_quarantine(Settings.from_env())) as kept:
        for row in kept.list(reason=reason, since_ms=_ms(since)):
            at = datetime.fromtimestamp(row.at_ms / 1000, UTC).isoformat(timespec="seconds")
            if as_json:
                event = row.source.decode(errors="replace")
                click.echo(
                    json.dumps(
                        {
                            "at": at,
                            "index": row.index,
                            "id": row.id,
                            "status": row.status,
                            "reason": row.reason,
                            "event": event,
                        }
                    )
                )
            else:
                click.echo(f"{at}  {row.index}/{row.id}  {row.status} {row.kind}: {row.reason}")


@quarantine.command("replay")
@click.option("--reason", default="", help="Only those whose reason has this text, in any case.")
@click.option("--since", type=click.DateTime(), help="Only those refused since this time (UTC).")
def quarantine_replay(reason: str, since: datetime | None) -> None:
    """Spool events that Elasticsearch refused again; the drain sends them. What fails once more comes back here.

    Events that the gateway itself refused (not_accepted) stay: mend what `list --json` shows, and post that.
    """
    from metronome.spool.files import act_as_owner
    from metronome.spool.quarantine import replay

    settings = Settings.from_env()
    act_as_owner(settings.spool_dir)
    done, left = replay(settings.spool_dir, reason=reason, since_ms=_ms(since))
    click.echo(
        f"{done} events spooled again"
        + (f"; {left} stay: damaged, or never accepted (list --json has them, to be mended and posted)" if left else "")
    )


@main.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format",
    "form",
    default="auto",
    help="auto, ndjson (events), json, common, combined, vhost_combined, or a LogFormat string of Apache httpd.",
)
@click.option("--app", default="", help="Application or site to note on every event.")
@click.option("--batch", default=500, show_default=True, help="Events in a request.")
@click.option(
    "--unreadable",
    type=click.Path(path_type=Path),
    help="File for lines that can't be read (default: FILE.unreadable).",
)
@click.option("--restart", is_flag=True, help="Read from the beginning even if an earlier run got further.")
def load(file: Path, form: str, app: str, batch: int, unreadable: Path | None, restart: bool) -> None:
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
        batch=batch,
        unreadable=unreadable,
        restart=restart,
    )
    click.echo(report.text())
    if report.failed:
        sys.exit(2)


@main.group()
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


@main.command()
def doctor() -> None:
    """Say what is wrong with the set-up and how to mend it. Exits with 1 if anything is."""
    from metronome.doctor import examine

    healthy = True
    for finding in examine():
        mark = click.style("ok  ", fg="green") if finding.well else click.style("bad ", fg="red")
        click.echo(f"{mark} {finding.what}: {finding.text}")
        healthy = healthy and finding.well
    sys.exit(0 if healthy else 1)


def _address(settings: Settings) -> Any:
    """The private node's address where no cluster is configured; raises SetupError if it doesn't run."""
    if settings.elasticsearch_url:
        return None
    from metronome.node.node import running

    address = running(settings)
    if address is None:
        raise SetupError(
            f"no Elasticsearch: set ELASTICSEARCH_URL, or start the private one of {settings.home} with `metronome up`"
        )
    return address


@contextmanager
def _keys() -> Iterator[Any]:
    """The keys in Elasticsearch, once the template of their index is there."""
    from metronome.keys import Keys
    from metronome.store import indices
    from metronome.store.client import connect
    from metronome.store.records import Records

    settings = Settings.from_env()
    with connect(settings, _address(settings)) as client:
        indices.install(client, settings)
        yield Keys(Records(client, settings, "keys"))


def _expiry(text: str) -> datetime | None:
    """When a key ends: a day or instant, or a span from now."""
    from metronome.keys import read_span
    from metronome.periods import read_time

    try:
        return read_time(text) if "-" in text else datetime.now(UTC) + read_span(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from None


@contextmanager
def _parts() -> Iterator[Any]:
    """What the commands of `parts` work with, on the configured Elasticsearch."""
    from metronome.parts.commands import opened

    settings = Settings.from_env()
    with opened(settings, _address(settings)) as builder:
        yield builder


def _quarantine(settings: Settings) -> Any:
    from metronome.spool.files import act_as_owner, make_folder
    from metronome.spool.quarantine import Quarantine

    act_as_owner(settings.spool_dir)
    make_folder(settings.spool_dir)
    return Quarantine(settings.spool_dir)


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)
