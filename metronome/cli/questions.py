"""`metronome ask`: the questions of product analytics, over HTTP to the gateway, printed as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from metronome.settings import Settings

#: Options that every question has, by the key of the question that each fills.
_COMMON: tuple[tuple[tuple[str, ...], str], ...] = (
    (("--from", "from"), "First day, instant, or back from now: -30d, -12h, -6mo."),
    (("--to", "to"), "Last day (included), or instant."),
    (("--tz", "tz"), "Time zone, such as Europe/Paris."),
    (("--app", "app"), "Events of this application only."),
    (("--subject", "subject"), "person, session, or the field whose values are counted."),
)

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


@click.group()
def ask() -> None:
    """Ask for figures over time, funnels, retention, lifecycle, paths, persons, values, fields and events.

    Each command makes a question of its options and prints the answer as a table; --json prints all of it, --csv the
    table for other programs. --question takes the question itself, as JSON or @FILE, where options aren't enough
    (docs/query.md).

    \b
    metronome ask trend buy --measure sum:price --by browser --from -7d
    metronome ask funnel view cart buy --window 1d
    metronome ask values browser
    """


def _question(kind: str, *options: Decorator) -> Callable[[Callable[..., dict[str, Any]]], click.Command]:
    """A command that asks a question of this kind. The function it decorates turns its options into keys."""

    def make(keys: Callable[..., dict[str, Any]]) -> click.Command:
        def run(question: str | None, where: Sequence[str], as_json: bool, as_csv: bool, **given: Any) -> None:
            shared = {name: given.pop(name) for (_, name), _ in _COMMON}
            asked = {**_said(shared), **keys(**given)}
            if where:
                asked["where"] = [_filter(one) for one in where]
            if question is not None:
                asked |= _read(question)
            _print(kind, asked, as_json=as_json, as_csv=as_csv)

        run.__doc__ = keys.__doc__
        command: Command = run
        common: tuple[Decorator, ...] = tuple(click.option(*names, help=meaning) for names, meaning in _COMMON)
        # A decorator that is applied later stands earlier in the help.
        for option in reversed((*options, *common, *_OUTPUT)):
            command = option(command)
        return ask.command(kind)(command)

    return make


_OUTPUT: tuple[Decorator, ...] = (
    click.option("--where", multiple=True, help="browser=Firefox, price>10, name~text, or JSON; repeatable."),
    click.option("--question", help="The question, or keys that options don't have, as JSON; @FILE reads a file."),
    click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON."),
    click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV."),
)  # fmt: skip


@_question(
    "trend",
    click.argument("events", nargs=-1),
    click.option("--measure", default="count", help="count, unique, sum:FIELD, avg:, median:, p90:, … of each event."),
    click.option("--formula", help="Over A, B, …, the events in their order: B / A."),
    click.option("--interval", help="hour, day, week, month, year or total."),
    click.option("--by", multiple=True, help="Split by this field; at most two."),
    click.option("--top", type=int, help="So many of the largest groups."),
)
def trend(events: Sequence[str], measure: str, by: Sequence[str], **given: Any) -> dict[str, Any]:
    """Figures over time, one for each of EVENTS; without EVENTS, of all together."""
    series = [{"event": event, "measure": measure} for event in events] or [{"measure": measure}]
    return {"series": series, "by": list(by), **_said(given)}


@_question(
    "funnel",
    click.argument("events", nargs=-1),
    click.option("--window", help="Time for all steps: 30m, 7d, or 3 sessions."),
    click.option("--order", help="sequential, strict or any."),
    click.option("--by", help="Split by this field."),
)
def funnel(events: Sequence[str], **given: Any) -> dict[str, Any]:
    """How many did one of EVENTS after another."""
    return {"steps": [{"event": event} for event in events], **_said(given)} if events else _said(given)


@_question(
    "retention",
    click.argument("start", required=False),
    click.argument("returns", required=False),
    click.option("--period", help="hour, day, week or month."),
    click.option("--periods", type=int, help="How many of them."),
    click.option("--by", help="Split by this field."),
)
def retention(start: str | None, returns: str | None, **given: Any) -> dict[str, Any]:
    """How many came back, by period since they did START; coming back is the event RETURNS, or any."""
    return {"start": _step(start), "return": _step(returns), **_said(given)}


@_question(
    "lifecycle",
    click.argument("event", required=False),
    click.option("--interval", help="hour, day, week, month or year."),
    click.option("--split", help="lifecycle (four states), or new_returning (two)."),
)
def lifecycle(event: str | None, **given: Any) -> dict[str, Any]:
    """Who is new, returns, comes back after a pause, or stays away; being active is EVENT, or any."""
    return {"active": _step(event), **_said(given)}


@_question(
    "paths",
    click.argument("start", required=False),
    click.option("--end", help="Look backwards from this event instead."),
    click.option("--depth", type=int, help="How many events after it."),
    click.option("--node", help="The field that names an event (event)."),
    click.option("--within", help="Longest pause on a path: 30m."),
    click.option("--top", type=int, help="Names that a step keeps."),
)
def paths(start: str | None, end: str | None, **given: Any) -> dict[str, Any]:
    """What follows the event START."""
    ends = {"end": _step(end)} if end else {"start": _step(start)}
    return {**ends, **_said(given)}


@_question(
    "values",
    click.argument("field", required=False),
    click.option("--event", help="Of events of this name."),
    click.option("--top", type=int, help="So many."),
    click.option("--search", help="Text that the value contains."),
)
def values(**given: Any) -> dict[str, Any]:
    """The values of a FIELD, in most events first."""
    return _said(given)


@_question("properties", click.option("--event", help="Of events of this name."))
def properties(**given: Any) -> dict[str, Any]:
    """The fields that events have."""
    return _said(given)


@_question(
    "events",
    click.argument("event", required=False),
    click.option("--limit", type=int, help="So many."),
    click.option("--order", help="newest or oldest."),
    click.option("--cursor", help="From the page before."),
)
def events(**given: Any) -> dict[str, Any]:
    """The events themselves, of the name EVENT or of any."""
    return _said(given)


@_question(
    "timeline",
    click.argument("subject_id", required=False),
    click.option("--limit", type=int, help="So many events."),
    click.option("--order", help="newest or oldest."),
    click.option("--cursor", help="From the page before."),
)
def timeline(**given: Any) -> dict[str, Any]:
    """The events of the person that SUBJECT_ID is an id of."""
    return _said(given)


@_question(
    "people",
    click.option("--segment", help="Id of a saved segment."),
    click.option("--limit", type=int, help="So many."),
    click.option("--sort", help="last_seen, first_seen or events."),
    click.option("--cursor", help="From the page before."),
)
def people(**given: Any) -> dict[str, Any]:
    """Persons with their properties."""
    return _said(given)


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _step(event: str | None) -> dict[str, Any]:
    return {"event": event} if event else {}


_SIGNS = {"!=": "is_not", ">=": "gte", "<=": "lte", "=": "is", ">": "gt", "<": "lt", "~": "contains"}


def _filter(text: str) -> Any:
    """`price>10` as a filter; the value is a number, true or false if it reads as one, else text."""
    if text.lstrip().startswith("{"):
        return _read(text)
    # The first sign, and of two that begin there the longer one: >= and not >.
    place, _, sign = min(((text.find(sign), -len(sign), sign) for sign in _SIGNS if sign in text), default=(0, 0, ""))
    if place < 1:
        raise click.UsageError(f"--where: {text!r}: write FIELD=VALUE, with = != > >= < <= or ~ (contains)")
    value = text[place + len(sign) :]
    try:
        found = json.loads(value) if sign != "~" else value
    except ValueError:
        found = value
    return {"field": text[:place], "op": _SIGNS[sign], "value": value if isinstance(found, dict | list) else found}


def _read(text: str) -> dict[str, Any]:
    try:
        if text.startswith("@"):
            with click.open_file(text[1:]) as file:
                text = file.read()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--question: it can't be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError("--question: a JSON object")
    return found


def _print(kind: str, asked: Mapping[str, Any], *, as_json: bool, as_csv: bool) -> None:
    from metronome.client.http import post, post_for_text

    settings = Settings.from_env()
    url, body = f"{settings.url}/query/{kind}", json.dumps(asked).encode()
    if as_csv:
        sys.stdout.write(post_for_text(url + "?format=csv", body, key=settings.key))
    elif as_json:
        click.echo(json.dumps(post(url, body, key=settings.key), indent=2, ensure_ascii=False))
    else:
        lines = post_for_text(url + "?format=ndjson", body, key=settings.key).splitlines()
        click.echo(table([json.loads(line) for line in lines]))


#: Widest cell of a table that people read.
_WIDEST = 60


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under their columns, numbers to the right; `-` where a row has no value."""
    if not rows:
        return "nothing"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(columns)]
    right = [all(_is_number(row.get(name)) for row in rows) for name in columns]

    def line(parts: Sequence[str]) -> str:
        each = zip(parts, widths, right, strict=True)
        return "  ".join(
            text.rjust(width) if to_right else text.ljust(width) for text, width, to_right in each
        ).rstrip()

    return "\n".join([line(columns), line(["-" * width for width in widths]), *map(line, cells)])


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # What a client sent may hold anything; a terminal would take control characters for commands.
    text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
