"""`metronome counter`: customers, and the processing of months by COUNTER Release 5.1."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from metronome.cli.address import address, connected
from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.counter.customers import Customers
    from metronome.counter.facts import Month
    from metronome.counter.kept import Kept
    from metronome.counter.process import Processor


#: Characters of a note on what is lost.
MOST_LOST = 500


@click.group()
def counter() -> None:
    """COUNTER reports: whose usage it is, and months that are processed by Release 5.1."""


@counter.group()
def customers() -> None:
    """Institutions whose usage is reported: their networks, and the keys to their reports."""


@customers.command("add")
@click.argument("customer_id", metavar="ID")
@click.option("--name", required=True, help="The institution's name, as in its reports.")
@click.option("--requestor-id", default="", help="Who asks for its reports; default: ID.")
@click.option("--network", "networks", multiple=True, help="Usage from here is its own; again for several.")
@click.option("--member-of", multiple=True, help="A consortium, itself a customer; again for several.")
@click.option("--institution-id", "ids", multiple=True, help="Such as ROR:00hx57361 or ISNI:…; again for several.")
def customers_add(customer_id: str, ids: tuple[str, ...], **wanted: Any) -> None:
    """Add a customer, and print its ids and its API key as JSON. The key can't be shown again."""
    found: dict[str, tuple[str, ...]] = {}
    for text in ids:
        kind, colon, value = text.partition(":")
        if not colon or kind not in ("ISNI", "ISIL", "OCLC", "ROR"):
            raise click.BadParameter(f"{text!r} isn't ROR:…, ISNI:…, ISIL:… or OCLC:…", param_hint="--institution-id")
        found[kind] = (*found.get(kind, ()), value)
    with _customers() as kept:
        customer, api_key = kept.add(customer_id, ids=found.items(), **wanted)
    shown = {"customer_id": customer.id, "requestor_id": customer.requestor_id, "api_key": api_key}
    click.echo(json.dumps(shown))


@customers.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def customers_list(as_json: bool) -> None:
    """Show all customers, by id."""
    with _customers() as kept:
        for one in kept.all():
            facts: dict[str, Any] = {
                "customer_id": one.id,
                "name": one.name,
                "requestor_id": one.requestor_id,
                "networks": list(one.networks),
                "member_of": list(one.member_of),
            }
            further = "".join(f"  {name}={','.join(facts[name])}" for name in ("networks", "member_of") if facts[name])
            click.echo(json.dumps(facts) if as_json else f"{one.id}  {one.name}  requestor={one.requestor_id}{further}")


@customers.command("remove")
@click.argument("customer_id", metavar="ID")
def customers_remove(customer_id: str) -> None:
    """Remove a customer and its key. Usage that was already counted as its own stays so."""
    with _customers() as kept:
        kept.remove(customer_id)
    click.echo(f"{customer_id} is removed")


@counter.command("process")
@click.argument("month", required=False)
@click.option("--cause", default="processed again", show_default=True, help="Why, for the log of restatements.")
@click.option("--asked", is_flag=True, help="In place of MONTH those that a report was asked of and that never were.")
def process(month: str | None, cause: str, asked: bool) -> None:
    """Process MONTH (YYYY-MM; default: the one before this). Its facts are replaced, and changes are logged.

    Waits while another process does so. With --asked, a month that fails leaves the others; exits with 1 then.
    """
    from metronome.counter.process import last_finished

    if asked and month:
        raise click.UsageError("--asked names the months itself; leave MONTH out")
    with processor() as (found, kept):
        if asked:
            sys.exit(_process_asked(found, kept))
        _process(found, kept, month or last_finished(datetime.now(UTC)), cause)


@counter.command("lost")
@click.argument("month")
@click.argument("what", default="")
def lost(month: str, what: str) -> None:
    """Note that usage of MONTH is lost for good, and WHAT of it, such as "3 to 5 May: a disk failed".

    Reports of that month then say so (3040, Partial Data Returned). Without WHAT the note is taken back.
    """
    from metronome.counter.process import month_of

    month_of(month)
    with processor() as (_, kept):
        click.echo(_line(kept.lose(month, what.strip()[:MOST_LOST])))


