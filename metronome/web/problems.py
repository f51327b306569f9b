"""Answers to bytes that never became a request of the application, with the project's one error body."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from gunicorn.http.errors import (
    ConfigurationProblem,
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)

from metronome.errors import MetronomeError, error_body

#: What gunicorn calls an error of parsing, but no client has caused.
_OURS = (ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName)

#: (status, code, message)
Problem = tuple[int, str, str]

_JSON = "Content-Type: application/json"
_PLAIN = "Content-Type: text/plain; charset=utf-8\r\nAccess-Control-Allow-Origin: *"

TOO_SLOW: Problem = (408, "request_timeout", "the request took too long to arrive; send it again on a new connection")
NO_ROOM: Problem = (503, "busy", "too many requests are unfinished, and this one is the oldest; send it again")


def problem(error: Exception) -> Problem:
    """Status, code and message for what went wrong before, or outside, the application."""
    if isinstance(error, MetronomeError):
        return error.status, error.code, error.message
    if isinstance(error, LimitRequestLine):
        return 414, "uri_too_long", f"the address is longer than {error.max_size} bytes"
    if isinstance(error, LimitRequestHeaders):
        return 431, "headers_too_large", "there are too many request headers, or one is too long"
    if isinstance(error, ExpectationFailed):
        return 417, "expectation_failed", "of expectations only 100-continue is met"
    if isinstance(error, ParseException) and not isinstance(error, _OURS):
        return 400, "bad_request", f"this can't be read as HTTP: {str(error)[:200]}"
    return 500, "internal_error", "something went wrong in the gateway; its log has the details"


def answer(refused: Problem, *, retry_after_s: int | None = None, plain: bool = False) -> bytes:
    """The whole answer as bytes; `plain` for the clients of `/v1`, which read text, from any page."""
    if plain:
        return reply(refused[0], refused[2].encode(), retry_after_s=retry_after_s, headers=_PLAIN)
    return reply(refused[0], orjson.dumps(error_body(*refused)), retry_after_s=retry_after_s)


def reply(status: int, body: bytes, *, retry_after_s: int | None = None, headers: str = _JSON) -> bytes:
    """A whole answer as bytes; it says that the connection closes."""
    retry = f"Retry-After: {retry_after_s}\r\n" if retry_after_s is not None else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n{retry}"
        f"{headers}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
