"""Reports in Elasticsearch: an index a kind, with the strict mapping of its class. Running a reporter again replaces.

What was run is noted as well (`metronome-report-runs`), so that a missed run can be made up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticsearch import Elasticsearch

from metronome.counter.keys import stable_key
from metronome.errors import StoreRefused
from metronome.periods import read_time, to_text
from metronome.reports.models import Report
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import record_index
from metronome.store.records import Records

#: Most reports of one answer.
MOST = 10_000


@dataclass(frozen=True)
class Stored:
    """A stored report: its id, and its document."""

    id: str
    source: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The last run of a reporter for a day or month. `problem` is empty where it went well."""

    reporter: str
    when: str
    at: datetime
    reports: int
    problem: str = ""


class Kept:
    """All methods may raise StoreUnavailable, SetupError or StoreRefused."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._prepared: set[str] = set()
        self._runs = Records(client, settings, "report-runs")

    def index(self, report: type[Report]) -> str:
        """`metronome-report-download-count` of DownloadCountReport."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", report.__name__).lower().removesuffix("-report")
        return record_index(self._settings, f"report-{name}")

    def replace(
        self, report: type[Report], when: str, reports: Sequence[Report], at: datetime, *, refresh: bool = True
    ) -> None:
        """Store the reports of a day or month in place of those that there were. Raises ReportInvalid before.

        Without `refresh` they may be found a moment later; `refresh` then makes them found.
        """
        documents = {one.key(): {**one.as_source(), "timestamp": to_text(at)} for one in reports}
        index = self.index(report)
        self._prepare(index, report)
        lines: list[dict[str, Any]] = []
        for key, source in documents.items():
            lines += [{"index": {"_id": key}}, source]
        lines += [{"delete": {"_id": key}} for key in self._keys(report, when) if key not in documents]
        if not lines:
            return
        with our_errors():
            answer = self._client.bulk(index=index, operations=lines, refresh=refresh)
        for item in answer["items"]:
            (done,) = item.values()
            if "error" in done:
                raise StoreRefused(f"a report of {report.__name__} was refused", detail=str(done["error"])[:300])

    def _keys(self, report: type[Report], when: str) -> list[str]:
        """Ids of the reports that there may be of a day or month."""
        if report.unique_field() is None:
            return [stable_key(when)]
        self.refresh(report)
        return [one.id for one in self.search(report, when, when)]

    def refresh(self, report: type[Report]) -> None:
        with our_errors():
            self._client.options(ignore_status=404).indices.refresh(index=self.index(report))

    def search(
        self, report: type[Report], first: str | None, last: str | None, *, before: bool = False
    ) -> list[Stored]:
        """Reports from one day or month to another, ascending by it; `before` leaves the last one out."""
        bounds = {"gte": first, "lt" if before else "lte": last}
        where = {"range": {report.WHEN: {side: text for side, text in bounds.items() if text}}}
        with our_errors():
            found = self._client.options(ignore_status=404).search(
                index=self.index(report), size=MOST, query=where, sort=[{report.WHEN: "asc"}, *_unique(report)]
            )
        hits = found.body["hits"]["hits"] if found.meta.status == 200 else []
        return [Stored(hit["_id"], hit["_source"]) for hit in hits]

    def _prepare(self, index: str, report: type[Report]) -> None:
        """Make the index, or add the fields that the class has got since; once a process."""
        if index in self._prepared:
            return
        mapping = report._doc_type.mapping.to_dict()
        settings = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
        with our_errors():
            client = self._client.options(ignore_status=400)
            made = client.indices.create(index=index, mappings=mapping, settings=settings)
            if made.meta.status == 400:
                changed = client.indices.put_mapping(index=index, properties=mapping["properties"])
                if changed.meta.status == 400:
                    raise StoreRefused(
                        f"{index} has other types for fields of {report.__name__}", detail=str(changed.body)[:300]
                    )
        self._prepared.add(index)

    def note(self, run: Run) -> None:
        """Note a run in place of the one before of the same reporter, day or month."""
        key = f"{run.reporter}:{run.when}"
        document = {
            "id": key,
            "reporter": run.reporter,
            "when": run.when,
            "at": to_text(run.at),
            "reports": run.reports,
            "problem": run.problem,
        }
        with our_errors():
            self._client.index(index=self._runs.index, id=key, document=document)

    def runs(self) -> list[Run]:
        """Every noted run, by reporter and day or month."""
        with our_errors():
            self._client.options(ignore_status=404).indices.refresh(index=self._runs.index)
        rows = (record.value for record in self._runs.list())
        return [Run(row["reporter"], row["when"], read_time(row["at"]), row["reports"], row["problem"]) for row in rows]


def _unique(report: type[Report]) -> list[dict[str, str]]:
    field = report.unique_field()
    return [{field: "asc"}] if field else []
