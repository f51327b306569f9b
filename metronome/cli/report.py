"""`metronome report`: run reporters, catch up, list reports, compare them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from metronome.cli.address import connected
from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.reports.kept import Run
    from metronome.reports.run import Runner

_DAY = click.option("--date", "day", default="", help="A UTC day, YYYY-MM-DD.")
_MONTH = click.option("--month", default="", help="A month, YYYY-MM.")
_FILTER = click.option("--filter", "named", default="", help="Only reporters whose name holds this, in any case.")


@click.group()
def report() -> None:
    """Daily and monthly reports: run their reporters, catch up, list, compare."""


@report.command("run")
@_DAY
@_MONTH
@_FILTER
@click.option("--due", is_flag=True, help="Run what should have run by now and hasn't.")
def run(day: str, month: str, named: str, due: bool) -> None:
    """Run reporters: daily ones for yesterday, monthly ones for last month, or as the options say.

    Exits with 1 if any failed; the others have run all the same.
    """
    now = datetime.now(UTC)
    if due:
        _process_last_month(now)
    with _runner() as runner, runner.alone():
        runs = runner.run_due(now) if due else _each(runner, _whens(day, month, now), named)
        sys.exit(_shown(runs))


@report.command("backfill")
@click.option("--from", "first", required=True, help="The first UTC day, YYYY-MM-DD.")
@click.option("--to", "last", default="", help="The last one; default: yesterday.")
@_FILTER
def backfill(first: str, last: str, named: str) -> None:
    """Run reporters for each day from one to another, and for each month between them."""
    end = _day(last, "--to") if last else datetime.now(UTC).date() - timedelta(days=1)
    with _runner() as runner, runner.alone():
        sys.exit(_shown(runner.backfill(_day(first, "--from"), end, named)))


@report.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def listing(as_json: bool) -> None:
    """Show all reporters, and their last runs."""
    from metronome.periods import to_text
    from metronome.reports import reporters

    with _runner() as runner:
        latest = {one.reporter: one for one in sorted(runner.kept.runs(), key=lambda one: one.when)}
    for reporter in (*reporters.DAILY_REPORTERS, *reporters.MONTHLY_REPORTERS):
        name = reporter.__name__
        one = latest.get(name)
        offered = next((key for key, made in reporters.VIEWABLE_REPORTS.items() if made is reporter.MAKES), "")
        kind = "daily" if issubclass(reporter, reporters.DailyReporter) else "monthly"
        facts: dict[str, Any] = {"reporter": name, "kind": kind, "report": offered}
        if one is not None:
            facts |= {"when": one.when, "at": to_text(one.at), "reports": one.reports, "problem": one.problem}
        last = f"{one.when}  {one.reports} reports  {one.problem}".rstrip() if one else "never run"
        click.echo(json.dumps(facts) if as_json else f"{name}  {kind}  {offered or '-'}  {last}")


@report.command("verify")
@_DAY
@_MONTH
@_FILTER
def verify(day: str, month: str, named: str) -> None:
    """Make reports again without storing them, and show where they differ from the stored ones; then exits with 1."""
    differs = False
    with _runner() as runner:
        for when in _whens(day, month, datetime.now(UTC)):
            for one in runner.verify(when, named):
                differs = True
                click.echo(f"{one.reporter}  {one.when}  stored {json.dumps(one.stored)}  now {json.dumps(one.now)}")
    sys.exit(1 if differs else 0)


def _process_last_month(now: datetime) -> None:
    """Process last month by COUNTER, where it has counted usage and wasn't processed. What fails is shown."""
    from metronome.cli.counter import processor
    from metronome.counter.process import last_finished
    from metronome.errors import MetronomeError
    from metronome.reports.run import MONTHLY_AT

    month = last_finished(now)
    if (now.day, now.time()) < MONTHLY_AT:
        return
    try:
        with processor() as (found, kept):
            first, known = kept.first_month(), kept.month(month)
            if first is not None and first <= month and not (known and known.processed_at):
                found.process(month)
                click.echo(f"{month} is processed")
    except MetronomeError as error:
        click.echo(f"{month} can't be processed: {error}", err=True)


def _each(runner: Runner, whens: list[Any], named: str) -> Iterator[Run]:
    for when in whens:
        yield from runner.run(when, named)


def _shown(runs: Iterable[Run]) -> int:
    """Show each run as it is done; what to exit with."""
    failed = 0
    for one in runs:
        failed += bool(one.problem)
        click.echo(
            f"{one.reporter}  {one.when}  " + (f"failed: {one.problem}" if one.problem else f"{one.reports} reports")
        )
    return 1 if failed else 0


def _whens(day: str, month: str, now: datetime) -> list[Any]:
    from metronome.reports.models import YearMonth

    if day or month:
        return [*([_day(day, "--date")] if day else []), *([YearMonth.read(month)] if month else [])]
    return [now.date() - timedelta(days=1), YearMonth.of(now.date()).moved(-1)]


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} isn't a day; write YYYY-MM-DD", param_hint=option) from None


@contextmanager
def _runner() -> Iterator[Runner]:
    from metronome.reports.run import Runner

    settings = Settings.from_env()
    with connected(settings) as client:
        yield Runner(settings, client)
