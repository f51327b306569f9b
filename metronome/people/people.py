"""Everybody of an installation, as one process knows them: at most a second behind what Elasticsearch shows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import MetronomeError
from metronome.event.identity import SET
from metronome.logs import Sparing
from metronome.people.fold import Cluster, Folded, Link, Moves, owner_of
from metronome.people.graph import Graph
from metronome.people.notes import Notes
from metronome.people.properties import Change, Properties, fold_properties
from metronome.people.source import Further, LinkSource
from metronome.people.view import View
from metronome.periods import from_ms, read_time, to_ms, to_text
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import pattern

log = logging.getLogger("metronome.people")

#: What is known is at most so old when it is asked for.
MAX_AGE_S = 1.0

_PAGE = 5000


@dataclass(frozen=True)
class Person:
    """`links` are all that were made with these ids, in order; `refused` has the reasons of those that don't hold."""

    id: str
    ids: tuple[str, ...]
    links: tuple[Link[str], ...]
    refused: dict[str, str]
    properties: Properties
    events: int
    first_seen: str | None
    last_seen: str | None


class People:
    """Who is whom. One per process; safe to use from many threads."""

    def __init__(self, settings: Settings, client: Elasticsearch, further: Further | None = None) -> None:
        self._client = client
        self._pattern = pattern(settings)
        self._graph = Graph()
        self._lock = threading.RLock()
        self._source = LinkSource(client, settings, self._graph, self._lock, further)
        self._further = further
        self._refreshing = threading.Lock()
        self._fresh_at = float("-inf")
        self._notes = Notes(settings.home / "people.db")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._sparing = Sparing(every_s=60)
        #: Rises with every change of who is whom.
        self.version = 0

    # --- Keeping up ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what has changed; raises StoreUnavailable and the like."""
        with self._refreshing:
            began = time.monotonic()
            if self._source.refresh():
                self.version += 1
            self._fresh_at = began

    def keep_fresh(self) -> None:
        """Refresh, unless that was done within MAX_AGE_S."""
        if time.monotonic() - self._fresh_at > MAX_AGE_S:
            self.refresh()

    def start(self) -> None:
        """Keep up in a thread until `stop`, so that no question waits for it."""
        self._thread = threading.Thread(target=self._run, name="people", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)
        self._notes.close()

    def _run(self) -> None:
        failed = 0
        while True:
            try:
                self.refresh()
                failed = 0
            except MetronomeError as error:
                # A day's index that is being made can't be searched for a moment, and that is no trouble.
                failed += 1
                if failed > 2 and (unsaid := self._sparing.turn(str(error))) is not None:
                    log.warning("links can't be read", extra={"problem": str(error), "unsaid": unsaid})
            except Exception:
                log.exception("links can't be read")
            if self._stopping.wait(MAX_AGE_S * 0.8):
                return

    # --- Who is whom --------------------------------------------------------------------------------------------

    def resolve(self, ids: Sequence[str], as_of: datetime | None = None) -> list[str]:
        """The person's id of each id, now or by the links up to `as_of`. Raises StoreUnavailable and the like."""
        self.keep_fresh()
        with self._lock:
            return self._graph.resolve(ids) if as_of is None else self._graph.resolve_as_of(ids, to_ms(as_of))

    def view(self, as_of: datetime | None = None) -> View:
        """Who is whom now, or by the links up to `as_of`, for one question. Raises StoreUnavailable and the like."""
        self.keep_fresh()
        return View(self._graph, self._lock, None if as_of is None else to_ms(as_of))

    def moves(self, as_of: datetime | None = None) -> Moves[str]:
        """The few sessions whose later events belong to another user, for `owner_of`: resolve what that gives.

        Where `/v1/setUserId` named another user for a session that has one, what comes later is that user's.
        """
        self.keep_fresh()
        with self._lock:
            return self._graph.moves(None if as_of is None else to_ms(as_of))

    def already_identified(self, session: str, user: str) -> bool:
        """Whether this session is known to be another user's. It doesn't wait for Elasticsearch."""
        said = self._notes.user_of(session)
        with self._lock:
            if said is None:
                folded = self._graph.component(session)
                cluster = folded.clusters.get(owner_of(session, int(time.time() * 1000), folded.moved))
                if cluster is None or cluster.user is None:
                    return False
                said = cluster.user
            one, other = self._graph.resolve([said, user])
        return one != other

    def note(self, session: str, user: str) -> None:
        """`/v1/setUserId` was accepted."""
        self._notes.note(session, user)

    def find_link(self, name: str, link_id: str) -> Link[str] | None:
        """The link of this `_id` among those that are connected with the id."""
        self.keep_fresh()
        with self._lock:
            return self._graph.find_link(name, link_id)

    # --- A person -----------------------------------------------------------------------------------------------

    def ids(self, name: str) -> tuple[str, ...]:
        """All ids of the person that has this one."""
        self.keep_fresh()
        with self._lock:
            cluster = self._graph.component(name).clusters.get(name)
            return tuple(cluster.ids) if cluster is not None else (name,)

    def person(self, name: str, as_of: datetime | None = None) -> Person:
        """What is known of the person that has this id. An id that nothing links is a person of its own."""
        self.keep_fresh()
        at = None if as_of is None else to_ms(as_of)
        with self._lock:
            folded = self._graph.component(name, at)
            links = [link for link in self._graph.links_of(name) if at is None or link.at <= at]
        cluster = folded.clusters.get(name) or Cluster(name, [name])
        ids = sorted(cluster.ids, key=lambda one: (one != cluster.name, one))
        mine = [link for link in links if link.source in cluster.ids or link.target in cluster.ids]
        query = _events_of(cluster, folded, as_of)
        archived = self._archived(cluster, folded, as_of)
        return Person(
            cluster.name,
            tuple(ids),
            tuple(mine),
            {link.id: folded.refused[link.id] for link in mine if link.id in folded.refused},
            fold_properties(cluster.ids, folded.joined, self._all_changes(query, folded, archived)),
            *self._seen(query, archived),
        )

    def _archived(self, cluster: Cluster[str], folded: Folded[str], as_of: datetime | None) -> list[dict[str, Any]]:
        """The person's events in days that have left Elasticsearch, as hits; each `_id` once."""
        if self._further is None:
            return []
        hits = {}
        for day, number, event in self._further.events(cluster.ids):
            if _is_of(event, cluster, folded, as_of):
                hits[day, number] = {"_id": number, "_source": event}
        return list(hits.values())

    def _again(self, query: dict[str, Any], archived: list[dict[str, Any]]) -> int:
        """How many of the archived events are in Elasticsearch as well, because they were sent once more."""
        found = 0
        for start in range(0, len(archived), _PAGE):
            ids = {"ids": {"values": [hit["_id"] for hit in archived[start : start + _PAGE]]}}
            with our_errors():
                answer = self._client.count(index=self._pattern, query={"bool": {"filter": [query, ids]}})
            found += int(answer["count"])
        return found

    def _all_changes(
        self, query: dict[str, Any], folded: Folded[str], archived: list[dict[str, Any]]
    ) -> Iterable[Change]:
        sets = [hit for hit in archived if hit["_source"].get("event") == SET]
        yield from (change for hit in sets if (change := _change(hit, folded)) is not None)
        known = {hit["_id"] for hit in sets}
        yield from (change for change in self._changes(query, folded) if change.id not in known)

    def _seen(self, query: dict[str, Any], archived: list[dict[str, Any]]) -> tuple[int, str | None, str | None]:
        """Number of events, and the times of the first and last."""
        ends = {how: {how: {"field": "@timestamp"}} for how in ("min", "max")}
        with our_errors():
            answer = self._client.search(
                index=self._pattern,
                size=0,
                query=query,
                aggs=ends,
                track_total_hits=True,
                allow_partial_search_results=False,
            )
        found = answer.get("aggregations", {})
        times = [_ms(hit["_source"].get("@timestamp")) for hit in archived]
        times += [found.get(how, {}).get("value") for how in ("min", "max")]
        known = [int(ms) for ms in times if ms is not None]
        events = int(answer["hits"]["total"]["value"]) + len(archived) - self._again(query, archived)
        if not known:
            return events, None, None
        return events, to_text(from_ms(min(known))), to_text(from_ms(max(known)))

    def _changes(self, query: dict[str, Any], folded: Folded[str]) -> Iterable[Change]:
        """The `$set` events among these events."""
        asked: dict[str, Any] = {
            "query": {"bool": {"filter": [query, {"term": {"event": SET}}]}},
            "sort": [{"@timestamp": "asc"}, {"_index": "asc"}, {"_seq_no": "asc"}],
        }
        while True:
            with our_errors():
                answer = self._client.search(
                    index=self._pattern, size=_PAGE, allow_partial_search_results=False, **asked
                )
            hits = answer["hits"]["hits"]
            yield from (change for hit in hits if (change := _change(hit, folded)) is not None)
            if len(hits) < _PAGE:
                return
            asked["search_after"] = hits[-1]["sort"]


