"""Elasticsearch: documents are found, decided about, and deleted or replaced, until none is left to change.

A person's documents are found by a search for the ids under every name, those of the time to come included; the events
of a filter, and a name, by reading the day parts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from elasticsearch import Elasticsearch

from metronome.archive.care import temporary_folder
from metronome.archive.work import Work
from metronome.erasure.target import Target, Whose
from metronome.errors import StoreRefused
from metronome.parts import index
from metronome.parts.build import documents_of
from metronome.spool.scrub import Scrubbed
from metronome.store.client import from_status, our_errors
from metronome.store.names import day_index, pattern

_JSON = {"content-type": "application/json", "accept": "application/json"}
_BULK = {"content-type": "application/x-ndjson", "accept": "application/json"}

PAGE = 500

#: Names that one search looks into.
NAMES_AT_ONCE = 200

#: Searches for what is left, before that is an error.
ROUNDS = 20


class _Hit(msgspec.Struct):
    index: str = msgspec.field(name="_index")
    id: str = msgspec.field(name="_id")
    sort: list[Any]
    source: msgspec.Raw = msgspec.field(name="_source")


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Page(msgspec.Struct):
    hits: _Hits


Found = tuple[str, str, bytes]


class Indices:
    """All indices of events of one installation."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._client = work.client
        self._unread: Elasticsearch = work.builder.client
        self._pattern = pattern(work.settings)

    def erase(self, target: Target, done: dict[str, Scrubbed]) -> None:
        """Change what there is, and count it by index."""
        for _ in range(ROUNDS):
            if not self._round(target, done):
                return
        raise StoreRefused("documents to erase keep coming; stop what writes them past the gateway, and run again")

    def left(self, target: Target) -> dict[str, Scrubbed]:
        """What there is to change, by index."""
        done: dict[str, Scrubbed] = defaultdict(Scrubbed)
        for name, _, source in self._candidates(target):
            done[name].take(source, target.decide(source))
        return {name: found for name, found in done.items() if found.deleted or found.rewritten}

    def _round(self, target: Target, done: dict[str, Scrubbed]) -> bool:
        """Change what is found now; says whether anything was."""
        batch: list[tuple[Found, bytes | None]] = []
        changed = False
        # A document may be found by several of its names.
        seen: set[tuple[str, str]] = set()
        for found in self._candidates(target):
            after = target.decide(found[2])
            if after == found[2] or (found[0], found[1]) in seen:
                continue
            seen.add((found[0], found[1]))
            batch.append((found, after))
            changed = True
            if len(batch) >= PAGE:
                self._apply(batch, done)
                batch = []
        if batch:
            self._apply(batch, done)
        if changed:
            with our_errors():
                self._client.indices.refresh(index=self._pattern)
        return changed

    def _apply(self, batch: list[tuple[Found, bytes | None]], done: dict[str, Scrubbed]) -> None:
        lines = []
        for (name, number, _), after in batch:
            place = json.dumps({"_index": name, "_id": number}).encode()
            if after is None:
                lines.append(b'{"delete":%s}' % place)
            else:
                lines += (b'{"index":%s}' % place, after.replace(b"\n", b" "))
        with our_errors():
            answer = self._client.perform_request("POST", "/_bulk", headers=_BULK, body=b"\n".join(lines) + b"\n").body
        for (found, after), item in zip(batch, answer["items"], strict=True):
            (result,) = item.values()
            if result["status"] >= 300 and not (result["status"] == 404 and after is None):
                reason = str(result.get("error", {}).get("reason", ""))
                if result["status"] in (429, 502, 503, 504):
                    raise from_status(result["status"], reason)
                raise StoreRefused(
                    f"{found[0]} doesn't let a document be erased; mend that, and run again", detail=reason
                )
            done.setdefault(found[0], Scrubbed()).take(found[2], after)

    def _candidates(self, target: Target) -> Iterator[Found]:
        if isinstance(target, Whose):
            yield from self._with_ids(sorted(target.ids))
        else:
            yield from self._of_parts()

    def _of_parts(self) -> Iterator[Found]:
        builder = self._work.builder
        for day in index.days(builder.client, self._work.settings):
            builder.update(day)
            with builder.folder.open(day) as opened, temporary_folder(self._work.settings) as temporary:
                paths = [Path(path) for path in opened.paths] if opened is not None else []
                name = day_index(self._work.settings, day)
                for documents in documents_of(paths, temporary) if paths else ():
                    for number, source in zip(documents.ids, documents.sources, strict=True):
                        yield name, number, source

    def _with_ids(self, ids: list[str]) -> Iterator[Found]:
        with our_errors():
            self._client.indices.refresh(index=self._pattern, allow_no_indices=True)
        names = self._names()
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = [{"terms": {name: ids}} for name in names[start : start + NAMES_AT_ONCE]]
            yield from self._pages({"bool": {"should": some, "minimum_should_match": 1}})

    def _names(self) -> list[str]:
        """Every name under which text is indexed in any index."""
        with our_errors():
            found = self._client.field_caps(
                index=self._pattern,
                fields="*",
                types=["keyword", "text"],
                allow_no_indices=True,
                ignore_unavailable=True,
            )
        return sorted(name for name in found["fields"] if not name.startswith("_"))

    def _pages(self, query: dict[str, Any]) -> Iterator[Found]:
        with our_errors():
            opened = self._client.open_point_in_time(
                index=self._pattern, keep_alive="5m", allow_partial_search_results=False
            )
        pit = opened["id"]
        body: dict[str, Any] = {"size": PAGE, "query": query, "sort": ["_shard_doc"], "track_total_hits": False}
        try:
            while True:
                body["pit"] = {"id": pit, "keep_alive": "5m"}
                with our_errors():
                    answer = self._unread.perform_request(
                        "POST", "/_search", params={"allow_partial_search_results": "false"}, headers=_JSON, body=body
                    ).body
                hits = msgspec.json.decode(answer, type=_Page).hits.hits
                for hit in hits:
                    yield hit.index, hit.id, bytes(hit.source)
                if len(hits) < PAGE:
                    return
                body["search_after"] = hits[-1].sort
        finally:
            with our_errors():
                self._client.options(ignore_status=404).close_point_in_time(id=pit)
