"""`metronome archive`, `restore` and `export`: days that leave Elasticsearch, and come back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import IO, Any

import click

from metronome.cli.address import address
from metronome.errors import BadQuestion, MetronomeError
from metronome.settings import Settings


@click.group()
def archive() -> None:
    """Old days in METRONOME_ARCHIVE: an S3 or a folder. They can still be asked, and come back as they were.

    DAYS are one UTC day such as 2026-11-03, or first and last day: 2026-11-01..2026-11-30. Without DAYS: all there are.
    """


@archive.command("run")
@click.option("--before", help="Archive days before this one; default: by METRONOME_ARCHIVE_AFTER, else all past days.")
@click.option("--day", help="Archive this day only.")
@click.option("--dry-run", is_flag=True, help="Say what would be archived, and do nothing.")
@click.option("--keep-index", is_flag=True, help="Archive, and leave the indices in Elasticsearch.")
def archive_run(before: str | None, day: str | None, dry_run: bool, keep_index: bool) -> None:
    """Move closed days from Elasticsearch into the archive.

    An index is deleted once its objects were read back and agree. Exits with 1 where one should have gone and stayed.
    """
    with _work() as work:
        days = _days_to_archive(work, before, day)
        if dry_run:
            for one in days:
                click.echo(f"{one}  would be archived: about {work.builder.to_fetch(one):,} events to fetch")
            return
        good = _run(work, days, keep_index)
    sys.exit(0 if good else 1)


def _days_to_archive(work: Any, before: str | None, day: str | None) -> list[date]:
    from datetime import timedelta

    from metronome.archive.closed import days_waiting

    today = datetime.now(UTC).date()
    last = today - timedelta(days=work.settings.archive_after)
    if before:
        last = min(today, _day(before))
    days = [one for one in work.past_days(today) if one < last]
    if day:
        wanted = _day(day)
        if wanted >= today:
            raise BadQuestion(f"{wanted} isn't over yet; days are archived from the next one on")
        days = [one for one in work.past_days(today) if one == wanted]
    waiting = days_waiting(work.settings)
    for one in days:
        if one in waiting:
            click.echo(f"{one}  left out: events of it wait in a spool; run again once the drain has shipped them")
    return [one for one in days if one not in waiting]


def _run(work: Any, days: list[date], keep_index: bool) -> bool:
    lease = work.lease()
    good = True
    with lease.held(said=lambda text: click.echo(text, err=True)):
        archiver = work.archiver(lease)
        for day in days:
            try:
                with _bar(str(day), work.builder.to_fetch(day)) as progress:
                    done = archiver.archive(day, keep_index=keep_index, progress=progress)
            except MetronomeError as error:
                click.echo(f"{day}  NOT archived, its index stays: {error}")
                good = False
                continue
            what = "index kept" if keep_index else "index deleted" if done.deleted else "INDEX STAYS: " + done.problem
            if done.events == 0 and not done.deleted and not done.problem and not keep_index:
                continue  # another archiver was here meanwhile
            good = good and not done.problem
            click.echo(f"{day}  {done.events:,} events  {done.added:,} added  {done.bytes:,} bytes  {what}")
    return good


@archive.command("list")
def archive_list() -> None:
    """Show every archived day: events, bytes, parts, when it was archived."""
    from metronome.archive.manifest import Catalogue
    from metronome.archive.objects import open_objects

    catalogue = Catalogue(open_objects(Settings.from_env()))
    for day in catalogue.days():
        kept = catalogue.get(day)
        if kept is not None:
            found = kept.manifest
            size = f"{found.events:,} events  {found.bytes:,} bytes  {len(found.parts)} parts"
            click.echo(f"{day}  {size}  archived {found.created_at}")


@archive.command("verify")
@click.argument("days", required=False)
@click.option("--deep", is_flag=True, help="Read the objects as well, and compare bytes, events and ids.")
def archive_verify(days: str | None, deep: bool) -> None:
    """Compare every object with its manifest. Exits with 1 if one is missing or changed; orphans are named."""
    from metronome.archive.care import Care
    from metronome.archive.manifest import Catalogue
    from metronome.archive.objects import open_objects

    settings = Settings.from_env()
    catalogue = Catalogue(open_objects(settings))
    there = catalogue.all_days()
    good = True
    for day in _days(days) or there:
        finding = Care(settings, catalogue).verify(day, deep=deep)
        for key in finding.orphans:
            click.echo(f"{day}  orphan: {key}; `metronome archive compact {day}` removes it")
        for problem in finding.problems:
            click.echo(f"{day}  DAMAGED: {problem}")
        if day not in there:
            click.echo(f"{day}  isn't archived")
        elif not finding.problems:
            click.echo(f"{day}  ok: {finding.events:,} events")
        good = good and not finding.problems
    sys.exit(0 if good else 1)


@archive.command("compact")
@click.argument("days", required=False)
def archive_compact(days: str | None) -> None:
    """Fold the parts of each day into one, and remove what no manifest names."""
    with _work() as work:
        lease = work.lease()
        with lease.held(said=lambda text: click.echo(text, err=True)):
            for day in _days(days) or work.catalogue.all_days():
                done = work.care.compact(day, lease, work.state)
                if done is not None:
                    click.echo(f"{day}  {done.parts_before} parts made one, {done.orphans} orphans removed")


@click.command()
@click.argument("days")
@click.option("--where", help='Only events that meet this filter: {"field": "plan", "op": "is", "value": "pro"}.')
@click.option("--to-prefix", default="", help="Into indices NAME-YYYY.MM.DD instead of their own.", metavar="NAME")
def restore(days: str, where: str | None, to_prefix: str) -> None:
    """Bring archived DAYS back into Elasticsearch: the same ids, the same documents byte for byte.

    What is there already stays, so that a restore which was cut goes on by being run again. The days stay archived.
    """
    from metronome.kinds import PREFIX

    try:
        prefix = PREFIX.read(to_prefix) if to_prefix else ""
    except ValueError:
        raise click.BadParameter(PREFIX.takes, param_hint="--to-prefix") from None
    condition = _condition(where) if where else None
    with _work() as work:
        for day in _days(days):
            kept = work.catalogue.get(day)
            with _bar(str(day), kept.manifest.events if kept else 0) as progress:
                done = work.restorer.restore(day, where=condition, to_prefix=prefix, progress=progress)
            click.echo(f"{day}  {done.events:,} events in {done.index}, {done.created:,} of them new there")


@click.command()
@click.option("--from", "first", help="First day, such as 2026-11-01, or instant.")
@click.option("--to", "last", help="Last day, that day included, or instant.")
@click.option("--format", "form", type=click.Choice(["ndjson", "csv", "parquet"]), default="ndjson", show_default=True)
@click.option("--where", help='Only events that meet this filter: {"field": "plan", "op": "is", "value": "pro"}.')
@click.option("--output", "-o", type=click.File("wb"), default="-", help="A file; default: standard output.")
def export(first: str | None, last: str | None, form: str, where: str | None, output: IO[bytes]) -> None:
    """Write events from wherever they are: Elasticsearch, the archive, or both."""
    from zoneinfo import ZoneInfo

    from metronome.archive.export import Exporter
    from metronome.archive.work import opened
    from metronome.periods import period

    try:
        wanted = period(first, last, ZoneInfo("UTC"))
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    condition = _condition(where) if where else None
    settings = Settings.from_env()
    with opened(settings, address(settings), needs_archive=False) as work, _bar("export", 0) as progress:
        catalogue = work.catalogue if settings.archive else None
        count = Exporter(settings, work.builder, catalogue).export(wanted, form, output, condition, progress)
    click.echo(f"{count:,} events", err=True)


def _condition(text: str) -> Any:
    """A filter as /query takes it, as a condition; raises BadQuestion."""
    from metronome.dialects.query.read import condition

    try:
        given = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"a filter is JSON ({error})", param_hint="--where") from None
    return condition(given, "where")


@contextmanager
def _work() -> Iterator[Any]:
    from metronome.archive.objects import open_objects
    from metronome.archive.work import opened

    settings = Settings.from_env()
    open_objects(settings)  # a missing setting is told before Elasticsearch is looked for
    with opened(settings, address(settings)) as work:
        yield work


@contextmanager
def _bar(text: str, events: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error where that is a terminal: events, events/s, time left."""
    from tqdm import tqdm

    with tqdm(total=events or None, desc=text, unit="event", unit_scale=True, leave=False, disable=None) as bar:

        def progress(more: int) -> None:
            bar.update(more)

        yield progress


def _days(text: str | None) -> list[date]:
    from metronome.parts.commands import days_of

    return days_of(text) if text else []


def _day(text: str) -> date:
    (day,) = _days(text) if ".." not in text else (None,)
    if day is None:
        raise BadQuestion(f"{text!r} is no day: write 2026-11-03")
    return day
