"""Records: the things that change, such as keys. Events never change; they have indices and a template of their own.

Each kind of record has an index of its own, `metronome-<kind>`, of one shard. Its mapping is made from the model below
and takes no field that the model doesn't declare.

Two writers can't overwrite each other: `replace` and `delete` take the record that the writer read, and Elasticsearch
refuses them if it has changed since (`if_seq_no`, `if_primary_term`). A new kind is a model and a row in KINDS.

`Mirror` is for records that must be there while Elasticsearch is away: a process's own copy, and a file beside it.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticsearch import ConflictError, Elasticsearch
from elasticsearch import NotFoundError as ElasticNotFound
from elasticsearch_dsl import Binary, Boolean, Date, Document, Double, Keyword, Long, MetaField, Object

from metronome.errors import Conflict, NotFound
from metronome.files import replace_file
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import record_index

log = logging.getLogger("metronome.store")

#: Records of one page of a listing.
PAGE = 1000

_KEPT_ONLY = {"index": False, "doc_values": False}


class RecordDocument(Document):
    """The fields of every record. `id` repeats `_id`, since Elasticsearch sorts by a field but not by `_id`."""

    class Meta:
        dynamic = MetaField("strict")

    id = Keyword()


class KeyDocument(RecordDocument):
    """An API key (`metronome.keys`). If it isn't publishable, only hashes of it are stored."""

    name = Keyword(**_KEPT_ONLY)
    scopes = Keyword()
    app = Keyword()
    origins = Keyword(**_KEPT_ONLY)
    networks = Keyword(**_KEPT_ONLY)
    rate = Keyword(**_KEPT_ONLY)
    publishable = Boolean()
    token = Keyword(**_KEPT_ONLY)
    hash = Keyword(**_KEPT_ONLY)
    previous_hash = Keyword(**_KEPT_ONLY)
    previous_until = Date()
    env = Keyword()
    created_at = Date()
    expires_at = Date()
    revoked_at = Date()
    used_at = Date()


class ArchiveDocument(RecordDocument):
    """What archivers tell each other and those who ask (`metronome.archive`): who works, what has changed."""

    holder = Keyword()
    term = Long()
    until = Date()
    changes = Long()
    uuid = Keyword(**_KEPT_ONLY)
    restored = Boolean()
    ids_sha256 = Keyword(**_KEPT_ONLY)


class PrivacyDocument(RecordDocument):
    """Erasures (`metronome.erasure`): jobs, keyed hashes of ids whose events aren't taken any more, and their key."""

    what = Keyword()
    state = Keyword()
    asked_at = Date()
    ended_at = Date()
    job = Keyword(**_KEPT_ONLY)
    key = Keyword(**_KEPT_ONLY)
    request = Keyword(**_KEPT_ONLY)
    receipt = Keyword(**_KEPT_ONLY)
    problem = Keyword(**_KEPT_ONLY)


class SegmentDocument(RecordDocument):
    """A version of a saved segment (`metronome.segments`). `rule` is JSON as text."""

    title = Keyword(**_KEPT_ONLY)
    rule = Keyword(**_KEPT_ONLY)
    version = Long(**_KEPT_ONLY)
    saved_at = Date(**_KEPT_ONLY)


class CustomerDocument(RecordDocument):
    """A customer of COUNTER reports (`metronome.counter.customers`); only a hash of its key is stored."""

    name = Keyword(**_KEPT_ONLY)
    requestor_id = Keyword()
    key_hash = Keyword(**_KEPT_ONLY)
    networks = Keyword(**_KEPT_ONLY)
    member_of = Keyword()
    ids = Keyword(**_KEPT_ONLY)
    created_at = Date()


class MonthDocument(RecordDocument):
    """What became of a month's usage (`metronome.counter.kept`). `totals` and `restatements` are JSON text."""

    processed_at = Date()
    changed_at = Date()
    processing = Boolean()
    begun_at = Date()
    asked_at = Date()
    failed_at = Date()
    lost = Keyword(**_KEPT_ONLY)
    version = Keyword()
    previous = Keyword()
    robot_list = Keyword(**_KEPT_ONLY)
    totals = Keyword(**_KEPT_ONLY)
    restatements = Keyword(**_KEPT_ONLY)


