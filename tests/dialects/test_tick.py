"""POST /tick through HTTP: every way to send events, which headers count, CORS, receipts and records."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import NOW, Gateway

from metronome.cli import main
from metronome.event.agents import ROBOT_LIST

STAMPS = {"@version": "1", "received_at": "2026-11-22T09:30:00.000Z", "dialect": "tick"}
AT_NOW = {"@timestamp": "2026-11-22T09:30:00.000Z", **STAMPS}
NO_ONE = {"accepted": 0, "duplicate": 0, "quarantined": 0}

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
CURL, GOOGLEBOT = "curl/8.5.0", "Mozilla/5.0 (compatible; Googlebot/2.1)"
JSON, NDJSON, FORM = "application/json", "application/x-ndjson", "application/x-www-form-urlencoded"


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway]) -> Gateway:
    return gateway_for(NOW)


def echoed(gateway: Gateway, **options: Any) -> Any:
    """The records that a POST gives as they will be stored, each without what is the same in all."""
    options["query_string"] = f"{options.get('query_string', '')}&echo=1"
    response = gateway.tick(**options)
    assert response.status_code == 200, response.text
    records = response.json
    for record in records if isinstance(records, list) else [records]:
        if "error" not in record:
            assert {name: record.pop(name) for name in STAMPS} == STAMPS
    return records


ONE = {"id": "home", "item_id": "home", "load_ms": 312, "event": "view", "@timestamp": AT_NOW["@timestamp"]}
ONE_IN_BATCH = {name: value for name, value in ONE.items() if name != "item_id"}
ONE_OF_A_FORM = {**ONE, "load_ms": "312"}


WAYS: list[Any] = [
    pytest.param({"json": {"id": "home", "load_ms": 312}}, ONE, id="a JSON object"),
    pytest.param({"json": [{"id": "home", "load_ms": 312}]}, [ONE_IN_BATCH], id="an array"),
    pytest.param({"data": b'{"id":"home","load_ms":312}\n{"id":"home","load_ms":312}\n', "content_type": NDJSON}, [ONE_IN_BATCH] * 2, id="NDJSON"),
    pytest.param({"data": b'{"id":"home","load_ms":312}\n{"id":"home","load_ms":312}', "content_type": JSON}, [ONE_IN_BATCH] * 2, id="NDJSON as application/json"),
    pytest.param({"data": b'{"id":"home","load_ms":312}', "content_type": "text/plain;charset=UTF-8"}, ONE, id="a browser's beacon"),
    pytest.param({"data": b'[{"id":"home","load_ms":312}]', "content_type": "text/plain"}, [ONE_IN_BATCH], id="an array in a beacon"),
    pytest.param({"data": b'{"id":"home","load_ms":312}'}, ONE, id="no media type"),
    pytest.param({"data": b'{"id":"home","load_ms":312}', "content_type": FORM}, ONE, id="curl -d without a media type"),
    pytest.param({"data": {"id": "home", "load_ms": "312"}}, ONE_OF_A_FORM, id="form fields"),
    pytest.param({"data": {"id": "home", "load_ms": "312"}, "content_type": "multipart/form-data"}, ONE_OF_A_FORM, id="form fields in parts"),
    pytest.param({"query_string": "id=home&load_ms=312"}, ONE_OF_A_FORM, id="query parameters alone"),
    pytest.param({"query_string": "id=home", "json": {"load_ms": 312}}, ONE, id="query parameters beside a body"),
    pytest.param({"query_string": "id=other&id=else", "json": {"id": "home", "load_ms": 312}}, ONE, id="the body wins over query parameters"),
    pytest.param({"query_string": "id=home", "json": [{"load_ms": 312}, {"id": "x", "load_ms": 312}]}, [ONE_IN_BATCH, {**ONE_IN_BATCH, "id": "x"}], id="query parameters hold for a whole batch"),
    pytest.param({"query_string": "tag=a&tag=b", "json": {}}, {"tag": ["a", "b"], "event": "view", "@timestamp": AT_NOW["@timestamp"]}, id="a parameter given twice is an array"),
    pytest.param({"json": {"item_id": "home"}}, {"item_id": "home", "event": "view", "@timestamp": AT_NOW["@timestamp"]}, id="item_id alone counts as the id"),
    pytest.param({"json": {"id": "home", "item_id": "other"}}, {"id": "home", "item_id": "other", "event": "view", "@timestamp": AT_NOW["@timestamp"]}, id="item_id as sent stays beside id"),
    pytest.param({"json": {"extra": {"item_id": "home", "page": {"load_ms": 312}}}}, {"extra.item_id": "home", "extra.page.load_ms": 312, "event": "view", "@timestamp": AT_NOW["@timestamp"]}, id="nested objects are flattened with dots"),
    pytest.param({"json": {"n": 2**70, "list": [2**70]}, "query_string": "id=home", "headers": {"Accept": "text/html"}}, {"n": 2**70, "list": [2**70], "id": "home", "item_id": "home", "accept": "text/html", "event": "view", "@timestamp": AT_NOW["@timestamp"]}, id="a huge number costs neither digits nor parameters nor headers"),
    pytest.param({"json": [{"n": 2**70}, {"n": -(2**64)}], "query_string": "id=home"}, [{"n": 2**70, "id": "home", "event": "view", "@timestamp": AT_NOW["@timestamp"]}, {"n": -(2**64), "id": "home", "event": "view", "@timestamp": AT_NOW["@timestamp"]}], id="nor in a batch"),
    pytest.param({"json": []}, [], id="an empty array"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "records"), WAYS)
def test_every_way_to_send_an_event(gateway: Gateway, request_: dict[str, Any], records: Any) -> None:
    found = echoed(gateway, **request_)
    assert json.dumps(found, sort_keys=True) == json.dumps(records, sort_keys=True)  # as text: 312 isn't 312.0


@pytest.mark.parametrize(
    ("request_", "records"),
    [way for way in WAYS if isinstance(way.values[0].get("data"), bytes) or "json" in way.values[0]],
)
def test_every_way_works_compressed(gateway: Gateway, request_: dict[str, Any], records: Any) -> None:
    plain = dict(request_)
    body = plain.pop("data", None) or json.dumps(plain.pop("json")).encode()
    headers = {**plain.pop("headers", {}), "Content-Encoding": "gzip"}
    if "json" in request_:
        plain["content_type"] = JSON
    found = echoed(gateway, **plain, data=gzip.compress(body), headers=headers)
    assert json.dumps(found, sort_keys=True) == json.dumps(records, sort_keys=True)


def test_a_compressed_form_is_a_form(gateway: Gateway) -> None:
    body = gzip.compress(b"id=home&load_ms=312")
    assert echoed(gateway, data=body, content_type=FORM, headers={"Content-Encoding": "gzip"}) == ONE_OF_A_FORM


def test_a_chunked_body_without_a_length_is_taken(gateway: Gateway) -> None:
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    record = echoed(gateway, data=b'{"id":"home","load_ms":312}', content_type=JSON, environ_overrides=chunked)
    assert record == ONE


def test_what_is_answered_is_what_is_stored(gateway: Gateway) -> None:
    answer = gateway.tick({"id": "a", "insert_id": "i1", "deep": {"er": [1, "x"]}, "_id": "mine"}, path="/tick?echo=1")
    batch = gateway.tick(
        [{"insert_id": "i2"}, {"insert_id": "no id"}, {"insert_id": "i3", "n": 2**70}], path="/tick?echo=1"
    )
    refusal = {
        "status": 422,
        "code": "refused",
        "message": "an insert_id has 1 to 64 characters of A-Z, a-z, 0-9, _ and -",
        "field": "insert_id",
    }
    records: list[dict[str, Any]] = [
        {"id": "a", "insert_id": "i1", "deep.er": ["1", "x"], "renamed._id": "mine", "item_id": "a", "flags": ["mixed_array", "renamed_keys"], "event": "view", **AT_NOW},
        {"insert_id": "i2", "event": "view", **AT_NOW},
        {"insert_id": "i3", "n": 2**70, "event": "view", **AT_NOW},
    ]  # fmt: skip
    assert [answer.status_code, batch.status_code] == [200, 200]
    assert [answer.json, *batch.json] == [records[0], records[1], {"error": refusal}, records[2]]
    index = f"{gateway.settings.index_prefix}-2026.11.22"
    assert gateway.documents() == [{"_index": index, "_id": record["insert_id"], **record} for record in records]


@pytest.mark.parametrize(
    ("value", "status"),
    [("1", 200), ("true", 200), ("0", 202), ("false", 202), ("", 202)],
    ids=["1", "true", "0", "false", "empty"],
)
def test_echo_is_a_wish_and_no_property(gateway: Gateway, value: str, status: int) -> None:
    response = gateway.tick({"insert_id": "i1"}, path=f"/tick?echo={value}")
    assert response.status_code == status
    assert response.json == (
        {"insert_id": "i1", "event": "view", **AT_NOW}
        if status == 200
        else {**NO_ONE, "accepted": 1, "ids": ["i1"], "rejected": [], "rejected_total": 0}
    )
    gateway.tick({"echo": "in the body it is one", "insert_id": "i2"})
    assert [document.get("echo") for document in gateway.documents()] == [None, "in the body it is one"]


def test_the_receipt_has_counts_ids_and_each_refusal_and_the_good_ones_are_kept(gateway: Gateway) -> None:
    body = b'{"id":"a","insert_id":"i1"}\nnonsense\n{"id":"b","insert_id":"i1"}\n{"id":"c","insert_id":"i2","ts":"soon"}\n{"id":"d"}\n[]\n'
    response = gateway.tick(data=body, content_type=NDJSON, path="/tick?receipt=full")
    assert response.status_code == 202
    receipt = response.json
    minted = receipt["ids"][4]
    assert receipt == {
        "accepted": 2,
        "duplicate": 1,
        "quarantined": 3,
        "ids": ["i1", None, "i1", None, minted, None],
        "rejected": [
            {"index": 1, "id": None, "field": None, "reason": receipt["rejected"][0]["reason"]},
            {"index": 3, "id": "i2", "field": "ts", "reason": "'soon' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z"},
            {"index": 5, "id": None, "field": None, "reason": 'an event is a JSON object, such as {"id": "home"}'},
        ],
        "rejected_total": 3,
    }  # fmt: skip
    assert receipt["rejected"][0]["reason"].startswith("the line isn't JSON: ")
    index = f"{gateway.settings.index_prefix}-2026.11.22"
    assert gateway.documents() == [
        {"_index": index, "_id": minted, "id": "d", "event": "view", **AT_NOW},
        {"_index": index, "_id": "i1", "id": "a", "insert_id": "i1", "event": "view", **AT_NOW},
    ]
    short = gateway.tick(data=body, content_type=NDJSON).json
    assert short == {name: value for name, value in receipt.items() if name != "ids"}


def test_what_was_renamed_and_withheld_is_said(gateway: Gateway) -> None:
    receipt = gateway.accepted({"insert_id": "i1", "": 1, "client": {"ip": "192.0.2.7"}})
    assert receipt == {
        **NO_ONE,
        "accepted": 1,
        "ids": ["i1"],
        "rejected": [],
        "rejected_total": 0,
        "renamed": [{"index": 0, "from": "", "to": "renamed.empty"}],
        "renamed_total": 1,
        "withheld": [{"index": 0, "field": "client.ip"}],
        "withheld_total": 1,
    }


def test_the_same_insert_id_is_one_event(gateway: Gateway) -> None:
    event = {"id": "a", "insert_id": "i1", "ts": "2026-11-20T10:00:00Z"}
    receipts = [gateway.accepted(body) for body in (event, event, [event, event], [{**event, "app": "other"}])]
    assert [(receipt["accepted"], receipt["duplicate"]) for receipt in receipts] == [(1, 0), (1, 0), (1, 1), (1, 0)]
    stored = {**event, "event": "view", **STAMPS, "@timestamp": "2026-11-20T10:00:00.000Z"}
    index = f"{gateway.settings.index_prefix}-2026.11.20"
    assert gateway.documents() == [
        {"_index": index, "_id": "i1", "item_id": "a", **stored},
        {"_index": index, "_id": "other:i1", "app": "other", **stored},
    ]
    assert gateway.tock("a")["views"] == {"2026-11-20": 2}


def test_a_minted_id_sent_back_is_the_same_event(gateway: Gateway) -> None:
    (minted,) = gateway.accepted({"id": "a"})["ids"]
    assert gateway.accepted({"id": "a", "insert_id": minted})["ids"] == [minted]
    assert [document["_id"] for document in gateway.documents()] == [minted]


HEADERS = {"Accept": "text/html", "Referer": "https://a.example/x", "User-Agent": CHROME}
READER = {"is_robot": False, "is_machine": False, "browser": "Chrome", "platform": "Windows"}


@pytest.mark.parametrize(
    ("headers", "body", "record"),
    [
        pytest.param(HEADERS, {}, {"accept": "text/html", "referer": "https://a.example/x", "referer_page": "a.example/x", "event": "view"}, id="accept and referer are taken"),
        pytest.param(HEADERS, {"accept": "text/csv", "referer": "https://b.example/"}, {"accept": "text/csv", "referer": "https://b.example/", "referer_page": "b.example", "event": "download", "format": "csv"}, id="the body wins"),
        pytest.param(HEADERS, {"accept": None, "referer": None}, {"accept": None, "referer": None, "event": "view"}, id="also where it says none"),
        pytest.param({**HEADERS, "Origin": "https://c.example"}, {}, {"accept": "text/html", "referer": "https://a.example/x", "referer_page": "a.example/x", "event": "view", **READER}, id="the agent's families, where a browser sent it from another site"),
        pytest.param({**HEADERS, "Sec-Fetch-Site": "same-origin"}, {}, {"accept": "text/html", "referer": "https://a.example/x", "referer_page": "a.example/x", "event": "view", **READER}, id="or from the same"),
        pytest.param({**HEADERS, "Origin": "https://c.example"}, [{}], [{"event": "view"}], id="nothing for a batch: its headers are the shipper's"),
        pytest.param({"Authorization": "Basic eDp5", "Cookie": "session=1", "Proxy-Authorization": "Basic eDp5", "X-Forwarded-For": "192.0.2.7", "X-Anything": "else", "Accept-Language": "fr"}, {}, {"event": "view"}, id="no other header is anybody's business"),
        pytest.param({}, {"authorization": "Basic eDp5", "ip": "192.0.2.7"}, {"event": "view", "flags": ["withheld"]}, id="nor are credentials and addresses in the body"),
        pytest.param({"Origin": "https://c.example", "User-Agent": GOOGLEBOT}, {}, {"event": "view", "is_robot": True, "is_machine": False, "robot_pattern": "bot", "robot_list": ROBOT_LIST, "browser": "Googlebot"}, id="a robot that renders pages is a robot"),
        pytest.param({"User-Agent": CURL}, {}, {"event": "view"}, id="a tick by curl is no robot's for that"),
        pytest.param({"User-Agent": "python-requests/2.32"}, {"user_agent": CHROME}, {"event": "view", **READER}, id="a backend speaks for its visitor"),
        pytest.param({"User-Agent": "python-requests/2.32"}, {"user_agent": GOOGLEBOT.upper()}, {"event": "view", "is_robot": True, "is_machine": False, "robot_pattern": "bot", "robot_list": ROBOT_LIST}, id="who may be a robot, in capitals"),
        pytest.param({"User-Agent": CHROME, "Origin": "null"}, {"user_agent": "curl/8.5.0"}, {"event": "view", "is_robot": True, "is_machine": True, "robot_pattern": "curl\\/", "robot_list": ROBOT_LIST, "browser": "curl"}, id="the event's own agent goes before the browser's"),
        pytest.param({"User-Agent": CURL}, [{"user_agent": CHROME}, {}], [{"event": "view", **READER}, {"event": "view"}], id="each event of a batch for itself"),
    ],
)  # fmt: skip
def test_which_headers_count(gateway: Gateway, headers: dict[str, str], body: Any, record: Any) -> None:
    records = [record] if isinstance(record, dict) else record
    found = echoed(gateway, json=body, headers=headers)
    assert (found if isinstance(found, list) else [found]) == [
        {**row, "@timestamp": AT_NOW["@timestamp"]} for row in records
    ]


def test_neither_agent_nor_address_is_stored_anywhere(gateway: Gateway) -> None:
    secrets = {
        "user_agent": CHROME,
        "ip": "192.0.2.77",
        "source": {"ip": "192.0.2.77"},
        "X-Forwarded-For": "192.0.2.77",
    }
    headers = {"Origin": "https://a.example", "User-Agent": CHROME, "X-Forwarded-For": "192.0.2.77"}
    gateway.accepted(secrets, headers=headers, environ_overrides={"REMOTE_ADDR": "192.0.2.77"})
    on_disk = b"".join(path.read_bytes() for path in gateway.settings.spool_dir.iterdir() if path.is_file())
    assert b"received_at" in on_disk
    assert [word for word in (b"192.0.2.77", b"Mozilla") if word in on_disk] == []
    assert [word for word in ("192.0.2.77", "Mozilla") if word in json.dumps(gateway.documents())] == []


def test_the_contracts_examples(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(NOW.replace(year=2015, month=1))
    page = {"Accept": "text/html", "Referer": "https://arcgis.com/"}
    first = gateway.tick({"id": "abc", "load_ms": 312}, headers=page, path="/tick?echo=1")
    second = gateway.tick({"id": "abc", "accept": "text/csv"}, headers={"Accept": "text/html"}, path="/tick?echo=1")
    third = gateway.tick({"id": "abc"}, headers={"Accept": "application/json"}, path="/tick?echo=1")
    stamps = {**AT_NOW, "@timestamp": "2015-01-22T09:30:00.000Z", "received_at": "2015-01-22T09:30:00.000Z"}
    assert [first.json, second.json, third.json] == [
        {"item_id": "abc", "id": "abc", "load_ms": 312, "accept": "text/html", "referer": "https://arcgis.com/", "event": "view", "referer_page": "arcgis.com", **stamps},
        {"item_id": "abc", "id": "abc", "accept": "text/csv", "event": "download", "format": "csv", **stamps},
        {"item_id": "abc", "id": "abc", "accept": "application/json", **stamps},
    ]  # fmt: skip
    expected = {"views": {"2015-01-22": 1}, "downloads": {"csv": 1}, "referers": {"arcgis.com": 1}}
    gateway.drain()
    assert [gateway.http.get(path).json for path in ("/tock/abc.json", "/tock/abc", "/tocks/abc")] == [expected] * 3
    assert gateway.tock("nobody") == {"views": {}, "downloads": {}, "referers": {}}


def test_the_contracts_logstash_batch(gateway: Gateway) -> None:
    record: dict[str, Any] = {
        "@timestamp": "2026-11-22T00:46:50.928Z",
        "@version": "1",
        "host": "vm",
        "level": "WARNING",
        "logsource": "vm",
        "message": "hello",
        "program": "t.py",
        "type": "python-logstash",
        "extra": {"item_id": "abc", "referer": "http://a/b", "logger_name": "web", "line": 11},
    }
    shipper = {"User-Agent": "python-logstash-async", "Authorization": "Basic eDp5"}
    receipt = gateway.accepted([record], headers=shipper, path="/tick?receipt=full")
    assert (receipt["accepted"], receipt["rejected"]) == (1, [])
    (document,) = gateway.documents()
    flat = {f"extra.{name}": value for name, value in record.pop("extra").items()}
    own = {"received_at": "2026-11-22T09:30:00.000Z", "dialect": "tick", "referer_page": "a/b"}
    index = f"{gateway.settings.index_prefix}-2026.11.22"
    assert document == {"_index": index, "_id": receipt["ids"][0], **record, **flat, **own}
    assert gateway.tock("abc") == {"views": {}, "downloads": {}, "referers": {"a/b": 1}}


# --- CORS -----------------------------------------------------------------------------------------------------


def test_a_preflight_lets_every_page_post_json(gateway: Gateway) -> None:
    asked = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = gateway.http.options("/tick", headers=asked)
    cors = {name: value for name, value in response.headers.items() if name.startswith("Access-Control-")}
    assert (response.status_code, response.data) == (204, b"")
    assert cors == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "content-type, content-encoding, authorization, x-api-key",
        "Access-Control-Max-Age": "86400",
        "Access-Control-Expose-Headers": "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
    }


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param({"json": {}}, 202, id="an accepted tick"),
        pytest.param({"json": {}, "query_string": "echo=1"}, 200, id="an echoed tick"),
        pytest.param({"data": b"{", "content_type": JSON}, 400, id="an unreadable one"),
        pytest.param({"data": b"{}", "content_type": "image/png"}, 415, id="one of another type"),
        pytest.param({"json": [1]}, 422, id="a refused one"),
    ],
)
def test_every_answer_to_a_tick_may_be_read_by_the_page_that_posted_it(
    gateway: Gateway, options: dict[str, Any], status: int
) -> None:
    response = gateway.tick(**options, headers={"Origin": "https://a.example"})
    assert response.status_code == status
    assert response.headers.get_all("Access-Control-Allow-Origin") == ["*"]
    assert "Access-Control-Allow-Credentials" not in response.headers


# --- Answers to shippers -------------------------------------------------------------------------------------


def test_the_answer_to_two_thousand_events_fits_a_shipper_that_reads_4_kb(gateway: Gateway) -> None:
    good = [{"insert_id": f"{number:064d}", "id": "x" * 100} for number in range(2000)]
    bad = [{"insert_id": f"{number:063d}!", "ts": "soon"} for number in range(2000)]
    answers = [gateway.tick(events) for events in (good, bad, good[:1000] + bad[:1000])]
    assert [answer.status_code for answer in answers] == [202, 422, 202]
    assert max(len(answer.data) for answer in answers) < 3000
    assert [
        (answer.json["accepted"], answer.json["rejected_total"], answer.json["quarantined"]) for answer in answers
    ] == [
        (2000, 0, 0),
        (0, 2000, 0),
        (1000, 1000, 1000),
    ]
    full = gateway.tick(good, path="/tick?receipt=full").json
    assert full["ids"] == [event["insert_id"] for event in good]


def test_receipt_is_a_property_like_others_unless_it_is_full(gateway: Gateway) -> None:
    gateway.accepted({"insert_id": "i1"}, path="/tick?receipt=4711")
    gateway.accepted({"insert_id": "i2"}, path="/tick?receipt=full")
    assert [document.get("receipt") for document in gateway.documents()] == ["4711", None]


def test_a_shipper_whose_batch_was_stored_never_gets_a_500(gateway: Gateway) -> None:
    answer = gateway.tick([{"insert_id": 10**29, "id": "a"}, {"insert_id": 10**29, "id": "b", "ts": "soon"}])
    assert (answer.status_code, answer.json["accepted"], answer.json["rejected"][0]["id"]) == (202, 1, str(10**29))


def test_what_cant_be_taken_of_a_batch_can_be_listed_mended_and_posted_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.accepted([{"insert_id": "i1"}, {"insert_id": "i2", "ts": "soon", "id": "a"}])
    monkeypatch.setenv("METRONOME_HOME", str(gateway.settings.home))
    run = CliRunner()
    assert run.invoke(main, ["quarantine", "replay"]).output == (
        "0 events spooled again; 1 stay: damaged, or never accepted (list --json has them, to be mended and posted)\n"
    )
    row = json.loads(run.invoke(main, ["quarantine", "list", "--json"]).output)
    assert (row["status"], row["reason"]) == (422, "ts: 'soon' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z")
    gateway.accepted({**json.loads(row["event"]), "ts": "2026-11-22"})
    assert [document["_id"] for document in gateway.documents()] == ["i1", "i2"]
