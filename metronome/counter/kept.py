"""Facts and months, kept in Elasticsearch, so that every host reads the same.

    metronome-counter-months    a record a month: processed when, which version of its facts counts, what was restated
    metronome-counter-facts     chunks of facts: `MONTH:CUSTOMER:REPORT:VERSION:NUMBER`, in the order of `facts.order`

A chunk holds up to CHUNK facts as compressed MessagePack. A year of a large customer is then some hundred documents,
where a document for each count would be millions. Chunks are read by id, so they are there as soon as they are written.

`replace` writes the chunks of a new version first. Then it changes the month's record, from which on everybody reads
the new version. Last it deletes all versions but these two: a reader that began before can still read on.
"""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from elasticsearch import Elasticsearch

from metronome.counter.facts import Change, Fact, Month, Report, Restatement
from metronome.errors import Conflict, NotFound, StoreUnavailable
from metronome.periods import from_ms, read_time, to_text
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import pattern, record_index
from metronome.store.records import Record, Records

#: Facts of one chunk.
CHUNK = 4000

#: A note that a month is being processed counts for so long: who noted it may have died.
STALE = timedelta(minutes=5)

#: How often a change of a month's record is tried while others change it as well.
TRIES = 5

#: Ids of one request that deletes chunks.
PAGE = 1000

#: A field that every counted usage has, and no other event.
COUNTED = "counter.key"

#: The facts of one customer in one report, ascending by `order`.
Portion = tuple[str, Report, Iterable[Fact]]

_encode = msgspec.msgpack.Encoder().encode
#: Facts are encoded and decoded one by one, when their turn comes. The garbage collector would look through the live
#: facts of whole chunks again and again, which took longer than all else.
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.msgpack.Decoder(Fact).decode


