"""Sends searches to Elasticsearch. An answer is complete or an error. Waits for a shard that is still being made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from elasticsearch import ApiError, Elasticsearch

from metronome.errors import BadQuestion, StoreRefused, StoreUnavailable
from metronome.query.body import Json, too_many_buckets
from metronome.query.kinds import AS_NAMED, Kinds, read
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import pattern

#: Seconds between two tries while the shard of a new index is being made, which mostly takes less than half a second.
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

#: Most indices named in one URL. Elasticsearch refuses a URL of more than 4,096 bytes.
_INDICES = 100

#: Leaves closed indices out.
_OPEN = {"ignore_unavailable": "true", "allow_no_indices": "true"}
#: Makes a closed index an error, and one that was deleted a moment ago.
_EVERY = {"ignore_unavailable": "false", "allow_no_indices": "true", "expand_wildcards": "open,closed"}
#: If a shard fails, the search is an error. A partial result would be a number that is too small.
_WHOLE = {"allow_partial_search_results": "false"}
_HEADERS = {"content-type": "application/json", "accept": "application/json"}

#: What is read of the statistics of shards.
_COUNTERS = "indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no.global_checkpoint"

#: How long a view of the indices is kept after each use.
VIEW_KEPT = "2m"

#: The indices of a search; None for all indices of the installation.
Indices = tuple[str, ...] | None


class IndexClosed(StoreRefused):
    """A search met a closed index, whose events it can't count."""


