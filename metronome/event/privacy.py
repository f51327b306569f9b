"""What identifies a person or opens a door, and isn't stored unless a setting says so.

    names        addresses of machines, cookies and credentials, whatever they are called: `ip`, `$ip`, `ipAddress`,
                 `extra.ip`, `request.remote_ip`, `http_x_forwarded_for`, `headers.cookie`. A name is compared by its
                 last part (or its last two), without case, `_`, `-` and `http_` in front.
    values       a text that is an IP address, or several, and a line of an access log, under any name
    web pages    addresses of pages lose user info, fragment and query parameters, but for those that analytics needs
    agents       a visitor's agent is judged, and only its families are stored

`Privacy` binds the rules to an installation's settings.

Source: semantics, section 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from ipaddress import ip_address
from itertools import chain
from typing import Any

from metronome.event.agents import judge
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
    "originalurl refererurl referrerurl path request requestline".split()
)

#: What a name is for: `withheld`, `agent` (a visitor's agent), `page` (the address of a web page) or nothing special.
Kind = str

_SEPARATORS = str.maketrans("", "", "_-$@ ")

#: How names of versions end: `141.0.0.0` is Chrome's, and has the form of an address.
_VERSION = "version"

#: The time of a request as access logs write it, and the request behind it: `[22/Nov/2026:09:30:00 +0000] "GET`.
_LOG_LINE = re.compile(r'\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "')

#: Parameters of a web page's address that are looked at; those behind them are cut.
_MAX_PARAMETERS = 100

#: An address inside a text that isn't read further.
_INSIDE = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
    r"|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:]))"
)

_V4 = re.compile(r"(?:25[0-5]|2[0-4]\d|[01]?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|[01]?\d?\d)){3}(?::\d{1,5})?", re.ASCII)
_MAYBE_V6 = re.compile(r"\[?[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?:%\w+)?\]?(?::\d{1,5})?")


def kind_of(name: str) -> Kind:
    """What a property's name says of its value. Names repeat, so the answer is remembered."""
    return _kinds[name]


def _kind(name: str) -> Kind:
    # A long name is cut: every byte of it would cost, and no header's or field's name is as long.
    parts = [part.lower().translate(_SEPARATORS) for part in name[-256:].rsplit(".", 2)[-2:]]
    forms = {parts[-1], "".join(parts)}
    forms |= {form.removeprefix("http") for form in forms}
    if forms & _AGENTS or name.lower() == "agent":
        return "agent"
    if forms & _WITHHELD:
        return "withheld"
    return "page" if forms & _PAGES else ""


_kinds = Memo(_kind, most=20_000, longest=256)


def is_address(value: Any) -> bool:
    """Whether a value is the text of IP addresses, with or without ports, or a line of an access log."""
    if type(value) is not str or len(value) < 2:
        return False
    if value.isspace() or " " in value or "," in value or value[0].isspace() or value[-1].isspace():
        # 198.51.100.7, 10.0.0.1     as proxies list them
        # 198.51.100.7 - - [22/Nov/2026:09:30:00 +0000] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0"
        if _LOG_LINE.search(value):
            return True
        parts = value[:512].replace(",", " ").split()
        return bool(parts) and all(map(_is_one, parts))
    return _is_one(value)


def _is_one(value: str) -> bool:
    # Names of versions look like addresses to the eye; these have four numbers below 256 and nothing else.
    if len(value) > 64 or value[-1] not in "0123456789abcdefABCDEF:]" or not (value.count(".") == 3 or ":" in value):
        return False
    if _V4.fullmatch(value):
        return True
    return _MAYBE_V6.fullmatch(value) is not None and _parses(value)


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
        # GET /p?token=1 HTTP/1.1           the line of a request
        end = address.rfind(" HTTP/")
        if end > 0:
            return self.stripped(address[:end]) + address[end:]
        address = address.partition("#")[0]
        base, mark, query = address.partition("?")
        if "@" in base:
            base = _without_user(base)
        if not mark:
            return base
        pairs = query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]
        kept = [pair for pair in pairs if self._keep.match(pair.partition("=")[0])]
        return f"{base}?{'&'.join(kept)}" if kept else base


