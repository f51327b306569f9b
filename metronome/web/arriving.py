"""The bytes of a connection's next request, gathered until a thread can serve it without waiting for the client.

Only gunicorn's `Request` reads the head. It says how long the body is, and whether it comes in chunks. This module
gathers the body, so the application never reads from a socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader

from metronome.errors import BadPayload

#: Largest request head, in bytes, without its first line.
MAX_HEAD_BYTES = 65_536

#: Longest request line. An id of 512 bytes is 1,536 when percent-encoded; the rest is for query parameters.
MAX_REQUEST_LINE = 8190

#: Longest request line where events are in the address: an address of 64 KiB, method and version.
MAX_EVENTS_LINE = 65 * 1024

#: Requests whose address holds events, and whose senders read answers as plain text (dialects/openmetrics).
_EVENTS_IN_ADDRESS = re.compile(rb"[A-Z]+ (?:[A-Za-z]+://[^/?# ]*)?/v1/")

#: Longest line that says a chunk's size, extensions included, in bytes.
MAX_SIZE_LINE = 4096

#: A line feed without a carriage return ends no line of a head.
_BARE_LF = re.compile(rb"(?<!\r)\n")

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")

_CUT = "the body is cut short, or its chunks can't be read; send it again"


@dataclass(frozen=True)
class Arrived:
    """A request that a thread can serve: all of it is here, or enough to refuse it."""

    request: Any
    #: The bytes of the head, for a process that takes the connection over.
    head: bytes
    body: bytes
    #: False for a body over the limit; the rest of it is still to come.
    whole: bool


class Arriving:
    """One connection's unread bytes. `feed` adds some; `next` gives the request that they make, if they make one."""

    def __init__(self, cfg: Any, client: Any, max_body_bytes: int) -> None:
        self._cfg = cfg
        self._client = client
        self._max_body_bytes = max_body_bytes
        self._number = 0
        self.buffer = bytearray()
        self._start_over()

    def _start_over(self) -> None:
        self._request: Any = None
        self._head = b""
        self._length = 0
        self._chunks: Chunks | None = None
        #: Bytes of the buffer in which no end of the head was found.
        self._looked = 0
        #: Whether refusals of this request are plain text.
        self.plain = False
        #: Whether the client waits for `100 Continue` before it sends the body.
        self.awaits_continue = False

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def drop(self) -> None:
        """Drop the bytes that are here, since nobody will read them."""
        self.buffer.clear()
        self._start_over()

    @property
    def size(self) -> int:
        """Bytes held of a request that isn't whole yet."""
        return len(self.buffer) + (len(self._chunks.body) if self._chunks else 0)

    @property
    def has_head(self) -> bool:
        return self._request is not None

    @property
    def missing(self) -> int:
        """Bytes of a body of known length that are still to come; 0 where the length isn't known."""
        return max(0, self._length - len(self.buffer))

    def next(self) -> Arrived | None:
        """The next request, or None while too little of it is here. Raises gunicorn's ParseException, or BadPayload."""
        if self._request is None and not self._read_head():
            return None
        body, whole = self._body()
        if body is None:
            return None
        arrived = Arrived(self._request, self._head, body, whole)
        self._start_over()
        return arrived

    def end(self) -> None:
        """The client sends no more. Raises BadPayload if it stopped inside a body."""
        if self._request is not None:
            raise BadPayload(_CUT)

    def _read_head(self) -> bool:
        line = self._line_bytes()
        end = self.buffer.find(b"\r\n\r\n", max(0, self._looked - 3))
        if end < 0:
            self._looked = len(self.buffer)
            if self._looked > line + MAX_HEAD_BYTES or _BARE_LF.search(self.buffer):
                self._parse(bytes(self.buffer))  # raises the error that says what is wrong
                raise LimitRequestHeaders("max buffer headers")
            return False
        self._head = bytes(self.buffer[: end + 4])
        del self.buffer[: end + 4]
        self._request = self._parse(self._head)
        reader = self._request.body.reader
        if isinstance(reader, ChunkedReader):
            self._chunks = Chunks(self._max_body_bytes)
        elif isinstance(reader, LengthReader):
            self._length = reader.length
        self.awaits_continue = any(name == "EXPECT" for name, _ in self._request.headers)
        return True

    def _line_bytes(self) -> int:
        """Bytes of the request line as far as it is here. Raises LimitRequestLine."""
        end = self.buffer.find(b"\r\n", 0, MAX_EVENTS_LINE + 2)
        length = end if end >= 0 else len(self.buffer)
        self.plain = _EVENTS_IN_ADDRESS.match(self.buffer) is not None
        most = MAX_EVENTS_LINE if self.plain else MAX_REQUEST_LINE
        if length > most:
            raise LimitRequestLine(length, most)
        return length

    def _parse(self, head: bytes) -> Any:
        self._number += 1
        try:
            return Request(self._cfg, IterUnreader([head]), self._client, self._number)
        except (NoMoreData, StopIteration):
            raise LimitRequestHeaders("max buffer headers") from None

    def _body(self) -> tuple[bytes | None, bool]:
        """The body (None while it isn't there) and whether it is whole."""
        if self._chunks is not None:
            ended = self._chunks.take(self.buffer)
            if ended or len(self._chunks.body) > self._max_body_bytes:
                return bytes(self._chunks.body), ended
            return None, False
        if self._length > self._max_body_bytes:
            # The application refuses it by its length.
            return b"", False
        if len(self.buffer) < self._length:
            return None, False
        with memoryview(self.buffer) as view:
            body = bytes(view[: self._length])
        del self.buffer[: self._length]
        return body, True


class Chunks:
    """A chunked body (RFC 9112, section 7.1), decoded into `body` as it comes. Trailers are dropped."""

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        #: Bytes until the end of the chunk that is being read, its CRLF included.
        self._left = 0
        self._in_trailers = False
        self._trailer_bytes = 0

    def take(self, buffer: bytearray) -> bool:
        """Move what is here out of `buffer`; True once the body has ended. Raises BadPayload for what is no chunk."""
        while len(self.body) <= self._limit:
            if self._in_trailers:
                return self._end_of_trailers(buffer)
            if self._left and not self._rest_of_chunk(buffer):
                return False
            line = _line(buffer)
            if line is None:
                return False
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise BadPayload(_CUT)
            length = int(size[1], 16)
            self._in_trailers = length == 0
            self._left = length + 2 if length else 0
        return False

    def _rest_of_chunk(self, buffer: bytearray) -> bool:
        """Take what is here of the chunk; True once its CRLF was read too."""
        count = min(self._left - 2, len(buffer))
        if count > 0:
            with memoryview(buffer) as view:
                self.body += view[:count]
            del buffer[:count]
            self._left -= count
        if self._left > 2 or len(buffer) < 2:
            return False
        if buffer[:2] != b"\r\n":
            raise BadPayload(_CUT)
        del buffer[:2]
        self._left = 0
        return True

    def _end_of_trailers(self, buffer: bytearray) -> bool:
        while (line := _line(buffer)) is not None:
            if not line:
                return True
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_HEAD_BYTES or b"\n" in line:
                raise BadPayload(_CUT)
        return False


def _line(buffer: bytearray) -> bytes | None:
    """Take a line off the buffer's start; None while its end isn't here."""
    end = buffer.find(b"\r\n", 0, MAX_SIZE_LINE)
    if end < 0:
        if len(buffer) >= MAX_SIZE_LINE:
            raise BadPayload(_CUT)
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return line