class Search:
    """Asks one Elasticsearch. Safe to use from many threads.

    A search that meets a closed index raises IndexClosed; with `open_only` it leaves such indices out.
    """

    def __init__(self, client: Elasticsearch, settings: Settings, *, open_only: bool = False) -> None:
        self._client = client
        self._settings = settings
        self._pattern = pattern(settings)
        self._timeout_s = settings.query_timeout_s
        self._which = _OPEN if open_only else _EVERY

    def open_only(self) -> Search:
        """The same, without closed indices: for a caller who knows that they don't matter."""
        return Search(self._client, self._settings, open_only=True)

    def closed(self) -> list[str]:
        """Names of the closed indices."""
        found = self._send("GET", f"/_resolve/index/{self._pattern}", None, {"expand_wildcards": "closed"})
        return [index["name"] for index in found["indices"]]

    def __call__(self, body: Json, indices: Indices = None) -> Json:
        """The answer to one search. Raises BadQuestion (too many buckets), StoreUnavailable or StoreRefused."""
        names = self._pattern if indices is None else ",".join(indices)
        return self._send("POST", f"/{names}/_search", body, {**self._which, **_WHOLE})

    def kinds(self, fields: Sequence[str]) -> list[tuple[Indices, Kinds]]:
        """The kinds of fields in each set of indices that agree about them, in sets that fit one address."""
        if not fields:
            return [(None, AS_NAMED)]
        asked = {**self._which, "include_unmapped": "true"}
        caps = self._send("POST", f"/{self._pattern}/_field_caps", {"fields": list(fields)}, asked)
        found: list[tuple[Indices, Kinds]] = []
        for indices, kinds in read(caps, fields):
            if indices is None:
                found.append((None, kinds))
            else:
                found += [(indices[n : n + _INDICES], kinds) for n in range(0, len(indices), _INDICES)]
        return found

    def pages(self, body: Json, indices: Indices = None) -> Iterator[Json]:
        """The rows of the composite aggregation `by`, page by page to the end."""
        composite = body["aggs"]["by"]["composite"]
        while True:
            found = self(body, indices).get("aggregations", {}).get("by", {"buckets": []})
            yield from found["buckets"]
            after = found.get("after_key")
            if after is None or len(found["buckets"]) < composite["size"]:
                return
            composite["after"] = after

    def open_view(self) -> str:
        """Open a view (point in time) of the indices; gives its id. It is kept for VIEW_KEPT after each use."""
        found = self._send(
            "POST", f"/{self._pattern}/_pit", None, {"ignore_unavailable": "true", "keep_alive": VIEW_KEPT}
        )
        return str(found.get("id", ""))

    def in_view(self, body: Json) -> Json:
        """The answer to a search of a view; raises BadQuestion if the view is no longer kept."""
        try:
            return self._send("POST", "/_search", body, _WHOLE)
        except StoreRefused as error:
            if not isinstance(error.__cause__, ApiError) or error.__cause__.meta.status != 404:
                raise
            raise BadQuestion("cursor: it has expired; ask again from the start", field="cursor") from error

    def close_view(self, view: str) -> None:
        """Let go of a view that nobody will read again."""
        with suppress(StoreRefused, StoreUnavailable):  # a view that is gone already needs no closing
            self._send("DELETE", "/_pit", {"id": view}, {})

    def checkpoints(self) -> dict[str, int]:
        """For each shard, as `index/number`, the number up to which all its operations are done."""
        asked = {**_OPEN, "level": "shards", "filter_path": _COUNTERS}
        found = self._send("GET", f"/{self._pattern}/_stats/docs", None, asked).get("indices", {})
        return {
            f"{index}/{number}": int(copy["seq_no"]["global_checkpoint"])
            for index, stats in found.items()
            for number, copies in stats["shards"].items()
            for copy in copies
            if copy["routing"]["primary"] and "seq_no" in copy
        }

    def refresh(self, indices: Sequence[str]) -> None:
        """Make everything that was written to these indices visible. Indices that are gone are left out."""
        for start in range(0, len(indices), _INDICES):
            self._send("POST", f"/{','.join(indices[start : start + _INDICES])}/_refresh", None, _OPEN)

    def numbered(self, shard: str, after: int, last: int, size: int) -> list[Json]:
        """The first documents of a shard with after < _seq_no <= last, in that order."""
        index, _, number = shard.rpartition("/")
        body = {
            "size": size,
            "query": {"range": {"_seq_no": {"gt": after, "lte": last}}},
            "sort": [{"_seq_no": "asc"}],
            "track_total_hits": False,
        }
        found = self._send("POST", f"/{index}/_search", body, {**_OPEN, **_WHOLE, "preference": f"_shards:{number}"})
        hits: list[Json] = found["hits"]["hits"]
        return hits

    def describe(self) -> Json:
        """Field capabilities of everything in the indices."""
        return self._send("POST", f"/{self._pattern}/_field_caps", None, {**self._which, "fields": "*"})

    def _send(self, method: str, path: str, body: Json | None, params: dict[str, str]) -> Json:
        deadline = time.monotonic() + self._timeout_s
        pause_s = _PAUSE_S
        while True:
            try:
                with our_errors():
                    response = self._client.perform_request(method, path, params=params, headers=_HEADERS, body=body)
            except (StoreRefused, StoreUnavailable) as error:
                if not _is_for_a_shard(error) or time.monotonic() + pause_s > deadline:
                    raise _ours(error) from error.__cause__
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                found: Json = response.body
                return found


def _is_for_a_shard(error: Exception) -> bool:
    """Whether the search failed only because a shard isn't ready yet, as in the first moments of a new day."""
    cause = error.__cause__
    return isinstance(cause, ApiError) and cause.meta.status == 503


def _ours(error: StoreRefused | StoreUnavailable) -> Exception:
    """A BadQuestion if the caller can fix the question. Any other error stays as it is; only the log has its text."""
    cause = error.__cause__
    if isinstance(cause, ApiError) and "too_many_buckets" in str(cause):
        return too_many_buckets()
    if isinstance(cause, ApiError) and "index_closed_exception" in str(cause):
        return IndexClosed("an index is closed", detail=error.detail)
    if isinstance(cause, ApiError) and ("too_many_clauses" in str(cause) or "too_many_nested_clauses" in str(cause)):
        return BadQuestion("where: more filters than Elasticsearch takes; ask with fewer", field="where")
    return error
