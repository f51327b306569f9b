"""What Elasticsearch holds of one day: its counters, and its documents page by page, byte for byte.

A shard numbers its operations. Every one up to the *global checkpoint* is on all its copies, and a refresh makes all
of them visible. Numbers beyond it may still have gaps, since bulk requests run in parallel. So a part holds a prefix of
each shard: the live documents up to a checkpoint. Later documents are a range of numbers. Counting the prefix again
shows whether an older document was deleted or replaced:

    1. counters        the checkpoint of each shard
    2. refresh         everything up to it can be found now
    3. point in time   one a shard, so that its documents and their count are those of one moment
    4. pages           the documents with checkpoint before < _seq_no <= checkpoint

`filter_path` isn't used where documents are read: Elasticsearch writes their numbers anew then (1.10 becomes 1.1).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import orjson
from elasticsearch import Elasticsearch

from metronome.errors import StoreFailed, StoreUnavailable
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import day_of_index, pattern

#: A page has about this many bytes. Two are in memory at once: one is read while the next one arrives.
PAGE_BYTES = 4 * 2**20
FIRST_PAGE = 500
MOST_A_PAGE = 5000

KEEP_ALIVE = "10m"
_TOUCH_S = 60.0

_JSON = {"content-type": "application/json", "accept": "application/json"}


class _Hit(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    sort: list[Any]
    source: msgspec.Raw = msgspec.field(name="_source", default_factory=msgspec.Raw)


class _Total(msgspec.Struct):
    value: int


class _Hits(msgspec.Struct):
    hits: list[_Hit]
    total: _Total | None = None


class _Shards(msgspec.Struct):
    failed: int


class _Page(msgspec.Struct):
    hits: _Hits
    pit_id: str
    timed_out: bool
    shards: _Shards = msgspec.field(name="_shards")


_decode = msgspec.json.Decoder(_Page).decode

#: "\\ud83d": half a surrogate pair. JSON may spell one without the other, and msgspec takes no such text.
_HALVES = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def _read_page(answer: bytes) -> _Page:
    try:
        return _decode(answer)
    except msgspec.DecodeError:
        return _read_halves(answer)


def _read_halves(answer: bytes) -> _Page:
    """A page that spells surrogate pairs: read with a letter in place of each half, then cut from the answer itself."""
    masked = _HALVES.sub(rb"\\u0041", answer)
    page = _decode(masked)
    place = 0
    for hit in page.hits.hits:
        source = bytes(hit.source)
        # No text before it can hold this: there the quotation marks would be escaped.
        start = masked.index(b'"_source":' + source, place) + len(b'"_source":')
        place = start + len(source)
        hit.source = msgspec.Raw(answer[start:place])
    return page


@dataclass(frozen=True)
class Shard:
    """A shard's counters: documents, deleted ones not yet merged away, the last number given, and the checkpoint.

    `history` is another one once an older state of the shard was brought back. `events` are the documents up to the
    checkpoint, where a part was built from these counters.
    """

    docs: int
    deleted: int
    max_seq_no: int
    checkpoint: int
    history: str
    events: int = 0


@dataclass(frozen=True)
class Counters:
    """What an index says of itself; `uuid` is another one once the index was deleted and made again."""

    uuid: str
    shards: dict[str, Shard]

    def goes_on_from(self, earlier: Counters) -> bool:
        """Whether this is the same index as earlier, with the same past."""
        return self.uuid == earlier.uuid and [
            (number, shard.history) for number, shard in sorted(self.shards.items())
        ] == [(number, shard.history) for number, shard in sorted(earlier.shards.items())]

    def same_operations(self, earlier: Counters) -> bool:
        """Whether nothing was written or deleted since."""
        return self.goes_on_from(earlier) and all(
            shard.max_seq_no == earlier.shards[number].checkpoint for number, shard in self.shards.items()
        )


@dataclass(frozen=True)
class Documents:
    """A page: ids, and the sources of the same documents, byte for byte."""

    ids: list[str]
    sources: list[bytes]


class Index:
    """One day's index. `client` is an `unread` one (store/client.py)."""

    def __init__(self, client: Elasticsearch, name: str) -> None:
        self._client = client
        self.name = name

    def counters(self) -> Counters | None:
        """The counters of the primaries; None where there is no such index. Raises StoreUnavailable."""
        found = read_counters(self._client, self.name)
        if self.name in found and found[self.name] is None:
            raise StoreUnavailable("a day's index misses a primary shard; wait until the cluster isn't red")
        return found.get(self.name)

    def refresh(self) -> None:
        self._ask("POST", f"/{self.name}/_refresh")

    @contextmanager
    def moment(self, shard: str) -> Iterator[Moment]:
        """The shard as it is now, for as long as the block runs."""
        answer = self._ask("POST", f"/{self.name}/_pit", keep_alive=KEEP_ALIVE, preference=f"_shards:{shard}")
        moment = Moment(self._client, orjson.loads(answer)["id"])
        try:
            yield moment
        finally:
            moment.close()

    def _ask(self, method: str, path: str, body: Any = None, **params: str) -> bytes:
        with our_errors():
            answer: bytes = self._client.perform_request(method, path, params=params, headers=_JSON, body=body).body
        return answer


