"""`metronome counter report`: one COUNTER report as a file."""

from __future__ import annotations

import re
from typing import IO

import click

from metronome.cli.address import address
from metronome.errors import NotFound
from metronome.settings import Settings


@click.command()
@click.argument("report_id", metavar="REPORT")
@click.option("--customer", "customer_id", required=True, help="Whose usage.")
@click.option("--from", "first", required=True, help="First month, such as 2026-01.")
@click.option("--to", "last", required=True, help="Last month (included).")
@click.option(
    "--format", "form", type=click.Choice(["json", "tsv", "xlsx"]), default="json", show_default=True, help="Its form."
)
@click.option(
    "--with",
    "more",
    multiple=True,
    metavar="NAME=VALUE",
    help="A filter or attribute of a full report, such as data_type=Book or attributes_to_show=YOP; again for several.",
)
@click.option("--output", type=click.File("wb"), default="-", help="The file to write; standard output by default.")
def report(
    report_id: str, customer_id: str, first: str, last: str, form: str, more: tuple[str, ...], output: IO[bytes]
) -> None:
    """Write a REPORT, such as TR or tr_j1. It is what GET /r51/reports/REPORT answers.

    What the report has to say of itself, such as a month that isn't processed yet, is repeated on standard error.
    """
    from datetime import UTC, datetime

    from metronome.counter.customers import Directory
    from metronome.counter.kept import Kept
    from metronome.counter.reports import files, months
    from metronome.counter.reports.report import make
    from metronome.counter.reports.selection import Platform, select
    from metronome.counter.reports.table import REPORTS
    from metronome.store.client import connect

    wanted = REPORTS.get(report_id.upper())
    if wanted is None:
        raise click.BadParameter(f"{report_id!r} isn't one of {', '.join(REPORTS)}", param_hint="REPORT")
    given = {"begin_date": first, "end_date": last, "format": form, **_pairs(more)}
    settings = Settings.from_env()
    with connect(settings, address(settings)) as client:
        directory = Directory(client, settings)
        customer = directory.find(customer_id)
        if customer is None:
            raise NotFound(f"there is no customer {customer_id[:64]!r}; `metronome counter customers list` has all")
        now = datetime.now(UTC)
        platform = Platform(settings.platform, settings.platform_id, settings.registry_record)
        selection = select(wanted, given, now=months.month_of(now), platform=platform)
        made = make(selection, Kept(client, settings), customer, directory.members(customer.id), now)
        for piece in files.pieces(made):
            output.write(piece)
    for notice in made.header.notices:
        click.echo(notice.text, err=True)


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        match = re.fullmatch(r"([a-z_]+)=(.*)", text)
        if not match:
            raise click.BadParameter(
                f"{text!r} isn't a name, = and a value, such as data_type=Book", param_hint="--with"
            )
        found[match[1]] = match[2]
    return found
