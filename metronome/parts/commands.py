"""What `metronome parts …` does: which days, a progress bar, and a line of text for each day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta

from tqdm import tqdm

from metronome.errors import BadQuestion
from metronome.parts import index
from metronome.parts.build import Builder, Progress, Verdict
from metronome.parts.folder import Folder
from metronome.settings import Settings
from metronome.spool.status import backlog
from metronome.store.address import Address
from metronome.store.client import connect, unread

#: A build waits while events have waited in the spool for longer than this.
MAX_LAG_S = 5.0

#: How often the spools are looked at.
_LOOK_S = 1.0

TIMEOUT_S = 60


@contextmanager
def opened(settings: Settings, address: Address | None) -> Iterator[Builder]:
    """A builder on the configured Elasticsearch, or on the private node at `address`."""
    with closing(unread(connect(settings, address, timeout_s=TIMEOUT_S))) as client:
        yield Builder(settings, client, may_go_on=spool_keeps_up(settings))


def spool_keeps_up(settings: Settings) -> Callable[[], bool]:
    """Says whether the drain keeps up with the spools of this installation; looks at most once a second."""
    looked = datetime.min.replace(tzinfo=UTC)
    keeps_up = True

    def may_go_on() -> bool:
        nonlocal looked, keeps_up
        now = datetime.now(UTC)
        if (now - looked).total_seconds() >= _LOOK_S:
            looked, keeps_up = now, backlog(settings.spool_dir).age_s <= MAX_LAG_S
        return keeps_up

    return may_go_on


def days_of(text: str) -> list[date]:
    """`2026-11-03` or `2026-11-01..2026-11-30`, both ends included; raises BadQuestion."""
    first, dots, last = text.partition("..")
    try:
        start = date.fromisoformat(first)
        end = date.fromisoformat(last) if dots else start
    except ValueError:
        raise BadQuestion(f"{text!r} is no day: write 2026-11-03, or 2026-11-01..2026-11-30") from None
    if end < start:
        raise BadQuestion(f"{text!r} ends before it begins; write the earlier day first")
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def build(builder: Builder, text: str | None) -> Iterator[str]:
    """Bring the days up to date, as one file each; a line a day."""
    days = days_of(text) if text else index.days(builder.client, builder.settings)
    for day in days:
        with _bar(day, builder.to_fetch(day)) as progress:
            part = builder.update(day, one_file=True, progress=progress)
        yield f"{day}  no events" if part is None else f"{day}  {part.events:,} events  {part.bytes:,} bytes"


def verify(builder: Builder, text: str | None) -> Iterator[Verdict]:
    """Compare the days' parts with their indices."""
    for day in days_of(text) if text else builder.folder.days():
        part = builder.folder.part(day)
        with _bar(day, part.events if part else 0) as progress:
            verdict = builder.verify(day, progress)
        yield verdict


def verdict_text(verdict: Verdict) -> str:
    if verdict.agrees:
        return f"{verdict.day}  ok: {verdict.events:,} events, every id the same"
    text = f"{verdict.day}  DIFFERS: {verdict.events:,} events in the part, {verdict.in_index:,} in Elasticsearch"
    for what, ids in (("missing from the part", verdict.missing), ("only in the part", verdict.surplus)):
        if ids:
            text += f"; {what}: {', '.join(ids)}"
    return f"{text}; `metronome parts build {verdict.day}` mends it"


def listing(settings: Settings) -> Iterator[str]:
    """A line a part."""
    folder = Folder(settings.parts_dir, settings.parts_max_bytes)
    for day in folder.days():
        part = folder.part(day)
        if part is not None:
            read = datetime.fromtimestamp(folder.last_read(day), UTC).isoformat(timespec="seconds")
            size = f"{part.events:,} events  {part.bytes:,} bytes  {len(part.files)} files"
            yield f"{day}  {size}  read {read}"


def drop(settings: Settings, text: str | None) -> Iterator[str]:
    """Delete parts; a line each."""
    folder = Folder(settings.parts_dir, settings.parts_max_bytes)
    for day in days_of(text) if text else folder.days():
        with folder.lock(day, timeout_s=TIMEOUT_S):
            if folder.part(day) is not None:
                folder.drop(day)
                yield f"{day}  dropped"


@contextmanager
def _bar(day: date, events: int) -> Iterator[Progress]:
    """A progress bar on standard error where that is a terminal: events, events/s, time left."""
    with tqdm(total=events, desc=str(day), unit="event", unit_scale=True, leave=False, disable=None) as bar:

        def progress(more: int) -> None:
            bar.update(more)

        yield progress
