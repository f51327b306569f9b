"""`metronome quarantine`: look at refused events, and send them again."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import click

from metronome.settings import Settings


@click.group()
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


def _quarantine(settings: Settings) -> Any:
    from metronome.spool.files import act_as_owner, make_folder
    from metronome.spool.quarantine import Quarantine

    act_as_owner(settings.spool_dir)
    make_folder(settings.spool_dir)
    return Quarantine(settings.spool_dir)


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)
