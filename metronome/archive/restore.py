"""Archived days come back into indices: the same ids, the same documents byte for byte, under the same mapping.

The action is `create`: what is there already stays, so a restore that was cut goes on by being run again, and twice is
once. The day stays in the archive. Once the index holds all that the manifest names, Elasticsearch alone is asked.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from urllib.parse import quote

from elasticsearch import ApiError, Elasticsearch

from metronome.archive import files
from metronome.archive.care import temporary_folder
from metronome.archive.manifest import Catalogue, Manifest
from metronome.archive.rows import facts
from metronome.archive.state import State, Whole
from metronome.errors import NotFound, StoreFailed
from metronome.parts.build import documents_of
from metronome.parts.values import parse
from metronome.query import Condition
from metronome.settings import Settings
from metronome.store.client import from_status, our_errors
from metronome.store.indices import event_template
from metronome.store.names import day_index

BULK_BYTES = 4 * 2**20

#: Requests under way at one time. While Elasticsearch indexes one, it receives another.
SENDERS = 2

_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}

#: What is read of an answer. All of it is longer than many a document.
_OUTCOME = {"filter_path": "items.create.status,items.create.error.reason"}

#: Ids and documents.
Batch = list[tuple[str, bytes]]

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Restored:
    """What became of a day: documents that were wanted, how many of these came now; the others were there."""

    day: date
    index: str
    events: int
    created: int


class Restorer:
    """Brings days of one archive into one Elasticsearch. `client` must be connected with `read`."""

    def __init__(self, settings: Settings, client: Elasticsearch, catalogue: Catalogue, state: State) -> None:
        self._settings = settings
        self._client = client
        self._catalogue = catalogue
        self._state = state

    def restore(
        self,
        day: date,
        *,
        where: Condition | None = None,
        to_prefix: str = "",
        progress: Progress = lambda events: None,
    ) -> Restored:
        """Raises NotFound where the day isn't archived, StoreFailed where a document can't come back."""
        kept = self._catalogue.get(day)
        if kept is None:
            raise NotFound(f"{day} isn't archived; `metronome archive list` shows the days that are")
        settings = replace(self._settings, index_prefix=to_prefix) if to_prefix else self._settings
        index = day_index(settings, day)
        uuid = self._made(index, kept.manifest)
        if not to_prefix:
            self._state.note_whole(day, Whole(uuid, "", restored=True))
        events = created = 0
        for batch_events, batch_created in self._sent(index, _batches(self._documents(kept.manifest, where))):
            events += batch_events
            created += batch_created
            progress(batch_events)
        with our_errors():
            self._client.indices.refresh(index=index)
        if not to_prefix:
            if where is None:
                self._state.note_whole(day, Whole(uuid, kept.manifest.ids_sha256, restored=True))
            self._state.note_change()
        return Restored(day, index, events, created)

    def _made(self, index: str, manifest: Manifest) -> str:
        """Make the index as it was, unless it is there; gives its uuid."""
        template = event_template(self._settings)["template"]
        with our_errors():
            if not self._client.indices.exists(index=index):
                made = self._client.options(ignore_status=400).indices.create(
                    index=index, mappings=manifest.mapping, settings=template["settings"]
                )
                if made.meta.status == 400 and made["error"]["type"] != "resource_already_exists_exception":
                    raise StoreFailed(f"the index {index} can't be made", detail=str(made["error"])[:300])
            # A run of the archiver that was cut may have left a block.
            self._client.indices.put_settings(index=index, settings={"index.blocks.write": None})
            found = self._client.indices.get_settings(index=index, name="index.uuid")
        return str(found[index]["settings"]["index"]["uuid"])

    def _documents(self, manifest: Manifest, where: Condition | None) -> Iterator[tuple[str, bytes]]:
        cache = files.Cache(self._settings.archive_dir, self._settings.parts_max_bytes)
        for part in manifest.parts:
            path, _ = cache.path(self._catalogue.objects, manifest.day, part)
            with temporary_folder(self._settings) as temporary:
                # A name of its own: the cache may make room while the part is read.
                mine = temporary / "part.parquet"
                mine.hardlink_to(path)
                yield from chosen([mine], temporary, None if where is None else meets(where))

    def _sent(self, index: str, batches: Iterator[Batch]) -> Iterator[tuple[int, int]]:
        """Send the batches; for each, in their order, its documents and how many of them weren't there."""
        with ThreadPoolExecutor(SENDERS, "restore") as senders:
            under_way: deque[tuple[int, Future[int]]] = deque()
            for batch in batches:
                under_way.append((len(batch), senders.submit(self._create, index, batch)))
                if len(under_way) > SENDERS:
                    count, created = under_way.popleft()
                    yield count, created.result()
            for count, created in under_way:
                yield count, created.result()

    def _create(self, index: str, batch: Batch) -> int:
        # A document with a line feed in it can't be a line of a bulk request; it goes alone, byte for byte as well.
        created = sum(self._create_one(index, number, source) for number, source in batch if b"\n" in source)
        lines = [(number, source) for number, source in batch if b"\n" not in source]
        if not lines:
            return created
        body = b"".join(
            b'{"create":{"_id":%s}}\n%s\n' % (json.dumps(number).encode(), source) for number, source in lines
        )
        with our_errors():
            answer = self._client.perform_request(
                "POST", f"/{quote(index)}/_bulk", params=_OUTCOME, headers=_HEADERS, body=body
            ).body
        for (number, _), item in zip(lines, answer["items"], strict=True):
            result = item["create"]
            if result["status"] == 201:
                created += 1
            elif result["status"] != 409:
                raise _refused(result["status"], index, number, str(result.get("error", {}).get("reason", "")))
        return created

    def _create_one(self, index: str, number: str, source: bytes) -> int:
        headers = {"content-type": "application/json", "accept": "application/json"}
        try:
            path = f"/{quote(index)}/_create/{quote(number, safe='')}"
            self._client.perform_request("PUT", path, headers=headers, body=source)
        except ApiError as error:
            if error.meta.status == 409:
                return 0
            raise from_status(error.meta.status, str(error)) from error
        return 1


def _refused(status: int, index: str, number: str, reason: str) -> Exception:
    if status in (429, 502, 503, 504):
        return from_status(status, reason)
    return StoreFailed(
        f"{index} doesn't take the document {number[:100]!r} back; run again once that is mended", detail=reason
    )


#: Says of a document's bytes whether it is wanted.
Wanted = Callable[[bytes], bool]


def meets(where: Condition) -> Wanted:
    """Documents that meet a condition, facts included."""
    return lambda source: where.holds(facts(parse(source)))


def chosen(paths: list[Path], temporary: Path, wanted: Wanted | None) -> Iterator[tuple[str, bytes]]:
    """The ids and documents of files that are wanted."""
    for documents in documents_of(paths, temporary):
        for number, source in zip(documents.ids, documents.sources, strict=True):
            if wanted is None or wanted(source):
                yield number, source


def _batches(documents: Iterator[tuple[str, bytes]]) -> Iterator[Batch]:
    batch: Batch = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document[1]) + 64
        if size >= BULK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
