"""Access logs of web servers: from a line to an event.

    1. a reader    `apache_reader`, `json_reader`: bytes of a line to a `Logged` request, or ValueError with the reason
    2. to_event    a `Logged` request as an event: the item, what happened, the referer and the agent; never the visitor

What happened is the first of these that applies:

    error       status 400 and above
    hit         the answer wasn't the whole file: any method but GET, any status but 200 and 304, such as a redirect or
                a part of a file. (A browser that shows a PDF requests the whole file once, then dozens of its parts.)
    hit         a file that belongs to pages: extension in ASSETS, or one of robots' own files (NOT_PAGES)
    download    extension in DOWNLOADS; it is the event's `format`
    view        all else: a page

The item's id is the path as the log has it, percent-encoding included, without query string and fragment. Visitors'
addresses, names and cookies are in no event: they stand in `Logged.columns`, which `to_event` doesn't read. What is
counted usage needs them (counted.py), and the gateway makes hashes of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import apachelogs
import orjson

from metronome.event.facts import extension_of
from metronome.event.fields import DOWNLOAD, VIEW, Event
from metronome.periods import read_time, to_text

HIT = "hit"
ERROR = "error"


def _words(*kinds: str) -> frozenset[str]:
    return frozenset(" ".join(kinds).split())


#: Extensions of files that people download, by kind.
DOWNLOADS = _words(
    "csv tsv xls xlsx xlsm ods parquet feather arrow sqlite db dta sav rds rdata",
    "pdf doc docx odt rtf txt ps epub mobi ppt pptx odp bib ris tex",
    "kml kmz shp shx dbf gpx geojson topojson gml gpkg gdb tif tiff geotiff las laz",
    "nc hdf h5 hdf5 grib fits mat npy npz",
    "zip gz tgz bz2 xz zst 7z rar tar",
    "exe msi dmg pkg deb rpm apk appimage jar war whl gem iso img bin",
    "mp3 ogg flac wav m4a mp4 m4v webm mkv mov avi",
)

#: Extensions of files that browsers fetch as parts of a page, or programs for themselves: no pages and no downloads.
ASSETS = _words(
    "css scss less js mjs cjs map wasm",
    "png jpg jpeg gif svg webp avif bmp ico cur",
    "woff woff2 ttf otf eot",
    "json jsonld xml rss atom webmanifest pbf mvt m3u8 mpd ts vtt srt",
)

#: Paths that robots and browsers fetch on their own, whatever the extension.
NOT_PAGES = re.compile(r"/(robots|ads|app-ads|humans|security|llms)\.txt|/\.well-known/.*")

#: Formats in the order in which `auto` tries them. "main" is "combined" with one more field, so "main" comes first.
_FORMATS = {
    "vhost_combined": apachelogs.VHOST_COMBINED,
    "combined": apachelogs.COMBINED,
    # The nginx.conf that nginx ships calls this format "main".
    "main": apachelogs.COMBINED + ' "%{X-Forwarded-For}i"',
    "common": apachelogs.COMMON,
}

#: Names that JSON access logs use, lower case: nginx (as in its handbook), Apache, Caddy, Traefik, and ECS.
_TIMES = (
    *("@timestamp", "time_iso8601", "timestamp", "time", "time_local", "msec", "ts"),
    *("datetime", "date", "startutc", "starttime"),
)
_REQUESTS = ("request", "request_line", "requestline", "http_request")
_METHODS = ("request_method", "method", "verb", "request.method", "requestmethod", "http.request.method")
_TARGETS = ("request_uri", "uri", "request.uri", "requestpath", "path", "url.original", "url.path", "url")
_STATUSES = (
    *("status", "status_code", "response", "response_code", "downstreamstatus"),
    "http.response.status_code",
)
_SIZES = (
    *("body_bytes_sent", "bytes_sent", "bytes", "size", "resp_size", "downstreamcontentsize"),
    "http.response.body.bytes",
)
_REFERERS = (
    *("http_referer", "http_referrer", "referer", "referrer", "request_referer"),
    *("request.headers.referer", "http.request.referrer"),
)
_AGENTS = (
    *("http_user_agent", "user_agent", "useragent", "user-agent", "agent", "request_user-agent"),
    *("request.headers.user-agent", "user_agent.original"),
)
_HOSTS = (
    "http_host",
    "host",
    "vhost",
    "server_name",
    "virtual_host",
    "request.host",
    "requesthost",
    "url.domain",
)
_SCHEMES = ("scheme", "request_scheme", "requestscheme", "url.scheme")

_APACHE_TIME = re.compile(r"\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Logged:
    """One request of a log. A value that the log doesn't give is None.

    `columns` is the whole line: by directives of its LogFormat (`%u`), or by lower-case dotted names of its JSON.
    """

    at: datetime
    method: str | None
    target: str | None
    status: int | None
    size: int | None = None
    referer: str | None = None
    agent: str | None = None
    host: str | None = None
    scheme: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


Reader = Callable[[bytes], Logged]


def to_event(logged: Logged) -> Event:
    """The event of a logged request. It has no `id` if the client sent no HTTP request, as some scanners do."""
    path = path_of(logged.target)
    event: Event = {"@timestamp": to_text(logged.at), "event": happened(logged.method, logged.status, path)}
    if path:
        event["id"] = path
    if event["event"] == DOWNLOAD:
        event["format"] = extension_of(path)
    if path and logged.host and logged.host != "_":  # nginx's name for "any host"
        event["url"] = f"{logged.scheme + ':' if logged.scheme else ''}//{logged.host}{path if path[0] == '/' else ''}"
    told = {
        "status": logged.status,
        "method": logged.method,
        "bytes": logged.size,
        "referer": logged.referer,
        "user_agent": logged.agent,
    }
    event.update({name: value for name, value in told.items() if value not in (None, "", "-")})
    return event


def happened(method: str | None, status: int | None, path: str) -> str:
    """`error`, `hit`, `download` or `view`, as the head of this file says."""
    if (status or 0) >= 400:
        return ERROR
    if method != "GET" or status not in (200, 304):
        return HIT
    extension = extension_of(path)
    if extension in ASSETS or NOT_PAGES.fullmatch(path):
        return HIT
    return DOWNLOAD if extension in DOWNLOADS else VIEW


def path_of(target: str | None) -> str:
    """Path of a request's target: `/a%20b?x#y` gives `/a%20b`, and so does `http://host/a%20b` (as sent to a proxy)."""
    if not target:
        return ""
    absolute = _ABSOLUTE.match(target)
    path = target[absolute.end() :] if absolute else target
    path = path.partition("?")[0].partition("#")[0]
    return path or "/"


