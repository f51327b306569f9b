"""Links out of Elasticsearch: what is new since the last look, index by index.

One search, which Elasticsearch answers from its request cache where nothing has changed, gives for each index how many
links it holds, and the highest and the sum of their sequence numbers. Where that differs, each shard's newer numbers
are read, since each counts by itself. A refresh may show a number before its predecessor, so the last thousand are read
again. If a shard holds another number of links after that, something older came or went, and all of it is read.

Links of an index that is gone, or of one that holds none any more, stay until the process ends. Those of archived days
come from the archive (`Further`), so that a process which starts later knows them too.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from elasticsearch import Elasticsearch

from metronome.errors import ArchiveUnavailable
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


@dataclass(frozen=True)
class _Counts:
    """Links of an index or shard, and their sequence numbers."""

    count: int
    highest: int
    total: float


@dataclass
class _Known:
    """A shard as it was read last: `day` is its number in the graph, `recent` are its links above the overlap."""

    day: int
    count: int = 0
    highest: int = -1
    recent: dict[str, int] = field(default_factory=dict)


class Further(Protocol):
    """Days that have left Elasticsearch. Every method may raise ArchiveUnavailable."""

    def versions(self) -> dict[str, str]:
        """Each day that has links, with a text that changes when they do."""
        ...

    def links(self, day: str) -> list[tuple[str, dict[str, Any]]]:
        """The links of a day: `_id` and event."""
        ...

    def events(self, ids: Collection[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Events under these ids: day, `_id`, event."""
        ...


