"""HTTP functions for every route: bodies within limits, answers in JSON, scripts of other sites (CORS), ETags.

posted(request, settings)     the events of a request: body or query string, whatever form they have
body(request, settings)       the bytes of a request, inflated, no more than METRONOME_MAX_BODY_BYTES
loaded(request, settings, …)  its JSON as a schema takes it
json_answer(value, status)    an answer in JSON
receipted(receipt, …)         a receipt as it is answered, or the refusal of everything
error_answer(error)           the project's one error body
cacheable(value)              JSON with an ETag over its content, or 304
let_pages_call(routes, path)  CORS: a script of any site may post there
"""

from __future__ import annotations

import hashlib
import io
from typing import Any, NoReturn

import orjson
from flask import Blueprint, Request, Response, request
from marshmallow import Schema, ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser

from metronome.errors import BadPayload, LengthRequired, MetronomeError, NothingAccepted, TooLarge
from metronome.intake import Receipt
from metronome.settings import Settings
from metronome.wire.access import needs
from metronome.wire.events import Limits, Posted, from_pairs, inflate, read_events

JSON = "application/json"

#: Most fields of a multipart form. Each field costs the parser far more than its bytes.
_MAX_PARTS = 1000


def posted(request: Request, settings: Settings) -> Posted:
    """The events of a request. Where it has no body, its query parameters are one event.

    Raises LengthRequired, TooLarge, UnsupportedMedia or BadPayload; ClientDisconnected where the body is cut short.
    """
    found = body(request, settings)
    if not found and request.args:
        return Posted([{}], False)
    if request.mimetype == "multipart/form-data":
        return Posted([from_pairs(_parts(found, request, settings))], False)
    limits = Limits(settings.max_batch_events, settings.max_event_bytes)
    return read_events(found, request.headers.get("Content-Type", ""), limits)


def body(request: Request, settings: Settings) -> bytes:
    """The request's body, inflated; both sizes are within METRONOME_MAX_BODY_BYTES. Raises as `posted` does."""
    length = request.content_length
    if length is None and "chunked" not in request.headers.get("Transfer-Encoding", "").lower():
        if not request.args:
            raise LengthRequired("send a Content-Length, or Transfer-Encoding: chunked")
        return b""
    return inflate(
        _received(request, length, settings.max_body_bytes),
        request.headers.get("Content-Encoding", ""),
        max_bytes=settings.max_body_bytes,
        max_ratio=settings.max_inflation,
    )


def loaded(request: Request, settings: Settings, schema: Schema) -> dict[str, Any]:
    """The body's JSON as a schema takes it. Raises BadPayload that says what is wrong with it, and as `posted` does."""
    try:
        found: dict[str, Any] = schema.load(orjson.loads(body(request, settings)))
    except ValidationError as error:
        raise BadPayload(f"the body can't be taken: {error}") from None
    except ValueError as error:
        raise BadPayload(f"the body isn't JSON: {error}") from None
    return found


def _received(request: Request, length: int | None, most: int) -> bytes:
    """The bytes as they were sent; `length` is what Content-Length says, None for a chunked body."""
    too_large = TooLarge(f"the body is larger than {most} bytes; send smaller batches")
    if length is not None and length > most:
        raise too_large
    try:
        # No more is read than Content-Length says. Werkzeug's stream for chunked bodies copies in small pieces.
        data = request.get_data(cache=False) if length is None else request.input_stream.read(length)
    except RequestEntityTooLarge:
        raise too_large from None
    except OSError:
        raise ClientDisconnected from None
    if len(data) > most:
        raise too_large
    if length is not None and len(data) != length:
        raise ClientDisconnected
    return bytes(data)


def _parts(found: bytes, request: Request, settings: Settings) -> list[tuple[str, str]]:
    """The fields of a multipart form. Flask's own `request.form` is silently empty if the form is broken."""
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary:
        raise _no_form()
    parser = MultiPartParser(_refuse_file, settings.max_body_bytes, max_form_parts=_MAX_PARTS)
    fields: MultiDict[str, str]
    try:
        fields, _ = parser.parse(io.BytesIO(found), boundary.encode("ascii"), len(found))
    except RequestEntityTooLarge:
        raise TooLarge(f"a form has at most {_MAX_PARTS} fields") from None
    except ValueError:
        raise BadPayload("the form's parts can't be read; one is cut short, or the boundary is another") from None
    # The parser gives None for the name of a part that has none.
    if None in fields:
        raise BadPayload("a part of the form has no name; give each its name in Content-Disposition")
    return list(fields.items(multi=True))


def _no_form() -> BadPayload:
    return BadPayload("a form has fields only, no files, and its Content-Type names a boundary")


def _refuse_file(*_: Any, **__: Any) -> NoReturn:
    raise _no_form()


def json_answer(value: Any, status: int = 200) -> Response:
    """`value` as JSON; bytes are JSON already."""
    return Response(value if isinstance(value, bytes) else orjson.dumps(value), status, content_type=JSON)


def receipted(receipt: Receipt, *, full: bool, ids: bool) -> dict[str, Any]:
    """The receipt as a JSON-ready dictionary; raises NothingAccepted, with the first reason, if nothing was taken."""
    found = receipt.as_dict(full=full, ids=ids)
    if receipt.is_refusal:
        first = receipt.rejected[0]
        where = f"{first['field']}: " if first["field"] else ""
        raise NothingAccepted(f"no event was accepted; the first is refused for {where}{first['reason']}", found)
    return found


def error_answer(error: MetronomeError) -> Response:
    """The error's body and status, with `Retry-After` where the same request will work later."""
    response = json_answer(error.body(), error.status)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def cacheable(value: Any) -> Response:
    """JSON with an ETag over its content: a client that holds the same answer gets 304 and no body."""
    data = orjson.dumps(value)
    response = json_answer(data)
    response.set_etag(hashlib.blake2b(data, digest_size=12).hexdigest())
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


_ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
}
_PREFLIGHT = {
    **_ALLOWED,
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "content-type, content-encoding, authorization, x-api-key",
    "Access-Control-Max-Age": "86400",
}


def let_pages_call(routes: Blueprint, path: str) -> None:
    """Let scripts of any site POST to `path`: answers its preflight, and marks every answer, refusals too.

    The route itself is declared with `provide_automatic_options=False`, or Flask answers the preflight by itself.
    """

    @routes.route(path, methods=["OPTIONS"], endpoint=f"preflight{path.replace('/', '_')}")
    @needs("public")
    def preflight() -> Response:
        return Response(status=204, headers=_PREFLIGHT)

    @routes.after_request
    def mark(response: Response) -> Response:
        if request.path == path and "Access-Control-Allow-Origin" not in response.headers:
            response.headers.extend(_ALLOWED)
        return response
