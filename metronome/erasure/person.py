"""Everything that is stored of a person, as NDJSON: the documents as they are, day by day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metronome.archive.export import Exporter, line_of
from metronome.archive.work import Work
from metronome.erasure.job import person_of
from metronome.periods import Period


def lines_of(work: Work, ids: Iterable[str]) -> Iterator[bytes]:
    """The documents under any id of these people, wherever they are."""
    whose = person_of(work, tuple(ids))
    exporter = Exporter(work.settings, work.builder, work.catalogue if work.settings.archive else None)
    for _, source in exporter.documents(Period(), lambda source: whose.decide(source) is None):
        yield line_of(source)