def _process(found: Processor, kept: Kept, month: str, cause: str) -> None:
    from metronome.counter.process import alerts

    with _progress() as progress:
        done = found.process(month, cause=cause, wait=True, progress=progress)
    click.echo(_line(done))
    for alert in alerts(kept, month):
        click.echo(f"look at this: {alert}", err=True)


def _process_asked(found: Processor, kept: Kept) -> int:
    """Process what was asked for, until nothing is left; what to exit with."""
    from metronome.counter.demand import asked
    from metronome.errors import MetronomeError

    failed = 0
    while waiting := asked(kept):
        try:
            _process(found, kept, waiting[0], "a report was asked for")
        except MetronomeError as error:
            click.echo(f"{waiting[0]} can't be processed: {error}", err=True)
            kept.give_up(waiting[0])
            failed = 1
    return failed


@counter.command("months")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, restatements included.")
def months(as_json: bool) -> None:
    """Show the months that were processed, when, and what was restated."""
    with processor() as (_, kept):
        for month in kept.months():
            click.echo(json.dumps(_as_dict(month)) if as_json else _line(month))


@counter.command("explain")
@click.argument("month")
@click.argument("subject", metavar="ID")
@click.option("--customer", default="", help="As its usage counts for this customer; default: The World.")
def explain(month: str, subject: str, customer: str) -> None:
    """Show each event of an item, title or database in MONTH, and which numbers it became."""
    from metronome.counter.explain import explain as explained
    from metronome.counter.facts import WORLD

    sums: Counter[str] = Counter()
    with processor() as (found, _):
        for event in explained(found.source, found.days(month), subject, customer or WORLD):
            sums.update(event.counts)
            counts = "".join(f"  {metric}+{count}" for metric, count in event.counts.items())
            click.echo(f"{event.at:%Y-%m-%dT%H:%M:%S}  {event.id}  {event.verdict}{counts}")
    click.echo("".join(f"{metric}={count}  " for metric, count in sorted(sums.items())).strip() or "nothing counts")


def _line(month: Month) -> str:
    at = f"processed {month.processed_at:%Y-%m-%dT%H:%M:%SZ}" if month.processed_at else "not processed"
    now = "  being processed" if month.processing else ""
    restated = f"  restated {len(month.restatements)} times" if month.restatements else ""
    gone = f"  lost: {month.lost}" if month.lost else ""
    return f"{month.month}  {at}{now}{restated}{gone}"


def _as_dict(month: Month) -> dict[str, Any]:
    from metronome.periods import to_text

    def text(at: datetime | None) -> str | None:
        return to_text(at) if at else None

    return {
        "month": month.month,
        "processed_at": text(month.processed_at),
        "processing": month.processing,
        "changed_at": text(month.changed_at),
        "robot_list": month.robot_list,
        "lost": month.lost,
        "restatements": [
            {"at": text(one.at), "cause": one.cause, "changes": [change._asdict() for change in one.changes]}
            for one in month.restatements
        ],
    }


@contextmanager
def _progress() -> Iterator[Any]:
    """A progress bar of days, where somebody looks."""
    from tqdm import tqdm

    with tqdm(unit="day", disable=None, leave=False) as bar:

        def progress(done: int, of: int, what: str) -> None:
            bar.set_description(what)
            bar.total, bar.n = of, done
            bar.refresh()

        yield progress


@contextmanager
def _customers() -> Iterator[Customers]:
    from metronome.counter.customers import Customers

    settings = Settings.from_env()
    with connected(settings) as client:
        yield Customers(client, settings)


@contextmanager
def processor() -> Iterator[tuple[Processor, Kept]]:
    """What processes months, and the facts."""
    from metronome.counter.kept import Kept
    from metronome.counter.process import Processor
    from metronome.counter.source import Source
    from metronome.parts.commands import opened

    settings = Settings.from_env()
    with connected(settings) as client, opened(settings, address(settings)) as builder:
        kept = Kept(client, settings)
        yield Processor(settings, kept, Source(settings, client, builder)), kept
