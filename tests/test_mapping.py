"""The mapping can neither conflict nor explode: whatever is accepted is stored whole, beside whatever is there already."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any, get_args

import pytest
from conftest import NOW, Gateway, remove_indices
from elasticsearch import Elasticsearch
from elasticsearch_dsl import Index
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from metronome.drain.sender import Outcome, Sender
from metronome.event.fields import AGENT_NAMES, FIELDS, METADATA, OWNED, TIME_NAMES, Field, Kind
from metronome.settings import Settings
from metronome.spool.held import Held
from metronome.spool.quarantine import UNACCEPTED, Quarantine
from metronome.store import indices, names
from metronome.store.documents import MAX_INDEXED, MAX_INDEXED_NAMED, TOTAL_FIELDS, UsageEvent, event_mapping

STAMPS = {
    "@timestamp": "2026-11-22T09:30:00.000Z",
    "event": "view",
    "@version": "1",
    "received_at": "2026-11-22T09:30:00.000Z",
    "dialect": "tick",
}


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway]) -> Gateway:
    return gateway_for(NOW)


def day_index(gateway: Gateway) -> str:
    return f"{gateway.settings.index_prefix}-2026.11.22"


def stored(gateway: Gateway, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Post each event on its own, drain between them, and give the documents, each without what is the same in all."""
    for number, event in enumerate(events):
        body = json.dumps([{**event, "insert_id": f"i{number:05d}"}])  # Flask's own JSON would sort the names
        assert gateway.tick(data=body, content_type="application/json").status_code == 202
        gateway.drain()
    return documents(gateway)


def documents(gateway: Gateway) -> list[dict[str, Any]]:
    drain = gateway.drain()
    assert drain.outcome.quarantined == 0
    with closing(Quarantine(gateway.settings.spool_dir)) as quarantine:
        assert [row for row in quarantine.list() if row.kind != UNACCEPTED] == []
    found = []
    for document in gateway.documents():
        document.pop("_index")
        document.pop("_id")
        document.pop("insert_id", None)
        assert {name: document.pop(name) for name in STAMPS} == STAMPS
        found.append(document)
    return found


def field_types(gateway: Gateway) -> dict[str, str]:
    """Type of every indexed property, the event's own only."""
    mapping = gateway.elasticsearch.indices.get_mapping(index=day_index(gateway))[day_index(gateway)]["mappings"]
    assert mapping["subobjects"] is False
    return {name: field["type"] for name, field in mapping["properties"].items()}


def count(gateway: Gateway, query: dict[str, Any]) -> int:
    return int(gateway.elasticsearch.count(index=names.pattern(gateway.settings), query=query)["count"])


HUGE = 123456789012345678901234567890


