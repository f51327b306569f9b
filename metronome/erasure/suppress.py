"""Who isn't taken any more: the list in Elasticsearch, for all gateways, and its copy for this host's processes.

Each id is a record named by its keyed hash. The key is a record as well, so that every gateway has the same one.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from metronome.errors import Conflict, NotFound
from metronome.periods import to_text
from metronome.spool import suppressed
from metronome.spool.suppressed import Suppression
from metronome.store.records import Records

_KEY = "key"
_HASH = "hash-"


def key_of(records: Records) -> bytes:
    """The key of the hashes, made when it is first asked for."""
    with suppress(Conflict):
        try:
            return bytes.fromhex(records.get(_KEY).value["key"])
        except NotFound:
            key = secrets.token_bytes(32)
            records.create(_KEY, {"what": "key", "key": key.hex()})
            return key
    return bytes.fromhex(records.get(_KEY).value["key"])


def add(records: Records, folder: Path, ids: Collection[str], job: str) -> Suppression:
    """Suppress these ids from now on, here at once and on other hosts within seconds; gives the whole list."""
    keyed = Suppression(key_of(records))
    at = to_text(datetime.now(UTC))
    for hashed in sorted(map(keyed.hash_of, ids)):
        with suppress(Conflict):
            records.create(_HASH + hashed, {"what": "hash", "job": job, "asked_at": at})
    found = listed(records)
    suppressed.write(folder, found)
    return found


def listed(records: Records) -> Suppression:
    """The list as Elasticsearch has it."""
    hashes = frozenset(record.id.removeprefix(_HASH) for record in records.list() if record.value.get("what") == "hash")
    return Suppression(key_of(records) if hashes else b"", hashes)
