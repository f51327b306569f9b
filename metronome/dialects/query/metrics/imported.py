"""A metric that another server computes: its request is posted there, and its answer is the result.

The gateway would fetch any address that somebody saves, also one inside its own network. So it asks only hosts that the
operator has named in METRONOME_IMPORT_HOSTS, and none whose address isn't a public one. The name is resolved once, and
the connection goes to the address that was checked. No redirect is followed. Source: query contract, section 7.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from metronome.errors import BadQuestion, ImportFailed
from metronome.settings import Settings

#: Seconds that the whole exchange may take, and most bytes of an answer.
MOST_S = 10.0
MOST_BYTES = 2**20

_PORTS = {"http": 80, "https": 443}


def check_request(given: Any, settings: Settings) -> SplitResult:
    """The address of `{"url", "params"}`; raises BadQuestion unless its host may be asked."""
    if not isinstance(given, Mapping) or not isinstance(given.get("url"), str) or set(given) - {"url", "params"}:
        raise BadQuestion('request: {"url": "https://…", "params": {…}}', field="request")
    if not isinstance(given.get("params", {}), Mapping):
        raise BadQuestion("request.params: a JSON object", field="request")
    try:
        url = urlsplit(given["url"])
        known = url.scheme in _PORTS and url.hostname and url.port != 0 and url.username is None
    except ValueError:
        known = False
    if not known or not given["url"].isascii() or any(ord(one) <= 32 for one in given["url"]):
        raise BadQuestion("request.url: an http or https address in ASCII, without a user in it", field="request")
    if (url.hostname or "") not in settings.import_hosts:
        raise BadQuestion(
            f"request.url: {(url.hostname or '')[:100]!r} isn't in METRONOME_IMPORT_HOSTS, so it isn't asked",
            field="request",
        )
    return url


def fetch(given: Any, settings: Settings) -> dict[str, Any]:
    """The result of a metric that is imported; raises ImportFailed."""
    url = check_request(given, settings)
    data = orjson.dumps(given.get("params", {}))
    try:
        status, text = _posted(url, data)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise ImportFailed(f"the server that computes this metric can't be asked: {type(error).__name__}") from error
    if status != 200:
        raise ImportFailed(f"the server that computes this metric answered {status}")
    if len(text) > MOST_BYTES:
        raise ImportFailed(f"the server that computes this metric answered more than {MOST_BYTES} bytes")
    try:
        found = orjson.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "data" not in found:
        raise ImportFailed('the server that computes this metric answered no JSON object with "data"')
    return {name: value for name, value in found.items() if name in ("data", "timeStep")}


def _posted(url: SplitResult, data: bytes) -> tuple[int, bytes]:
    assert url.hostname
    address = public_address(url.hostname, url.port or _PORTS[url.scheme])
    sock = socket.create_connection(address, timeout=MOST_S)
    # A timeout of the socket is one of each read. A server that sends a byte now and then is cut off by this.
    timer = threading.Timer(MOST_S, lambda: sock.shutdown(socket.SHUT_RDWR))
    timer.start()
    try:
        if url.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=url.hostname)
        connection = http.client.HTTPConnection(url.hostname, url.port or _PORTS[url.scheme])
        connection.sock = sock
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "metronome"}
        connection.request("POST", target, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES + 1)
    finally:
        timer.cancel()
        sock.close()


def public_address(host: str, port: int) -> tuple[str, int]:
    """The address of a host that is no private one; raises ImportFailed if it has another."""
    for _, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not is_public(str(address[0])):
            raise ImportFailed("the server that computes this metric has a private address; it isn't asked")
        return str(address[0]), port
    raise ImportFailed("the server that computes this metric has no address")


def is_public(address: str) -> bool:
    found = ipaddress.ip_address(address)
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inner or found).is_global and not (inner or found).is_multicast