class Moment:
    """A shard at one moment."""

    def __init__(self, client: Elasticsearch, pit: str) -> None:
        self._client = client
        self._pit = pit

    def count(self, after: int, last: int) -> int:
        """Live documents with after < _seq_no <= last."""
        body = {"size": 0, "track_total_hits": True, "query": _numbers(after, last)}
        total = self._search(body).hits.total
        assert total is not None
        return total.value

    def pages(
        self, after: int, last: int, *, sources: bool = True, may_go_on: Callable[[], bool] = lambda: True
    ) -> Iterator[Documents]:
        """The documents with after < _seq_no <= last, page by page; the next page is fetched while one is worked on.

        While `may_go_on` says no, nothing is asked for.
        """
        body: dict[str, Any] = {
            "size": FIRST_PAGE,
            "track_total_hits": False,
            "query": _numbers(after, last),
            "sort": ["_shard_doc"],
            "_source": sources,
        }
        with ThreadPoolExecutor(1, "parts") as fetcher:
            coming: Future[_Page] | None = fetcher.submit(self._search, body)
            while coming is not None:
                page = coming.result()
                hits = page.hits.hits
                documents = Documents([hit.id for hit in hits], [bytes(hit.source) for hit in hits])
                coming = None
                if len(hits) == body["size"]:
                    self._wait_until(may_go_on)
                    body = {**body, "size": _next_size(documents, body["size"]), "search_after": hits[-1].sort}
                    coming = fetcher.submit(self._search, body)
                if hits:
                    yield documents

    def _wait_until(self, may_go_on: Callable[[], bool]) -> None:
        touched = time.monotonic()
        while not may_go_on():
            time.sleep(0.1)
            if time.monotonic() - touched > _TOUCH_S:
                self._search({"size": 0, "track_total_hits": False})
                touched = time.monotonic()

    def _search(self, body: dict[str, Any]) -> _Page:
        pit = {"id": self._pit, "keep_alive": KEEP_ALIVE}
        with our_errors():
            answer = self._client.perform_request(
                "POST",
                "/_search",
                params={"allow_partial_search_results": "false"},
                headers=_JSON,
                body={**body, "pit": pit},
            ).body
        page = _read_page(answer)
        if page.shards.failed or page.timed_out:
            raise StoreFailed("Elasticsearch gave a part of a page; nothing is made of it")
        self._pit = page.pit_id
        return page

    def close(self) -> None:
        with our_errors():
            self._client.options(ignore_status=404).perform_request(
                "DELETE", "/_pit", headers=_JSON, body={"id": self._pit}
            )


def days(client: Elasticsearch, settings: Settings) -> list[date]:
    """The days that have an index, ascending. `client` is an `unread` one (store/client.py)."""
    with our_errors():
        answer = client.perform_request(
            "GET",
            f"/{pattern(settings)}/_settings/index.uuid",
            params={"allow_no_indices": "true"},
            headers=_JSON,
        ).body
    found = (day_of_index(settings, name) for name in orjson.loads(answer))
    return sorted(day for day in found if day is not None)


def read_counters(client: Elasticsearch, target: str) -> dict[str, Counters | None]:
    """The counters of an index, or of all that a pattern matches, by name; None where a primary shard is missing."""
    with our_errors():
        asking = client.options(ignore_status=404)
        stats = asking.perform_request("GET", f"/{target}/_stats/docs", params={"level": "shards"}, headers=_JSON)
        settings = asking.perform_request("GET", f"/{target}/_settings/index.number_of_shards", headers=_JSON)
    if 404 in (stats.meta.status, settings.meta.status):
        return {}
    indices = orjson.loads(stats.body)["indices"]
    sizes = {
        name: int(found["settings"]["index"]["number_of_shards"]) for name, found in orjson.loads(settings.body).items()
    }
    return {name: _counters(indices.get(name, {}), size) for name, size in sizes.items()}


def _counters(found: dict[str, Any], size: int) -> Counters | None:
    primaries = {
        number: copy
        for number, copies in found.get("shards", {}).items()
        for copy in copies
        if copy["routing"]["primary"] and "seq_no" in copy
    }
    if len(primaries) < size:
        return None
    return Counters(found["uuid"], {number: _shard(copy) for number, copy in primaries.items()})


def _shard(copy: dict[str, Any]) -> Shard:
    return Shard(
        docs=copy["docs"]["count"],
        deleted=copy["docs"]["deleted"],
        max_seq_no=copy["seq_no"]["max_seq_no"],
        checkpoint=copy["seq_no"]["global_checkpoint"],
        history=copy["commit"]["user_data"]["history_uuid"],
    )


def _numbers(after: int, last: int) -> dict[str, Any]:
    return {"range": {"_seq_no": {"gt": after, "lte": last}}}


def _next_size(documents: Documents, size: int) -> int:
    """The size of the next page, in documents, by the sizes of the last ones. It at most doubles: they may grow."""
    average = max(64, sum(map(len, documents.sources)) // max(1, len(documents.ids)) + 100)
    return max(10, min(PAGE_BYTES // average, 2 * size, MOST_A_PAGE))
