"""Gives the events themselves, page by page from one state of the indices, and the fields that events have.

The first page opens a view (point in time), and the cursor of each page carries it to the next. So events that arrive
in the meantime neither repeat nor shift rows. Documents of other shippers get their derived facts here. If a condition
needs one of these facts, it is checked here too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from typing import Any

from metronome.errors import BadQuestion
from metronome.event.facts import DERIVED, derive
from metronome.event.fields import AGENT_NAMES, Event
from metronome.periods import from_ms
from metronome.query.answer import Page, Property, Sighting
from metronome.query.body import STAMPED, Json, all_of, parts_of, within
from metronome.query.clause import clause
from metronome.query.condition import All, Condition
from metronome.query.door import Sources, answers, ask
from metronome.query.kinds import NAMED, TEXTS, Kinds
from metronome.query.partial import EXACT_UNIQUES
from metronome.query.question import Listing, Properties, Question, Seen, Unique
from metronome.query.search import VIEW_KEPT, Search

#: Documents in one search to fill a page.
_AT_ONCE = 1000

#: Most documents that are read for one page. If few of them fit, the page has fewer events than were asked for.
MAX_READ = 50_000

#: Most fields in one search.
_FIELDS_AT_ONCE = 100


@answers(Listing)
def _list(questions: Sequence[Listing], sources: Sources, now: datetime) -> list[Page]:
    return [_page(question, sources, now) for question in questions]


def _page(question: Listing, sources: Sources, now: datetime) -> Page:
    # The view has no closed index. Whether one matters is found out with the number of events.
    search = sources.index.search.open_only()
    after = dict(question.after) if question.after else _first(question, sources, now)
    _must_be_the_same(after, sources)
    events: list[Event] = []
    for number, hit in enumerate(_all_hits(question, sources, after), 1):
        event = event_of(hit)
        after["archived" if hit.get("archived") else "sort"] = hit["sort"]
        if question.where.holds(event):
            events.append(event)
        if len(events) == question.limit or number == MAX_READ:
            return Page(tuple(events), after, after["total"])
    search.close_view(after["view"])
    return Page(tuple(events), None, after["total"])


def _first(question: Listing, sources: Sources, now: datetime) -> Json:
    """The start of a listing: the view that all its pages read, its period, and the number of events."""
    view = sources.index.search.open_view()
    (counted,) = ask(Question(question.where, period=question.period), sources=sources, now=now)
    version = sources.archived.version() if sources.archived is not None else ""
    state = {"view": view, "sort": None, "total": int(counted.total), "within": within(question.period)}
    return {**state, "archived": None, "version": version}


def _must_be_the_same(after: Json, sources: Sources) -> None:
    """Raises BadQuestion where days were archived since the first page: they aren't where the view saw them."""
    if after["version"] != (sources.archived.version() if sources.archived is not None else ""):
        raise BadQuestion("cursor: days have been archived since; ask for the first page again", field="cursor")


def _all_hits(question: Listing, sources: Sources, after: Json) -> Iterator[Json]:
    """The hits of Elasticsearch and of archived days, in the order of their times; each event once."""
    mine: Iterable[Json] = _hits(sources.index.search, question, after)
    if sources.archived is None:
        return iter(mine)
    archived = sources.archived
    newest = question.newest_first
    others = (
        {**hit, "archived": True} for hit in archived.hits(question.period, after["archived"], newest_first=newest)
    )
    mine = (hit for hit in mine if not archived.knows(hit))
    return merge(mine, others, key=lambda hit: _place(hit["sort"][0], newest))


def _place(ms: int | None, newest_first: bool) -> tuple[bool, int]:
    # What has no time comes last either way. Elasticsearch writes it as the least or greatest number.
    none = ms is None or abs(ms) >= 2**62
    return none, 0 if none or ms is None else -ms if newest_first else ms


