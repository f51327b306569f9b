"""From bytes to JSON values: gzip within limits, JSON or NDJSON or a form, and every digit of a number."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import zlib
from typing import Any

import pytest

from metronome.errors import BadPayload, MetronomeError, TooLarge, UnsupportedMedia
from metronome.intake import Unreadable
from metronome.wire.events import Posted, from_pairs, inflate, read_events

JSON, NDJSON, FORM = "application/json", "application/x-ndjson", "application/x-www-form-urlencoded"
HUGE = 123456789012345678901234567890


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(b"hello", "", id="as it is"),
        pytest.param(b"hello", "identity", id="identity"),
        pytest.param(gzip.compress(b"hello"), "gzip", id="gzip"),
        pytest.param(gzip.compress(b"hello"), " GZip ", id="in any case"),
        pytest.param(gzip.compress(b"hello"), "x-gzip", id="under its old name"),
        pytest.param(gzip.compress(b"he") + gzip.compress(b"") + gzip.compress(b"llo"), "gzip", id="several members"),
    ],
)
def test_a_body_is_inflated(body: bytes, encoding: str) -> None:
    assert inflate(body, encoding, max_bytes=100, max_ratio=100) == b"hello"


@pytest.mark.parametrize(
    ("body", "encoding", "error"),
    [
        pytest.param(b"{}", "br", UnsupportedMedia("Content-Encoding: 'br' isn't understood; send gzip or nothing"), id="another encoding"),
        pytest.param(b"{}", "gzip", BadPayload("the body isn't gzip as its Content-Encoding says (Error -3 while decompressing data: incorrect header check)"), id="not gzip at all"),
        pytest.param(gzip.compress(b"hello")[:-9], "gzip", BadPayload("the gzip body is cut short"), id="cut short"),
        pytest.param(gzip.compress(b"hello") + b"x", "gzip", BadPayload("the gzip body is cut short"), id="rubbish at the end"),
        pytest.param(zlib.compress(b"hello"), "gzip", BadPayload("the body isn't gzip as its Content-Encoding says (Error -3 while decompressing data: incorrect header check)"), id="deflate under gzip's name"),
        pytest.param(gzip.compress(b"x" * 100_001), "gzip", TooLarge("the body inflates to more than 100000 bytes; send smaller batches"), id="too large"),
        pytest.param(gzip.compress(b"x" * 65_537), "gzip", TooLarge("the body inflates to more than 65536 bytes; send smaller batches"), id="too large for its size"),
        pytest.param(gzip.compress(b"x" * 60_000) * 2, "gzip", TooLarge("the body inflates to more than 65536 bytes; send smaller batches"), id="too large in all members together"),
    ],
)  # fmt: skip
def test_a_body_that_cant_be_inflated_is_refused(body: bytes, encoding: str, error: MetronomeError) -> None:
    ratio = 1000 if "100000" in error.message else 10
    with pytest.raises(type(error)) as refusal:
        inflate(body, encoding, max_bytes=100_000, max_ratio=ratio)
    assert refusal.value.body() == error.body()


def test_a_bomb_is_refused_without_being_inflated() -> None:
    layer = gzip.compress(b"\0" * 10**7)
    with pytest.raises(TooLarge):
        inflate(layer * 1000, "gzip", max_bytes=2**20, max_ratio=100)


@pytest.mark.parametrize(
    ("body", "media_type", "events", "batch"),
    [
        pytest.param(b'{"id": "a"}', JSON, [{"id": "a"}], False, id="an object"),
        pytest.param(b'{"id": "a"}', "Application/JSON; charset=utf-8", [{"id": "a"}], False, id="a media type of any case, with charset"),
        pytest.param(b'{"id": "a"}', "", [{"id": "a"}], False, id="no media type is JSON"),
        pytest.param(b'{"id": "a"}', "text/plain;charset=UTF-8", [{"id": "a"}], False, id="a browser's beacon"),
        pytest.param(b'{"id": "a"}', "application/vnd.api+json", [{"id": "a"}], False, id="any kind of JSON"),
        pytest.param(b'{"id": "a"}', FORM, [{"id": "a"}], False, id="curl calls everything a form"),
        pytest.param(b' [{"id": "a"}]', FORM, [{"id": "a"}], True, id="an array, too"),
        pytest.param(b'[{"id": "a"}, {"id": "b"}]', JSON, [{"id": "a"}, {"id": "b"}], True, id="an array"),
        pytest.param(b'[{"id": "a"}]', JSON, [{"id": "a"}], True, id="an array of one is a batch"),
        pytest.param(b"[]", JSON, [], True, id="an empty array"),
        pytest.param(b'[{"id": "a"}, 1, null]', JSON, [{"id": "a"}, 1, None], True, id="what is no event is for intake to refuse"),
        pytest.param(b'\xef\xbb\xbf{"id": "a"}', JSON, [{"id": "a"}], False, id="a byte order mark"),
        pytest.param(b'{"id": "a"}\n{"id": "b"}\n', NDJSON, [{"id": "a"}, {"id": "b"}], True, id="NDJSON"),
        pytest.param(b'{"id": "a"}', NDJSON, [{"id": "a"}], True, id="one line is a batch"),
        pytest.param(b'\r\n{"id": "a"}\r\n\r\n  \n{"id": "b"}', NDJSON, [{"id": "a"}, {"id": "b"}], True, id="carriage returns and blank lines"),
        pytest.param(b'\xef\xbb\xbf{"id": "a"}\n{"id": "b"}', NDJSON, [{"id": "a"}, {"id": "b"}], True, id="NDJSON with a byte order mark"),
        pytest.param(b'{"id": "a"}\n{"id": "b"}', JSON, [{"id": "a"}, {"id": "b"}], True, id="NDJSON under the name of JSON"),
        pytest.param(b'{"id":\n"a"}\n', JSON, [{"id": "a"}], False, id="an object of several lines"),
        pytest.param(b"", NDJSON, [], True, id="no lines at all"),
        pytest.param(b"id=home&load_ms=312&tag=a&tag=b&empty=", FORM, [{"id": "home", "load_ms": "312", "tag": ["a", "b"], "empty": ""}], False, id="a form"),
        pytest.param(b"id=caf%C3%A9+au+lait", FORM, [{"id": "café au lait"}], False, id="a form's escapes"),
        pytest.param(b'{"a": 1, "b": 2, "a": "x"}', JSON, [{"a": "x", "b": 2}], False, id="of a key given twice the last counts"),
        pytest.param(b'{"a": "x\\u0000y"}', JSON, [{"a": "x\0y"}], False, id="NUL is a character"),
        pytest.param(b'{"a": "x\\ud83d", "\\uDE00": 1}', JSON, [{"a": "x\ufffd", "\ufffd": 1}], False, id="half an emoji becomes the replacement character"),
        pytest.param(b'{"a": "\\ud83d\\ude00 \\\\ud83d"}', JSON, [{"a": "😀 \\ud83d"}], False, id="a whole one stays"),
        pytest.param(b'{"a": "\\ud83d"}\n{"b": 1}', NDJSON, [{"a": "\ufffd"}, {"b": 1}], True, id="half an emoji in a line"),
    ],
)  # fmt: skip
def test_what_a_body_holds(body: bytes, media_type: str, events: list[Any], batch: bool) -> None:
    posted = read_events(body, media_type)
    assert (posted.events, posted.batch) == (events, batch)


@pytest.mark.parametrize(
    ("lines", "flat"),
    [
        pytest.param([b'{"a": 1}', b'{"b": "x"}', b"{}"], True, id="plain values"),
        pytest.param([b'{"a": 1}', b'{"b": {"c": 1}}'], False, id="an object in an object"),
        pytest.param([b'{"a": 1}', b'{"b": [1]}'], False, id="an array in an object"),
        pytest.param([b'{"b": {}}', b"1"], False, id="a line without braces doesn't make up for one with two"),
        pytest.param([b'{"b": {}}', b"?"], False, id="nor does one that can't be read"),
        pytest.param([b'{"b": "{["}'], False, id="braces in a text are taken for objects: slower, but as right"),
    ],
)
def test_a_batch_is_called_flat_only_if_no_event_holds_an_object_or_array(lines: list[bytes], flat: bool) -> None:
    assert read_events(b"\n".join(lines), NDJSON).flat == flat


def test_nobody_but_the_reader_can_call_a_batch_flat() -> None:
    with pytest.raises(TypeError):
        Posted([{"id": {"nested": 1}}], True, flat=True)  # type: ignore[call-arg]
    assert read_events(b'[{"id": "a"}]', JSON).flat is False


#: What lines may hold that, put together, could be read as something else than line by line.
PIECES = (
    "{}",
    '{"a": 1}',
    '{"a": 1',
    '"b": 2}',
    '{"a": 1}, {"b": 2}',
    '{"a": 1}, {"b": 2',
    '{"a": {"b": 1}}',
    '{"a": "{"}',
    '{"a": [1]}',
    '{"a": 12345678901234567890123}',
    ' {"a": 1}\r',
    '{"a": "x',
    '{y"}, 5',
    '{y"}',
    *("1", "{", "}", "[", "]", ",", "", " "),
)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_body_is_read_as_its_lines_are(count: int) -> None:
    def alone(line: str) -> Any:
        try:
            return json.loads(line)
        except ValueError:
            return "unreadable"

    for lines in itertools.product(PIECES, repeat=count):
        events = read_events("\n".join(lines).encode(), NDJSON).events
        found = ["unreadable" if isinstance(event, Unreadable) else event for event in events]
        assert found == [alone(line) for line in lines if line.strip()], lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b'{"id": "b"', "unexpected end of data", id="cut"),
        pytest.param(b'{"id": NaN}', "unexpected character, expected a JSON value", id="NaN"),
        pytest.param(b'{"id": "\\ud83d", "n": NaN}', "no low surrogate in string", id="half an emoji and NaN"),
        pytest.param(b'{"id": "\xe9"}', "str is not valid UTF-8: surrogates not allowed", id="Latin-1"),
        pytest.param(b'{"n": 1e400}', "number is infinity when parsed as double", id="a number no one can hold"),
    ],
)  # fmt: skip
def test_an_unreadable_line_costs_the_others_nothing(line: bytes, reason: str) -> None:
    posted = read_events(b'{"id": "a"}\n' + line + b'\n{"id": "c"}', NDJSON)
    assert [posted.events[0], posted.events[2]] == [{"id": "a"}, {"id": "c"}]
    unreadable = posted.events[1]
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason.startswith(f"the line isn't JSON: {reason}")  # and where, in the reader's words
    assert unreadable.raw == line


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", '[{"b": NaN}]', '{"b": NaN, "c": "\\ud83d"}'])
@pytest.mark.parametrize("comma", [", ", ",\n", "\n,"])
def test_a_number_that_is_none_costs_an_array_only_its_event(number: str, comma: str) -> None:
    events = ['{"id": "a", "n": 1.5}', f'{{"n": {number}}}', '{"id": "\\ud83d"}']
    posted = read_events(f"[{comma.join(events)}]".encode(), JSON)
    assert [posted.events[0], posted.events[2]] == [{"id": "a", "n": 1.5}, {"id": "\ufffd"}]
    unreadable = posted.events[1]
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == "it holds NaN, Infinity or a number as large, which JSON can't; send null"


@pytest.mark.parametrize(
    ("body", "media_type", "error"),
    [
        pytest.param(b'{"n": NaN}', JSON, BadPayload("the body isn't JSON: unexpected character"), id="NaN in a single event"),
        pytest.param(b'[{"n": NaN}' + b" " * 2**20 + b"]", JSON, BadPayload("the body isn't JSON: unexpected character"), id="NaN in an array too large to be read twice"),
        pytest.param('[{"id": "a"}]'.encode("utf-16"), JSON, BadPayload("the body isn't JSON: "), id="UTF-16"),
        pytest.param(b'[{"n": NaN}, {"id"', JSON, BadPayload("the body isn't JSON: unexpected character"), id="NaN in an array cut short"),
        pytest.param(b"", JSON, BadPayload("the body isn't JSON: Input is a zero-length, empty document"), id="nothing"),
        pytest.param(b"hello", "text/plain", BadPayload("the body isn't JSON: unexpected character"), id="text that isn't JSON"),
        pytest.param(b'{"id": "a"', JSON, BadPayload("the body isn't JSON: unexpected end of data"), id="JSON cut short"),
        pytest.param(b'"a"', JSON, BadPayload("the body is JSON, but neither an object nor an array of objects"), id="a text"),
        pytest.param(b"null", JSON, BadPayload("the body is JSON, but neither an object nor an array of objects"), id="null"),
        pytest.param(b"hello", FORM, BadPayload("the body is neither a form (id=home&load_ms=312) nor JSON"), id="a form without equals sign"),
        pytest.param(b"\xff=1", FORM, BadPayload("the body is neither a form (id=home&load_ms=312) nor JSON"), id="a form that isn't UTF-8"),
        pytest.param(b"a=1&" * 2000 + b"a=1", FORM, BadPayload("the body is neither a form (id=home&load_ms=312) nor JSON"), id="a form of thousands of fields"),
        pytest.param(b"<id>a</id>", "application/xml", UnsupportedMedia("Content-Type: 'application/xml' isn't understood; send application/json or application/x-ndjson"), id="another media type"),
    ],
)  # fmt: skip
def test_an_unreadable_body_is_refused(body: bytes, media_type: str, error: MetronomeError) -> None:
    with pytest.raises(type(error), match=f"^{re.escape(error.message)}"):
        read_events(body, media_type)


@pytest.mark.parametrize(
    "opening", [b"[", b'{"a":', b'[{"a":"\\ud83d","b":'], ids=["arrays", "objects", "with half an emoji"]
)
def test_a_hundred_thousand_levels_are_refused_and_harm_nothing(opening: bytes) -> None:
    with pytest.raises((BadPayload, TooLarge)):
        read_events(opening * 100_000, JSON)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        pytest.param(b'{"n": %d}', JSON, id="an object"),
        pytest.param(b'[{"a": 1}, {"n": %d}]', JSON, id="an array"),
        pytest.param(b'{"a": 1}\n{"n": %d}', NDJSON, id="a line"),
        pytest.param(b'[{"a": 1}, {"n": %d}, {"half": "\\ud83d"}]', JSON, id="beside half an emoji"),
    ],
)
def test_whole_numbers_of_any_length_keep_every_digit(body: bytes, media_type: str) -> None:
    posted = read_events(body % HUGE, media_type)
    assert json.dumps(posted.events[0 if len(posted.events) == 1 else 1]) == json.dumps({"n": HUGE})


def test_what_only_the_fast_reader_can_follow_keeps_what_it_read() -> None:
    deep = b"[" * 1020 + b"]" * 1020
    posted = read_events(b'[{"n": %d}, {"deep": %b}]' % (HUGE, deep), JSON)
    assert posted.events[0] == {"n": float(HUGE)}


@pytest.mark.parametrize(
    ("pairs", "event"),
    [
        pytest.param([("a", "1"), ("b", "2")], {"a": "1", "b": "2"}, id="a field each"),
        pytest.param([("a", "1"), ("a", "2")], {"a": ["1", "2"]}, id="twice is an array"),
        pytest.param(
            [("a", "1"), ("b", "x"), ("a", "2"), ("a", "3")], {"a": ["1", "2", "3"], "b": "x"}, id="thrice is one array"
        ),
        pytest.param([], {}, id="none"),
    ],
)
def test_form_fields_as_an_event(pairs: list[tuple[str, str]], event: dict[str, Any]) -> None:
    assert from_pairs(pairs) == event
