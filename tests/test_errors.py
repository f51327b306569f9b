"""Every error of every route is the project's one error body; every foreign exception is one of ours."""

from __future__ import annotations

import gzip
import inspect
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import elastic_transport
import elasticsearch as elasticsearch_package
import pytest
from conftest import NOW, Gateway, Server
from elasticsearch import Elasticsearch
from werkzeug.test import Client, EnvironBuilder
from werkzeug.wrappers import Request

from metronome import errors
from metronome.errors import MetronomeError, SetupError, StoreRefused, StoreUnavailable
from metronome.settings import Settings
from metronome.spool.spool import Spool
from metronome.store.client import connect, our_errors
from metronome.web.app import Opened, create_app

JSON, NDJSON = "application/json", "application/x-ndjson"


def error_of(response: Any) -> dict[str, Any]:
    """The error of a response, once its form is checked: `{"status", "code", "message"}`, `field` where one is at fault."""
    assert response.content_type == "application/json", response.text
    error: dict[str, Any] = response.json["error"]
    assert error.keys() in ({"status", "code", "message"}, {"status", "code", "message", "field"})
    assert error["status"] == response.status_code
    assert error["code"].replace("_", "").isalpha()
    assert error["code"] == error["code"].lower()
    assert isinstance(error["message"], str)
    assert error["message"]
    assert "Traceback" not in response.text
    return error


ANOTHER = "send application/json or application/x-ndjson"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"data": b"null", "content_type": JSON}, {"status": 400, "code": "bad_payload", "message": "the body is JSON, but neither an object nor an array of objects"}, id="400 for a body that is no event"),
        pytest.param({"data": b"hello", "content_type": "application/x-www-form-urlencoded"}, {"status": 400, "code": "bad_payload", "message": "the body is neither a form (id=home&load_ms=312) nor JSON"}, id="400 for a form that isn't one"),
        pytest.param({"data": b"--x\r\n", "content_type": "multipart/form-data"}, {"status": 400, "code": "bad_payload", "message": "a form has fields only, no files, and its Content-Type names a boundary"}, id="400 for parts without a boundary"),
        pytest.param({"data": b'--x\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n1\r\n--x--\r\n', "content_type": "multipart/form-data; boundary=x"}, {"status": 400, "code": "bad_payload", "message": "a form has fields only, no files, and its Content-Type names a boundary"}, id="400 for a file in a form"),
        pytest.param({"data": b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", "content_type": "multipart/form-data; boundary=x"}, {"status": 400, "code": "bad_payload", "message": "a part of the form has no name; give each its name in Content-Disposition"}, id="400 for a part without a name"),
        pytest.param({"data": b"\x1f\x8b", "content_type": JSON, "headers": {"Content-Encoding": "gzip"}}, {"status": 400, "code": "bad_payload", "message": "the gzip body is cut short"}, id="400 for a gzip cut short"),
        pytest.param({"data": b'{"a":"' + b"x" * 5000 + b'"}', "content_type": JSON}, {"status": 413, "code": "too_large", "message": "the body is larger than 4096 bytes; send smaller batches"}, id="413 for a body too large"),
        pytest.param({"data": {"a": "x" * 5000}, "content_type": "multipart/form-data"}, {"status": 413, "code": "too_large", "message": "the body is larger than 4096 bytes; send smaller batches"}, id="413 for a form too large"),
        pytest.param({"data": b'{"a":"' + b"x" * 5000 + b'"}', "content_type": JSON, "environ_overrides": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}}, {"status": 413, "code": "too_large", "message": "the body is larger than 4096 bytes; send smaller batches"}, id="413 for chunks that never end"),
        pytest.param({"json": [{}] * 4}, {"status": 413, "code": "too_large", "message": "4 events in one request; send at most 3 (METRONOME_MAX_BATCH_EVENTS)"}, id="413 for too many events"),
        pytest.param({"data": b"<a/>", "content_type": "application/xml"}, {"status": 415, "code": "unsupported_media", "message": f"Content-Type: 'application/xml' isn't understood; {ANOTHER}"}, id="415 for another media type"),
        pytest.param({"data": b"{}", "content_type": JSON, "headers": {"Content-Encoding": "br"}}, {"status": 415, "code": "unsupported_media", "message": "Content-Encoding: 'br' isn't understood; send gzip or nothing"}, id="415 for another encoding"),
    ],
)  # fmt: skip
def test_what_a_tick_is_refused_for_is_said_in_the_one_body(
    gateway_for: Callable[..., Gateway], options: dict[str, Any], error: dict[str, Any]
) -> None:
    gateway = gateway_for(max_body_bytes=4096, max_batch_events=3)
    response = gateway.tick(**options)
    error_of(response)
    assert response.json == {"error": error}
    assert gateway.drain().outcome.indexed == 0


