"""Commands that run a process of the gateway until it is stopped."""

from __future__ import annotations

import signal

import click

from metronome import logs, process
from metronome.cli.address import address
from metronome.settings import Settings


@click.command()
def up() -> None:
    """Start everything: Elasticsearch if none is configured, the drain, live connections and HTTP.

    Ctrl-C or SIGTERM stops all of it in order; SIGHUP restarts the HTTP workers.
    """
    from metronome import up as installation

    installation.run(Settings.from_env())


@click.command()
def serve() -> None:
    """Serve HTTP: takes ticks into the spool, answers tocks. Needs a drain beside it."""
    from metronome.web.server import serve as run

    settings = Settings.from_env()
    run(settings, address(settings))


@click.command()
def streams() -> None:
    """Serve websockets and event streams, which `serve` hands over. One process a METRONOME_HOME."""
    from metronome.streams.run import run

    settings = Settings.from_env()
    run(settings, lambda: address(settings))


@click.command()
@click.option("--until-empty", is_flag=True, help="Return as soon as nothing waits any more.")
def drain(until_empty: bool) -> None:
    """Ship spooled events to Elasticsearch. One drain a METRONOME_HOME; a second waits as a stand-by."""
    from metronome.archive.automatic import Automatic
    from metronome.drain.drain import Drain
    from metronome.drain.schedule import OnDemand, Schedule
    from metronome.erasure.keeper import Keeper
    from metronome.metrics import Metrics
    from metronome.spool.files import make_folder
    from metronome.store.client import connect

    settings = Settings.from_env()
    make_folder(settings.spool_dir)
    logs.configure(settings.log_level, "drain")
    place = address(settings)
    client = connect(settings, place, timeout_s=settings.drain_timeout_s, exact=False)
    run = Drain(settings, client, Metrics())
    automatic, keeper = Automatic(settings, place), Keeper(settings, place)
    process.after_start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.stop())
    beside: list[Automatic | Keeper | Schedule] = [] if until_empty else [automatic, keeper]
    if not until_empty:
        beside += [Schedule()] if settings.reports == "yes" else []
        beside += [OnDemand(settings)] if settings.on_demand == "yes" else []
    for one in beside:
        one.start()
    try:
        run.run(until_empty=until_empty)
    finally:
        for one in beside:
            one.stop()


@click.command()
def listen() -> None:
    """Take events by Fluentd's forward protocol, and as JSON lines over TCP and UDP. Needs a drain beside it.

    METRONOME_FORWARD_BIND, METRONOME_LINES_BIND and METRONOME_LINES_UDP_BIND say where; `up` starts it with them.
    """
    from metronome.listen.server import listen as run

    settings = Settings.from_env()
    run(settings, lambda: address(settings))
