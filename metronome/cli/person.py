"""`metronome person` and `metronome erase`: what is stored, given out or erased."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from metronome.cli.address import address
from metronome.errors import BadQuestion
from metronome.settings import Settings

_MODE = click.Choice(["erase", "anonymise"])


@click.group()
def person() -> None:
    """Everything that is stored of a person, by any ID of the person."""


@person.command("erase")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--mode", type=_MODE, default="erase", show_default=True, help="anonymise: events stay, under no one's id."
)
@click.option("--dry-run", is_flag=True, help="Say what would be found, and change nothing.")
def person_erase(ids: tuple[str, ...], mode: str, dry_run: bool) -> None:
    """Erase people from spool, Elasticsearch, quarantine, day parts and archive, and print the signed receipt.

    Events under one of the ids aren't taken any more. May be stopped and run again.
    """
    from metronome.erasure.target import Asked

    _erase(Asked(ids=ids, mode=mode), dry_run)


@person.command("export")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--output", "-o", type=click.File("wb"), default="-", help="A file; default: standard output.")
def person_export(ids: tuple[str, ...], output: IO[bytes]) -> None:
    """Write every event of people as NDJSON, from wherever it is."""
    from metronome.erasure.person import lines_of

    count = 0
    with _work() as work:
        for line in lines_of(work, ids):
            output.write(line)
            count += 1
    click.echo(f"{count:,} events", err=True)


@person.command("verify")
@click.argument("receipt", type=click.File("rb"))
@click.option("--key", default="", help="The public key that has to have signed it; default: this installation's.")
def person_verify(receipt: IO[bytes], key: str) -> None:
    """Check a RECEIPT: that it is what was signed, and that what it says is gone is gone. Exits with 0 or 1."""
    from metronome.erasure import receipt as receipts
    from metronome.erasure.check import problems_of

    settings = Settings.from_env()
    given = receipts.read(receipt.read())
    if problem := receipts.problem_of(given, key or receipts.public_key(settings.home)):
        click.echo(f"NOT valid: {problem}")
        sys.exit(1)
    with _work() as work:
        problems = problems_of(work, given)
    for problem in problems:
        click.echo(f"NOT so any more: {problem}")
    if not problems:
        click.echo(f"valid: job {given['job']}, done {given['done_at']}")
    sys.exit(1 if problems else 0)


@click.command()
@click.option("--where", help='Events that meet this filter: {"field": "plan", "op": "is", "value": "pro"}.')
@click.option("--from", "first", help="First day, such as 2026-11-01, or instant.")
@click.option("--to", "last", help="Last day, that day included, or instant.")
@click.option("--field", "name", default="", help="Not the events go, but what they have under this name.")
@click.option("--dry-run", is_flag=True, help="Say what would be found, and change nothing.")
def erase(where: str | None, first: str | None, last: str | None, name: str, dry_run: bool) -> None:
    """Erase events of a filter or a period, or one leaked property, from everywhere; print the signed receipt."""
    from zoneinfo import ZoneInfo

    from metronome.erasure.target import Asked
    from metronome.periods import period

    try:
        wanted = period(first, last, ZoneInfo("UTC"))
        given = json.loads(where) if where else None
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    _erase(Asked(where=given, start=wanted.start, end=wanted.end, name=name), dry_run)


def _erase(asked: Any, dry_run: bool) -> None:
    from metronome.dialects.query.read import condition
    from metronome.erasure.job import Job, check

    check(asked)
    with _work() as work:
        job = Job(work, lambda given: condition(given, "where"), lambda text: click.echo(text, err=True))
        click.echo(json.dumps(job.run(asked, dry_run=dry_run), indent=2))


@contextmanager
def _work() -> Iterator[Any]:
    from metronome.archive.work import opened

    settings = Settings.from_env()
    with opened(settings, address(settings), needs_archive=False) as work:
        yield work
