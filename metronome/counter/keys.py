"""Keys made of parts, as the counted-usage contract has them: of a session, of a usage, of a report.

What is stored of a session is a keyed hash of its key (identities.py): whoever has the data can't try addresses out.

Source: counted-usage contract, sections 3.1 to 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

#: Seconds of a slot in `document_key`.
SLOT_S = 30


def stable_key(*parts: Any) -> str:
    """SHA-256 of the parts as text, joined by `|`; raises ValueError without parts, or where one is None."""
    if not parts or None in parts:
        raise ValueError("a key is made of at least one part, and none of them is None")
    return sha256("|".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()


def session_key(
    *,
    client_session_id: str | None = None,
    user_id: str | None = None,
    host: str | None = None,
    user_agent: str = "",
    at: datetime,
) -> str:
    """The key of the session in which something happens `at` a time.

    client_session_id      one session a UTC day
    user_id                one an hour
    host and user_agent    one an hour; `host` is the visitor's address, where the original took the server's own name
    """
    at = at.astimezone(UTC)
    day = at.date().isoformat()
    if client_session_id:
        return stable_key(client_session_id, day)
    if user_id:
        return stable_key(user_id, day, at.hour)
    return stable_key(host, user_agent, day, at.hour)


def document_key(
    *,
    platform_iri: str,
    page_url: str | None = None,
    item_guid: str | None = None,
    session_id: str,
    at: datetime,
    labels: Iterable[str] | None = None,
) -> str:
    """The key of a usage: those of one session, link and slot of 30 s are one. Without `labels`, of five parts."""
    at = at.astimezone(UTC)
    seconds = at.hour * 3600 + at.minute * 60 + at.second
    parts = [platform_iri, page_url or item_guid, session_id, at.date().isoformat(), seconds // SLOT_S]
    if labels is not None:
        parts.append(",".join(sorted(labels)))
    return stable_key(*parts)