@pytest.mark.parametrize(
    ("events", "flags"),
    [
        pytest.param([{"p": 1}, {"p": "text"}, {"p": {"b": 1}}, {"p": True}, {"p": [1, 2]}, {"p": 2.5}], {}, id="a number becomes text, an object, a flag, an array"),
        pytest.param([{"p": "text"}, {"p": 1}, {"p": {"b": "x"}}, {"p": False}], {}, id="text becomes a number"),
        pytest.param([{"p": True}, {"p": 1}, {"p": "text"}], {}, id="a flag becomes a number"),
        pytest.param([{"p": {"b": 1}}, {"p": 1}, {"p": {"b": {"c": "x"}}}, {"p": {"b": "x"}}], {}, id="an object becomes a number, and another object"),
        pytest.param([{"p": None}, {"p": 1}, {"p": []}, {"p": {}}, {"p": "x"}], {}, id="nothing becomes something"),
        pytest.param([{"p": 1}, {"p": 1.5}, {"p": 10**15}, {"p": -1e300}], {}, id="a whole number becomes a fraction"),
        pytest.param([{"p": "2026-11-22"}, {"p": "no date"}, {"p": "12"}, {"p": "x"}], {}, id="text like a date or a number is text"),
        pytest.param([{"p": [[1, [2]], 3]}, {"p": ["a", ["b"]]}], {}, id="arrays in arrays"),
        pytest.param([{"seq": 1}, {"seq": "x"}, {"seq": True}, {"seq": 1e300}, {"seq": [1, 2]}, {"seq": 1.5}, {"seq": HUGE}], {}, id="a named number of any type"),
        pytest.param([{"status": "200"}, {"status": 404}, {"status": "none"}, {"status": 200.5}, {"status": True}], {}, id="a status of any type"),
        pytest.param([{"country": "NL"}, {"country": 31}, {"country": ["NL", "BE"]}], {}, id="a country of any type"),
        pytest.param([{"id": 1}, {"id": "a"}, {"id": [1, 2]}, {"id": True}, {"id": None}], {}, id="a named text of any type"),
        pytest.param([{"n": HUGE}, {"n": -HUGE}, {"n": 2**63}, {"n": 2**64}, {"n": 2**53 + 1}, {"n": [HUGE, 1]}], {}, id="whole numbers of any size keep their digits"),
        pytest.param([{"s": "x" * MAX_INDEXED}, {"s": "x" * (MAX_INDEXED + 1)}, {"s": "€" * 8000}], {}, id="texts past the limit of the index"),
        pytest.param([{"url": "x" * 30_000}, {"referer": "€" * 8500}, {"id": "é" * 256}], {}, id="named texts past theirs"),
        pytest.param([{"s": "a\0b"}, {"a\0b": 1}, {"\0": 1}, {"s": "\u2028\x7f\x1b\ufffe\U0010ffff"}], {}, id="NUL and other control characters"),
        pytest.param([{"a.b": 1, "a": 2}, {"a.b.c": 3}, {"a": {"b": 4}}], {}, id="a dotted name, one above and one below it"),
        pytest.param([{"a.": 1}, {".a": 1}, {"..": 1}, {"a..b": 1}, {".": 1}, {"a. .b": 1}, {" a": 1}, {"a ": 1}], {}, id="dots and blanks in every place of a name"),
        pytest.param([{"_x": 1}, {"__": 1}, {"_id.a": 1}, {"a._id": 1}, {"_source.x": 1}, {"_doc": 1}, {"_score": 1}], {}, id="names that only look like metadata"),
        pytest.param([{"*": 1}, {"a*": 2}, {"a,b": 3}, {"#": 4}, {'"': 5}, {"\\": 6}, {"<a href>": 7}, {"日本": 8}, {"x" * 256: 9}, {"😀": 10}], {}, id="names of any characters"),
        pytest.param([{"properties": 1}, {"type": "x"}, {"dynamic": True}, {"enabled": False}, {"properties": {"type": 2}}], {}, id="names of the mapping's own language"),
        pytest.param([{"p": [1, "x"]}, {"p": [{"a": 1}, 2]}], [{"p": ["1", "x"], "flags": ["mixed_array"]}, {"p.a": [1, None], "p": [None, 2]}], id="arrays of mixed types"),
        pytest.param([{"p": [{"a": 1}, {"a": "x", "b": [1]}]}, {"p": [{"a": {"c": True}}]}], [{"p.a": ["1", "x"], "p.b": [None, [1]], "flags": ["mixed_array"]}, {"p.a.c": [True]}], id="arrays of objects"),
        pytest.param([{"": 1}, {" ": "x"}, {"\t\n": True}], [{"renamed.empty": 1, "flags": ["renamed_keys"]}, {"renamed.empty": "x", "flags": ["renamed_keys"]}, {"renamed.empty": True, "flags": ["renamed_keys"]}], id="empty and blank names"),
        pytest.param([{"a.b": 1, "a": {"b": "x"}}, {"a": {"b": [1]}, "a.b": {"c": 2}}], [{"renamed.a.b": 1, "a.b": "x", "flags": ["renamed_keys"]}, {"a.b": [1], "a.b.c": 2}], id="one dotted name twice, with two types"),
        pytest.param([{"a": {"b": {"c": {"d": {"e": 1}}}}}], [{"a.b.c.d.e": 1}], id="the deepest nesting"),
    ],
)  # fmt: skip
def test_every_event_is_stored_whole_whatever_came_before(
    gateway: Gateway, events: list[dict[str, Any]], flags: Any
) -> None:
    plain = [flat(event) for event in events]
    found = stored(gateway, *events)
    for document in found:
        document.pop("referer_page", None)
    assert json.dumps(found, sort_keys=True) == json.dumps(flags or plain, sort_keys=True)


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested object with dotted names: what is stored where nothing needs to be settled."""
    names: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            names.update(flat(inner, f"{prefix}{key}."))
        else:
            names[prefix + key] = None if inner == {} else inner
    return names


def test_all_of_them_fit_into_one_bulk_and_one_index(gateway: Gateway) -> None:
    events = [
        {"p": value} for value in (1, "text", {"b": 1}, {"b": "x"}, True, [1, 2], 2.5, None, [], {}, HUGE, "x" * 2000)
    ]
    gateway.accepted([{**event, "insert_id": f"i{number:05d}"} for number, event in enumerate(events)])
    assert documents(gateway) == [flat(event) for event in events]
    assert {name: kind for name, kind in field_types(gateway).items() if name.startswith("p")} == {
        "p": "double",
        "p.b": "double",
        "platform": "keyword",
    }
    assert count(gateway, {"range": {"p": {"gte": 1, "lte": 3}}}) == 3


@pytest.mark.parametrize("name", sorted(METADATA))
def test_a_name_of_elasticsearchs_metadata_is_stored_under_another(gateway: Gateway, name: str) -> None:
    values = [1, "x", True, [1], {"a": 1}]
    assert stored(gateway, *({name: value} for value in values)) == [
        {f"{name}.a": 1} if value == {"a": 1} else {f"renamed.{name}": value, "flags": ["renamed_keys"]}
        for value in values
    ]


def test_the_list_of_metadata_names_is_that_of_this_elasticsearch(gateway: Gateway) -> None:
    stored(gateway, {"id": "a"})
    answer = gateway.elasticsearch.field_caps(index=day_index(gateway), fields=["*"], filters="+metadata")
    assert set(answer["fields"]) - METADATA == set()


def test_ten_thousand_names_leave_every_document_whole_and_named_fields_countable(gateway: Gateway) -> None:
    events = [
        {"insert_id": f"i{number:05d}", "id": "flood", **{f"p{number}.k{key}": key for key in range(200)}}
        for number in range(50)
    ]
    gateway.accepted(events)
    found = documents(gateway)
    assert found == [{name: value for name, value in event.items() if name != "insert_id"} for event in events]
    assert len({name for document in found for name in document if name != "id"}) == 10_000
    assert len(field_types(gateway)) <= TOTAL_FIELDS
    gateway.accepted({"id": "flood", "insert_id": "later", "distinct_id": "d", "new_name": "x"})
    gateway.drain()
    assert gateway.tock("flood")["views"] == {"2026-11-22": 51}
    assert count(gateway, {"term": {"distinct_id": "d"}}) == 1


@pytest.mark.parametrize(
    ("name", "limit"),
    [pytest.param("title", MAX_INDEXED, id="any property"), pytest.param("url", MAX_INDEXED_NAMED, id="a named field")],
)
def test_text_is_found_up_to_the_limit_and_kept_beyond(gateway: Gateway, name: str, limit: int) -> None:
    assert stored(gateway, {name: "é" * limit}, {name: "é" * (limit + 1)}) == [
        {name: "é" * limit},
        {name: "é" * (limit + 1)},
    ]
    assert count(gateway, {"term": {name: "é" * limit}}) == 1
    assert count(gateway, {"exists": {"field": name}}) == 1


def test_what_the_index_left_out_is_told_by_elasticsearch(gateway: Gateway) -> None:
    stored(gateway, {"p": 1}, {"p": "text"}, {"p": 2})
    assert count(gateway, {"term": {"_ignored": "p"}}) == 1


def test_bulks_that_bring_one_new_name_with_several_types_at_once_all_arrive(gateway: Gateway) -> None:
    values: list[Any] = [1, "x", True, {"b": 2.5}]
    rounds = 20
    gateway.drain()  # installs the template
    quarantine = Quarantine(gateway.settings.spool_dir)
    sender = Sender(gateway.elasticsearch, quarantine, Held(gateway.settings.spool_dir), gateway.metrics)
    start = threading.Barrier(len(values))
    outcomes: list[Outcome] = []

    def ship(number: int) -> None:
        for name in range(rounds):
            action = {"create": {"_index": day_index(gateway), "_id": f"{name:02d}-{number}"}}
            body = "".join(json.dumps(line) + "\n" for line in (action, {f"new{name}": values[number], **STAMPS}))
            start.wait()
            outcomes.append(sender.ship(body.encode()))

    threads = [threading.Thread(target=ship, args=(number,)) for number in range(len(values))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(outcome.indexed for outcome in outcomes), quarantine.count()) == (rounds * len(values), 0)
    quarantine.close()
    assert documents(gateway) == [{f"new{name}": value} for name in range(rounds) for value in values]


# --- Written past us ------------------------------------------------------------------------------------------


LOGSTASH = {
    "@timestamp": "2026-11-22T08:00:00.123Z",
    "@version": "1",
    "message": '192.0.2.7 - - "GET /a.csv HTTP/1.1" 200 5',
    "host": {"name": "web-1", "os": {"family": "debian"}},
    "tags": ["_grokparsefailure"],
    "response": "200",
    "bytes": 5,
    "id": "abc",
    "accept": "text/html",
    "referer": "https://a.example/x",
}
FLUENTD = {
    "@timestamp": "2026-11-22T09:00:00.123456789+01:00",
    "host": "web-2",
    "response": 200,
    "bytes": "5",
    "tag": "nginx.access",
    "item_id": "abc",
    "event": "view",
}


def test_what_logstash_and_fluentd_write_straight_into_elasticsearch_is_covered_by_the_template(
    gateway: Gateway,
) -> None:
    gateway.drain()
    for document in (LOGSTASH, FLUENTD):
        result = gateway.elasticsearch.index(index=day_index(gateway), document=document)
        assert result["result"] == "created"
    gateway.accepted({"id": "abc", "host": 5, "response": 404, "bytes": [1, "x"], "insert_id": "ours"})
    ours = {
        "id": "abc",
        "host": 5,
        "response": 404,
        "bytes": ["1", "x"],
        "insert_id": "ours",
        "flags": ["mixed_array"],
        "item_id": "abc",
        **STAMPS,
    }
    found = [
        {name: value for name, value in row.items() if name not in ("_index", "_id")} for row in gateway.documents()
    ]
    assert sorted(found, key=json.dumps) == sorted([LOGSTASH, FLUENTD, ours], key=json.dumps)
    types = field_types(gateway)
    names = ("@timestamp", "id", "referer", "host", "host.name", "host.os.family", "bytes", "response", "tags")
    assert {name: types[name] for name in names} == {
        "@timestamp": "date",
        "id": "keyword",
        "referer": "keyword",
        "host": "keyword",
        "host.name": "keyword",
        "host.os.family": "keyword",
        "bytes": "double",
        "response": "keyword",
        "tags": "keyword",
    }
    assert count(gateway, {"term": {"host.name": "web-1"}}) == 1
    assert gateway.tock("abc") == {"views": {"2026-11-22": 3}, "downloads": {}, "referers": {"a.example/x": 1}}


def test_our_template_wins_over_that_of_logstash(gateway: Gateway) -> None:
    theirs = f"theirs-{gateway.settings.index_prefix}"
    gateway.elasticsearch.indices.put_index_template(
        name=theirs,
        index_patterns=[names.pattern(gateway.settings)],
        priority=200,
        template={"mappings": {"properties": {"id": {"type": "long"}}}},
    )
    try:
        assert stored(gateway, {"id": "not a number"}) == [{"id": "not a number"}]
        assert field_types(gateway)["id"] == "keyword"
    finally:
        gateway.elasticsearch.indices.delete_index_template(name=theirs)


def test_the_template_is_put_once_and_put_again_where_it_was_changed(gateway: Gateway) -> None:
    client, settings = gateway.elasticsearch, gateway.settings
    assert [indices.install(client, settings), indices.install(client, settings)] == [True, False]
    client.indices.put_index_template(
        name=names.template_name(settings), index_patterns=[names.pattern(settings)], priority=250
    )
    assert [indices.install(client, settings), indices.install(client, settings)] == [True, False]


# --- Anything -------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        *sorted(METADATA | OWNED),
        *("a", "b", "a.b", "a.b.c", "", " ", ".", "a.", "..a", "renamed.a.b", "renamed.empty", "extra", "item"),
        *("id", "item_id", "seq", "app", "format", "accept", "referer", "url", "event", "browser", "ts_client"),
        *TIME_NAMES,
    ]
)
#: Text without what makes part of it an address: what is cut or withheld for privacy is left to other tests.
TEXT = st.characters(exclude_characters="?#@:", exclude_categories=["Cs"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**63, -(2**63) - 1, 2**64, HUGE, 0, -1, 1e300, -0.0, 1e-320])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(TEXT, max_size=8)
    | st.sampled_from(["x" * 1025, "2026-11-22T09:00:00Z", "\0", "5", "true", "https://a.example/x"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES | st.text(max_size=6), VALUES, max_size=8)


def leaves(value: Any) -> Iterator[str]:
    """Every scalar of a JSON value as JSON text; a null says nothing and is none."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None:
        yield json.dumps(value)


