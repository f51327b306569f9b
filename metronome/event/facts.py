"""The facts of an event: what happened, in which format, on which item, and where from.

They are *derived* from what was posted, by the functions of DERIVATIONS and no others. Intake derives them once and
stores them; for documents that never passed intake they are derived on reading.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from metronome.event import agents
from metronome.event.fields import AGENT_NAMES, DOWNLOAD, VIEW, Event
from metronome.event.memo import Memo

#: Longest derived referer key, in characters; Lucene takes terms of 32,766 bytes at the most.
MAX_REFERER_PAGE = 2048

_FORMATS = {
    "text/csv": "csv",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/geo+json": "geojson",
    "application/vnd.geo+json": "geojson",
    "application/x-shapefile": "shp",
    "application/vnd.shp": "shp",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.ms-excel": "xls",
    "application/gzip": "gz",
    "application/x-gzip": "gz",
    "text/plain": "txt",
}


def derive(event: Event, *, shipped: bool) -> None:
    """Add the facts of a raw event to it, in place; what was sent is kept. `shipped`: see `classify`."""
    for derivation, calls in DERIVATIONS:
        if calls is None or not calls.isdisjoint(event):
            derivation(event, shipped)


def judge_agent(event: Event, shipped: bool) -> None:
    """Robot flags, browser and platform of the visitor's agent. The agent itself goes no further."""
    found = None
    for name in AGENT_NAMES:
        agent = event.pop(name, None)
        found = found or agent
    if found:
        for name, value in agents.judge(str(found)).items():
            if name not in _SENT_FAMILIES or event.get(name) is None:
                event[name] = value


def name_event(event: Event, shipped: bool) -> None:
    """`event`: as sent, else `view` or `download` by the contract's rule; `format` of a download that has none."""
    name = event.get("event")
    if name is None or name == "":
        name = classify(event, shipped=shipped)
        if name is not None:
            event["event"] = name
    if name == DOWNLOAD and not event.get("format"):
        event["format"] = format_of(event)


def derive_referer(event: Event, shipped: bool) -> None:
    """`referer_page`: where the visitor came from, unless from the same host."""
    page = referer_page_of(event)
    if page:
        event["referer_page"] = page


Derivation = Callable[[Event, bool], None]

#: What is derived, in order, each with the names that call for it: an event with none of them has nothing to derive.
DERIVATIONS: tuple[tuple[Derivation, frozenset[str] | None], ...] = (
    (judge_agent, frozenset(AGENT_NAMES)),
    (name_event, None),
    (derive_referer, frozenset(("referer", "extra.referer"))),
)

#: Every name that DERIVATIONS may set.
DERIVED = frozenset(
    (
        "event",
        "format",
        "referer_page",
        "browser",
        "platform",
        "is_robot",
        "is_machine",
        "robot_pattern",
        "robot_list",
    )
)

#: Every name that DERIVATIONS read.
RAW = ("event", "format", "accept", "referer", "extra.referer", "url", "browser", "platform", *AGENT_NAMES)

#: A visitor's agent doesn't override these where the client says them itself.
_SENT_FAMILIES = frozenset(("browser", "platform"))


def item_of(event: Event) -> Any:
    """The item an event belongs to: `id` decides; `item_id` or `extra.item_id` where it is absent."""
    for name in ("id", "item_id", "extra.item_id"):
        value = event.get(name)
        if value is not None:
            return value
    return None


def classify(event: Event, *, shipped: bool) -> str | None:
    """What happened, where the event doesn't say: `view`, `download` or None for neither.

    `shipped` is a log record of a shipper rather than a tick: without `accept` and `format` it is neither.
    Source: tick/tock contract, sections 3.2 and 3.5.
    """
    if event.get("format"):
        return DOWNLOAD
    accept = str(event.get("accept") or "")
    return (_shipped_kinds if shipped else _kinds)[accept]


def _by_accept(accept: str, *, shipped: bool) -> str | None:
    accept = accept.lower()
    media_type = _first_media_type(accept)
    if not media_type or media_type == "*/*":
        return None if shipped else VIEW
    if "html" in accept:
        return VIEW
    if "json" in accept or "javascript" in accept:
        # A GeoJSON file is asked for by name: the table of formats knows it, so it isn't an API call.
        return DOWNLOAD if _FORMATS.get(media_type) else None
    return DOWNLOAD


def format_of(event: Event) -> str:
    """Format name of a download, lower case: `format`, else from `accept`, else the extension of `url`.

    `unknown` where nothing tells. Source: tick/tock contract, section 3.2; semantics, section 11.
    """
    given = event.get("format")
    if given:
        return str(given).lower()
    media_type = _first_media_type(str(event.get("accept") or "").lower())
    if media_type and media_type != "*/*":
        return _FORMATS.get(media_type) or media_type.rpartition("/")[2]
    return extension_of(str(event.get("url") or "")) or "unknown"


def extension_of(address: str) -> str:
    """Lower-case extension of an address's path: `/a/b.tar.gz?x` gives `gz`; empty if there is none."""
    name = address.partition("?")[0].partition("#")[0].rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return extension.lower() if dot and stem and extension.isalnum() and len(extension) <= 8 else ""


def _first_media_type(accept: str) -> str:
    return accept.partition(",")[0].partition(";")[0].strip()


def referer_page_of(event: Event) -> str | None:
    """Key of an event's referer, or None: it has none, or it is a page of the event's own host."""
    referer = event.get("referer") or event.get("extra.referer")
    if not referer:
        return None
    page, host = _pages[referer if type(referer) is str else str(referer)]
    url = event.get("url")
    if page and type(url) is str:
        # "https://shop.example/item/7"    addresses are many, but few of them differ up to the third slash
        start = url.find("//") + 2
        end = url.find("/", start)
        if _hosts[url[:end] if end > start else url] == host:
            return None
    return page


def referer_page(referer: str) -> str | None:
    """`https://user@Host:443/path/?q#f` gives `host/path`: no scheme, user, default port, query, fragment, last slash.

    Source: tick/tock contract, section 3.3. A lone `-` is how access logs write "none".
    """
    referer = referer.strip()
    if referer in ("", "-"):
        return None
    if "://" not in referer:
        referer = "//" + referer.lstrip("/")
    try:
        parts = urlsplit(referer)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # not an address: count it under its own text rather than lose it
        return referer.lstrip("/")[:MAX_REFERER_PAGE]
    if ":" in host:
        host = f"[{host}]"
    if port and {"http": 80, "https": 443}.get(parts.scheme) != port:
        host = f"{host}:{port}"
    return (host + parts.path).rstrip("/")[:MAX_REFERER_PAGE] or None


def referer_host(page: str) -> str:
    """Host of a referer key, without `www.`: `www.arcgis.com/a/b` gives `arcgis.com`."""
    return page.partition("/")[0].removeprefix("www.")


def _page_and_host(referer: str) -> tuple[str | None, str]:
    page = referer_page(referer)
    return page, referer_host(page) if page else ""


def _host_of(address: str) -> str | None:
    """Host of an absolute address; None of a relative one."""
    page = referer_page(address) if "://" in address or address.startswith("//") else None
    return referer_host(page) if page else None


_kinds = Memo(partial(_by_accept, shipped=False), most=4096)
_shipped_kinds = Memo(partial(_by_accept, shipped=True), most=4096)
_pages = Memo(_page_and_host, most=16384)
_hosts = Memo(_host_of, most=4096)
