"""What the commands and the automatic run share: everything opened, and the days that are to be worked on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from elasticsearch import Elasticsearch

from metronome.archive.asking import Archive
from metronome.archive.care import Care
from metronome.archive.closed import days_waiting
from metronome.archive.folder import Folder
from metronome.archive.links import Further
from metronome.archive.manifest import Catalogue
from metronome.archive.objects import open_objects
from metronome.archive.restore import Restorer
from metronome.archive.run import Archiver
from metronome.archive.state import Lease, State
from metronome.errors import MetronomeError
from metronome.parts import index
from metronome.parts.build import Builder
from metronome.parts.commands import TIMEOUT_S, spool_keeps_up
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.address import Address
from metronome.store.client import connect, our_errors, unread
from metronome.store.names import day_index
from metronome.store.records import Records

log = logging.getLogger("metronome.archive")


@dataclass(frozen=True)
class Work:
    """One installation with its archive, opened."""

    settings: Settings
    client: Elasticsearch
    builder: Builder
    catalogue: Catalogue
    records: Records

    @property
    def state(self) -> State:
        return State(self.records)

    @property
    def care(self) -> Care:
        return Care(self.settings, self.catalogue)

    @property
    def restorer(self) -> Restorer:
        return Restorer(self.settings, self.client, self.catalogue, self.state)

    @property
    def links(self) -> Further | None:
        """What people have to know of archived days; None where there is no archive."""
        if not self.settings.archive:
            return None
        return Archive(self.settings, self.client, self.catalogue.objects).further()

    def lease(self) -> Lease:
        return Lease(self.records)

    def archiver(self, lease: Lease) -> Archiver:
        return Archiver(self.settings, self.client, self.builder, self.catalogue, self.state, lease)

    def past_days(self, today: date) -> list[date]:
        """The days before today that have an index, ascending."""
        return [day for day in index.days(self.builder.client, self.settings) if day < today]

    def is_restored(self, day: date) -> bool:
        """Whether somebody brought the day's index back: the automatic run leaves it."""
        whole = self.state.whole(day)
        if whole is None or not whole.restored:
            return False
        name = day_index(self.settings, day)
        with our_errors():
            found = self.client.options(ignore_status=404).indices.get_settings(index=name, name="index.uuid")
        return found.meta.status == 200 and found[name]["settings"]["index"]["uuid"] == whole.uuid


@contextmanager
def opened(settings: Settings, address: Address | None, *, needs_archive: bool = True) -> Iterator[Work]:
    """Everything that archiving needs, on the configured Elasticsearch or the private node at `address`.

    Where the archive isn't needed and there is none, a folder that doesn't exist stands for it: no day is in it.
    """
    has_archive = needs_archive or settings.archive
    catalogue = Catalogue(open_objects(settings) if has_archive else Folder(settings.archive_dir / "none"))
    with closing(connect(settings, address, timeout_s=TIMEOUT_S)) as client:
        indices.install(client, settings)
        builder = Builder(settings, unread(client), may_go_on=spool_keeps_up(settings))
        yield Work(settings, client, builder, catalogue, Records(client, settings, "archive"))


def run_once(work: Work, now: datetime, *, stopped: Callable[[], bool] = lambda: False) -> None:
    """What METRONOME_ARCHIVE_AFTER and METRONOME_KEEP ask for now; nothing where another archiver works."""
    today = now.astimezone(UTC).date()
    lease = work.lease()
    with lease.held(wait=False) as taken:
        if not taken:
            return
        if work.settings.keep:
            _end(work, lease, today - timedelta(days=work.settings.keep), stopped)
        if work.settings.archive and work.settings.archive_after:
            _leave(work, lease, today - timedelta(days=work.settings.archive_after), stopped)


def _end(work: Work, lease: Lease, before: date, stopped: Callable[[], bool]) -> None:
    """Delete the days before `before` for good. `before` itself is kept whole."""
    waiting = days_waiting(work.settings)
    with_index = set(work.past_days(before))
    archived = {day for day in work.catalogue.all_days() if day < before}
    for day in sorted(with_index | archived):
        if stopped() or day in waiting:
            continue
        if day in archived:
            work.care.end(day, lease, work.state)
        if day in with_index:
            lease.renew()
            with our_errors():
                work.client.options(ignore_status=404).indices.delete(index=day_index(work.settings, day))
        work.builder.folder.drop(day)
        log.info("a day past METRONOME_KEEP was deleted", extra={"day": str(day)})


def _leave(work: Work, lease: Lease, before: date, stopped: Callable[[], bool]) -> None:
    """Archive the days before `before`, but those that were restored."""
    waiting = days_waiting(work.settings)
    for day in work.past_days(before):
        if stopped() or day in waiting or work.is_restored(day):
            continue
        try:
            done = work.archiver(lease).archive(day)
        except MetronomeError as error:
            log.warning("a day isn't archived yet; its index stays", extra={"day": str(day), "problem": str(error)})
            continue
        extra = {"day": str(day), "events": done.events, "added": done.added, "deleted": done.deleted}
        log.info("a day was archived", extra=extra)