def _hits(search: Search, question: Listing, after: Json) -> Iterator[Json]:
    names = tuple(name for name in question.where.fields() if name not in NAMED)
    classes = search.kinds(names)
    # If a field has two kinds, the query asks for each kind in the indices that have it, and every event is checked
    # again.
    asked = [
        _asked(question.where, kinds)
        if indices is None
        else all_of([{"terms": {"_index": list(indices)}}, _asked(question.where, kinds)])
        for indices, kinds in classes
    ]
    query = all_of([{"bool": {"should": asked, "minimum_should_match": 1}}, *after["within"]])
    order = "desc" if question.newest_first else "asc"
    body: Json = {
        "size": min(_AT_ONCE, max(question.limit, 10)),
        "query": query,
        "track_total_hits": False,
        "sort": _sorting(order, total=question.in_order),
    }
    position = after["sort"]
    while True:
        body["pit"] = {"id": after["view"], "keep_alive": VIEW_KEPT}
        if position is not None:
            body["search_after"] = position
        found = search.in_view(body)
        after["view"] = found.get("pit_id", after["view"])
        hits = found["hits"]["hits"]
        yield from hits
        if len(hits) < body["size"]:
            return
        position = hits[-1]["sort"]


def _sorting(order: str, *, total: bool) -> list[Json]:
    # (field, type, whether an event without it stands first). Elasticsearch can't sort by `_id`: `app` and `insert_id`
    # are what it is made of.
    further = [
        ("seq", "long", True),
        ("received_at", "date", False),
        ("app", "keyword", True),
        ("insert_id", "keyword", True),
    ]
    sorting: list[Json] = [{"@timestamp": {"order": order, "unmapped_type": "date"}}]
    for name, kind, first in further if total else ():
        missing = "_first" if first == (order == "asc") else "_last"
        sorting.append({name: {"order": order, "unmapped_type": kind, "missing": missing}})
    return [*sorting, {"_shard_doc": order}]


def _asked(where: Condition, kinds: Kinds) -> Json:
    # The whole condition selects stamped documents. For shipped ones, only the parts that read no derived fact do.
    raw = [part for part in parts_of(where) if DERIVED.isdisjoint(part.fields())]
    stamped = all_of([STAMPED, clause(where, kinds)])
    shipped = all_of([clause(All(*raw), kinds)], but=(STAMPED,))
    return {"bool": {"should": [stamped, shipped], "minimum_should_match": 1}}


def event_of(hit: Json) -> Event:
    """A document as a flat event, with `_id` and `_index`."""
    event = dict(flat(hit["_source"]))
    if "received_at" not in event:
        derive(event, shipped=True)
        # The facts have been derived from the visitor's agent. The agent itself is never shown.
        event = {name: value for name, value in event.items() if name not in AGENT_NAMES}
    return {"_id": hit["_id"], "_index": hit["_index"], **event}


def flat(document: Json, before: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a document, by their full names."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value


_ENDS: Json = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}


@answers(Seen)
def _seen(questions: Sequence[Seen], sources: Sources, now: datetime) -> list[Sighting]:
    for question in questions:
        sources.index.refuse_closed(question.period)
    return [_sighting(question, sources) for question in questions]


def _sighting(question: Seen, sources: Sources) -> Sighting:
    search = sources.index.search.open_only()
    events, times = sources.archived.seen(question) if sources.archived is not None else (0, [])
    for indices, kinds in search.kinds([name for name in question.where.fields() if name not in NAMED]):
        query = all_of([clause(question.where, kinds), *within(question.period)])
        body = {"size": 0, "track_total_hits": True, "query": query, "aggs": _ENDS}
        found = search(body, indices)
        events += found["hits"]["total"]["value"]
        ends = found.get("aggregations", {})
        times += [ms for name in _ENDS if (ms := ends.get(name, {}).get("value")) is not None]
    return Sighting(events, from_ms(min(times)), from_ms(max(times))) if times else Sighting(events)