def formats_of(form: str) -> list[str]:
    """The LogFormat strings that `form` stands for, which `apache_reader` explains."""
    return list(_FORMATS.values()) if form == "auto" else [_FORMATS.get(form, form)]


def apache_reader(form: str) -> Reader:
    """A reader of `common`, `combined`, a LogFormat string, or `auto` (the first known format that fits each line).

    Raises ValueError if `form` is no LogFormat that can be read.
    """
    formats = formats_of(form)
    try:
        # \xHH in a log stands for a byte. Bytes that aren't UTF-8 stay in the text as \xhh.
        parsers = [apachelogs.LogParser(each, encoding="utf-8", errors="backslashreplace") for each in formats]
    except (apachelogs.InvalidDirectiveError, apachelogs.UnknownDirectiveError) as error:
        raise ValueError(f"{form!r} is no LogFormat: {error}") from None

    def read(line: bytes) -> Logged:
        # Most servers write bytes above ASCII as \xHH. For a server that writes them raw, this line does it.
        text = line.decode("ascii", "backslashreplace")
        for parser in parsers:
            try:
                entry = parser.parse(text)
            except (apachelogs.InvalidEntryError, ValueError):
                continue
            return _from_apache(entry)
        known = "an access log in common or combined format" if form == "auto" else f"the format {form}"
        raise ValueError(f"isn't a line of {known}")

    return read


