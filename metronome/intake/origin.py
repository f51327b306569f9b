"""Where a request's events come from, and what that says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from metronome.event.facts import DERIVED, Derivation
from metronome.event.fields import OWNED, Event, owned_by

#: How far back an event's time may lie if a public key sent it: whoever reads a page's source has such a key.
PUBLIC_HORIZON = timedelta(days=400)

#: For dialects whose contract takes events of any age.
NO_HORIZON = timedelta.max

#: What intake itself says of every event.
NOT_FACTS = DERIVED | {"@timestamp", "@version", "insert_id"}


@dataclass(frozen=True)
class Origin:
    """Where a request's events come from. `agent` and `address` are the visitor's and are never stored.

    dialect     the front door, as stored in every document
    agent       the visitor's agent, where a browser sent the events itself; families and robot flags come from it
    address     the visitor's address, from which a dialect makes hashes and the country
    key         id of the API key, or empty
    facts       fields that are the same for all events of the request, such as the app that the key is bound to
    steps       what the dialect adds to each event, after all common steps
    horizon     how far back an event's time may lie; None for METRONOME_HORIZON_DAYS, NO_HORIZON for any time
    shipped     the events are log records of a shipper, even without `@version` (see `event.facts.classify`)
    untold      the sender reads no receipt, so what can't be taken is quarantined even where nothing else was accepted

    An event that says another `app` than `facts` is refused; another value of any other fact is kept as a renamed
    property. A fact can't be a field that a common step sets, and a dialect's step sets fields of the dialect's own
    section of FIELDS only: ValueError says which name breaks that.
    """

    dialect: str
    agent: str | None = None
    address: str = ""
    key: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Derivation, ...] = ()
    horizon: timedelta | None = None
    shipped: bool = False
    untold: bool = False

    @property
    def is_public(self) -> bool:
        """Whether a public key sent the events, as their horizon says."""
        return self.horizon is not None and self.horizon <= PUBLIC_HORIZON

    def check(self) -> None:
        """Whether the dialect keeps to the rules on facts and steps; raises ValueError."""
        own = owned_by(self.dialect)
        by_steps = {name for step in self.steps for name in step.sets}
        not_facts = NOT_FACTS | (OWNED - own)
        wrong = sorted((self.facts.keys() & not_facts) | (by_steps - own))
        if wrong:
            raise ValueError(
                f"the dialect {self.dialect!r} can't set {', '.join(wrong)}: a step sets owned fields of its own "
                "section in event/fields.py, a fact sets none that intake sets"
            )


@dataclass(frozen=True, slots=True)
class WithFacts:
    """An event of which the gateway knows more than its neighbours in the request: facts and an agent of its own.

    facts     fields that need no settling and that no derivation reads, owned ones too: they take the place of what the
              event says
    agent     the visitor's; it is judged and never stored
    flags     what was done to the event
    """

    event: Event
    facts: Mapping[str, Any]
    agent: str = ""
    flags: tuple[str, ...] = ()

    def complete(self, event: Event) -> None:
        """Add the facts to the settled event; raises ValueError for a fact that intake sets."""
        if not NOT_FACTS.isdisjoint(self.facts):
            raise ValueError(f"intake sets {', '.join(sorted(NOT_FACTS & self.facts.keys()))}")
        event.update(self.facts)
        if self.flags:
            event["flags"] = [*event.get("flags", ()), *self.flags]


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that its dialect can't take: what is kept of it, why, and the property at fault if one is."""

    event: Event
    reason: str
    field: str | None = None