def _change(hit: dict[str, Any], folded: Folded[str]) -> Change | None:
    """The change that a `$set` event makes; None where a shipper has written it without a time."""
    event = hit["_source"]
    received = str(event.get("received_at", ""))
    try:
        at = to_ms(read_time(event.get("@timestamp")))
    except ValueError:
        return None
    owner = str(event.get("distinct_id") or event.get("session_id"))
    if not event.get("distinct_id"):
        owner = owner_of(owner, to_ms(read_time(received)) if received else 0, folded.moved)
    seq = event.get("seq")
    return Change(
        owner,
        at,
        float(seq) if isinstance(seq, int | float) else -1.0,
        received,
        hit["_id"],
        event,
    )


def _ms(value: Any) -> int | None:
    """A stored time in milliseconds; None where a shipper has written none that can be read."""
    try:
        return to_ms(read_time(value))
    except (ValueError, TypeError):
        return None


def _is_of(event: dict[str, Any], cluster: Cluster[str], folded: Folded[str], as_of: datetime | None) -> bool:
    """What `_events_of` asks of Elasticsearch, of one event."""
    at = _ms(event.get("@timestamp"))
    if as_of is not None and (at is None or at > to_ms(as_of)):
        return False
    if event.get("distinct_id") is not None:
        return str(event["distinct_id"]) in cluster.ids
    if event.get("dialect") != "openmetrics":
        return False
    session = str(event.get("session_id"))
    return owner_of(session, _ms(event.get("received_at")) or 0, folded.moved) in cluster.ids


