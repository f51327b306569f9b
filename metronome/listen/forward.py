"""One message of the forward protocol becomes events: modes, times, ids. Pure functions over bytes.

    Message                    [tag, time, record, option?]
    Forward                    [tag, [[time, record], ...], option?]
    PackedForward              [tag, b"[time, record][time, record]...", option?]
    CompressedPackedForward    [tag, gzip of that, {"compressed": "gzip", ...}]
    heartbeats                 nil, and ["", []]

`time` is Unix seconds, an EventTime (extension type 0: seconds and nanoseconds of 32 bits each), or
`[time, metadata]` as Fluent Bit writes it. The tag says where a sender's own routing leads and isn't stored, nor is the
metadata. Source: Forward Protocol Specification v1 (fluent/fluentd wiki), contract 2.3.
"""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import msgpack
import orjson

from metronome.errors import Refused
from metronome.event.fields import Event
from metronome.intake import Unreadable
from metronome.intake.settle import PLAIN
from metronome.listen.framing import Unframed
from metronome.periods import read_time, to_text
from metronome.settings import Settings
from metronome.wire.events import inflate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A number takes nine bytes in MessagePack and may take four in JSON: a record is too large for sure beyond this.
_BYTES_PER_JSON_BYTE = 4

_TEXT = frozenset((*range(0xA0, 0xC0), 0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB))
_ARRAY = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
_NIL = 0xC0

#: What isn't a time is kept as it came, but nobody's time has more values.
_VALUES_OF_TIME = 100

_TOO_MANY = "it has more values than an event can have (METRONOME_MAX_EVENT_BYTES)"

_HOLDERS = (dict, list)

#: An event of no more properties takes no room worth counting beside its bytes.
_USUAL = 255

#: Types of names that need no change.
_NAMES = frozenset((str,))


@dataclass(frozen=True)
class Message:
    """A message whose structure is known to be one of the four modes'; its records aren't decoded yet.

    entries    the bytes in which the entries are
    places     three numbers an entry: where its time begins, where its record begins, where it ends
    chunk      the chunk as bytes, the base of its records' ids; None where there is none
    answer     what the sender gets once all is on disk: {"ack": chunk}, or nothing
    """

    entries: bytes
    places: array[int]
    chunk: bytes | None
    answer: bytes

    def __len__(self) -> int:
        return len(self.places) // 3

    def events(self, settings: Settings, start: int = 0) -> Iterator[tuple[Any, int]]:
        """Each entry from `start` on as an event, or as `Unreadable`, with about the bytes that it takes here."""
        base = _id_base(self.chunk) if self.chunk is not None else ""
        longest = _BYTES_PER_JSON_BYTE * settings.max_event_bytes
        for position in range(start, len(self)):
            time_at, record_at, end = self.places[3 * position : 3 * position + 3]
            if end - time_at > longest:
                entry = self.entries[time_at:end]
                yield Unreadable(f"an entry of {len(entry)} bytes (METRONOME_MAX_EVENT_BYTES)", entry), len(entry)
                continue
            insert_id = f"{base}-{position}" if base else ""
            event = _event(self.entries[time_at:record_at], self.entries[record_at:end], insert_id, settings)
            yield event, end - time_at + _held_bytes(event)


def read_message(frame: bytes, settings: Settings) -> Message:
    """A complete MessagePack value as a message; raises Unframed for what isn't one of the modes."""
    if frame == b"\xc0":
        return Message(b"", array("I"), None, b"")
    reader = _reader(frame)
    try:
        size = reader.read_array_header()
        if not 2 <= size <= 4 or frame[reader.tell()] not in _TEXT:
            raise Unframed("a message is an array of a tag and what belongs to it")
        reader.skip()
        kind = frame[reader.tell()]
        if kind in _TEXT and size < 4:
            return _packed(reader, frame, size, settings)
        if kind in _ARRAY and size < 4 and not _is_time_with_metadata(frame, reader.tell()):
            places = _places(reader, frame, reader.read_array_header())
            return Message(frame, places, *_option(reader, frame, size == 3)[:2])
        if size == 2:
            raise Unframed("a message without a record")
        time_at = reader.tell()
        reader.skip()
        record_at = reader.tell()
        reader.skip()
        places = array("I", (time_at, record_at, reader.tell()))
        return Message(frame, places, *_option(reader, frame, size == 4)[:2])
    except (ValueError, msgpack.OutOfData, IndexError):
        raise Unframed("a message is of none of the four modes") from None


def _packed(reader: Any, frame: bytes, size: int, settings: Settings) -> Message:
    entries = reader.unpack()
    chunk, answer, compressed = _option(reader, frame, size == 3)
    if compressed == b"gzip":
        try:
            entries = inflate(entries, "gzip", max_bytes=settings.max_body_bytes, max_ratio=settings.max_inflation)
        except Refused as error:
            raise Unframed(error.message) from None
    elif compressed not in (b"", b"text"):
        raise Unframed(f"compressed as {compressed[:20]!r}; gzip is understood")
    return Message(entries, _places(_reader(entries), entries, None), chunk, answer)


def _is_time_with_metadata(frame: bytes, at: int) -> bool:
    """Whether the array at `at` is `[time, metadata]`, rather than entries, which are arrays themselves."""
    if frame[at] != 0x92:
        return False
    return frame[at + 1] not in _ARRAY


def _places(reader: Any, data: bytes, count: int | None) -> array[int]:
    """Where the entries are: `count` of them, or as many as `data` has."""
    places = array("I")
    while count is None or len(places) < 3 * count:
        if count is None and reader.tell() == len(data):
            break
        if reader.read_array_header() != 2:
            raise Unframed("an entry is an array of a time and a record")
        time_at = reader.tell()
        reader.skip()
        record_at = reader.tell()
        reader.skip()
        places.extend((time_at, record_at, reader.tell()))
    return places


