"""An event as one line of text, in the form of the tracker that Metronome's users come from.

    2011-08-08T11:45:17 application="myapp" event="login" distinct_id="42"  analytics_prop__username="jo"

`printed` writes it, `parsed` reads it. Source: tracker contract, 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROPERTY_PREFIX = "analytics_prop__"

_LINE_BREAK = re.compile(r"\r\n|[\r\n]")

#: `name="value"` after a space. The name of a property is any text up to the first `="`.
_PART = re.compile(rf'(?<![^ ])(application|event|distinct_id|{PROPERTY_PREFIX}[^"]{{0,1024}}?)="([^"]*)"(?= |\Z)')
_SPACES = re.compile(" *")


@dataclass(frozen=True)
class Printed:
    """What a line of text says. All values are text."""

    time: str
    application: str
    event: str
    distinct_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


def plain(text: Any) -> str:
    """A text that can stand in quotes on one line: `"` becomes `'`, and a line break a space."""
    return _LINE_BREAK.sub(" ", str(text)).replace('"', "'")


def printed(time: str, application: str, event: str, distinct_id: Any, properties: Mapping[str, Any]) -> str:
    """The line, with two spaces before the properties and one at the end."""
    parts = [f'{time} application="{plain(application)}" event="{plain(event)}" ']
    if distinct_id is not None:
        parts.append(f'distinct_id="{plain(distinct_id)}" ')
    return "".join(parts) + printed_properties(properties)


def printed_properties(properties: Mapping[str, Any]) -> str:
    """A space, then each property with a space behind it."""
    return " " + "".join(f'{PROPERTY_PREFIX}{plain(name)}="{plain(value)}" ' for name, value in properties.items())


def parsed(line: str) -> Printed:
    """What a line says. Behind the time its parts may be in any order, any spaces apart. Raises ValueError."""
    first = _PART.search(line)
    if first is None:
        raise ValueError('has no part such as application="…" or event="…"')
    time, at = line[: first.start()].strip(" "), first.start()
    found: dict[str, str] = {}
    while part := _PART.match(line, at):
        found.setdefault(part[1], part[2])
        at = _end_of_spaces(line, part.end())
    if at < len(line):
        raise ValueError(f"can't be read from character {at + 1} on: {line[at : at + 40]!r}")
    for name in ("application", "event"):
        if not found.get(name):
            raise ValueError(f'has no {name}="…"')
    own = {name: value for name, value in found.items() if name.startswith(PROPERTY_PREFIX)}
    return Printed(
        time,
        found["application"],
        found["event"],
        found.get("distinct_id"),
        {name.removeprefix(PROPERTY_PREFIX): value for name, value in own.items()},
    )


def _end_of_spaces(line: str, at: int) -> int:
    spaces = _SPACES.match(line, at)
    assert spaces is not None
    return spaces.end()
