"""What the text of a setting may be: each kind reads a text, and says in words what it takes.

A kind's `read` gives the value, or raises ValueError. `takes` completes two sentences, "METRONOME_WORKERS takes …" and
"METRONOME_WORKERS: 'two' isn't …", so that code, error messages and docs/settings.md say the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def _as_is(text: str) -> str:
    return text


@dataclass(frozen=True)
class Kind:
    """How one kind of setting is read, and how its value is written for people."""

    takes: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str
    #: What people may see of a text that was given.
    mask: Callable[[str], str] = _as_is


TEXT = Kind("any text", _as_is)
FOLDER = Kind("a path", lambda text: Path(text).expanduser().absolute())
FILE = Kind("the path of a file", _as_is)


def choice(*values: str) -> Kind:
    """One of a few words, in any case of letters."""

    def read(text: str) -> str:
        if text.lower() not in values:
            raise ValueError
        return text.lower()

    return Kind(f"{', '.join(values[:-1])} or {values[-1]}", read)


def whole(least: int, most: int) -> Kind:
    """A whole number; both bounds belong to the range."""

    def read(text: str) -> int:
        return _within(_number(text.strip()), least, most)

    return Kind(f"a whole number from {least} to {most}", read)


def size(least: int, most: int) -> Kind:
    """A number of bytes, also as `512k`, `10m` or `8g` (powers of 1024)."""

    def read(text: str) -> int:
        return _within(_bytes(text.strip()), least, most)

    return Kind(f"a size from {show_size(least)} to {show_size(most)} (bytes, or with k, m or g)", read, show_size)


def show_size(value: int) -> str:
    """`10m` for 10485760; plain bytes where no unit divides it."""
    for unit, factor in reversed(_UNITS.items()):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _bytes(text: str) -> int:
    unit = text[-1:].lower() if text[-1:].lower() in ("k", "m", "g") else ""
    return _number(text.removesuffix(text[-1:]) if unit else text) * _UNITS[unit]


def _number(text: str) -> int:
    # int() takes 1_000, +5, other scripts' digits and blanks as well; the refusal of those is what a reader expects.
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError
    return int(text)


def _within(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ValueError
    return value


def _heap(text: str) -> str:
    if not re.fullmatch(r"[0-9]+[mMgG]", text) or _bytes(text) < 128 * 2**20:
        raise ValueError
    return text.lower()


#: The JVM's own form. Below 128 MB Elasticsearch doesn't start.
HEAP = Kind("a size from 128m, in m or g, such as 512m or 4g", _heap)


def _rate(text: str) -> str:
    found = re.fullmatch(r"([0-9]{1,9}) ?(?:/|per ) ?([0-9]{1,5} )?(second|minute|hour|day)s?", text)
    if not found or int(found[1]) < 1 or int(found[2] or 1) < 1:
        raise ValueError
    return text


RATE = Kind("a number a second, minute, hour or day, such as 100/second or 5000/10 minutes", _rate)


def _bind(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError
    _within(_number(port), 1, 65535)
    # [::1]:8000       brackets, since ::1:8000 could be an address without a port
    # 127.0.0.1:8000   or a name
    # :8000            all addresses
    in_brackets = host.startswith("[") and host.endswith("]") and is_address(host)
    if host and not in_brackets and not _is_host(host):
        raise ValueError
    return text


def is_loopback(host: str) -> bool:
    """Whether a host's name or address (`[::1]` too) always means the machine itself."""
    found = _address(host)
    name = host.lower().removesuffix(".")
    return found.is_loopback if found else name == "localhost" or name.endswith(".localhost")


def is_address(host: str) -> bool:
    """Whether a host is given by its address, IPv6 in brackets or not, and not by a name."""
    return _address(host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


BIND = Kind("an address and port, such as 127.0.0.1:8000 or [::1]:8000", _bind)


def _is_host(text: str) -> bool:
    """Whether it is a host's name or an IPv4 address. A name that ends in a number would be read as an address."""
    if re.fullmatch(r"[0-9.]+", text):
        return is_address(text)
    return len(text) <= 253 and bool(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?", text))


def _ports(text: str) -> str:
    first, dash, last = text.partition("-")
    _within(_within(_number(first), 1, 65535), 1, _within(_number(last if dash else first), 1, 65535))
    return text


PORTS = Kind("a port, or a range of ports such as 9200-9299", _ports)


def masked(text: str) -> str:
    """Addresses without what stands before their @: user names and passwords, whatever characters these are made of."""
    return ",".join(
        re.sub(r"^(\s*(?:\w+://)?).*@", r"\1***@", part, flags=re.DOTALL) for part in re.split(r",(?=\s*\w+://)", text)
    )


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    if parts.port == 0:  # reading the port raises ValueError for one that is none
        raise ValueError
    return text.rstrip("/")


URL = Kind("an address such as http://127.0.0.1:8000", _url, mask=masked)
URLS = Kind(
    "addresses such as https://es:9200, separated by commas",
    lambda text: ",".join(_url(part.strip()) for part in text.split(",")),
    mask=masked,
)


def _prefix(text: str) -> str:
    # A day's name adds 11 bytes to it. A leading dot would make the indices hidden, so that no pattern finds them.
    if not re.fullmatch(r"[^\\/*?\"<>| ,#:\s.+_-][^\\/*?\"<>| ,#:\s]*", text) or len(text.encode()) > 244:
        raise ValueError
    # metronome-* are the indices of what isn't an event: keys, reports, saved questions.
    if text != text.lower() or text == "metronome" or text.startswith("metronome-"):
        raise ValueError
    return text


PREFIX = Kind(
    'a name of an index: lower case, none of \\ / * ? " < > | , # : or blanks, no - _ + or . in front; not metronome',
    _prefix,
)


def _hosts(text: str) -> tuple[str, ...]:
    names = _listed(text)
    if not all(_is_host(name) or is_address(name) for name in names):
        raise ValueError
    return tuple(name.lower() for name in names)


HOSTS = Kind("names of hosts without a port, separated by commas, such as ticks.example.org", _hosts, ",".join)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in _listed(text))


NETWORKS = Kind(
    "networks or addresses, separated by commas, such as 10.0.0.0/8,192.0.2.7",
    _networks,
    lambda networks: ",".join(map(str, networks)),
)


NAMES = Kind(
    "names, separated by commas, such as utm_*,lang",
    lambda text: tuple(_listed(text)),
    ",".join,
)


def _listed(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError
    return parts


def _archive(text: str) -> str:
    parts = urlsplit(text)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError
    if parts.scheme == "s3":
        # Names of buckets as S3 has them; some implementations also take an underscore.
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", parts.netloc):
            raise ValueError
    elif parts.scheme != "file" or parts.netloc or not parts.path.strip("/"):
        raise ValueError
    return text.rstrip("/")


ARCHIVE = Kind("s3://bucket/prefix, or file:///path", _archive)
