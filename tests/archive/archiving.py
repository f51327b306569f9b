"""What the tests of the archive share: an installation with an archive, and what its questions answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from typing import Any

from conftest import Gateway
from elasticsearch import Elasticsearch

from metronome.archive.objects import Objects, open_objects
from metronome.archive.run import Done
from metronome.archive.work import Work, opened
from metronome.parts.index import days as days_with_index
from metronome.query import Ask, Question
from metronome.settings import Settings
from metronome.store.names import pattern


class Installation:
    """One gateway with an archive, opened for archiving as well."""

    def __init__(self, gateway: Gateway, work: Work) -> None:
        self.gateway = gateway
        self.work = work
        self.settings = gateway.settings

    @property
    def client(self) -> Elasticsearch:
        return self.work.client

    @property
    def objects(self) -> Objects:
        return self.work.catalogue.objects

    def archive(self, day: date, **options: Any) -> Done:
        lease = self.work.lease()
        with lease.held():
            return self.work.archiver(lease).archive(day, **options)

    def days(self) -> list[date]:
        return days_with_index(self.work.builder.client, self.settings)

    def keys(self) -> list[str]:
        """The objects of this archive; a bucket holds those of other tests too."""
        scheme, _, place = self.settings.archive.partition("://")
        prefix = place.partition("/")[2] if scheme == "s3" else ""
        return [one.key for one in self.objects.list(prefix)]

    def sources(self) -> dict[str, bytes]:
        """Every document in Elasticsearch by index and id, byte for byte."""
        self.client.indices.refresh(index=pattern(self.settings), allow_no_indices=True)
        unread = self.work.builder.client
        answer = unread.perform_request(
            "GET",
            f"/{pattern(self.settings)}/_search",
            params={"size": "10000", "allow_no_indices": "true"},
            headers={"accept": "application/json"},
        ).body
        rest = bytes(answer)
        found = {}
        for hit in json.loads(rest)["hits"]["hits"]:
            head = b'"_id":' + json.dumps(hit["_id"]).encode()
            start = rest.index(b'"_source":', rest.index(head)) + len(b'"_source":')
            text = rest[start:].decode()
            _, end = json.JSONDecoder().raw_decode(text)
            found[f"{hit['_index']}/{hit['_id']}"] = text[:end].encode()
        return found


def open_installation(gateway: Gateway) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(gateway, stack.enter_context(opened(gateway.settings, None)))


def with_archive(settings: Settings, place: str, endpoint: str = "") -> Settings:
    return replace(settings, archive=place, archive_endpoint=endpoint)


def numbers(ask: Ask, questions: list[Question]) -> list[Any]:
    """The answers as what must not change: rows, completeness, values that can't be compared."""
    found = []
    for answer in ask(*questions):
        rows = [(row.key, row.value if row.value is None else round(row.value, 9)) for row in answer.rows]
        found.append((rows, answer.complete, answer.ignored_values))
    return found


__all__ = ["Installation", "numbers", "open_installation", "open_objects", "with_archive"]
