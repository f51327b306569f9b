"""`metronome demo`: made-up events for a first look, posted through the public door."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from metronome.settings import Settings

#: Events in a request.
BATCH = 1000

#: Seconds for which a gateway may be away or busy, and for which the figures may take to arrive.
PATIENCE_S = 60


@click.group(invoke_without_command=True)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 366), help="Days, up to now.")
@click.option("--seed", default="metronome", show_default=True, help="Another one gives another month.")
@click.option("--app", default="demo", show_default=True, help="The application that the events belong to.")
@click.pass_context
def demo(context: click.Context, days: int, seed: str, app: str) -> None:
    """Fill a running gateway with a lively site's month, to have something to look at.

    Visits, downloads, sign-ups, purchases, videos, robots and an outage. The same seed gives the same events, so
    running it again adds nothing but what has happened since. The events are of the application `demo`.
    """
    if context.invoked_subcommand is not None:
        return
    from metronome.load.site import month

    settings = Settings.from_env()
    counted = post(month(seed, datetime.now(UTC), days, app), settings)
    total = counted.total()
    click.echo(f"{total} events of {days} days: {', '.join(f'{n} {name}' for name, n in counted.most_common())}")
    if await_figures(settings, app, total):
        click.echo("They can be asked for now. To begin with:\n")
    else:
        click.echo("They are on disk, and not all of them can be asked for yet. To begin with:\n")
    click.echo(_links(settings.url, app))


def post(events: Iterator[dict[str, Any]], settings: Settings) -> Counter[str]:
    """Post events in batches; gives how many there were of each name. Raises Refused or StoreUnavailable."""
    import orjson
    from tqdm import tqdm

    counted: Counter[str] = Counter()
    with tqdm(unit=" events", desc="posting", disable=None) as bar:
        while batch := list(islice(events, BATCH)):
            body = b"\n".join(map(orjson.dumps, batch))
            receipt = _patiently(lambda body=body: _posted(settings, body))  # type: ignore[misc]
            if receipt["rejected"]:
                row = receipt["rejected"][0]
                click.echo(f"{len(receipt['rejected'])} events were refused; the first: {row['reason']}", err=True)
            counted.update(str(event["event"]) for event in batch)
            bar.update(len(batch))
    return counted


def _posted(settings: Settings, body: bytes) -> dict[str, Any]:
    from metronome.client import post as send

    return send(f"{settings.url}/tick?receipt=full", body, "application/x-ndjson", key=settings.key)


def _patiently(send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from metronome.errors import StoreUnavailable

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return send()
        except StoreUnavailable as error:
            pause_s = error.retry_after_s or 1
            if time.monotonic() + pause_s > deadline:
                raise
            click.echo(f"{error.message}; again in {pause_s} s", err=True)
            time.sleep(pause_s)


def await_figures(settings: Settings, app: str, total: int) -> bool:
    """Wait until the application has so many events; False if it takes too long, or the key may not ask."""
    from metronome.client import Retriever
    from metronome.errors import MetronomeError

    deadline = time.monotonic() + PATIENCE_S
    retriever = Retriever(app, url=settings.url, key=settings.key)
    while time.monotonic() < deadline:
        try:
            found = {row["name"]: row["count"] for row in retriever.applications()}
        except MetronomeError:
            return False
        if found.get(app, 0) >= total:
            return True
        if sys.stderr.isatty():
            click.echo(f"\rarriving: {found.get(app, 0)} of {total}", nl=False, err=True)
        time.sleep(0.5)
    return False


def _links(url: str, app: str) -> str:
    return "\n".join(
        (
            f"  {url}/",
            f"  {url}/applications",
            f"  {url}/application/{app}",
            f"  {url}/tock/%2Fmaps.json",
            f'  curl -d \'{{"steps": [{{"event": "view"}}, {{"event": "sign_up"}}, {{"event": "purchase"}}], '
            f'"app": "{app}"}}\' {url}/query/funnel',
        )
    )
