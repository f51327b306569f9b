"""The video and the session that a channel is about, and what all its events carry.

A session's own fields begin with `stretch.` (event/fields.py). Names below `video.` and `session.` are the site's own:
the metadata of its videos, and its session data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from metronome.event.privacy import Privacy
from metronome.video.device import Device
from metronome.video.jsonb import digest, size_of, text_of, tokens

#: Longest text of a video's identifier, metadata or session data as JSON, in bytes, how many values it may have, and
#: how deep they may be nested. An event holds all three, twice, and is at most METRONOME_MAX_EVENT_BYTES.
MAX_JSON_BYTES = 4000
MAX_VALUES = 100
MAX_DEPTH = 4

#: Longest address of a page, in characters.
MAX_ADDRESS = 2048

#: Longest identifier that becomes the event's item, in bytes (`intake.stamp`).
_MAX_ITEM_BYTES = 512


@dataclass(frozen=True)
class Page:
    """The page that a video is on: its address without port, query and fragment, and its host."""

    address: str
    host: str


def page_of(address: Any) -> Page | None:
    """None for what is no address of a page with a host."""
    if not isinstance(address, str) or len(address) > MAX_ADDRESS:
        return None
    try:
        parts = urlsplit(address.strip())
        host = parts.hostname
    except ValueError:  # an IPv6 address without its closing bracket
        return None
    if not host or not parts.scheme:
        return None
    shown = f"[{host}]" if ":" in host else host
    return Page(f"{parts.scheme}://{shown}{parts.path or '/'}", host)


@dataclass(frozen=True)
class About:
    """`properties` of every event of the channel, and `facts` of its stretches."""

    properties: dict[str, Any]
    facts: dict[str, Any]


def fits(value: Any) -> bool:
    """Whether events can hold this identifier, metadata or session data."""
    values, depth = size_of(value, MAX_VALUES)
    # The depth is looked at first, since writing JSON needs a stack as deep.
    return values <= MAX_VALUES and depth <= MAX_DEPTH + 1 and len(text_of(value).encode()) <= MAX_JSON_BYTES


def kept(value: Any, name: str, privacy: Privacy) -> Any:
    """Metadata as it is stored, and as it is asked for: without what isn't stored for privacy."""
    return privacy.without({name: value}).get(name)


def about(
    *,
    identifier: Any,
    metadata: Any,
    session_data: Any,
    page: Page,
    key: str,
    session: str,
    join: str,
    device: Device,
    privacy: Privacy,
) -> About:
    """What a join says. `key` is the key's id, `session` the topic's id, `join` the id of this join."""
    metadata, session_data = kept(metadata, "video", privacy), kept(session_data, "session", privacy)
    properties: dict[str, Any] = {"session_id": session, "url": page.address, "device": device.device}
    item = identifier if isinstance(identifier, str) else text_of(identifier)
    if identifier is not None and len(item.encode()) <= _MAX_ITEM_BYTES:
        properties["id"] = item
    for name, value in (("video", metadata), ("session", session_data)):
        if isinstance(value, dict) and value:
            properties[name] = value
    facts = {
        "stretch.session": join,
        "stretch.key": key,
        "stretch.video": digest(key, identifier, page.address, metadata),
        "stretch.identifier": digest(identifier),
        "stretch.has": [*tokens(metadata, "video"), *tokens(session_data, "session")],
        "stretch.metadata": text_of({"video": metadata, "session": session_data}),
        "stretch.address": page.address,
        "stretch.host": page.host,
        "stretch.browser": device.browser,
        "stretch.platform": device.platform,
        "stretch.device": device.device,
    }
    return About(properties, facts)
