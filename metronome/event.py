"""What an event is: flat JSON whose names are the user's, a few of which mean something to Metronome.

FIELDS is the one table of those names. The index template, the documentation and intake read it; a document
that Logstash or Fluentd wrote straight into Elasticsearch has the same names with the same meaning.

Three facts are *derived* from what was posted, by the functions at the end of this file: what happened
(`classify`), as which format (`format_of`), and where from (`referer_page`). Intake derives them once and stores
them; for documents that never passed intake the query engine derives them when it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from metronome.memory import Memo

#: One event as it crosses rooms: property name to JSON value, flat once `intake` has settled it.
Event = dict[str, Any]

VIEW = "view"
DOWNLOAD = "download"

#: Longest derived referer key, in characters; Lucene takes terms of 32,766 bytes at the most.
MAX_REFERER_PAGE = 2048


@dataclass(frozen=True)
class Field:
    """A name that means something: its type in the index, its meaning, and whether only the gateway sets it.

    A field that isn't `searched` is in the document and can be sorted and split by; what it saves is the time to
    index it, in every event.
    """

    name: str
    kind: str
    meaning: str
    owned: bool = False
    searched: bool = True


FIELDS = (
    Field("@timestamp", "date", "When it happened, UTC; every query uses this time."),
    Field("@version", "keyword", 'Version of the Logstash document format, always "1".', searched=False),
    Field("id", "keyword", "The item: page, file, video, record. `/tock/:id` asks for it."),
    Field("item_id", "keyword", "The same as `id`; counts where `id` is absent."),
    Field("extra.item_id", "keyword", "The same, as python-logstash-async sends it."),
    Field("event", "keyword", "What happened; `view` and `download` are counted by `/tock`. Default: `view`."),
    Field("app", "keyword", "Application or site that the event belongs to."),
    Field("distinct_id", "keyword", "Who: an id of the user or visitor, as sent."),
    Field("session_id", "keyword", "The visit, as sent."),
    Field(
        "insert_id",
        "keyword",
        "Idempotency key: the same one twice (per `app`) is one event. Default: minted.",
    ),
    Field("seq", "long", "The client's own counter; orders events of equal time."),
    Field("ts_client", "keyword", "The client's time as given, where it isn't the text of `@timestamp`."),
    Field("sent_at", "keyword", "The client's time of the request, as given."),
    Field("referer", "keyword", "Address of the page that led here."),
    Field("extra.referer", "keyword", "The same, as python-logstash-async sends it."),
    Field("url", "keyword", "Address of the page where it happened."),
    Field("accept", "keyword", "Media types the visitor asked for; decides between view and download."),
    Field("format", "keyword", "Format of a download, such as `csv`."),
    Field("browser", "keyword", "Browser family, from the visitor's agent unless sent."),
    Field("platform", "keyword", "Operating system family, from the visitor's agent unless sent."),
    Field("user_agent", "keyword", "The visitor's agent. Judged, then withheld: only its families are stored."),
    Field("received_at", "date", "When the gateway received it.", owned=True, searched=False),
    Field("dialect", "keyword", "Through which front door it came: `tick`.", owned=True, searched=False),
    Field(
        "referer_page",
        "keyword",
        "Host and path of the referer, unless it is the event's own host.",
        owned=True,
    ),
    Field(
        "is_robot",
        "boolean",
        "Whether the visitor's agent is on COUNTER's list. Absent: no agent known.",
        owned=True,
    ),
    Field(
        "is_machine",
        "boolean",
        "Whether it is on COUNTER's list of machines (scripts, libraries).",
        owned=True,
    ),
    Field("robot_pattern", "keyword", "The pattern of the list that matched.", owned=True),
    Field("robot_list", "keyword", "Name and version of the list.", owned=True),
    Field(
        "flags",
        "keyword",
        "What intake did: `clamped`, `renamed_keys`, `mixed_array`, `withheld`.",
        owned=True,
    ),
)

OWNED = frozenset(field.name for field in FIELDS if field.owned)

#: Where a visitor's agent may stand; it is judged under the first name and never stored.
AGENT_NAMES = ("user_agent", "user-agent", "user_agent.original", "http_user_agent", "extra.user_agent")

#: Never stored: what identifies a person without having been meant to, and credentials that leak into logs.
PRIVATE = frozenset(
    (
        "ip",
        "client_ip",
        "clientip",
        "remote_addr",
        "remote_ip",
        "x-forwarded-for",
        "x_forwarded_for",
        "x-real-ip",
        "forwarded",
        "client.ip",
        "client.address",
        "source.ip",
        "source.address",
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
    )
)

#: Where the client's time may stand; the first that is there counts.
TIME_NAMES = ("@timestamp", "timestamp", "time", "ts")

#: Names of Elasticsearch's own metadata, which a document may not use as field names.
METADATA = frozenset(
    (
        "_id",
        "_index",
        "_index_mode",
        "_source",
        "_type",
        "_routing",
        "_field_names",
        "_ignored",
        "_ignored_source",
        "_seq_no",
        "_primary_term",
        "_version",
        "_doc_count",
        "_nested_path",
        "_tier",
        "_feature",
        "_tsid",
        "_ts_routing_hash",
        "_data_stream_timestamp",
        "_inference_fields",
        "_size",
        "_recovery_source",
    )
)

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