@dataclass
class _Found:
    types: set[str]
    events: int = 0
    values: int = 0
    exact: bool = True
    first: float | None = None
    last: float | None = None

    def add(self, kind: str, found: Json, *, alone: bool) -> None:
        if not found["doc_count"]:
            return
        self.types.add(_TYPES.get(kind, "string"))
        self.events += found["doc_count"]
        distinct = int(found.get("values", {}).get("value", 0))
        # Values of different kinds differ. Two sets of indices may share values of one kind, so the sum is a bound.
        self.values += distinct
        self.exact = self.exact and alone and distinct <= EXACT_UNIQUES
        times = [time for time in (self.first, found["first"]["value"]) if time is not None]
        self.first = min(times, default=None)
        times = [time for time in (self.last, found["last"]["value"]) if time is not None]
        self.last = max(times, default=None)


#: Kind to the type that JSON has.
_TYPES = {"number": "number", "flag": "boolean", "flags": "boolean", **dict.fromkeys(TEXTS[:2], "string")}


@answers(Properties)
def _properties(questions: Sequence[Properties], sources: Sources, now: datetime) -> list[tuple[Property, ...]]:
    for question in questions:
        sources.index.refuse_closed(question.period)
    return [tuple(_described(question, sources, now)) for question in questions]


def _described(question: Properties, sources: Sources, now: datetime) -> list[Property]:
    found = _describe(question, sources.index.search.open_only())
    archived = sources.archived.properties(question) if sources.archived is not None else {}
    for name, (kinds, events, first, last) in archived.items():
        of_both = found[name]
        of_both.types |= {_TYPES.get(kind, "string") for kind in kinds}
        of_both.events += events
        of_both.first = min((time for time in (of_both.first, first) if time is not None), default=None)
        of_both.last = max((time for time in (of_both.last, last) if time is not None), default=None)
    # A value may be in both, so all of them are counted together.
    names = list(archived)
    asked = [Question(question.where, Unique(name), period=question.period) for name in names]
    for name, answer in zip(names, ask(*asked, sources=sources, now=now) if asked else (), strict=True):
        found[name].values, found[name].exact = int(answer.total), answer.error_bound == 0
    rows = [_property(name, one) for name, one in found.items() if one.events]
    return sorted(rows, key=lambda row: (-row.events, row.name))


def _describe(question: Properties, search: Search) -> dict[str, _Found]:
    caps = search.describe()["fields"]
    names = [name for name in caps if not name.startswith("_") and not _is_object(caps[name])]
    found: dict[str, _Found] = defaultdict(lambda: _Found(set()))
    asked = tuple(name for name in question.where.fields() if name not in NAMED)
    several = [name for name in names if len(caps[name]) > 1]
    groups = [[name] for name in several]
    others = [name for name in names if len(caps[name]) == 1]
    groups += [others[n : n + _FIELDS_AT_ONCE] for n in range(0, len(others), _FIELDS_AT_ONCE)]
    for group in groups:
        kinds_seen: set[str] = set()
        for indices, kinds in search.kinds([*dict.fromkeys((*group, *asked))]):
            # Numbers, since a field's name may hold brackets, which an aggregation's can't.
            aggs = {str(number): _about(name, kinds) for number, name in enumerate(group)}
            query = all_of([_asked(question.where, kinds), *within(question.period)])
            body = {"size": 0, "track_total_hits": False, "query": query, "aggs": aggs}
            for number, about in search(body, indices).get("aggregations", {}).items():
                name = group[int(number)]
                kind = kinds.of(name)
                found[name].add(kind, about, alone=kind not in kinds_seen or name not in several)
                kinds_seen.add(kind)
    return found


def _is_object(types: Json) -> bool:
    return set(types) <= {"object", "nested"}


def _about(name: str, kinds: Kinds) -> Json:
    aggs = dict(_ENDS)
    if kinds.of(name) not in ("none", "other"):
        aggs["values"] = {"cardinality": {"field": name, "precision_threshold": EXACT_UNIQUES}}
    return {"filter": {"exists": {"field": name}}, "aggs": aggs}


def _property(name: str, found: _Found) -> Property:
    first, last = (None if time is None else from_ms(time) for time in (found.first, found.last))
    return Property(name, tuple(sorted(found.types)), found.events, found.values, found.exact, first, last)
