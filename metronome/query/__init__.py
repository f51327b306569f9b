"""The door out: `ask` takes questions and gives answers. All of them are frozen values.

1. condition.py    which events count: a tree of All, AnyOf and Not over conditions on fields; robots are one of these
   question.py     what is computed of them: a measure, groupings and a period; also the other kinds of questions
2. door.py         `ask` picks the function that answers a question's type, cuts the period into the days that each
                   source holds, adds up the partial answers, and finishes once
3. index.py        Elasticsearch as a source:
   kinds.py            the type that an index has for a field, which may differ from day to day
   clause.py           condition -> JSON
   body.py             questions -> the JSON of one search
   top.py              the largest groups alone, where Elasticsearch's bounds prove which they are
   search.py           sends a search, pages through its rows, and waits for a shard that is being made
   shipped.py          documents of other shippers: their facts are derived on reading
   arriving.py         events as they come, for those who watch
   journeys/           funnels, retention, lifecycle and paths, from day parts
   persons/            figures of persons, and the persons themselves, from day parts
4. partial.py      a source's part of an answer, in a form that can be added up
5. answer.py       figures with typed keys, whether they are exact, and up to which time they hold every event
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from elasticsearch import Elasticsearch

from metronome.periods import Every
from metronome.query import listing  # noqa: F401 - registers who answers them
from metronome.query.answer import Answer, Page, Property, Row
from metronome.query.arriving import Arrival, Arrived, Moment, Positions
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
from metronome.query.door import Source, Sources, answers, ask, buckets
from metronome.query.index import Index
from metronome.query.journeys import answering  # noqa: F401 - the same
from metronome.query.journeys.days import Days, watching
from metronome.query.journeys.questions import (
    Behind,
    Exclusion,
    Funnel,
    Lifecycle,
    Paths,
    Resolver,
    Retention,
    Unresolved,
    Window,
)
from metronome.query.persons import answering as _persons  # noqa: F401 - the same
from metronome.query.persons.questions import EventsOf, Evidence, FromParts, Members, Persons, PropertiesOf
from metronome.query.persons.rules import Did, Ids, OfPerson, asks_persons, events_of, of_field, property_of
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
    Seen,
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


def open_door(
    client: Elasticsearch,
    settings: Settings,
    clock: Callable[[], datetime],
    *others: Source,
    resolver: Resolver = Unresolved(),  # noqa: B008 - it holds nothing
) -> Ask:
    """`ask` bound to its sources: Elasticsearch, and `others`. The others are asked first, for the days they hold.

    `resolver` says which ids are one person.
    """
    sources = Sources(Index(Search(client, settings), settings), others, Days(settings, client, resolver))

    def bound(*questions: Any) -> list[Any]:
        return ask(*questions, sources=sources, now=clock())

    return bound


__all__ = [
    "PEOPLE",
    "ROBOTS",
    "All",
    "Answer",
    "AnyOf",
    "Arrival",
    "Arrived",
    "Ask",
    "Behind",
    "Between",
    "Condition",
    "Contains",
    "Count",
    "Did",
    "EventsOf",
    "Every",
    "Evidence",
    "Exclusion",
    "FromParts",
    "Funnel",
    "Has",
    "Ids",
    "In",
    "Is",
    "Item",
    "Known",
    "Lifecycle",
    "Listing",
    "Max",
    "Mean",
    "Members",
    "Min",
    "Missing",
    "Moment",
    "Not",
    "OfPerson",
    "Outside",
    "Page",
    "Paths",
    "Percentile",
    "Persons",
    "Positions",
    "Properties",
    "PropertiesOf",
    "Property",
    "Question",
    "Ranges",
    "Resolver",
    "Retention",
    "Row",
    "Seen",
    "Source",
    "Sources",
    "StartsWith",
    "Subset",
    "Sum",
    "Unique",
    "Unresolved",
    "Values",
    "Window",
    "answers",
    "ask",
    "asks_persons",
    "buckets",
    "events_of",
    "of_app",
    "of_field",
    "open_door",
    "property_of",
    "watching",
]
