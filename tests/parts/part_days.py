"""Fixtures of the parts: a day's index of its own, a builder, and the day's documents as they were written."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from conftest import remove_indices
from elasticsearch import Elasticsearch

from metronome.parts.build import Builder
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.client import connect, unread
from metronome.store.names import day_index

DAY = date(2026, 11, 3)


class Days:
    """Days of events in Elasticsearch, written as they are, and their parts."""

    def __init__(self, settings: Settings, client: Elasticsearch) -> None:
        self.settings = settings
        self.client = client
        self.raw = unread(connect(settings, timeout_s=60))
        self.builder = Builder(settings, self.raw)
        self.folder = self.builder.folder
        self.written: dict[str, str] = {}
        self._rng = random.Random(0)
        indices.install(client, settings)

    def index(self, day: date = DAY) -> str:
        return day_index(self.settings, day)

    def write(self, sources: list[str], day: date = DAY, ids: list[str] | None = None) -> list[str]:
        """Index documents given as JSON text; gives the ids of those that Elasticsearch took."""
        ids = ids or [f"id-{self._rng.getrandbits(40):x}" for _ in sources]
        lines = []
        for number, source in zip(ids, sources, strict=True):
            lines += [json.dumps({"index": {"_index": self.index(day), "_id": number}}), source]
        answer = self.client.perform_request(
            "POST",
            "/_bulk",
            headers={"content-type": "application/x-ndjson", "accept": "application/json"},
            body=("\n".join(lines) + "\n").encode(),
        )
        taken = [item["index"]["_id"] for item in answer["items"] if item["index"]["status"] < 300]
        self.written |= {number: source for number, source in zip(ids, sources, strict=True) if number in taken}
        return taken

    def delete(self, number: str, day: date = DAY) -> None:
        self.client.delete(index=self.index(day), id=number)
        del self.written[number]


@pytest.fixture(name="days")
def opened_days(settings: Settings, engine_settings: Settings, elasticsearch: Elasticsearch) -> Iterator[Days]:
    found = replace(
        settings,
        elasticsearch_url=engine_settings.elasticsearch_url,
        elasticsearch_username=engine_settings.elasticsearch_username,
        elasticsearch_password=engine_settings.elasticsearch_password,
    )
    opened = Days(found, elasticsearch)
    yield opened
    opened.raw.close()
    remove_indices(elasticsearch, found)


def event(second: int, **properties: Any) -> str:
    """An event of DAY as JSON text."""
    at = f"{DAY}T00:{second // 60:02}:{second % 60:02}.000Z"
    return json.dumps({"@timestamp": at, **properties})
