"""What identifies a person or opens a door, and isn't stored unless a setting says so.

    names        addresses of machines, cookies and credentials, whatever they are called: `ip`, `$ip`, `ipAddress`,
                 `extra.ip`, `request.remote_ip`, `http_x_forwarded_for`, `headers.cookie`. A name is compared by its
                 last part (or its last two), without case, `_`, `-` and `http_` in front.
    values       a text that is an IP address, and a line of an access log that begins with one, under any name
    web pages    addresses of pages lose user info, fragment and query parameters, but for those that analytics needs

Source: semantics, section 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from ipaddress import ip_address
from typing import Any

from metronome.event.memo import Memo

_WITHHELD = frozenset(
    # addresses
    "ip ips ipaddress ipaddr ipv4 ipv6 clientip clientipaddress remoteip remoteaddr remoteaddress remotehost "
    "sourceip sourceipaddress srcip userip userhost visitorip peerip peeraddress fromhostip hostip originip "
    "clientaddress sourceaddress xforwardedfor xoriginalforwardedfor forwarded forwardedfor xrealip realip xclientip "
    "trueclientip cfconnectingip cfconnectingipv6 fastlyclientip flyclientip xclusterclientip xenvoyexternaladdress "
    # credentials
    "authorization proxyauthorization cookie cookies setcookie setcookie2 xapikey xauthtoken xcsrftoken xxsrftoken "
    "password passwd secret accesstoken refreshtoken clientsecret querystring urlquery".split()
)

_AGENTS = frozenset("useragent useragentoriginal".split())

#: Addresses of web pages: what stands behind `?` and `#` in them is cut.
_PAGES = frozenset(
    "url uri href referer referrer requesturi pageurl sourceurl documenturl urloriginal urlfull httprequestreferrer "
    "originalurl refererurl referrerurl".split()
)

#: What a name is for: `withheld`, `agent` (a visitor's agent), `page` (the address of a web page) or nothing special.
Kind = str

_SEPARATORS = str.maketrans("", "", "_-$@ ")

#: Bytes of a body that may hold an IP address as a text of its own; quick to look for, right only where it says no.
_MAYBE_V4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?")
_MAYBE_V6 = re.compile(r"\[?[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?:%\w+)?\]?(?::\d{1,5})?")


def kind_of(name: str) -> Kind:
    """What a property's name says of its value. Names repeat, so the answer is remembered."""
    return _kinds[name]


def _kind(name: str) -> Kind:
    parts = [part.lower().translate(_SEPARATORS) for part in name.rsplit(".", 2)[-2:]]
    forms = {parts[-1], "".join(parts)}
    forms |= {form.removeprefix("http") for form in forms}
    if forms & _AGENTS or name.lower() == "agent":
        return "agent"
    if forms & _WITHHELD:
        return "withheld"
    return "page" if forms & _PAGES else ""


_kinds = Memo(_kind, most=20_000, longest=256)


def is_address(value: Any) -> bool:
    """Whether a value is the text of an IP address, with or without a port, or a log line that begins with one."""
    if type(value) is not str or len(value) < 3:
        return False
    if " " in value:
        # 198.51.100.7 - - [22/Nov/2026:09:30:00 +0000] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0"
        first, _, rest = value.partition(" ")
        return "[" in rest and '"' in rest and is_address(first)
    # Names of versions look like addresses to the eye; these have four numbers below 256 and nothing else.
    if value[-1] not in "0123456789abcdefABCDEF:]" or not (value.count(".") == 3 or ":" in value):
        return False
    if not (_MAYBE_V4.fullmatch(value) or _MAYBE_V6.fullmatch(value)):
        return False
    return _parses(value)


def _parses(value: str) -> bool:
    for form in (value, value.rpartition(":")[0].strip("[]"), value.strip("[]")):
        try:
            ip_address(form.partition("%")[0])
        except ValueError:
            continue
        return True
    return False


class Pages:
    """Cuts addresses of web pages down to what analytics needs. `keep` are names of parameters, `utm_*` among them."""

    def __init__(self, keep: Iterable[str]) -> None:
        self._keep = re.compile("|".join(translate(name.strip()) for name in keep if name.strip()) or r"\Z.", re.I)

    def stripped(self, address: str) -> str:
        """`https://ann:pw@a.example/p?token=1&utm_source=x#top` gives `https://a.example/p?utm_source=x`."""
        # "https://shop.example/item/7"     the usual form: nothing to cut
        if "?" not in address and "#" not in address and "@" not in address:
            return address
        address = address.partition("#")[0]
        base, mark, query = address.partition("?")
        if "@" in base:
            base = _without_user(base)
        if not mark:
            return base
        kept = [pair for pair in query.split("&") if self._keep.match(pair.partition("=")[0])]
        return f"{base}?{'&'.join(kept)}" if kept else base


def _without_user(base: str) -> str:
    """`https://ann:pw@host/p` gives `https://host/p`; an `@` of the path stays."""
    scheme, slashes, rest = base.rpartition("//") if base.startswith("//") else base.partition("://")
    if not slashes:
        return base
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"
