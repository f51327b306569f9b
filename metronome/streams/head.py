"""The request that opened a long connection, and the message that hands both over.

    message   length of the JSON, length of the rest (4 bytes each, big endian), JSON, rest
    JSON      {"target": "/live?a=b", "headers": [["host", "…"], …], "client": "203.0.113.7", "key": "", "app": ""}
    rest      what the client sent after the head

The connection's file descriptor goes along with the message's first byte. A message has a Unix connection of its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import orjson

LENGTHS = struct.Struct(">II")

#: Most bytes that a client may send before its connection is accepted. With them, a message fits the kernel's buffer.
MAX_REST_BYTES = 16_384
MAX_MESSAGE_BYTES = 200_000

#: Longest path of a Unix socket that every system takes. Linux takes a few bytes more.
_MAX_PATH = 100


@dataclass(frozen=True)
class Head:
    """A request's target and headers. Names of headers are in lower case."""

    target: str
    headers: tuple[tuple[str, str], ...]
    #: Address of the client, or of a proxy that isn't in METRONOME_TRUSTED_PROXIES.
    client: str
    #: Id of the key that came with the request, and the application that the key is bound to. Empty without either.
    key: str = ""
    app: str = ""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> dict[str, str]:
        """Parameters by name. If one is given twice, the last counts."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def header(self, name: str) -> str:
        """A header's value, "" if there is none, the values joined by commas if there are several."""
        return ",".join(value for given, value in self.headers if given == name)


def message(head: Head, rest: bytes) -> bytes:
    text = orjson.dumps(asdict(head))
    return LENGTHS.pack(len(text), len(rest)) + text + rest


def read_message(data: bytes) -> tuple[Head, bytes]:
    """The reverse of `message`."""
    length, _ = LENGTHS.unpack_from(data)
    start = LENGTHS.size
    given = orjson.loads(data[start : start + length])
    headers = tuple((name, value) for name, value in given["headers"])
    head = Head(given["target"], headers, given["client"], given["key"], given["app"])
    return head, data[start + length :]


def message_size(data: bytes) -> int:
    """The length of the message that begins with `data`, which must hold at least the bytes of LENGTHS."""
    length, rest = LENGTHS.unpack_from(data)
    return LENGTHS.size + int(length) + int(rest)


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A short name for a Unix socket, whose path may be longer than the kernel accepts."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
