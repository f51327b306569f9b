"""Requests that come bit by bit: where they end, what their body is, and what is none."""

from __future__ import annotations

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException

from metronome.errors import BadPayload
from metronome.web.arriving import MAX_HEAD_BYTES, MAX_SIZE_LINE, Arriving

LIMIT = 1000
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

#: (bytes, what they are: method, body, whole)
REQUESTS = [
    pytest.param(GET, ("GET", b"", True), id="no body"),
    pytest.param(b"\r\n" + GET, ("GET", b"", True), id="an empty line before it"),
    pytest.param(POST + b"Content-Length: 5\r\n\r\nhello", ("POST", b"hello", True), id="a length"),
    pytest.param(POST + b"Content-Length: 0\r\n\r\n", ("POST", b"", True), id="a length of nothing"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n", ("POST", b"hello there", True), id="chunks"),
    pytest.param(
        CHUNKED.replace(b"c", b"C") + b'00A ;name="v"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n',
        ("POST", b"0123456789", True),
        id="chunks with extensions and trailers, in capitals",
    ),
    pytest.param(CHUNKED + b"0\r\n\r\n", ("POST", b"", True), id="no chunk"),
]


def arriving() -> Arriving:
    return Arriving(Config(), ("127.0.0.1", 1), LIMIT)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(("sent", "expected"), REQUESTS)
def test_a_request_is_whole_with_its_last_byte_however_it_comes(
    sent: bytes, expected: tuple[str, bytes, bool], step: int
) -> None:
    found = arriving()
    for start in range(0, len(sent), step):
        assert found.next() is None
        found.feed(sent[start : start + step])
    arrived = found.next()
    assert arrived is not None
    assert (arrived.request.method, arrived.body, arrived.whole) == expected
    assert (found.size, found.has_head, found.next()) == (0, False, None)


def test_requests_sent_together_come_one_after_another() -> None:
    found = arriving()
    sent = [row.values for row in REQUESTS]
    found.feed(b"".join(row[0] for row in sent))
    given = [found.next() for _ in sent]
    assert [(one.request.method, one.body, one.whole) for one in given if one] == [row[1] for row in sent]


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        pytest.param(POST + b"Content-Length: 1001\r\n\r\n", b"", id="a length over the limit"),
        pytest.param(CHUNKED + b"3e9\r\n" + b"x" * 1001, b"x" * 1001, id="chunks over the limit"),
    ],
)
def test_what_is_over_the_limit_is_given_at_once_to_be_refused(sent: bytes, body: bytes) -> None:
    found = arriving()
    found.feed(sent)
    arrived = found.next()
    assert arrived is not None
    assert (arrived.body, arrived.whole) == (body, False)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        pytest.param(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ParseException, id="a length and chunks"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", ParseException, id="chunks and a length"),
        pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", ParseException, id="two lengths"),
        pytest.param(POST + b"Content-Length: +5\r\n\r\n", ParseException, id="a length with a sign"),
        pytest.param(POST + b"Content-Length: 0x5\r\n\r\n", ParseException, id="a length in hexadecimal"),
        pytest.param(POST + b"Content-Length : 5\r\n\r\n", ParseException, id="a space before the colon"),
        pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n", ParseException, id="another coding"),
        pytest.param(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n", ParseException, id="a coding after chunked"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ParseException, id="chunked twice"),
        pytest.param(CHUNKED.replace(b"1.1", b"1.0"), ParseException, id="chunks in HTTP/1.0"),
        pytest.param(POST + b" folded: x\r\n\r\n", ParseException, id="a folded header"),
        pytest.param(GET.replace(b"\r\n", b"\n"), ParseException, id="lines that end with LF alone"),
        pytest.param(POST + b"X: " + b"x" * MAX_HEAD_BYTES, ParseException, id="a head without an end"),
        pytest.param(CHUNKED + b"-5\r\nhello\r\n", BadPayload, id="a chunk of negative length"),
        pytest.param(CHUNKED + b"+5\r\nhello\r\n", BadPayload, id="a chunk's length with a sign"),
        pytest.param(CHUNKED + b"0x5\r\nhello\r\n", BadPayload, id="a chunk's length with 0x"),
        pytest.param(CHUNKED + b"5_0\r\nhello\r\n", BadPayload, id="a chunk's length with an underscore"),
        pytest.param(CHUNKED + b"\r\nhello\r\n", BadPayload, id="a chunk without a length"),
        pytest.param(CHUNKED + b"f" * 16 + b"\r\n", BadPayload, id="a chunk of 2^64 bytes"),
        pytest.param(CHUNKED + b"5\nhello\r\n0\r\n\r\n", BadPayload, id="a chunk's length that ends with LF"),
        pytest.param(CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n", BadPayload, id="an extension with CR"),
        pytest.param(CHUNKED + b"5\r\nhelloo\r\n0\r\n\r\n", BadPayload, id="a chunk longer than it says"),
        pytest.param(CHUNKED + b"5;" + b"x" * MAX_SIZE_LINE, BadPayload, id="an extension without an end"),
        pytest.param(CHUNKED + b"0\r\n" + b"x: yyyy\r\n" * 10_000, BadPayload, id="trailers without an end"),
        pytest.param(CHUNKED + b"0\r\na: b\nc: d\r\n\r\n", BadPayload, id="a trailer that ends with LF"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(sent: bytes, error: type[Exception]) -> None:
    found = arriving()
    found.feed(sent)
    with pytest.raises(error):
        found.next()


def test_a_client_that_ends_inside_a_body_is_told_so() -> None:
    found = arriving()
    found.feed(POST + b"Content-Length: 5\r\n\r\nhell")
    assert found.next() is None
    with pytest.raises(BadPayload):
        found.end()
