"""Addresses: the key under which a referer is counted, and the host of a page.

A plain address (`https://`, a lower-case host, a path) is read by cutting text, because that is fast. Real sites have
millions of addresses, so remembering them gains nothing. Hosts are far fewer, and each host is judged once and then
remembered. Any other address goes to `urlsplit`: one with user info, a port, capitals, brackets or white space. Both
ways give the same key for the same address.

Source of the key: tick/tock contract, section 3.3.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from metronome.event.memo import Memo

#: Longest referer key, in characters; Lucene takes terms of 32,766 bytes at the most.
MAX_REFERER_PAGE = 2048

_PLAIN_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


def referer_page(referer: str) -> str | None:
    """`https://user@Host:443/path/?q#f` gives `host/path`: no scheme, user, default port, query, fragment, last slash.

    A lone `-` is how access logs write "none"; it gives None, as an empty text does.
    """
    # "https://site.example/page?x"   the usual form: two searches and two cuts
    start = 8 if referer.startswith("https://") else 7 if referer.startswith("http://") else 0
    end = referer.find("/", start)
    if start and end > 0:
        host = _hosts[referer[start:end]]
        path = referer[end:]
        if host and path.isprintable() and path[-1] != " ":
            if "?" in path:
                path = path[: path.index("?")]
            if "#" in path:
                path = path[: path.index("#")]
            return (host + path).rstrip("/")[:MAX_REFERER_PAGE]
    return _read(referer)


def _read(referer: str) -> str | None:
    referer = referer.strip()
    if referer in ("", "-"):
        return None
    if "://" not in referer:
        referer = "//" + referer.lstrip("/")
    try:
        parts = urlsplit(referer)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # not an address: it is counted under its own text rather than lost
        return referer.lstrip("/")[:MAX_REFERER_PAGE]
    if ":" in host:
        host = f"[{host}]"
    if port and {"http": 80, "https": 443}.get(parts.scheme) != port:
        host = f"{host}:{port}"
    return (host + parts.path).rstrip("/")[:MAX_REFERER_PAGE] or None


def referer_host(page: str) -> str:
    """Host of a referer key, without `www.`: `www.arcgis.com/a/b` gives `arcgis.com`."""
    return page.partition("/")[0].removeprefix("www.")


def host_of(address: str) -> str | None:
    """Host of an absolute address, without `www.`; None for a relative address."""
    # "https://shop.example/item/7"
    start = 8 if address.startswith("https://") else 7 if address.startswith("http://") else 0
    if start:
        end = address.find("/", start)
        host = _hosts[address[start:end] if end > 0 else address[start:]]
        if host:
            return host.removeprefix("www.")
    page = referer_page(address) if "://" in address or address.startswith("//") else None
    return referer_host(page) if page else None


def _plain(text: str) -> str:
    """The host, if it is plain: its text is counted unchanged. Empty for a host that `urlsplit` has to read."""
    return text if _PLAIN_HOST.fullmatch(text) else ""


_hosts = Memo(_plain, most=65_536, longest=128)
