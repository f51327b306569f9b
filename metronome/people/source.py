"""Links out of Elasticsearch: what is new since the last look, index by index.

One search, which Elasticsearch answers from its request cache where nothing has changed, gives for each index how many
links it holds and the highest of their sequence numbers. From an index where either differs the newer numbers are read.
A refresh may show a number before its predecessor, so the last thousand are read again; and if the number of links
isn't what the index says after that, something older came or went, and all links of that index are read.

Links of an index that is gone (archived, say) stay.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch

from metronome.event.identity import ALIAS, BY, IDENTIFY, LINKED, LINKS, REVERSES, UNMERGE, as_id
from metronome.people.fold import Link
from metronome.people.graph import Graph
from metronome.periods import read_time, to_ms
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import pattern

#: So many sequence numbers below the highest are read again.
OVERLAP = 1000

_PAGE = 5000

_FIELDS = ["event", "distinct_id", LINKED, REVERSES, BY, "session_id", "dialect", "@timestamp"]

_IS_LINK = {"terms": {"event": list(LINKS)}}


@dataclass
class _Known:
    """An index as it was read last: `day` is its number in the graph, `recent` are its links above the overlap."""

    day: int
    count: int = 0
    highest: int = -1
    recent: dict[str, int] = field(default_factory=dict)


class LinkSource:
    """Keeps a graph up to date. `lock` is held for each change of the graph, never while Elasticsearch is asked."""

    def __init__(self, client: Elasticsearch, settings: Settings, graph: Graph, lock: threading.RLock) -> None:
        self._client = client
        self._pattern = pattern(settings)
        self._graph = graph
        self._lock = lock
        self._known: dict[str, _Known] = {}

    def refresh(self) -> bool:
        """Take in what has changed; says whether anything has. Raises StoreUnavailable and the like."""
        changed = False
        for index, count, highest in self._counts():
            known = self._known.setdefault(index, _Known(len(self._known)))
            if (known.count, known.highest) != (count, highest):
                changed = True
                self._take(index, known, count, highest)
        if changed:
            with self._lock:
                self._graph.settle()
        return changed

    def _counts(self) -> Iterator[tuple[str, int, int]]:
        per_index = {"terms": {"field": "_index", "size": 10_000}, "aggs": {"highest": {"max": {"field": "_seq_no"}}}}
        answer = self._search(
            self._pattern, size=0, query=_IS_LINK, aggs={"indices": per_index}, track_total_hits=False
        )
        for bucket in answer.get("aggregations", {}).get("indices", {}).get("buckets", []):
            yield bucket["key"], bucket["doc_count"], int(bucket["highest"]["value"])

    def _take(self, index: str, known: _Known, count: int, highest: int) -> None:
        new: dict[str, int] = {}
        for hits in self._pages(index, max(-1, known.highest - OVERLAP), highest):
            fresh = [hit for hit in hits if hit["_id"] not in known.recent]
            self._add(fresh, known.day)
            new.update((hit["_id"], hit["sort"][0]) for hit in fresh)
        known.count, known.highest = known.count + len(new), highest
        if known.count != count:
            new = self._take_all(index, known)
        known.recent = {name: at for name, at in {**known.recent, **new}.items() if at > known.highest - OVERLAP}

    def _take_all(self, index: str, known: _Known) -> dict[str, int]:
        """Read an index from its beginning: add what isn't known, and forget what isn't there any more."""
        with self._lock:
            held = self._graph.ids_of_day(known.day)
        found: dict[str, int] = {}
        for hits in self._pages(index, -1, 2**63 - 1):
            self._add([hit for hit in hits if hit["_id"] not in held and hit["_id"] not in found], known.day)
            found.update((hit["_id"], hit["sort"][0]) for hit in hits)
        with self._lock:
            for name, row in held.items():
                if name not in found:
                    self._graph.forget(row)
        known.count, known.highest = len(found), max(found.values(), default=-1)
        known.recent = {}
        return found

    def _add(self, hits: list[dict[str, Any]], day: int) -> None:
        links = [link for hit in hits if (link := link_of(hit["_id"], hit["_source"])) is not None]
        with self._lock:
            for link in links:
                self._graph.add(link, day)

    def _pages(self, index: str, after: int, last: int) -> Iterator[list[dict[str, Any]]]:
        """The links with after < _seq_no <= last. Shards number alike: a full page's last number comes again."""
        while True:
            numbers = {"range": {"_seq_no": {"gt": after, "lte": last}}}
            answer = self._search(
                index,
                size=_PAGE,
                query={"bool": {"filter": [_IS_LINK, numbers]}},
                sort=[{"_seq_no": "asc"}],
                source=_FIELDS,
                track_total_hits=False,
            )
            hits = answer["hits"]["hits"]
            if len(hits) < _PAGE:
                yield hits
                return
            end = hits[-1]["sort"][0]
            yield [hit for hit in hits if hit["sort"][0] < end]
            after = end - 1

    def _search(self, index: str, **body: Any) -> Any:
        with our_errors():
            answer = self._client.search(
                index=index, allow_no_indices=True, ignore_unavailable=True, allow_partial_search_results=False, **body
            )
        return answer.body


def link_of(event_id: str, event: dict[str, Any]) -> Link[str] | None:
    """The link that an event makes; None for one that makes none.

    A merge or unmerge counts only if the gateway has put `merged_by` on it: whoever can write events could merge
    anybody otherwise.
    """
    kind, source, target = event.get("event"), as_id(event.get(LINKED)), as_id(event.get("distinct_id"))
    if kind not in LINKS or source is None or target is None:
        return None
    if kind not in (IDENTIFY, ALIAS) and not event.get(BY):
        return None
    reverses = str(event.get(REVERSES) or "") if kind == UNMERGE else ""
    of_session = event.get("dialect") == "openmetrics" and event.get("session_id") == event.get(LINKED)
    return Link(_ms(event.get("@timestamp")), event_id, kind, source, target, of_session, reverses)


def _ms(given: Any) -> int:
    moment: datetime = read_time(given)
    return to_ms(moment)
