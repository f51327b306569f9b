"""Events as they come into Elasticsearch, whoever brings them there: what has arrived between two moments.

A shard numbers its operations, and up to its checkpoint every one of them is done. A moment is therefore the
checkpoints of all shards, and what arrived between two moments is a range of numbers in each shard. Nothing is missed
and nothing comes twice, however late a document is and whichever gateway or shipper has sent it.

    1. Positions    the checkpoints; one request, however many indices there are
    2. refresh      what lies up to them can be found now; only in indices that have changed
    3. Arrived      the documents with a number in the range, shard by shard
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from metronome.event.fields import Event
from metronome.query.door import Sources, answers
from metronome.query.listing import event_of

#: A shard by its index and number, `logstash-2026.11.24/0`, to the last number that is done.
Moment = Mapping[str, int]

#: Documents of one search.
_PAGE = 1000


@dataclass(frozen=True)
class Positions:
    """The moment that it is now."""


@dataclass(frozen=True)
class Arrived:
    """The first `limit` events after one moment, up to another one. A shard that `after` doesn't know is new."""

    after: Moment
    until: Moment
    limit: int = 10_000


@dataclass(frozen=True)
class Arrival:
    """An event, and the shard and number under which it has come."""

    shard: str
    number: int
    event: Event


@answers(Positions)
def _positions(questions: Sequence[Positions], sources: Sources, now: datetime) -> list[Moment]:
    return [sources.index.search.checkpoints() for _ in questions]


@answers(Arrived)
def _arrived(questions: Sequence[Arrived], sources: Sources, now: datetime) -> list[list[Arrival]]:
    found: list[list[Arrival]] = []
    for question in questions:
        arrivals = _arrivals(question, sources)
        found.append([one for one, _ in zip(arrivals, range(question.limit), strict=False)])
    return found


def _arrivals(question: Arrived, sources: Sources) -> Iterator[Arrival]:
    search = sources.index.search
    changed = {shard: last for shard, last in question.until.items() if last > question.after.get(shard, -1)}
    search.refresh(sorted({shard.rpartition("/")[0] for shard in changed}))
    for shard, last in sorted(changed.items()):
        after = question.after.get(shard, -1)
        while True:
            hits = search.numbered(shard, after, last, _PAGE)
            for hit in hits:
                yield Arrival(shard, hit["sort"][0], event_of(hit))
            if len(hits) < _PAGE:
                break
            after = hits[-1]["sort"][0]