PART = b'--x\r\nContent-Disposition: form-data; name="load_ms"\r\n\r\n312\r\n'
PARTS = "multipart/form-data; boundary=x"
IN_CHUNKS = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "Chunked", "CONTENT_LENGTH": ""}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"data": PART, "content_type": PARTS}, id="a form without its last boundary"),
        pytest.param({"data": PART[:20], "content_type": PARTS}, id="a form cut in a part's head"),
        pytest.param({"data": PART.replace(b"--x", b"--y") + b"--y--", "content_type": PARTS}, id="a form with another boundary"),
        pytest.param({"data": b"--x\r\n\r\n312\r\n--x--\r\n", "content_type": PARTS}, id="a part without a name"),
        pytest.param({"data": b"312", "content_type": PARTS}, id="no form at all"),
        pytest.param({"data": b"hello", "content_type": JSON, "environ_overrides": IN_CHUNKS}, id="chunks, spelt in capitals, of no JSON"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused_also_where_the_query_would_do(
    gateway: Gateway, options: dict[str, Any]
) -> None:
    error = error_of(gateway.tick(path="/tick?id=home", **options))
    assert (error["status"], error["code"]) == (400, "bad_payload")
    assert gateway.drain().outcome.indexed == 0


def test_411_where_a_body_has_neither_length_nor_chunks(gateway: Gateway) -> None:
    environ = EnvironBuilder("/tick", method="POST").get_environ()
    environ.pop("CONTENT_LENGTH", None)
    answer = Client(gateway.app).open(Request(environ))
    message = "send a Content-Length, or Transfer-Encoding: chunked"
    assert error_of(answer) == {"status": 411, "code": "length_required", "message": message}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param(4, 202, id="at the limit"),
        pytest.param(5, 413, id="a byte past it"),
        pytest.param(400, 413, id="far past it"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_past_the_limit_is_refused_whole_never_cut(
    gateway_for: Callable[..., Gateway], lines: int, status: int, chunked: bool
) -> None:
    gateway = gateway_for(max_body_bytes=4 * 1024)
    line = json.dumps({"text": "x" * (1024 - len('{"text": ""}') - 1)}).encode() + b"\n"
    body = line * lines if lines != 5 else line * 4 + b"\n"
    environ = (
        {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""} if chunked else {}
    )
    answer = gateway.tick(data=body, content_type=NDJSON, environ_overrides=environ)
    assert (len(line), answer.status_code) == (1024, status)
    assert gateway.drain().outcome.indexed == (4 if status == 202 else 0)


def test_a_bomb_is_413(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(max_body_bytes=2**20)
    response = gateway.tick(data=gzip.compress(b" " * 2**22), content_type=JSON, headers={"Content-Encoding": "gzip"})
    limit = max(2**16, len(gzip.compress(b" " * 2**22)) * 100)
    assert error_of(response) == {
        "status": 413,
        "code": "too_large",
        "message": f"the body inflates to more than {limit} bytes; send smaller batches",
    }


def test_422_names_the_field_and_carries_the_receipt(gateway: Gateway) -> None:
    response = gateway.tick([{"insert_id": "i 1"}, 5])
    reason = "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -"
    error_of(response)
    assert response.json == {
        "error": {"status": 422, "code": "nothing_accepted", "message": f"no event was accepted; the first is refused for insert_id: {reason}"},
        "accepted": 0,
        "duplicate": 0,
        "quarantined": 0,
        "rejected": [
            {"index": 0, "id": "i 1", "field": "insert_id", "reason": reason},
            {"index": 1, "id": None, "field": None, "reason": 'an event is a JSON object, such as {"id": "home"}'},
        ],
        "rejected_total": 2,
    }  # fmt: skip
    assert gateway.tick([5], path="/tick?echo=1").status_code == 422


def test_429_says_when_to_return(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(rate_limit="2/hour")
    answers = [gateway.tick({}, environ_overrides={"REMOTE_ADDR": "192.0.2.1"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    wait = int(answers[2].headers["Retry-After"])
    assert 3500 < wait <= 3601
    assert error_of(answers[2]) == {
        "status": 429,
        "code": "too_many",
        "message": f"more than 2/hour from one address; send again in {wait} s",
    }
    assert answers[2].headers["Access-Control-Allow-Origin"] == "*"
    assert gateway.tick({}, environ_overrides={"REMOTE_ADDR": "192.0.2.2"}).status_code == 202


@pytest.fixture
def http_with(settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Any:
    """An application on what the caller opened."""

    def make(spool: Any = None, client: Elasticsearch | None = None) -> Any:
        settings.spool_dir.mkdir(parents=True, exist_ok=True)
        return create_app(settings, Opened(spool, client or elasticsearch), clock=lambda: NOW).test_client()

    return make


def test_503_where_the_spool_is_full_says_when_to_return(http_with: Any, settings: Settings) -> None:
    spool = Spool(settings.spool_dir, max_bytes=1)  # the smallest there is
    http = http_with(spool)
    answers = [http.post("/tick", json={"text": "x" * 30_000}) for _ in range(12)]
    spool.close()
    assert sorted({answer.status_code for answer in answers}) == [202, 503]
    assert answers[-1].headers["Retry-After"] == "30"
    assert answers[-1].headers["Access-Control-Allow-Origin"] == "*"
    message = "the spool is full: Elasticsearch has been away or slow for long; send this again later"
    assert error_of(answers[-1]) == {"status": 503, "code": "spool_full", "message": message}


def test_a_thousand_refusals_are_one_line_of_the_log_until_some_time_has_passed(
    http_with: Any, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("metronome.logs.time.monotonic", lambda: now)
    spool = Spool(settings.spool_dir, max_bytes=1)
    http = http_with(spool)
    refused = [http.post("/tick", json={"text": "x" * 30_000}).status_code for _ in range(30)].count(503)
    now += 10
    http.post("/tick", json={"text": "x" * 30_000})
    spool.close()
    said = [getattr(record, "unsaid", 0) for record in caplog.records if record.name == "metronome.web"]
    assert refused > 1
    assert said == [0, refused - 1]


def test_503_where_elasticsearch_is_away_says_when_to_return_and_ticks_go_on(
    http_with: Any, settings: Settings
) -> None:
    spool, away = Spool(settings.spool_dir), connect(settings)
    http = http_with(spool, away)
    answer = http.get("/tock/home.json")
    assert http.post("/tick", json={"id": "home"}).status_code == 202
    spool.close()
    away.close()
    assert error_of(answer) == {
        "status": 503,
        "code": "store_unavailable",
        "message": "Elasticsearch doesn't answer",
    }
    assert answer.headers["Retry-After"] == "5"


LINE = b"POST /tick HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CUT = "the body is cut short, or its chunks can't be read; send it again"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "code", "message"),
    [
        pytest.param(b"hello\r\n\r\n", 400, "bad_request", "this can't be read as HTTP: ", id="no HTTP at all"),
        pytest.param(LINE + b"Content-Length: 2, 3\r\n\r\n{}", 400, "bad_request", "this can't be read as HTTP: ", id="two lengths"),
        pytest.param(LINE + b"Bad Name: x\r\n\r\n", 400, "bad_request", "this can't be read as HTTP: ", id="a header that is none"),
        pytest.param(b"GET /tock/" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long", "the address is longer than 8190 bytes", id="a long address"),
        pytest.param(LINE + b"X: %b\r\n\r\n" % (b"x" * 9000), 431, "headers_too_large", "there are too many request headers, or one is too long", id="a long header"),
        pytest.param(LINE + b"X: x\r\n" * 200 + b"\r\n", 431, "headers_too_large", "there are too many request headers, or one is too long", id="many headers"),
        pytest.param(LINE + b"Transfer-Encoding: br\r\n\r\n", 400, "bad_request", "this can't be read as HTTP: ", id="another transfer coding"),
        pytest.param(LINE + b"Expect: miracles\r\n\r\n", 417, "expectation_failed", "of expectations only 100-continue is met", id="an expectation"),
        pytest.param(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400, "bad_payload", CUT, id="a chunk of no length"),
        pytest.param(CHUNKED + b"2\r\n{}xx0\r\n\r\n", 400, "bad_payload", CUT, id="a chunk without an end"),
        pytest.param(CHUNKED + b"9\r\n{}", 400, "bad_payload", CUT, id="a chunk cut short"),
        pytest.param(CHUNKED + b"2\r\n{}\r\n", 400, "bad_payload", CUT, id="chunks without an end"),
        pytest.param(LINE + b"Content-Length: 50\r\n\r\n[{}", 400, "bad_payload", CUT, id="a body cut short"),
        pytest.param(LINE.replace(b"json", b"x-ndjson") + b"Content-Length: 50\r\n\r\n{}\n", 400, "bad_payload", CUT, id="a body cut at the end of a line"),
    ],
)  # fmt: skip
def test_what_never_becomes_a_request_is_refused_in_the_one_body_too(
    server: Server, request_bytes: bytes, status: int, code: str, message: str
) -> None:
    host, _, port = server.bind.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split(b" ")[1]) == status
    assert b"content-type: application/json" in head.lower()
    error = json.loads(body)["error"]
    assert {**error, "message": error["message"][: len(message)]} == {
        "status": status,
        "code": code,
        "message": message,
    }


def test_500_tells_the_caller_nothing_of_what_is_inside(http_with: Any) -> None:
    answer = http_with(spool=object()).post("/tick", json={"id": "home"})
    message = "something went wrong in the gateway; its log has the details"
    assert error_of(answer) == {"status": 500, "code": "internal_error", "message": message}


def test_what_elasticsearch_said_stays_in_the_log(gateway: Gateway) -> None:
    gateway.accepted({"id": "home", "ts": "2026-11-20"})
    gateway.drain()
    name = f"{gateway.settings.index_prefix}-2026.11.20"
    gateway.elasticsearch.indices.put_settings(index=name, settings={"index.blocks.read": True})
    answer = gateway.http.get("/tock/home.json")
    message = "the gateway can't answer this; its log says why"
    assert error_of(answer) == {"status": 500, "code": "setup_error", "message": message}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("/tock/a?tz=Mars", {"status": 400, "code": "bad_question", "message": "'Mars' is not a time zone; use an IANA name such as Europe/Paris or UTC"}, id="400 for a time zone"),
        pytest.param("/tock/a?from=soon", {"status": 400, "code": "bad_question", "message": "from: 'soon' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z"}, id="400 for a date"),
        pytest.param("/tock/a?from=0001-01-01T00:00:00%2B14:00", {"status": 400, "code": "bad_question", "message": "from: '0001-01-01T00:00:00+14:00' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z"}, id="400 for a date before all dates"),
        pytest.param("/tock/a?form=2026-01-01", {"status": 400, "code": "bad_question", "field": "form"}, id="400 for a misspelt parameter"),
        pytest.param("/tock/a?limit=-1", {"status": 400, "code": "bad_question", "field": "limit"}, id="400 for a value out of range"),
        pytest.param("/tock/a?include=everything", {"status": 400, "code": "bad_question", "field": "include"}, id="400 for an unknown block"),
        pytest.param("/tock/a?strict=1", {"status": 404, "code": "not_found", "message": "no event of item 'a' was ever counted"}, id="404 for an unknown item, if asked for"),
        pytest.param("/tock/.json", {"status": 404, "code": "not_found", "message": "an item's id is missing; ask for /tock/ID.json"}, id="404 for no item"),
        pytest.param("/tock/", {"status": 404, "code": "not_found", "message": "there is nothing at /tock/; /openapi.json lists the routes"}, id="404 for nothing at all"),
        pytest.param("/wp-login.php", {"status": 404, "code": "not_found", "message": "there is nothing at /wp-login.php; /openapi.json lists the routes"}, id="404 for what others have"),
        pytest.param("/try/nothing.js", {"status": 404, "code": "not_found", "message": "there is nothing at /try/nothing.js; /openapi.json lists the routes"}, id="404 for a file that isn't there"),
        pytest.param("/try/../app.py", {"status": 404, "code": "not_found"}, id="404 for a path that climbs out"),
        pytest.param("/tick", {"status": 405, "code": "method_not_allowed", "message": "GET isn't served at /tick; /openapi.json lists the routes"}, id="405 for a GET of a tick"),
    ],
)  # fmt: skip
def test_what_a_question_is_refused_for_is_said_in_the_one_body(
    gateway: Gateway, path: str, error: dict[str, Any]
) -> None:
    found = error_of(gateway.http.get(path))
    assert {**found, **error} == found


#: `/v1` answers in plain text, the others in JSON of another shape.
OWN_ERRORS = ("/v1/", "/_/metrics/", "/api/v1/", "/r51/")


def routes(gateway: Gateway) -> list[tuple[str, set[str]]]:
    """All but those of dialects whose contract has errors of its own; tests of those dialects look at them."""
    rules = gateway.app.url_map.iter_rules()
    return sorted((rule.rule, set(rule.methods or ())) for rule in rules if not rule.rule.startswith(OWN_ERRORS))


def test_a_wrong_method_is_405_at_every_route_and_names_the_right_ones(gateway: Gateway) -> None:
    found = {}
    for rule, _ in routes(gateway):
        path = rule.replace("<item:item>", "a").replace("<path:path>", "index.html")
        allowed = {method for other, methods in routes(gateway) if other == rule for method in methods}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "BREW"} - allowed:
            answer = gateway.http.open(path, method=method)
            error = error_of(answer)
            found[rule, method] = (error["status"], error["code"], set(answer.headers["Allow"].split(", ")))
            assert found[rule, method] == (405, "method_not_allowed", allowed), (rule, method)
            assert error["message"] == f"{method} isn't served at {path}; /openapi.json lists the routes"
    assert {rule for rule, _ in found} >= {
        "/tick",
        "/tock/<item:item>",
        "/tocks/<item:item>",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    }


def test_a_path_below_or_beside_any_route_is_404(gateway: Gateway) -> None:
    below = [rule + "/below" for rule, _ in routes(gateway) if "<" not in rule and rule != "/"]
    paths = [*below, "/ticks", "/tockx/a"]
    served = {path: gateway.http.get(path) for path in paths}
    assert {path: error_of(answer)["status"] for path, answer in served.items()} == dict.fromkeys(paths, 404)


# --- The tree -------------------------------------------------------------------------------------------------


def test_each_error_has_its_status_and_code() -> None:
    tree = {
        error.__name__: (error.status, error("why", {}).code if error is errors.NothingAccepted else error("why").code)
        for error in vars(errors).values()
        if inspect.isclass(error) and issubclass(error, MetronomeError)
    }
    assert tree == {
        "MetronomeError": (500, "metronome_error"),
        "Refused": (400, "refused"),
        "BadPayload": (400, "bad_payload"),
        "BadQuestion": (400, "bad_question"),
        "BadKey": (401, "bad_key"),
        "Forbidden": (403, "forbidden"),
        "NotFound": (404, "not_found"),
        "Conflict": (409, "conflict"),
        "LengthRequired": (411, "length_required"),
        "TooLarge": (413, "too_large"),
        "UnsupportedMedia": (415, "unsupported_media"),
        "Misdirected": (421, "misdirected"),
        "ReportInvalid": (422, "report_invalid"),
        "NothingAccepted": (422, "nothing_accepted"),
        "TooMuch": (422, "too_much"),
        "TooMany": (429, "too_many"),
        "Declined": (400, "declined"),
        "Busy": (503, "busy"),
        "SpoolFull": (503, "spool_full"),
        "SpoolUnavailable": (503, "spool_unavailable"),
        "ArchiveUnavailable": (503, "archive_unavailable"),
        "PartsUnavailable": (503, "parts_unavailable"),
        "ImportFailed": (503, "import_failed"),
        "QuestionsWait": (503, "questions_wait"),
        "DaysClosed": (503, "days_closed"),
        "StoreUnavailable": (503, "store_unavailable"),
        "Broken": (500, "broken"),
        "ArchiveDamaged": (500, "archive_damaged"),
        "SetupError": (500, "setup_error"),
        "StoreRefused": (500, "store_refused"),
    }
    assert all(name in (errors.__doc__ or "") for name in tree)


def test_the_description_lists_every_error_a_tick_may_get(gateway: Gateway) -> None:
    responses = json.loads(gateway.http.get("/openapi.json").data)["paths"]["/tick"]["post"]["responses"]
    assert responses.keys() == {"200", "202", "400", "401", "403", "411", "413", "415", "422", "429", "503"}


def raised_by(package: Any, root: type[Exception]) -> list[type[Exception]]:
    return [found for found in vars(package).values() if inspect.isclass(found) and issubclass(found, root)]


META = elastic_transport.ApiResponseMeta(
    400, "1.1", elastic_transport.HttpHeaders(), 0.0, elastic_transport.NodeConfig("http", "localhost", 9200)
)


@pytest.mark.parametrize(
    "foreign", raised_by(elastic_transport, elastic_transport.TransportError), ids=lambda foreign: str(foreign.__name__)
)
def test_every_exception_of_the_transport_is_one_of_ours(foreign: Any) -> None:
    with pytest.raises(MetronomeError) as mapped, our_errors():
        raise foreign("why")
    assert type(mapped.value) is (SetupError if foreign is elastic_transport.TlsError else StoreUnavailable)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "foreign",
    raised_by(elasticsearch_package, elasticsearch_package.ApiError),
    ids=lambda foreign: str(foreign.__name__),
)
def test_every_answer_of_elasticsearch_is_one_of_ours(foreign: Any, status: int) -> None:
    theirs = status in (401, 403) or foreign is elasticsearch_package.UnsupportedProductError
    expected = SetupError if theirs else StoreUnavailable if status in (429, 502, 503, 504) else StoreRefused
    with pytest.raises(MetronomeError) as mapped, our_errors():
        raise foreign("why", replace(META, status=status), {})
    assert type(mapped.value) is expected
