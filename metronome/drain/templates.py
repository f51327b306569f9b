"""Keeps our index templates in place, and says if somebody's template stands above one of them."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from elasticsearch import Elasticsearch

from metronome.errors import MetronomeError
from metronome.settings import Settings
from metronome.store import indices

log = logging.getLogger("metronome.drain")

#: Seconds between two looks while the drain has nothing to send.
LOOK_EVERY_S = 30.0


class Templates:
    """The templates of one installation. Safe to use from many threads."""

    def __init__(self, client: Elasticsearch, settings: Settings, stopping: threading.Event) -> None:
        self._client = client
        self._settings = settings
        self._stopping = stopping
        #: Which templates stand above ours; empty if none do. Events are sent all the same: an operator may want that.
        self.rivals = ""

    def install(self) -> None:
        """Put each template that is missing or another one. Raises MetronomeError."""
        if indices.install(self._client, self._settings):
            log.info("index templates installed", extra={"templates": ", ".join(indices.templates(self._settings))})
        self.look()

    def look(self) -> None:
        """Look for templates above ours, and log what changed. Raises MetronomeError."""
        found = "; ".join(map(str, indices.rivals(self._client, self._settings)))
        if found and found != self.rivals:
            log.error(
                "new indices get the mapping of another template; lower its priority, delete it, or set "
                "METRONOME_INDEX_PREFIX",
                extra={"problem": found},
            )
        elif self.rivals and not found:
            log.info("no other template stands above ours any more")
        self.rivals = found

    def watch(self) -> None:
        """Look again and again until stopped. While Elasticsearch doesn't answer, the last result holds."""
        while not self._stopping.wait(LOOK_EVERY_S):
            with suppress(MetronomeError):
                self.look()
