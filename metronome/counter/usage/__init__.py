"""A counted usage, from what somebody says of it to an event without anybody in it.

    names.py        every attribute: its name in a tick or log, and which property of a tick says the same
    schema.py       what each may hold
    translate.py    a usage -> an event with facts; hashes where a visitor was

A usage comes by its own route (the dialect `counted`), as a tick or as a line of an access log, which is a tick by the
time it reaches the gateway. All three end here, so that they are counted alike.

Source: counted-usage contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metronome.counter.customers import Directory
from metronome.counter.identities import Identities
from metronome.counter.usage import names
from metronome.counter.usage.schema import SERVERS_ONLY, Invalid, Problem, read
from metronome.counter.usage.translate import Came, usage
from metronome.intake import Refused, WithFacts

__all__ = ["SERVERS_ONLY", "Came", "Invalid", "Problem", "Usages", "read", "refuse_servers_own"]


class Usages:
    """Makes events of usages. One per process; safe to use from many threads."""

    def __init__(self, customers: Directory, identities: Identities, platform_iri: str) -> None:
        self._customers, self._identities, self._platform_iri = customers, identities, platform_iri

    def event(self, given: dict[str, Any], came: Came) -> WithFacts:
        """The event of a usage whose attributes were read. Raises Invalid, StoreUnavailable or SpoolUnavailable."""
        return usage(given, came, self._customers, self._identities, self._platform_iri)

    def among(self, ticks: Sequence[Any], came: Came, *, publishable: bool) -> list[Any]:
        """The ticks, those that are usages as events with facts, or as `Refused` where one can't be taken.

        `publishable` says that anybody may have sent them. Raises StoreUnavailable or SpoolUnavailable.
        """
        return [self._of_tick(tick, came, publishable) if names.is_usage(tick) else tick for tick in ticks]

    def _of_tick(self, tick: dict[str, Any], came: Came, publishable: bool) -> WithFacts | Refused:
        rest = names.without_usage(tick)
        try:
            given = names.attributes(tick, publishable=publishable)
            if publishable:
                refuse_servers_own(given)
            found = self.event(read(given), came)
        except Invalid as error:
            (path, detail), *_ = error.problems
            return Refused(rest, detail, ".".join(path) or None)
        return WithFacts({**rest, **found.event}, found.facts, found.agent, found.flags)


def refuse_servers_own(given: dict[str, Any]) -> None:
    """Raises Invalid where attributes say what only a server may say."""
    counter = given.get("counter")
    said = counter if isinstance(counter, dict) else {}
    for name in SERVERS_ONLY:
        if said.get(name) is not None:
            detail = "a publishable key may not say this; send it with a key of a server"
            raise Invalid([Problem(("counter", name), detail)])
