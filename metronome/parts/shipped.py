"""Facts of documents that never passed intake: a part's columns hold what a document says itself, and these are derived
when it is read, by the functions that intake uses. So a better list of robots needs no part built anew.
"""

from __future__ import annotations

from metronome.event.facts import DERIVED, derive
from metronome.event.fields import Event


def with_facts(event: Event) -> Event:
    """A shipped document with its facts, as a tock counts them. The given one isn't changed."""
    event = dict(event)
    derive(event, shipped=True)
    return event


__all__ = ["DERIVED", "with_facts"]
