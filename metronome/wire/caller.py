"""Who sent a request: the key it brings, the page's origin, the client's address.

The key stands in X-Api-Key, or in Authorization (Bearer, or Basic with any user name and the key as password). Where
the scope is write it may stand in the query parameter `key`, since a beacon can't set headers. X-Api-Key is read
first, since Authorization may be meant for a proxy in front.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from urllib.parse import urlsplit

from flask import Request

from metronome.errors import BadKey
from metronome.kinds import Network

#: The query parameter that holds a key. It is a credential on every write route, never a property of an event.
PARAMETER = "key"


def token_of(request: Request, *, in_query: bool) -> str:
    """The key that a request brings, or an empty text. Raises BadKey for malformed Basic authentication."""
    token = request.headers.get("X-Api-Key", "").strip()
    if token:
        return token
    kind, _, given = request.headers.get("Authorization", "").strip().partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise BadKey("Authorization: Basic isn't followed by user:key in base64") from None
    return request.args.get(PARAMETER, "") if in_query else ""


def origin_of(request: Request) -> str:
    """The origin of the page that sent the request. For the request of an image, it is read from the referer."""
    origin = request.headers.get("Origin", "").lower()
    if origin and origin != "null":
        return origin
    try:
        parts = urlsplit(request.headers.get("Referer", "").lower())
    except ValueError:  # an IPv6 address without its closing bracket
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def visitor_agent(request: Request) -> str | None:
    """The request's agent where a browser sent the events itself; a backend's HTTP library isn't the visitor."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        return request.headers.get("User-Agent")
    return None


def client_address(request: Request, trusted: tuple[Network, ...]) -> str:
    """The client's address: the right-most hop that isn't one of our proxies (`trusted`)."""
    address = request.remote_addr or ""
    if not trusted or not is_within(address, trusted):
        return address
    for text in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        hop = _plain(text)
        if hop is None:
            return address
        address = hop
        if not is_within(address, trusted):
            return address
    return address


def _plain(hop: str) -> str | None:
    """An address of X-Forwarded-For without its port; None if it is no address."""
    hop = hop.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return None


def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)