def readable(document: dict[str, Any]) -> Counter[str]:
    """Every scalar of a document as JSON text; a text that is JSON, as elements of mixed arrays become, also as what it was."""
    found = Counter(leaves(document))
    for text in [json.loads(leaf) for leaf in found.elements()]:
        if isinstance(text, str):
            with suppress(ValueError):
                found.update(leaves(json.loads(text)))
    return found


@pytest.fixture(scope="module")
def any_gateway(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One gateway for all examples; each has a day, and so an index, of its own."""
    settings = Settings(
        home=tmp_path_factory.mktemp("any") / "home",
        elasticsearch_url=engine_settings.elasticsearch_url,
        index_prefix=f"t{uuid.uuid4().hex[:10]}",
        max_depth=8,
    )
    gateway = Gateway(settings, elasticsearch, NOW)
    yield gateway
    gateway.spool.close()
    remove_indices(elasticsearch, settings)


@tuned(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(posted=st.lists(OBJECTS, min_size=8, max_size=30))
def test_any_object_is_refused_with_a_reason_or_stored_with_every_value(
    any_gateway: Gateway, posted: list[dict[str, Any]]
) -> None:
    gateway = any_gateway
    assert gateway.now is not None
    gateway.now += timedelta(days=1)
    # Times decide on the index, and a clock is no property: all that may be refused for them is left to other tests.
    # A property called agent is judged, and not stored.
    events = [
        {
            name: value
            for name, value in event.items()
            if name != "agent" and (name not in TIME_NAMES or isinstance(value, dict))
        }
        for event in posted
    ]
    response = gateway.tick(
        data=json.dumps(events).encode(), content_type="application/json", path="/tick?receipt=full"
    )
    assert response.status_code in (202, 422)
    receipt = response.json
    refused = {row["index"]: row["reason"] for row in receipt["rejected"]}
    assert [doc_id is None for doc_id in receipt["ids"]] == [number in refused for number in range(len(events))]
    assert all(refused.values())
    drain = gateway.drain()
    assert drain.outcome.quarantined == 0
    index = f"{gateway.settings.index_prefix}-{gateway.now:%Y.%m.%d}"
    found = gateway.elasticsearch.search(index=index, size=1000, allow_no_indices=True, ignore_unavailable=True)
    by_id = {hit["_id"].rpartition(":")[2]: hit["_source"] for hit in found["hits"]["hits"]}
    assert by_id.keys() == set(receipt["ids"]) - {None}
    for doc_id, event in zip(receipt["ids"], events, strict=True):
        if doc_id is not None:
            assert Counter(leaves(event)) - readable(by_id[doc_id]) == Counter()


def test_the_names_that_are_withheld_or_judged_are_few_and_known() -> None:
    assert not set(AGENT_NAMES) & (METADATA | OWNED)


def test_two_days_whose_first_status_and_country_differ_in_type_can_be_asked_as_one(gateway: Gateway) -> None:
    gateway.accepted(
        [{"status": "lost", "country": 31, "ts": "2026-11-20"}, {"status": 404, "country": "NL", "ts": "2026-11-21"}]
    )
    gateway.drain()
    found = gateway.elasticsearch.search(
        index=names.pattern(gateway.settings),
        size=0,
        aggs={name: {"terms": {"field": name}} for name in ("status", "country")},
    )
    assert [bucket["key"] for bucket in found["aggregations"]["status"]["buckets"]] == [404]
    assert sorted(bucket["key"] for bucket in found["aggregations"]["country"]["buckets"]) == ["31", "NL"]


def test_every_kind_of_field_has_a_type_that_elasticsearch_takes(gateway: Gateway) -> None:
    kinds = get_args(Kind)
    mapping = event_mapping(Field(f"video.{kind}", kind, "One of each.", dialect="video") for kind in kinds).to_dict()
    index = f"{gateway.settings.index_prefix}-kinds"
    gateway.elasticsearch.indices.create(index=index, mappings={**mapping, "subobjects": False})
    found = gateway.elasticsearch.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert {name: field["type"] for name, field in found.items()} == {f"video.{kind}": kind for kind in kinds}


def test_the_model_declares_the_fields_of_the_table() -> None:
    declared = Index("x")
    declared.document(UsageEvent)
    properties = declared.to_dict()["mappings"]["properties"]
    assert {name: field["type"] for name, field in properties.items()} == {field.name: field.kind for field in FIELDS}
