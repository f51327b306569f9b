"""The day parts of an installation as questions read them, and how much one question may read, hold and take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from datetime import date
from typing import TYPE_CHECKING, Any

from metronome.errors import QuestionsWait, TooMuch
from metronome.query.journeys.questions import Resolver, Unresolved
from metronome.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from metronome.parts.build import Builder
    from metronome.parts.closed import Own
    from metronome.parts.merge import Merger
    from metronome.query.door import Archived

#: Says whether who asked has gone away; set by who takes the request.
GONE: ContextVar[Callable[[], bool] | None] = ContextVar("gone", default=None)


@contextmanager
def watching(gone: Callable[[], bool]) -> Iterator[None]:
    """While the block runs, questions are stopped once `gone` says that nobody waits for the answer."""
    token = GONE.set(gone)
    try:
        yield
    finally:
        GONE.reset(token)


_NARROW = "ask for fewer days, an app, or fewer events by where"


class Budget:
    """What is left for one question. Raises TooMuch (422) that says what to narrow."""

    def __init__(self, settings: Settings, started: float) -> None:
        self._settings = settings
        self._deadline = started + settings.query_seconds
        self._gone = GONE.get()
        self.events = 0

    def check(self) -> None:
        """Called between days, slices and rounds."""
        if time.monotonic() > self._deadline:
            raise TooMuch(f"the question takes longer than {self._settings.query_seconds} s; {_NARROW}")
        if self._gone is not None and self._gone():
            raise TooMuch("who asked has gone away; the work was stopped")

    def read(self, events: int) -> None:
        self.events += events
        if self.events > self._settings.query_events:
            raise TooMuch(f"the question reads more than {self._settings.query_events:,} events; {_NARROW}")

    def hold(self, held: int) -> None:
        """`held` is in bytes, what is about to be made included."""
        if held > self._settings.query_bytes:
            raise TooMuch(f"the question holds more than {self._settings.query_bytes:,} bytes; {_NARROW}")


class Days:
    """The parts. Nothing is opened before the first question; safe to use from many threads."""

    def __init__(self, settings: Settings, client: Elasticsearch, resolver: Resolver | None = None) -> None:
        self.settings = settings
        self._client = client
        self.resolver = resolver or Unresolved()
        self._lock = threading.Lock()
        self._builder: Builder | None = None
        self._archived: Archived | None = None
        self._merger: Merger | None = None
        self._running = threading.Semaphore(settings.query_parallel or os.cpu_count() or 1)

    @contextmanager
    def turn(self) -> Iterator[Budget]:
        """Wait for a turn, in order of arrival, and take it; raises QuestionsWait (503)."""
        started = time.monotonic()
        if not self._running.acquire(timeout=self.settings.query_seconds):
            raise QuestionsWait("as many questions as may run are running; ask again in a few seconds")
        try:
            yield Budget(self.settings, started)
        finally:
            self._running.release()

    def builder(self) -> Builder:
        from metronome.parts.build import Builder
        from metronome.store.client import unread

        with self._lock:
            if self._builder is None:
                self._builder = Builder(self.settings, unread(self._client))
            return self._builder

    def beside(self, archived: Archived | None) -> Days:
        """These days, and those of an archive."""
        if archived is None:
            return self
        self.merger()  # the copy has the same
        found = copy(self)
        found._archived = archived
        return found

    def update(self) -> list[date]:
        """The days that there are, ascending, with every event in them that Elasticsearch or the archive has."""
        mine = self.builder().update_all()
        return sorted({*mine, *(self._archived.days() if self._archived is not None else ())})

    def folder(self) -> Any:
        """The parts of all these days, as a `parts.folder.Folder` that can be read."""
        folder = self.builder().folder
        return folder if self._archived is None else self._archived.folder(folder)

    def merger(self) -> Merger:
        """Who has the columns of closed days merged; one a process."""
        from metronome.parts.merge import Merger

        with self._lock:
            if self._merger is None:
                self._merger = Merger(self.settings.merged_max_bytes)
            return self._merger

    def own(self) -> Own:
        """The parts whose closed days have merged columns too."""
        from metronome.parts.closed import Own

        archived = () if self._archived is None else self._archived.days()
        return Own(self.builder().folder, self.merger(), frozenset(archived))

    def read_archived(self) -> dict[str, int]:
        """The archived days that are among these, with the bytes that were fetched for them."""
        return {} if self._archived is None else self._archived.fetched()