def _without_user(base: str) -> str:
    """`https://ann:pw@host/p` gives `https://host/p`; an `@` of the path stays."""
    scheme, slashes, rest = base.rpartition("//") if base.startswith("//") else base.partition("://")
    if not slashes:
        return base
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


class Privacy:
    """The rules of one installation.

    `fields` are the names (METRONOME_KEEP_FIELDS) whose values are stored as they are, agents apart: those never are.
    `parameters` are the query parameters that stay in addresses of web pages.
    """

    def __init__(self, fields: Iterable[str] = (), parameters: Iterable[str] = ()) -> None:
        self._kept = frozenset(name.lower() for name in fields)
        self.stripped = Pages(parameters).stripped
        self._kinds = Memo(self._kind, most=20_000, longest=256)

    def kind(self, name: str) -> Kind:
        """`withheld`, `agent`, `page`, `kept` (nothing is withheld or cut under this name) or empty."""
        return self._kinds[name]

    def _kind(self, name: str) -> Kind:
        kind = kind_of(name)
        if kind != "agent" and (name.lower() in self._kept or name.lower().endswith(_VERSION)):
            return "kept"
        return kind

    def hides(self, event: dict[str, Any]) -> bool:
        """Whether a text of a flat event is an address that isn't to be stored."""
        return any(is_address(value) and self._kinds[name] != "kept" for name, value in event.items())

    def cut(self, value: Any) -> Any:
        """A web page's address as it is stored, also those of an array."""
        if type(value) is str:
            return self.stripped(value)
        return [self.cut(inner) for inner in value] if type(value) is list else value

    def without(self, value: Any, prefix: str = "") -> Any:
        """JSON of any shape without what isn't stored; a robot's agent becomes the word `robot`.

        Raises RecursionError for a value that is nested hundreds of levels deep.
        """
        if isinstance(value, list):
            return value if is_clean(value) else self._without_list(value, prefix)
        if not isinstance(value, dict):
            return WITHHELD if is_address(value) and self.kind(prefix[:-1]) != "kept" else value
        found = {}
        for name, inner in value.items():
            kind = self.kind(prefix + name)
            if kind == "agent" and not isinstance(inner, dict):
                if judge(str(inner)).get("is_robot"):
                    found[name] = "robot"
                continue
            if kind == "withheld":
                continue
            inner = self.without(inner, f"{prefix}{name}.")
            if inner is not WITHHELD:
                found[name] = self.cut(inner) if kind == "page" else inner
        return found

    def _without_list(self, values: list[Any], prefix: str) -> list[Any]:
        found = (
            self._without_list(inner, prefix) if isinstance(inner, list) else self.without(inner, prefix)
            for inner in values
        )
        return [inner for inner in found if inner is not WITHHELD]

    def masked(self, text: str) -> str:
        """A text that can't be read as JSON, without the addresses, agents and credentials that can be told in it."""
        # 198.51.100.7 - - [22/Nov/2026:09:30:00 +0000] "GET /p?token=1 HTTP/1.1" 200 5 "-" "Mozilla/5.0"
        line = _LOG_LINE.search(text)
        if line:
            return f"… {line[0]}…"
        return _INSIDE.sub(_masked_address, _MEMBER.sub(self._masked_member, text))

    def _masked_member(self, found: re.Match[str]) -> str:
        kind = self.kind(found["name"])
        return found[0] if kind in ("", "kept") else f'"{found["name"]}":"…"'


def is_clean(values: list[Any]) -> bool:
    """Whether an array holds neither addresses nor objects, in arrays of arrays either."""
    # Level by level, since a call for each of many empty arrays costs more than all the rest.
    level = values
    while level:
        if dict in set(map(type, level)) or any(map(is_address, [inner for inner in level if type(inner) is str])):
            return False
        level = list(chain.from_iterable([inner for inner in level if type(inner) is list]))
    return True


#: Stands for a value that isn't stored.
WITHHELD = object()

#: `"name": "text"` and `"name": ["text", …` in what looks like JSON.
_MEMBER = re.compile(r'"(?P<name>[^"\\]{1,256})"\s*:\s*(?:\[[^\]]*\]?|"(?:[^"\\]|\\.)*"?)', re.S)


def _masked_address(found: re.Match[str]) -> str:
    return "…" if is_address(found[0]) else found[0]
