"""`metronome demo video`: sample sessions of videos."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from metronome.cli.address import connected
from metronome.settings import Settings


@click.command()
def video() -> None:
    """Store sample sessions of videos, and make the sample key if there is no key yet.

    They are of the identifiers "label name", "clock" and "stripes", with {"demo": true} as metadata. Running it again
    on the same day stores nothing new. A drain ships them.
    """
    from metronome.errors import MetronomeError
    from metronome.intake import NO_HORIZON, Intake, Origin
    from metronome.keyring import make_sample
    from metronome.keys import split
    from metronome.spool.files import make_folder
    from metronome.spool.spool import Spool
    from metronome.video import demo, sample

    settings = Settings.from_env()
    make_folder(settings.spool_dir)
    room = {"max_bytes": settings.spool_max_bytes, "reserve_bytes": settings.disk_reserve_bytes}
    spool = Spool(settings.spool_dir, role="demo", **room)
    try:
        intake = Intake(settings, spool, folder=settings.spool_dir)
        stored = 0
        for fact in demo.sessions(datetime.now(UTC), split(sample.KEY)[0]):
            origin = Origin("video", facts=fact.facts, horizon=NO_HORIZON)
            stored += intake.accept([fact.event], origin).accepted
    finally:
        spool.close()
    click.echo(f"{stored} events are on disk; figures: /api/v1/plays, page: /videos/")
    try:
        with connected(settings) as client:
            if make_sample(client, settings):
                click.echo(f"the sample key is {sample.KEY}")
    except MetronomeError as error:
        click.echo(f"the sample key wasn't looked for: {error}", err=True)