class Kept:
    """Reads facts as `facts.Facts` says, and replaces those of a month."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._index = record_index(settings, "counter-facts")
        self._months = Records(client, settings, "counter-months")

    def months(self) -> list[Month]:
        return [_month(record) for record in self._months.list()]

    def month(self, month: str) -> Month | None:
        record = self._record(month)
        return _month(record) if record else None

    def first_month(self) -> str | None:
        known = [month.month for month in self.months() if month.processed_at]
        with our_errors():
            found = self._client.search(
                index=pattern(self._settings),
                size=0,
                query={"exists": {"field": COUNTED}},
                aggs={"first": {"min": {"field": "@timestamp"}}},
                allow_no_indices=True,
            )
        first = found.body.get("aggregations", {}).get("first", {}).get("value")
        if first is not None:
            known.append(to_text(from_ms(first))[:7])
        return min(known, default=None)

    def facts(self, month: str, customer_id: str, report: Report) -> Iterator[Fact]:
        record = self._record(month)
        version = record.value.get("version") if record else None
        if not version:
            return
        number, last = 0, False
        while not last:
            chunk = self._chunk(f"{month}:{customer_id}:{report}:{version}:{number}")
            if chunk is None and number == 0:
                return
            if chunk is None:
                raise StoreUnavailable(f"the facts of {month} were replaced while they were read; ask again")
            yield from map(_decode, _split(zlib.decompress(base64.b64decode(chunk["facts"]))))
            number, last = number + 1, chunk["last"]

    def totals(self, month: str) -> dict[str, int]:
        """What all facts of a month sum to, by `CUSTOMER|REPORT|METRIC`."""
        record = self._record(month)
        found: dict[str, int] = json.loads(record.value.get("totals") or "{}") if record else {}
        return found

    def begin(self, month: str) -> None:
        """Note that the month is being processed. The note counts for STALE."""
        begun = to_text(datetime.now(UTC))
        self._change(month, lambda value: {**value, "processing": True, "begun_at": begun})

    def give_up(self, month: str) -> None:
        """Note that it no longer is, though nothing was replaced. Who asked for it waits no longer."""
        failed = to_text(datetime.now(UTC))
        self._change(month, lambda value: {**value, "processing": False, "asked_at": None, "failed_at": failed})

    def ask(self, month: str) -> None:
        """Note that somebody waits for the month to be processed."""
        asked = to_text(datetime.now(UTC))
        self._change(month, lambda value: {**value, "asked_at": asked})

    def lose(self, month: str, what: str) -> Month:
        """Note what of the month's usage is lost for good; with an empty text, that nothing is."""
        return _month(self._change(month, lambda value: {**value, "lost": what}))

    def replace(
        self, month: str, portions: Iterable[Portion], *, at: datetime, cause: str = "", robot_list: str = ""
    ) -> Month:
        """Replace all facts of a month. `portions` are any customers' and reports', each pair at most once.

        What changed since the last time is noted in the month as a restatement, with its `cause`.
        """
        version = secrets.token_hex(8)
        totals: dict[str, int] = {}
        for customer_id, report, facts in portions:
            self._write(
                f"{month}:{customer_id}:{report}:{version}", month, version, _adding(totals, customer_id, report, facts)
            )
        done = self._change(month, lambda value: _restated(value, version, totals, at, cause, robot_list))
        self._delete_others(month, (version, str(done.value.get("previous") or "")))
        return _month(done)

    def _write(self, name: str, month: str, version: str, facts: Iterable[Fact]) -> None:
        rest = (msgspec.Raw(_encode(fact)) for fact in facts)
        chunk, number = list(islice(rest, CHUNK)), 0
        while chunk:
            after = list(islice(rest, CHUNK))
            packed = base64.b64encode(zlib.compress(_encode(chunk), 1)).decode()
            key = f"{name}:{number}"
            document = {"id": key, "month": month, "version": version, "last": not after, "facts": packed}
            with our_errors():
                self._client.index(index=self._index, id=key, document=document)
            chunk, number = after, number + 1

    def _chunk(self, key: str) -> dict[str, Any] | None:
        with our_errors():
            found = self._client.options(ignore_status=404).get(index=self._index, id=key)
        return found.body["_source"] if found.body.get("found") else None

    def _delete_others(self, month: str, versions: tuple[str, ...]) -> None:
        where = {
            "bool": {
                "filter": {"term": {"month": month}},
                "must_not": {"terms": {"version": [v for v in versions if v]}},
            }
        }
        with our_errors():
            self._client.options(ignore_status=404).indices.refresh(index=self._index)
            while True:
                found = self._client.options(ignore_status=404).search(
                    index=self._index, size=PAGE, source=False, query=where, sort=["id"]
                )
                hits = found.body["hits"]["hits"] if found.meta.status == 200 else []
                if not hits:
                    return
                self._client.bulk(
                    index=self._index, operations=[{"delete": {"_id": hit["_id"]}} for hit in hits], refresh=True
                )

    def _record(self, month: str) -> Record | None:
        try:
            return self._months.get(month)
        except NotFound:
            return None

    def _change(self, month: str, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> Record:
        """Change a month's record. Raises Conflict if others changed it at the same moment again and again."""
        for _ in range(TRIES - 1):
            with suppress(Conflict):
                return self._changed(month, changed)
        return self._changed(month, changed)

    def _changed(self, month: str, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> Record:
        record = self._record(month)
        if record is None:
            return self._months.create(month, changed({}))
        return self._months.replace(record, changed(dict(record.value)))


def _adding(totals: dict[str, int], customer_id: str, report: str, facts: Iterable[Fact]) -> Iterator[Fact]:
    """The same facts; what they sum to is added to `totals` under `CUSTOMER|REPORT|METRIC` after the last."""
    sums: dict[str, int] = {}
    for fact in facts:
        for performance in fact.performances:
            for metric, count in performance.counts.items():
                sums[metric] = sums.get(metric, 0) + count
        yield fact
    totals.update({f"{customer_id}|{report}|{metric}": count for metric, count in sums.items()})


def _restated(
    value: dict[str, Any], version: str, totals: dict[str, int], at: datetime, cause: str, robot_list: str
) -> dict[str, Any]:
    """A month's record after its facts were replaced."""
    before: dict[str, int] = json.loads(value.get("totals") or "{}")
    log: list[dict[str, Any]] = json.loads(value.get("restatements") or "[]")
    first = not value.get("version")
    changes = [
        (*key.split("|"), before.get(key, 0), totals.get(key, 0))
        for key in sorted(before.keys() | totals.keys())
        if before.get(key, 0) != totals.get(key, 0)
    ]
    if changes and not first:
        log.append({"at": to_text(at), "cause": cause, "changes": changes})
    return {
        "processed_at": to_text(at),
        "changed_at": to_text(at) if changes or first else value.get("changed_at"),
        "processing": False,
        "version": version,
        "previous": value.get("version"),
        "robot_list": robot_list,
        "totals": json.dumps(totals),
        "restatements": json.dumps(log),
        "lost": value.get("lost"),
    }


def _month(record: Record) -> Month:
    value = record.value
    begun = read_time(value.get("begun_at") or 0)
    processing = bool(value.get("processing")) and datetime.now(UTC) - begun < STALE
    found = Month(
        record.id,
        processing=processing,
        robot_list=value.get("robot_list") or "",
        asked_at=_time(value.get("asked_at")),
        failed_at=_time(value.get("failed_at")),
        lost=value.get("lost") or "",
    )
    if not value.get("version"):
        return found
    return replace(
        found,
        processed_at=read_time(value["processed_at"]),
        changed_at=read_time(value["changed_at"]),
        restatements=tuple(
            Restatement(read_time(row["at"]), row["cause"], tuple(Change(*change) for change in row["changes"]))
            for row in json.loads(value["restatements"])
        ),
    )


def _time(text: str | None) -> datetime | None:
    return read_time(text) if text else None
