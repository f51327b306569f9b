"""Reports: what was so on a day or in a month, kept. Running one again replaces it.

    models.py       DailyReport and MonthlyReport: what a report is, and the reports that there are
    reporters.py    DailyReporter and MonthlyReporter: what makes reports; the registries
    platform.py     what only the platform's own database knows
    kept.py         reports in Elasticsearch, an index a kind of report
    run.py          run, catch up, compare
    raw.py          Elasticsearch itself, for those who may ask it anything

A report is a class of fields; a reporter fills it from answers of `ask`, facts or the platform (docs/reports.md).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from elasticsearch import Elasticsearch

from metronome.settings import Settings

if TYPE_CHECKING:
    from metronome.reports.kept import Kept
    from metronome.reports.raw import Raw


class Reports:
    """What a dialect needs of reports. Nothing is loaded before the first question."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    @cached_property
    def kept(self) -> Kept:
        from metronome.reports.kept import Kept

        return Kept(self._client, self._settings)

    @cached_property
    def raw(self) -> Raw:
        from metronome.reports.raw import Raw

        return Raw(self._client, self._settings)
