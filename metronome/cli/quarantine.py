"""`metronome quarantine`: look at refused events, send them again, or delete them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.spool.quarantine import Quarantine, Wanted


@click.group()
def quarantine() -> None:
    """What the gateway or Elasticsearch refused for good: look at it, send it again, or delete it."""


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose events; it gets them as `wanted`."""

    @click.option("--reason", default="", help="Only those whose reason has this text, in any case.")
    @click.option("--since", type=click.DateTime(), help="Only those refused since this time (UTC).")
    @click.option("--before", type=click.DateTime(), help="Only those refused before this time (UTC).")
    @functools.wraps(command)
    def choosing(reason: str, since: datetime | None, before: datetime | None, **others: Any) -> None:
        from metronome.spool.quarantine import EVERYTHING, Wanted

        start = EVERYTHING.since_ms if since is None else _ms(since)
        end = EVERYTHING.before_ms if before is None else _ms(before)
        command(wanted=Wanted(reason, start, end), **others)

    return choosing


@quarantine.command("list")
@_chosen
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the whole event.")
def quarantine_list(wanted: Wanted, as_json: bool) -> None:
    """Show refused events, oldest first."""
    with closing(_quarantine(Settings.from_env())) as kept:
        for row in kept.list(wanted):
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
@_chosen
def quarantine_replay(wanted: Wanted) -> None:
    """Spool events that Elasticsearch refused again; the drain sends them. What fails once more comes back here.

    Events that the gateway itself refused (not_accepted) stay: mend what `list --json` shows, and post that.
    """
    from metronome.spool.files import act_as_owner
    from metronome.spool.quarantine import replay

    settings = Settings.from_env()
    act_as_owner(settings.spool_dir)
    done, left = replay(settings.spool_dir, wanted)
    click.echo(
        f"{done} events spooled again"
        + (f"; {left} stay: damaged, or never accepted (list --json has them, to be mended and posted)" if left else "")
    )


@quarantine.command("drop")
@_chosen
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def quarantine_drop(wanted: Wanted, everything: bool, yes: bool) -> None:
    """Delete refused events for good, after a question. They can't be brought back.

    Say which: --reason, --since, --before, or --all. `list` with the same options shows them.
    """
    from metronome.spool.quarantine import EVERYTHING

    if everything == (wanted != EVERYTHING):
        raise click.UsageError("say which: --reason, --since, --before, or else --all")
    with closing(_quarantine(Settings.from_env())) as kept:
        kinds, newest = kept.summary(wanted)
        if not kinds:
            click.echo("no such events")
            return
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        if not yes:
            click.confirm(f"Delete {sum(kinds.values())} events for good ({told})?", abort=True)
        # What was refused since the question was put stays: nobody has said yes to it.
        click.echo(f"{kept.drop(wanted, newest)} events deleted")


def _quarantine(settings: Settings) -> Quarantine:
    from metronome.spool.files import act_as_owner, make_folder
    from metronome.spool.quarantine import Quarantine

    act_as_owner(settings.spool_dir)
    make_folder(settings.spool_dir)
    return Quarantine(settings.spool_dir)


def _ms(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)
