"""Day parts straight from documents, with the people that the documents' links make: no Elasticsearch runs."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from metronome.parts.folder import FORMAT, Folder, Part
from metronome.parts.index import Counters, Documents
from metronome.parts.sort import Sorter
from metronome.people.graph import Graph
from metronome.people.source import link_of
from metronome.people.view import View
from metronome.periods import from_ms, to_ms, to_text
from metronome.query.journeys.days import Budget, Days
from metronome.query.persons.scene import Scene, open_scene
from metronome.settings import Settings


class Linked:
    """Who is whom by the links among events, as the product folds them."""

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self._graph = Graph()
        for event in events:
            if (link := link_of(event["_id"], as_document(event))) is not None:
                self._graph.add(link)
        self._graph.settle()

    def view(self, as_of: datetime | None = None) -> View:
        return View(self._graph, threading.RLock(), None if as_of is None else to_ms(as_of))


#: Parts that are written here are never brought up to date.
NO_CLIENT: Any = None


class Parted(Days):
    """`events` have `_id`; `@timestamp` and `received_at` are in milliseconds."""

    def __init__(self, home: Path, events: Sequence[dict[str, Any]], **settings: Any) -> None:
        # Nothing is merged behind a test's back; tests/merging.py does it at once.
        super().__init__(Settings(home=home, **{"merged_max_bytes": 0, **settings}), NO_CLIENT, Linked(events))
        self._folder = Folder(self.settings.parts_dir, self.settings.parts_max_bytes)
        by_day: dict[date, list[dict[str, Any]]] = defaultdict(list)
        for event in events:
            by_day[from_ms(event["@timestamp"]).date()].append(event)
        for day, own in by_day.items():
            self._write(day, own)

    def _write(self, day: date, events: list[dict[str, Any]]) -> None:
        building = self._folder.building(day)
        sources = [json.dumps(as_document(event)).encode() for event in events]
        with Sorter(building) as sorter:
            sorter.add(Documents([event["_id"] for event in events], sources))
            path = building / "part.parquet"
            ids = sorter.ids_sha256()
            sorter.write(path, {"format": FORMAT})
        file = self._folder.take_in(day, path, len(events), ids)
        self._folder.replace(Part(FORMAT, day, "test", Counters("test", {}), (file,)))

    def builder(self) -> Any:
        return SimpleNamespace(folder=self._folder)

    def update(self) -> list[date]:
        return self._folder.days()

    def budget(self) -> Budget:
        return Budget(self.settings, time.monotonic())

    def scene(self, as_of: datetime | None = None) -> Scene:
        return open_scene(self, self.budget(), as_of)


def as_document(event: dict[str, Any]) -> dict[str, Any]:
    times = {name: to_text(from_ms(event[name])) for name in ("@timestamp", "received_at") if name in event}
    return {name: value for name, value in {**event, **times}.items() if name != "_id" and value is not None}