def _events_of(cluster: Cluster[str], folded: Folded[str], as_of: datetime | None) -> dict[str, Any]:
    """The events of a person as a query: by `distinct_id`, and those of `/v1` without one by their session."""
    nobody = {"exists": {"field": "distinct_id"}}
    of_v1 = {"term": {"dialect": "openmetrics"}}
    ids = set(cluster.ids)
    whole = sorted(ids - folded.moved.keys())
    ways: list[dict[str, Any]] = [
        {"terms": {"distinct_id": sorted(ids)}},
        {"bool": {"filter": [{"terms": {"session_id": whole}}, of_v1], "must_not": nobody}},
    ]
    for session, moves in folded.moved.items():
        owned = [(0, session), *moves]
        for place, (since, owner) in enumerate(owned):
            if owner in ids:
                until = {"lt": owned[place + 1][0]} if place + 1 < len(owned) else {}
                when = {"range": {"received_at": {"gte": since, **until, "format": "epoch_millis"}}}
                filters = [{"term": {"session_id": session}}, of_v1, when]
                ways.append({"bool": {"filter": filters, "must_not": nobody}})
    query: dict[str, Any] = {"bool": {"should": ways, "minimum_should_match": 1}}
    if as_of is not None:
        known = {"range": {"@timestamp": {"lte": to_ms(as_of), "format": "epoch_millis"}}}
        query = {"bool": {"filter": [query, known]}}
    return query
