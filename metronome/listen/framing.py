"""Cutting a stream of bytes into frames: complete MessagePack messages, or blocks of complete lines.

A frame is only measured here. An attacker may declare arrays of four billion elements or endless nesting. That costs
nothing: MessagePack's `skip` builds no objects, and a message is decoded only once all of it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgpack

#: First bytes of what the protocol has: arrays of 2 to 4 (messages) and 6 (PING), in short and long form, and nil.
_FIRST = frozenset((0x92, 0x93, 0x94, 0x96, 0xDC, 0xDD, 0xC0))

#: Bytes that an array's head takes, where it isn't one.
_ARRAY_HEAD = {0xDC: 3, 0xDD: 5}

#: Bytes in which a text or a binary says its length, by its first byte.
_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}

#: A message of fewer bytes is measured from its start again when more comes: a meter takes 40 KB.
_SMALL = 4096

#: A read may hold this many bytes beyond the end of the largest message.
_ONE_READ = 2**20


class Unframed(Exception):
    """The bytes aren't of this protocol, or the message is too large. The connection has to be closed."""


class Framer(Protocol):
    """Takes bytes in and gives complete frames. `held` says how many bytes wait here for the rest of theirs."""

    @property
    def held(self) -> int: ...

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def rest(self) -> bytes: ...


class Messages:
    """Complete MessagePack messages of at most `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()
        #: Measures a large unfinished message. It exists only for such a message, since its memory never shrinks.
        self._meter: Any = None
        #: Where in the meter's stream the unfinished message begins.
        self._start = 0

    @property
    def held(self) -> int:
        return 2 * len(self._buffer)  # the meter has a copy

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that `data` completes; raises Unframed at the first that can't be one."""
        if self._meter is None:
            self._meter = msgpack.Unpacker(max_buffer_size=self._most + _ONE_READ, read_size=1024)
            self._meter.feed(self._buffer)
            self._start = 0
        self._meter.feed(data)
        self._buffer += data
        while self._buffer:
            size = self._measured()
            if size is None:
                break
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._start += size
            yield frame
        if len(self._buffer) < _SMALL:
            self._meter = None

    def rest(self) -> bytes:
        """Nothing, since a sender that was cut off within a message sends it again."""
        return b""

    def _measured(self) -> int | None:
        """Bytes of the message at the buffer's start, None if it isn't complete."""
        if self._buffer[0] not in _FIRST:
            raise Unframed(f"no message of the forward protocol begins with 0x{self._buffer[0]:02x}")
        try:
            self._meter.skip()
        except msgpack.OutOfData:
            size = max(len(self._buffer), _claimed(bytes(self._buffer[:512])))
            complete = False
        except ValueError as error:  # not MessagePack, or nested too deep
            raise Unframed(f"this can't be read as MessagePack ({type(error).__name__})") from None
        else:
            size, complete = self._meter.tell() - self._start, True
        if size > self._most:
            raise Unframed(f"a message of {size} bytes or more; at most {self._most} are taken")
        return size if complete else None


def _claimed(head: bytes) -> int:
    """How long a packed message will be at least, as its head says; 0 where the head says nothing.

    [tag, bin 32: length ...]
    """
    at = _ARRAY_HEAD.get(head[0], 1)
    tag = _text_end(head, at) or 0
    return max(tag, _text_end(head, tag) or 0) if tag else 0


def _text_end(head: bytes, at: int) -> int | None:
    """Where the text or binary that begins at `at` ends; None if none begins there."""
    if at >= len(head):
        return None
    first = head[at]
    if 0xA0 <= first <= 0xBF:
        return at + 1 + (first & 0x1F)
    width = _LENGTH_BYTES.get(first)
    if width is None or at + 1 + width > len(head):
        return None
    return at + 1 + width + int.from_bytes(head[at + 1 : at + 1 + width], "big")


class Lines:
    """Blocks of complete lines, each of at most `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, as one block; raises Unframed for a line that is too long."""
        end = data.rfind(b"\n") + 1
        if end:
            block = bytes(self._buffer) + data[:end]
            self._buffer = bytearray(data[end:])
            yield block
        else:
            self._buffer += data
        if len(self._buffer) > self._most:
            raise Unframed(f"a line of more than {self._most} bytes")

    def rest(self) -> bytes:
        """The last line, of a sender that ended without a line end."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest
