"""`metronome streams`: the process for long connections, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache

from elasticsearch import Elasticsearch

from metronome import logs, process
from metronome.errors import SetupError
from metronome.files import Lock
from metronome.intake import Intake
from metronome.metrics import Metrics
from metronome.people.people import People
from metronome.query import Ask, open_door
from metronome.settings import Settings
from metronome.spool.files import make_folder
from metronome.spool.spool import Spool
from metronome.store.address import Address
from metronome.store.client import connect
from metronome.streams.arrivals import Arrivals
from metronome.streams.batches import Batches, Gathered
from metronome.streams.hub import Doors, Hub, listen
from metronome.streams.live import Live
from metronome.streams.routes import ROUTES, Route
from metronome.streams.stream import Limits

log = logging.getLogger("metronome.streams")


def run(settings: Settings, find: Callable[[], Address | None], routes: Mapping[str, Route] = ROUTES) -> None:
    """Serve long connections until SIGTERM. Raises SetupError where METRONOME_HOME can't be used, or another does.

    `find` gives the private Elasticsearch, if that is the one; it is called once somebody asks a question.
    """
    make_folder(settings.spool_dir)
    logs.configure(settings.log_level, "streams")
    # At a lower level, this logger writes a line for each connection.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    lock = Lock(settings.home / "streams.lock")
    if not lock.take():
        raise SetupError(f"another `metronome streams` serves {settings.home}; one is enough")
    process.allow_many_files()
    room = {"max_bytes": settings.spool_max_bytes, "reserve_bytes": settings.disk_reserve_bytes}
    spool = Spool(settings.spool_dir, role="streams", **room)
    metrics = Metrics()
    metrics.publish(settings.metrics_dir / spool.slot)
    try:
        asyncio.run(_serve(settings, spool, metrics, routes, live_of(settings, find)))
    finally:
        # The order matters: the next owner of the spool's slot goes on counting from the published metrics.
        metrics.close()
        spool.close()
        settings.streams_socket.unlink(missing_ok=True)
        lock.release()


def live_of(settings: Settings, find: Callable[[], Address | None]) -> Live:
    """What watchers share. Elasticsearch isn't asked before there is one."""
    client = cache(lambda: connect(settings, find()))

    def make_ask() -> Ask:
        return open_door(client(), settings, lambda: datetime.now(UTC))

    arrivals = Arrivals(make_ask, settings.home / "live.json", settings.index_prefix)
    return Live(arrivals, cache(lambda: _everybody(settings, client())))


def _everybody(settings: Settings, client: Elasticsearch) -> People:
    """Who is whom, by the links of archived days too. It is brought up to date whenever it is asked."""
    if not settings.archive:
        return People(settings, client)
    # boto3 takes memory: only who has an archive pays for it.
    from metronome.archive.asking import Archive

    return People(settings, client, Archive(settings, client).further())


async def _serve(settings: Settings, spool: Spool, metrics: Metrics, routes: Mapping[str, Route], live: Live) -> None:
    gathered = Gathered(spool)
    limits = Limits(
        connections=settings.streams,
        message_bytes=settings.stream_message_bytes,
        messages_per_s=settings.stream_messages_per_s,
    )
    hub = Hub(
        routes,
        Doors(Batches(Intake(settings, gathered, metrics, folder=settings.spool_dir), gathered), settings, live),
        limits,
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with contextlib.closing(listen(settings.streams_socket)) as listener:
        process.after_start()
        log.info("streams ready", extra={"spool": spool.slot, "routes": sorted(routes)})
        await hub.serve(listener, stopping)
