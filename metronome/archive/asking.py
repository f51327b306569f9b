"""The door out of an installation with an archive: `ask` over Elasticsearch and the archived days together.

Manifests are kept in memory. They are read anew when `changes` says that an archiver has changed them, and once a
minute for the sake of those that another cluster's archiver wrote. A file keeps them for the time when the archive is
away: as long as nothing has changed since, the days in it are still all there are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
from elasticsearch import Elasticsearch

from metronome.archive.beside import Beside
from metronome.archive.files import Cache
from metronome.archive.links import Further
from metronome.archive.manifest import Catalogue, Kept
from metronome.archive.objects import Objects, open_objects
from metronome.archive.source import Memory, Moved, Snapshot
from metronome.archive.state import State
from metronome.errors import ArchiveDamaged, ArchiveUnavailable, SetupError
from metronome.files import replace_file
from metronome.query import Ask, Sources, ask
from metronome.query.index import Index
from metronome.query.journeys.days import Days
from metronome.query.journeys.questions import Resolver, Unresolved
from metronome.query.search import Search
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import day_index, pattern
from metronome.store.records import Records

log = logging.getLogger("metronome.archive")

#: How often the archive is listed although nobody told of a change.
LISTED_S = 60.0

#: How often a question is asked again because days were archived under it.
TRIES = 10
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Known:
    """Manifests as they were when `changes` had this value; those of another archive are of no use."""

    place: str
    changes: int
    manifests: dict[date, Kept]


class Archive:
    """What is archived, for all questions of one process."""

    def __init__(self, settings: Settings, client: Elasticsearch, objects: Objects | None = None) -> None:
        self._settings = settings
        self._client = client
        self._place = f"{settings.archive_endpoint} {settings.archive}"
        self._catalogue = Catalogue(objects or open_objects(settings))
        self._state = State(Records(client, settings, "archive"))
        self._cache = Cache(settings.archive_dir, settings.parts_max_bytes)
        self._memory = Memory()
        self._known: Known | None = None
        self._listed = float("-inf")
        self._lock = threading.Lock()
        self._path = settings.archive_dir / "manifests.json"

    def changes(self) -> int:
        """Goes up before a day leaves Elasticsearch."""
        return self._state.changes()

    def snapshot(self, changes: int) -> Snapshot:
        """Which days the archive holds, while `changes` stays what it is. Raises ArchiveUnavailable."""
        all_manifests = {day: kept.manifest for day, kept in self._manifests(changes).items()}
        manifests = dict(all_manifests)
        late: dict[date, str] = {}
        uuids = self._indices() if manifests else {}
        for day in [day for day in manifests if day_index(self._settings, day) in uuids]:
            name = day_index(self._settings, day)
            whole = self._state.whole(day)
            if whole is not None and (whole.uuid, whole.ids_sha256) == (uuids[name], manifests[day].ids_sha256):
                del manifests[day]
            else:
                late[day] = name
        return Snapshot(
            manifests, all_manifests, late, self._catalogue.objects, self._cache, self._memory, self._client
        )

    def further(self) -> Further:
        """The archived days as people know them."""
        return Further(self)

    def _indices(self) -> dict[str, str]:
        """Daily indices with their uuids."""
        with our_errors():
            found = self._client.options(ignore_status=404).indices.get_settings(
                index=pattern(self._settings), name="index.uuid", allow_no_indices=True
            )
        if found.meta.status == 404:
            return {}
        return {name: described["settings"]["index"]["uuid"] for name, described in found.body.items()}

    def _manifests(self, changes: int) -> dict[date, Kept]:
        with self._lock:
            known = self._known or self._read_file()
            is_right = known is not None and known.changes == changes
            if known is not None and is_right and time.monotonic() - self._listed < LISTED_S:
                return known.manifests
            try:
                found = self._list(known)
            except (ArchiveUnavailable, SetupError) as error:
                if known is None or not is_right:
                    raise ArchiveUnavailable(
                        "the archive can't be read just now, so it isn't known which days are there; ask again, or "
                        "with archive=no for the days in Elasticsearch",
                        detail=str(error),
                    ) from error
                log.warning("the archive can't be listed; what is known of it is used", extra={"problem": str(error)})
                found = known.manifests
            self._listed = time.monotonic()
            self._known = Known(self._place, changes, found)
            if known is None or known.manifests != found or not is_right:
                self._write_file(self._known)
            return found

    def _list(self, known: Known | None) -> dict[date, Kept]:
        before = known.manifests if known else {}
        days = self._catalogue.days()
        found = {day: before[day] for day, etag in days.items() if day in before and before[day].etag == etag}
        missing = [day for day in days if day not in found]
        with ThreadPoolExecutor(8, "manifests") as readers:
            read = dict(zip(missing, readers.map(self._catalogue.get, missing), strict=True))
        found |= {day: kept for day, kept in read.items() if kept is not None}
        return dict(sorted(found.items()))

    def _read_file(self) -> Known | None:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Known)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.place == self._place else None

    def _write_file(self, known: Known) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(self._path, msgspec.json.encode(known).decode())
        except OSError as error:
            log.warning("what is known of the archive can't be kept", extra={"problem": str(error)})


def open_door(
    settings: Settings,
    client: Elasticsearch,
    clock: Callable[[], datetime],
    resolver: Resolver = Unresolved(),  # noqa: B008 - it holds nothing
    *,
    alone: Callable[[], bool] = lambda: False,
    objects: Objects | None = None,
    archive: Archive | None = None,
) -> Ask:
    """`ask` over Elasticsearch and METRONOME_ARCHIVE; where `alone` says so, over Elasticsearch without it.

    `resolver` says which ids are one person.
    """
    index, days = Index(Search(client, settings), settings), Days(settings, client, resolver)
    archive = archive or Archive(settings, client, objects)

    def bound(*questions: Any) -> list[Any]:
        if alone():
            return ask(*questions, sources=Sources(index, days=days), now=clock())
        for _ in range(TRIES):
            changes = archive.changes()
            try:
                snapshot = archive.snapshot(changes)
                sources = Sources(index, (snapshot,), days, Beside(snapshot))
                answers = ask(*questions, sources=sources, now=clock())
            except Moved:
                time.sleep(_PAUSE_S)
                continue
            except ArchiveDamaged:
                if archive.changes() == changes:
                    raise
                continue
            # A day that was archived meanwhile may be in neither of the two that were asked.
            if archive.changes() == changes:
                return answers
        raise ArchiveUnavailable("days are being archived just now; ask again in a moment")

    return bound
