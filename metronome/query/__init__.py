"""The door out: `ask` takes questions and gives answers, all of them frozen values.

1. condition.py    which events: a tree of All, AnyOf and Not over what is asked of fields; robots are one of these
   question.py     what of them: a measure, by groupings, in a period; other kinds of questions beside it
2. door.py         `ask` finds by its type who answers a question, cuts its period into the days that each source
                   holds, adds up what they say, and finishes once
3. index.py        Elasticsearch as a source:
   kinds.py            what an index holds of a field, which may differ from day to day
   clause.py           condition -> JSON
   body.py             questions -> the JSON of one search
   search.py           sends it; pages, waits for a shard that is being made
   shipped.py          documents of other shippers: their facts are derived on reading
4. partial.py      what a source knows of a question, in a form that adds up
5. answer.py       figures with typed keys, whether they are exact, and up to when they hold everything
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from elasticsearch import Elasticsearch

from metronome.periods import Every
from metronome.query import listing  # noqa: F401 - registers who answers them
from metronome.query.answer import Answer, Page, Property, Row
from metronome.query.condition import (
    PEOPLE,
    ROBOTS,
    All,
    AnyOf,
    Between,
    Condition,
    Contains,
    Has,
    In,
    Is,
    Item,
    Missing,
    Not,
    Outside,
    StartsWith,
    Subset,
)
from metronome.query.door import Source, Sources, answers, ask
from metronome.query.index import Index
from metronome.query.question import (
    Count,
    Known,
    Listing,
    Max,
    Mean,
    Min,
    Percentile,
    Properties,
    Question,
    Ranges,
    Sum,
    Unique,
    Values,
    of_app,
)
from metronome.query.search import Search
from metronome.settings import Settings


class Ask(Protocol):
    """`ask`, bound to an installation's sources."""

    def __call__(self, *questions: Any) -> list[Any]: ...


def open_door(client: Elasticsearch, settings: Settings, clock: Callable[[], datetime], *others: Source) -> Ask:
    """`ask` bound to Elasticsearch, and to `others`, which are asked before it for the days they hold."""
    sources = Sources(Index(Search(client, settings), settings), others)

    def bound(*questions: Any) -> list[Any]:
        return ask(*questions, sources=sources, now=clock())

    return bound


__all__ = [
    "PEOPLE",
    "ROBOTS",
    "All",
    "Answer",
    "AnyOf",
    "Ask",
    "Between",
    "Condition",
    "Contains",
    "Count",
    "Every",
    "Has",
    "In",
    "Is",
    "Item",
    "Known",
    "Listing",
    "Max",
    "Mean",
    "Min",
    "Missing",
    "Not",
    "Outside",
    "Page",
    "Percentile",
    "Properties",
    "Property",
    "Question",
    "Ranges",
    "Row",
    "Source",
    "Sources",
    "StartsWith",
    "Subset",
    "Sum",
    "Unique",
    "Values",
    "answers",
    "ask",
    "of_app",
    "open_door",
]
