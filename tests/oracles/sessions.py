"""Sessions by brute force; semantics, section 6."""

from __future__ import annotations

from typing import Any


def sessions(events: list[dict[str, Any]]) -> list[int]:
    """The session of each of a subject's events in order, numbered by when it began.

    A client's `session_id` is accepted. Else a gap of more than 30 min, or a length over 24 h, opens a new one.
    """
    found: list[Any] = []
    own: list[dict[str, Any]] = []
    opened = 0
    for event in events:
        if event.get("session_id") is not None:
            found.append(("client", event["session_id"]))
            continue
        if own and (
            event["@timestamp"] - own[-1]["@timestamp"] > 30 * 60_000
            or event["@timestamp"] - own[0]["@timestamp"] > 24 * 3_600_000
        ):
            own, opened = [], opened + 1
        own.append(event)
        found.append(("ours", opened))
    order = list(dict.fromkeys(found))
    return [order.index(one) for one in found]