class FactsDocument(RecordDocument):
    """A chunk of a month's facts (`metronome.counter.kept`)."""

    month = Keyword()
    version = Keyword()
    last = Boolean()
    facts = Binary()


class RunDocument(RecordDocument):
    """The last run of a reporter for a day or month (`metronome.reports.kept`)."""

    reporter = Keyword()
    when = Keyword()
    at = Date()
    reports = Long()
    problem = Keyword(**_KEPT_ONLY)


class SavedDocument(RecordDocument):
    """A version of a saved thing, such as a metric (`metronome.saved`). `body` is JSON that isn't searched."""

    what = Keyword()
    name = Keyword()
    app = Keyword()
    version = Long()
    at = Date()
    by = Keyword(**_KEPT_ONLY)
    deleted = Boolean()
    body = Object(enabled=False)


class PointDocument(RecordDocument):
    """A point of an external series (`metronome.store.points`)."""

    series = Keyword()
    at = Date()
    value = Double(**_KEPT_ONLY)
    dims = Object(enabled=False)


#: Every kind of record, by its name, which the name of its index contains.
KINDS: dict[str, type[RecordDocument]] = {
    "archive": ArchiveDocument,
    "keys": KeyDocument,
    "points": PointDocument,
    "saved": SavedDocument,
    "privacy": PrivacyDocument,
    "segments": SegmentDocument,
    "versions": SavedDocument,
    "counter-customers": CustomerDocument,
    "counter-months": MonthDocument,
    "counter-facts": FactsDocument,
    "report-runs": RunDocument,
}


def template(settings: Settings, kind: str) -> dict[str, Any]:
    """The composable index template of one kind of records, as JSON."""
    mapping = KINDS[kind]._doc_type.mapping.to_dict()
    # elasticsearch-dsl gives the fields in another order in every process.
    mapping = {**mapping, "properties": dict(sorted(mapping["properties"].items()))}
    index = {"number_of_shards": "1", "auto_expand_replicas": "0-1", "refresh_interval": "1s"}
    return {
        "index_patterns": [record_index(settings, kind)],
        "priority": 250,
        "template": {"settings": {"index": index}, "mappings": mapping},
        "_meta": {"by": "metronome", "description": f"Records of Metronome: {kind}"},
    }


@dataclass(frozen=True)
class Record:
    """One record as it was read. `value` is its JSON. A change must quote `version`: (seq_no, primary_term)."""

    id: str
    value: Mapping[str, Any]
    version: tuple[int, int]


#: Changes whenever any record of an index does: (how many there are, seq_no, primary_term and id of the latest change).
#: A deletion lowers the first, every other change raises the second.
Marker = tuple[int, int, int, str]


class Records:
    """The records of one kind. Every method may raise StoreUnavailable, SetupError or StoreFailed."""

    def __init__(self, client: Elasticsearch, settings: Settings, kind: str) -> None:
        self.index = record_index(settings, kind)
        self._client = client

    def create(self, record_id: str, value: Mapping[str, Any]) -> Record:
        """Store a new record; raises Conflict if there is one of this id."""
        document = {**value, "id": record_id}
        with our_errors(), _no_conflict(f"there is already a record {record_id[:64]!r} in {self.index}"):
            done = self._client.create(index=self.index, id=record_id, document=document, refresh=True)
        return Record(record_id, value, (done["_seq_no"], done["_primary_term"]))

    def get(self, record_id: str) -> Record:
        """Raises NotFound."""
        missing = NotFound(f"there is no record {record_id[:64]!r} in {self.index}")
        if not record_id:
            raise missing  # with an empty id, the URL would be that of the index
        with our_errors():
            found = self._client.options(ignore_status=404).get(index=self.index, id=record_id)
        if not found.body.get("found"):
            raise missing
        return _record(found.body)

    def replace(self, record: Record, value: Mapping[str, Any]) -> Record:
        """Store `value` in place of `record`; raises Conflict if somebody changed or deleted it since it was read."""
        seq_no, term = record.version
        with our_errors(), _no_conflict(f"record {record.id[:64]!r} in {self.index} has changed; read it again"):
            done = self._client.index(
                index=self.index,
                id=record.id,
                document={**value, "id": record.id},
                if_seq_no=seq_no,
                if_primary_term=term,
                refresh=True,
            )
        return Record(record.id, value, (done["_seq_no"], done["_primary_term"]))

    def delete(self, record: Record) -> None:
        """Raises Conflict if somebody changed or deleted it since it was read."""
        seq_no, term = record.version
        with our_errors(), _no_conflict(f"record {record.id[:64]!r} in {self.index} has changed; read it again"):
            self._client.delete(index=self.index, id=record.id, if_seq_no=seq_no, if_primary_term=term, refresh=True)

    def list(self) -> Iterator[Record]:
        """All records, by id; none if the index doesn't exist yet."""
        after = None
        while True:
            with our_errors():
                page = self._client.options(ignore_status=404).search(
                    index=self.index, size=PAGE, sort=["id"], search_after=after, seq_no_primary_term=True
                )
            hits = page.body["hits"]["hits"] if page.meta.status == 200 else []
            yield from map(_record, hits)
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]

    def marker(self, *, timeout_s: float) -> Marker | None:
        """A value that differs after any change, from a search of one hit; None if the index doesn't exist."""
        client = self._client.options(ignore_status=404, request_timeout=timeout_s)
        with our_errors():
            found = client.search(
                index=self.index,
                size=1,
                sort=[{"_seq_no": "desc"}],
                source=False,
                seq_no_primary_term=True,
                track_total_hits=True,
            )
        if found.meta.status == 404:
            return None
        hits = found.body["hits"]
        if not hits["hits"]:
            return (0, 0, 0, "")
        last = hits["hits"][0]
        return (hits["total"]["value"], last["_seq_no"], last["_primary_term"], last["_id"])


