"""The id of an event: `app:insert_id`, fixed at intake, so that whatever is sent twice is one document."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from metronome.intake.settle import Unacceptable
from metronome.periods import from_ms, to_ms, to_text

MAX_INSERT_ID = 64

_INSERT_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_INSERT_ID}}}")

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)

#: Longest app that stands in an `_id` as it is; Elasticsearch takes ids of 512 bytes, an insert_id of 64 is in it.
_MAX_APP = 400

#: How minted ids end.
_LAST_DIGITS = tuple(f"{number:02x}" for number in range(256))


def checked(given: Any) -> str:
    """An insert_id as text; raises Unacceptable."""
    insert_id = str(given)
    if not _INSERT_ID.fullmatch(insert_id):
        raise Unacceptable(f"an insert_id has 1 to {MAX_INSERT_ID} characters of A-Z, a-z, 0-9, _ and -", "insert_id")
    return insert_id


def id_safe(app: str) -> str:
    """An app as it stands in `_id`: itself, or its hash if it is too long or needs escaping in JSON."""
    if app.isascii() and app.isprintable() and not set('"\\#') & set(app) and len(app) <= _MAX_APP:
        return app
    return "#" + hashlib.blake2b(app.encode(), digest_size=16).hexdigest()


def mint(now: datetime) -> Callable[[], str]:
    """A function that gives a new id at each call, for the events of one request.

    Ids are UUIDv7 (RFC 9562): they sort by time and hold their day. 42 random bits are the same for the request, 32
    bits count its events from a random multiple of 256.
    """
    ms = to_ms(now) & (2**48 - 1)
    random = int.from_bytes(os.urandom(9), "big")
    a, b, c = random & 0xFFF, 0x8000 | random >> 12 & 0x3FFF, random >> 26 & 0xFFFF
    head = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{a:03x}-{b:04x}-{c:04x}"
    # Ids come in runs of 256 that differ in the last two digits only. `map` makes the ids of a run in C.
    runs = (map(f"{head}{run:06x}".__add__, _LAST_DIGITS) for run in itertools.count(random >> 42 & 0x3FFFFF))
    return itertools.chain.from_iterable(runs).__next__


def day_of(insert_id: str, latest: datetime) -> str | None:
    """The day `2026-11-22` inside a UUIDv7; None for any other id, and for one of the future.

    An event without a usable time belongs to the day it arrives on. If its id holds a day, the event belongs to that
    day instead, so that a retry after midnight goes to the same index (semantics, section 2).
    """
    if not _UUID7.fullmatch(insert_id):
        return None
    try:
        minted = from_ms(int(insert_id[:8] + insert_id[9:13], 16))
    except (OverflowError, ValueError):
        return None
    return to_text(minted)[:10] if minted <= latest else None