def _from_apache(entry: Any) -> Logged:
    def first(*names: str) -> Any:
        return next((value for name in names if (value := getattr(entry, name, None)) is not None), None)

    at = first("request_time")
    if at is None or at.tzinfo is None:
        raise ValueError("the line has no time with its zone (%t)")
    line = first("request_line", "original_request_line", "final_request_line")
    method, target = split_request(line) if line is not None else (first("request_method"), first("request_uri"))
    size = first("bytes_sent", "bytes_out")
    headers = first("headers_in") or {}
    port = first("server_port")
    return Logged(
        at=at,
        method=method,
        target=target,
        status=first("final_status", "status", "original_status"),
        # %b writes "-" for zero.
        size=0 if size is None and hasattr(entry, "bytes_sent") else size,
        referer=headers.get("Referer"),
        agent=headers.get("User-Agent"),
        host=first("virtual_host", "server_name") or headers.get("Host"),
        scheme={80: "http", 443: "https"}.get(port),
        columns=entry.directives,
    )


def split_request(line: str) -> tuple[str | None, str | None]:
    """Method and target of `GET /a b HTTP/1.1`; (None, None) if the client sent no such request line."""
    method, _, rest = line.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not version.startswith("HTTP/"):
        target = rest  # HTTP/0.9 had no version
    if not target or not method.isascii() or not method.isupper():
        return None, None
    return method, target


def json_reader(line: bytes) -> Logged:
    """Read one JSON object of an access log, by the field names that servers and their handbooks use."""
    # nginx writes bytes that aren't UTF-8 unchanged, which isn't valid JSON. Here they become the text \xhh.
    text = line.decode("utf-8", "surrogateescape")
    text = _NOT_UTF8.sub(lambda found: f"\\\\x{ord(found[0]) - 0xDC00:02x}", text)
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"isn't JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("is JSON, but not an object")  # noqa: TRY004 - a reason, not a programmer's mistake
    return _from_json(_flat(record))


def is_logged_request(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a line of an access log rather than an event."""
    # {"status": 200, "request": "GET / HTTP/1.1", "id": "4f2…"}    a log, which may number its requests
    # {"status": 200, "method": "GET", "uri": "/"}                  a log
    # {"status": 200, "method": "GET", "url": "…", "id": "/"}       an event
    flat = _flat(record)
    if _first(flat, _STATUSES) is None or "event" in flat or "item_id" in flat:
        return False
    if _first(flat, _REQUESTS) is not None:
        return True
    return "id" not in flat and _first(flat, _METHODS) is not None and _first(flat, _TARGETS) is not None


def _from_json(flat: Mapping[str, Any]) -> Logged:
    line, method, target = (_text(_first(flat, names)) for names in (_REQUESTS, _METHODS, _TARGETS))
    if line is not None:
        method, target = split_request(line)
    elif not target or not method:
        raise ValueError("has neither request nor request_method with request_uri")
    status = _number(_first(flat, _STATUSES))
    if status is None:
        raise ValueError("has no status")
    return Logged(
        at=_time(_first(flat, _TIMES)),
        method=method,
        target=target,
        status=status,
        size=_number(_first(flat, _SIZES)),
        referer=_text(_first(flat, _REFERERS)),
        agent=_text(_first(flat, _AGENTS)),
        host=_text(_first(flat, _HOSTS)),
        scheme=_text(_first(flat, _SCHEMES)),
        columns=flat,
    )


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The record with lower-case dotted names. A list gives its first element: Caddy writes header fields as lists."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name.lower()}."))
        else:
            flat[prefix + name.lower()] = value
    return flat


def _first(flat: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Value of the first name that has one; "" if all values are empty, None if the record has none of the names."""
    for name in names:
        if flat.get(name) not in (None, "", "-"):
            return flat[name]
    return "" if any(name in flat for name in names) else None


def _text(given: Any) -> str | None:
    return None if given is None else str(given)


def _number(given: Any) -> int | None:
    try:
        return int(given)
    except (TypeError, ValueError):
        return None


def _time(given: Any) -> datetime:
    if given in (None, ""):
        raise ValueError("has no time")
    text = str(given).strip("[]")
    if _APACHE_TIME.fullmatch(text):
        moment: datetime = apachelogs.parse_apache_timestamp(text)
        return moment
    try:
        return read_time(given)
    except ValueError as error:
        raise ValueError(f"time: {error}") from None
