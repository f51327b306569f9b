"""COUNTER Release 5.1: which usage counts, and the facts of a month, from which every report is a filter and a sum.

    customers.py    whose usage it is: institutions, their networks and API keys
    facts.py        a month's facts: what one customer did with one title, item, database or the platform
    usage/          a usage, as somebody tells of it, to an event
    kept.py         facts and months in Elasticsearch
    process.py      a month's events to its facts: day.py tells which usages count, sums.py adds them up
    demand.py       months that are processed because a report was asked for
    reports/        facts in, report out: all sixteen, as JSON and as tables

Source: Code of Practice, Release 5.1.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from elasticsearch import Elasticsearch

from metronome.counter.customers import Directory
from metronome.counter.identities import Identities
from metronome.counter.usage import Usages
from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.counter.kept import Kept


class Counter:
    """What a dialect needs of COUNTER: the facts, and whose they are. Safe to use from many threads."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self.customers = Directory(client, settings)
        self.usages = Usages(self.customers, Identities(settings.home), settings.url)

    @cached_property
    def facts(self) -> Kept:
        """The facts, as the protocol `facts.Facts` reads them. A worker that is never asked loads no decoder."""
        from metronome.counter.kept import Kept

        return Kept(self._client, self._settings)