def _option(reader: Any, frame: bytes, given: bool) -> tuple[bytes | None, bytes, bytes]:
    """Chunk, answer and compression that a message's option asks for. The answer repeats the chunk byte for byte."""
    chunk, answer, compressed = None, b"", b""
    if not given or frame[reader.tell()] == _NIL:
        return chunk, answer, compressed
    for _ in range(reader.read_map_header()):
        name = reader.unpack()
        at = reader.tell()
        if name == b"chunk" and frame[at] != _NIL:
            chunk = _text(reader, frame)
            answer = b"\x81\xa3ack" + frame[at : reader.tell()]
        elif name == b"compressed" and frame[at] != _NIL:
            compressed = _text(reader, frame)
        else:
            reader.skip()
    return chunk, answer, compressed


def _text(reader: Any, frame: bytes) -> bytes:
    if frame[reader.tell()] not in _TEXT:
        raise Unframed("chunk and compressed are texts")
    value: bytes = reader.unpack()
    return value


def _reader(data: bytes) -> Any:
    """For the structure of a complete message; texts come as bytes, whatever they hold."""
    reader = msgpack.Unpacker(max_buffer_size=len(data) or 1, raw=True)
    reader.feed(data)
    return reader


def _id_base(chunk: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.blake2b(chunk, digest_size=18).digest()).decode()


def _event(time: bytes, record: bytes, insert_id: str, settings: Settings) -> Any:
    try:
        most = settings.max_event_bytes // 2  # in JSON a value takes two bytes at least
        event = _value(record, most)
        if not _is_json(event):
            event = _AsJson(most).of(event, settings.max_depth)
        if type(event) is not dict:
            return event  # for the door to refuse and to keep
        if event.get("@timestamp") is None:
            _put_time(event, _value(time, _VALUES_OF_TIME))
    except (ValueError, TypeError, OverflowError) as error:
        return Unreadable(f"the record can't be read: {str(error)[:200]}", record)
    if insert_id and event.get("insert_id") in (None, ""):
        event["insert_id"] = insert_id
    return event


def _is_json(value: Any) -> bool:
    """Whether JSON can hold a value as it is. It is written to find out, which costs less than to look at each part."""
    if type(value) is dict and PLAIN.issuperset(map(type, value.values())) and _NAMES.issuperset(map(type, value)):
        return True
    try:
        orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        return False
    return True


def _held_bytes(event: Any) -> int:
    """What the values inside arrays and objects take here: an empty array is one byte in MessagePack, and 56 here."""
    if type(event) is not dict:
        return 0
    total, level = max(0, len(event) - _USUAL), [value for value in event.values() if type(value) in _HOLDERS]
    while level:
        inner = list(chain.from_iterable([value.values() if type(value) is dict else value for value in level]))
        total += len(inner)
        level = [value for value in inner if type(value) in _HOLDERS]
    return 64 * total


def _value(data: bytes, most: int) -> Any:
    """One value. Bytes of a text that aren't UTF-8 become U+FFFD: a log may hold anything.

    Raises ValueError for an array or object of more than `most` values, before they are read.
    """
    try:
        return msgpack.unpackb(
            data,
            strict_map_key=False,
            unicode_errors="replace",
            timestamp=3,
            ext_hook=_extension,
            max_array_len=most,
            max_map_len=most,
        )
    except ValueError as error:
        raise (ValueError(_TOO_MANY) if "exceeds max_" in str(error) else error) from None


def _extension(code: int, data: bytes) -> Any:
    """An EventTime as a datetime; of other extensions nothing is known, and their bytes are kept as Base64."""
    if code == 0 and len(data) == 8:
        seconds, nanoseconds = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big")
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    return base64.b64encode(data).decode()


def _put_time(event: Event, given: Any) -> None:
    """The message's time becomes the event's. Senders without a clock send 0 or nil: then the door finds a time.

    What isn't a time is left for the door to refuse, which keeps the whole event.
    """
    if type(given) is list and given:  # [time, metadata]
        given = given[0]
    if given is None or (given == 0 and given is not False):
        return
    if isinstance(given, datetime):
        event["@timestamp"] = to_text(given)
        return
    try:
        event["@timestamp"] = to_text(read_time(given))
    except ValueError:
        event["@timestamp"] = given if _is_json(given) else _AsJson(_VALUES_OF_TIME).of(given, 1)


class _AsJson:
    """Turns a value into what JSON can hold: texts for names, bytes and times.

    Raises ValueError beyond the depth, or beyond a number of values of which no storable event has more.
    """

    def __init__(self, values: int) -> None:
        self._left = values

    def of(self, value: Any, depth_left: int) -> Any:
        if isinstance(value, dict):
            self._draw(len(value), depth_left)
            return {self._name(name): self.of(inner, depth_left - 1) for name, inner in value.items()}
        if isinstance(value, list):
            self._draw(len(value), depth_left)
            return [self.of(inner, depth_left - 1) for inner in value]
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if isinstance(value, datetime):
            return to_text(value)
        return value

    def _name(self, name: Any) -> str:
        return name if isinstance(name, str) else str(self.of(name, 1))

    def _draw(self, values: int, depth_left: int) -> None:
        if depth_left < 0:
            raise ValueError("it is nested too deep (METRONOME_MAX_DEPTH)")
        self._left -= values
        if self._left < 0:
            raise ValueError(_TOO_MANY)
