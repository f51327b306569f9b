"""The facts of an event: who (robot or not), what happened, in which format, on which item, and where from.

Facts are derived from what was posted. Intake derives them once and stores them. Documents that other shippers wrote
straight into Elasticsearch hold none, so they get them when they are read. Both take the table DERIVATIONS:

    intake        `derivations(names, shipped=...)`, once for all events that have the same names
    reading       `derive(event, shipped=True)`, event by event
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from metronome.event import agents
from metronome.event.addresses import host_of, referer_host, referer_page
from metronome.event.fields import AGENT_NAMES, DOWNLOAD, ITEM_NAMES, VIEW, Event
from metronome.event.memo import Memo

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


def item_of(event: Event) -> Any:
    """The item an event belongs to: the first of ITEM_NAMES that has a value."""
    for name in ITEM_NAMES:
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


def _page_and_host(referer: str) -> tuple[str | None, str]:
    page = referer_page(referer)
    return page, referer_host(page) if page else ""


#: Adds one kind of fact to an event, in place.
Derive = Callable[[Event], None]


class Derivation(NamedTuple):
    """Facts that are derived from an event.

    `apply` changes the event in place. `calls` are the names that call for it: an event that has none of them is left
    alone. None stands for every event. `sets` are the names of the facts.
    """

    apply: Derive
    calls: frozenset[str] | None
    sets: frozenset[str]


def judge_agent(event: Event) -> None:
    """`is_robot`, `browser` and their like, from the visitor's agent. A browser or platform that was sent stays."""
    agent = event.get(_AGENT) or next((event[name] for name in AGENT_NAMES if event.get(name)), None)
    if not agent:
        return
    verdict = agents.judged[agent if type(agent) is str else str(agent)]
    if "browser" in event or "platform" in event:
        sent = {name: event[name] for name in ("browser", "platform") if event.get(name) is not None}
        verdict = {**verdict, **sent}
    event.update(verdict)


def _namer(shipped: bool) -> Derive:
    def name_event(event: Event) -> None:
        """`event` as sent, else `view` or `download` by the contract's rule; `format` of a download that has none."""
        name = event.get("event")
        if name is None or name == "":
            name = classify(event, shipped=shipped)
            if name is not None:
                event["event"] = name
        if name == DOWNLOAD and not event.get("format"):
            event["format"] = format_of(event)

    return name_event


def derive_referer(event: Event) -> None:
    """`referer_page`: where the visitor came from, unless from the same host."""
    page = referer_page_of(event)
    if page:
        event["referer_page"] = page


_WHO = Derivation(
    judge_agent,
    frozenset(AGENT_NAMES),
    frozenset(("is_robot", "is_machine", "robot_pattern", "robot_list", "browser", "platform")),
)
_WHAT = frozenset(("event", "format"))
_FROM = Derivation(derive_referer, frozenset(("referer", "extra.referer")), frozenset(("referer_page",)))

#: All derivations in order, by whether the event is a shipper's log record (see `classify`).
DERIVATIONS: dict[bool, tuple[Derivation, ...]] = {
    shipped: (_WHO, Derivation(_namer(shipped), None, _WHAT), _FROM) for shipped in (False, True)
}

#: Every field that is derived.
DERIVED = frozenset().union(*(derivation.sets for derivation in DERIVATIONS[False]))


def derivations(names: Iterable[str], *, shipped: bool) -> tuple[Derive, ...]:
    """Those that an event of these names takes, in order."""
    names = frozenset(names)
    return tuple(
        derivation.apply
        for derivation in DERIVATIONS[shipped]
        if derivation.calls is None or not derivation.calls.isdisjoint(names)
    )


def derive(event: Event, *, shipped: bool) -> None:
    """Add every derived fact to a raw event, in place.

    `shipped` says that it is a log record of a shipper rather than a tick (see `classify`).
    """
    for apply in derivations(event, shipped=shipped):
        apply(event)


_AGENT = AGENT_NAMES[0]

_pages = Memo(_page_and_host, most=16384)
_hosts = Memo(host_of, most=4096)
_kinds = Memo(partial(_by_accept, shipped=False), most=4096)
_shipped_kinds = Memo(partial(_by_accept, shipped=True), most=4096)