class LinkSource:
    """Keeps a graph up to date. `lock` is held for each change of the graph, never while Elasticsearch is asked."""

    def __init__(
        self,
        client: Elasticsearch,
        settings: Settings,
        graph: Graph,
        lock: threading.RLock,
        further: Further | None = None,
    ) -> None:
        self._client = client
        self._pattern = pattern(settings)
        self._graph = graph
        self._lock = lock
        self._indices: dict[str, _Counts] = {}
        #: By index, and number of the shard.
        self._known: dict[tuple[str, int], _Known] = {}
        self._further = further
        self._versions: dict[str, str] | None = None if further else {}

    def refresh(self) -> bool:
        """Take in what has changed; says whether anything has. Raises StoreUnavailable and the like."""
        changed = {index: counts for index, counts in self._counts() if self._indices.get(index) != counts}
        for index, counts in changed.items():
            for shard in range(self._shards(index)):
                self._take(index, shard)
            self._indices[index] = counts
        moved = self._take_further()
        if changed or moved:
            with self._lock:
                self._graph.settle()
        return bool(changed) or moved

    def _take_further(self) -> bool:
        """Take in the links of archived days; says whether any has changed."""
        if self._further is None:
            return False
        before = self._versions or {}
        try:
            now = self._further.versions()
            fresh = {day: self._further.links(day) for day, version in now.items() if before.get(day) != version}
        except ArchiveUnavailable:
            if self._versions is None:
                raise  # who is whom isn't known before it was read once
            return False
        for day in {*fresh, *(before.keys() - now.keys())}:
            known = self._known.setdefault((f"archived {day}", 0), _Known(len(self._known)))
            links = [link for number, event in fresh.get(day, ()) if (link := link_of(number, event)) is not None]
            with self._lock:
                for row in self._graph.ids_of_day(known.day).values():
                    self._graph.forget(row)
                for link in links:
                    self._graph.add(link, known.day)
        self._versions = now
        return bool(fresh) or before != now

    def _counts(self, index: str | None = None, shard: int | None = None) -> Iterator[tuple[str, _Counts]]:
        numbers = {how: {how: {"field": "_seq_no"}} for how in ("max", "sum")}
        per_index = {"terms": {"field": "_index", "size": 10_000}, "aggs": numbers}
        asked = {"size": 0, "query": _IS_LINK, "aggs": {"indices": per_index}, "track_total_hits": False}
        answer = self._search(index or self._pattern, shard, **asked)
        for bucket in answer.get("aggregations", {}).get("indices", {}).get("buckets", []):
            yield bucket["key"], _Counts(bucket["doc_count"], int(bucket["max"]["value"]), bucket["sum"]["value"])

    def _shards(self, index: str) -> int:
        with our_errors():
            found = self._client.indices.get_settings(index=index, name="index.number_of_shards", flat_settings=True)
        return int(found[index]["settings"]["index.number_of_shards"]) if index in found else 0

    def _take(self, index: str, shard: int) -> None:
        known = self._known.setdefault((index, shard), _Known(len(self._known)))
        now = next((counts for _, counts in self._counts(index, shard)), _Counts(0, -1, 0))
        if (known.count, known.highest) == (now.count, now.highest):
            return
        if now.highest < known.highest:  # the newest was deleted, or this is another index of the same name
            self._take_all(index, shard, known)
            return
        new: dict[str, int] = {}
        for hits in self._pages(index, shard, max(-1, known.highest - OVERLAP), now.highest):
            fresh = [hit for hit in hits if hit["_id"] not in known.recent]
            self._add(fresh, known.day)
            new.update((hit["_id"], hit["sort"][0]) for hit in fresh)
        known.count, known.highest = known.count + len(new), now.highest
        known.recent = _above_overlap({**known.recent, **new}, known.highest)
        if known.count != now.count:
            self._take_all(index, shard, known)

    def _take_all(self, index: str, shard: int, known: _Known) -> None:
        """Read a shard from its beginning: add what isn't known, and forget what isn't there any more."""
        with self._lock:
            held = self._graph.ids_of_day(known.day)
        found: dict[str, int] = {}
        for hits in self._pages(index, shard, -1, 2**63 - 1):
            self._add([hit for hit in hits if hit["_id"] not in held and hit["_id"] not in found], known.day)
            found.update((hit["_id"], hit["sort"][0]) for hit in hits)
        with self._lock:
            for name, row in held.items():
                if name not in found:
                    self._graph.forget(row)
        known.count, known.highest = len(found), max(found.values(), default=-1)
        known.recent = _above_overlap(found, known.highest)

    def _add(self, hits: list[dict[str, Any]], day: int) -> None:
        links = [link for hit in hits if (link := link_of(hit["_id"], hit["_source"])) is not None]
        with self._lock:
            for link in links:
                self._graph.add(link, day)

    def _pages(self, index: str, shard: int, after: int, last: int) -> Iterator[list[dict[str, Any]]]:
        """The shard's links with after < _seq_no <= last, in that order."""
        while True:
            numbers = {"range": {"_seq_no": {"gt": after, "lte": last}}}
            query = {"bool": {"filter": [_IS_LINK, numbers]}}
            asked = {"size": _PAGE, "query": query, "sort": [{"_seq_no": "asc"}], "source": _FIELDS}
            hits = self._search(index, shard, track_total_hits=False, **asked)["hits"]["hits"]
            yield hits
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"][0]

    def _search(self, index: str, shard: int | None, **body: Any) -> Any:
        if shard is not None:
            body["preference"] = f"_shards:{shard}"
        with our_errors():
            answer = self._client.search(
                index=index, allow_no_indices=True, ignore_unavailable=True, allow_partial_search_results=False, **body
            )
        return answer.body


def _above_overlap(links: dict[str, int], highest: int) -> dict[str, int]:
    return {name: at for name, at in links.items() if at > highest - OVERLAP}


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
    try:
        at = to_ms(read_time(event.get("@timestamp")))
    except ValueError:  # a shipper wrote it past intake; it can't be put in order
        return None
    reverses = str(event.get(REVERSES) or "") if kind == UNMERGE else ""
    of_session = event.get("dialect") == "openmetrics" and event.get("session_id") == event.get(LINKED)
    return Link(at, event_id, kind, source, target, of_session, reverses)