@contextlib.contextmanager
def _no_conflict(message: str) -> Iterator[None]:
    try:
        yield
    except (ConflictError, ElasticNotFound):  # 404: another writer has deleted the record, or the whole index is gone
        raise Conflict(message) from None


def _record(hit: Mapping[str, Any]) -> Record:
    value = {name: given for name, given in hit["_source"].items() if name != "id"}
    return Record(hit["_id"], value, (hit["_seq_no"], hit["_primary_term"]))


class Mirror:
    """One process's copy of all records of a kind. It is there also while Elasticsearch is away.

    `rows` are the records as they were last known; `known` is False until they were read from Elasticsearch or from the
    file at `path`. All processes of a host share that file; each replaces it whole, so no reader sees half of it.
    """

    def __init__(self, records: Records, path: Path) -> None:
        self._records = records
        self._path = path
        self._marker: Marker | None = None
        self.rows: tuple[Record, ...] = ()
        self.known = False
        self._read_file()

    def refresh(self, *, timeout_s: float = 2) -> bool:
        """Read all records again if any has changed; returns whether one has. Raises as Records does."""
        marker = self._records.marker(timeout_s=timeout_s)
        if marker is None and self.rows:
            # Keys stay valid while their index is missing, because it was deleted or is being restored.
            log.warning("the index is gone; the local copy is used", extra={"index": self._records.index})
            return False
        if self.known and marker == self._marker:
            return False
        # The marker is read before the rows. A change between the two readings is then seen by the next refresh.
        self.rows = tuple(self._records.list()) if marker is not None else ()
        self._marker, self.known = marker, True
        self._write_file()
        return True

    def _read_file(self) -> None:
        rows = read_copy(self._path, self._records.index)
        if rows is not None:
            self.rows, self.known = rows, True

    def _write_file(self) -> None:
        """Write the local copy. On a full disk the old file stays, since the records must stay readable."""
        rows = [[row.id, dict(row.value), *row.version] for row in self.rows]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            text = json.dumps({"index": self._records.index, "rows": rows})
            replace_file(self._path, text, durable=True, shared=True)
        except OSError as error:
            log.warning("the local copy can't be written", extra={"path": str(self._path), "problem": repr(error)})


def read_copy(path: Path, index: str) -> tuple[Record, ...] | None:
    """The records of a mirror's file; None if there is no such file, or it can't be read."""
    try:
        kept = json.loads(path.read_text())
        # The file may hold the records of another index, from before the prefix changed. Those are ignored.
        if kept["index"] == index:
            return tuple(Record(row[0], row[1], (row[2], row[3])) for row in kept["rows"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("the local copy can't be read", extra={"path": str(path), "problem": repr(error)})
    return None
