"""Counted usage as a tick: the same attributes by flat names become the same event, and the same facts."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from counter_oracle import figures
from doors import CHROME
from keyed import Kept as Keyed
from marshmallow import Schema, ValidationError, fields
from months import MAY, PATH, Repository, random_usages

from metronome.counter.customers import Customers
from metronome.counter.usage.names import NAMES, attributes, is_usage
from metronome.counter.usage.schema import UsageSchema, _read_quickly
from metronome.store import indices

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)

USAGE: dict[str, Any] = {
    "action_labels": ["download", "web"], "item_guid": "ab12c", "client_session_id": "s-1", "provider_id": "osf",
    "pageview_info": {"page_url": "https://repo.example/ab12c/file.pdf?token=1", "referer_url": "https://elsewhere.example/?q=1", "page_title": "On roads"},
    "counter": {
        "timestamp": "2026-11-22T09:01:29.000Z", "status": 200, "ip": "198.51.100.7", "user_agent": CHROME, "user_id": "login-7", "user_cookie": "cookie-9",
        "item": {"name": "On roads", "data_type": "Article", "yop": "2024", "access_type": "Open", "ids": {"DOI": "10.1234/roads"},
                 "authors": [{"name": "Ann", "ORCID": "0000-0001-2345-6789"}]},
        "title": {"id": "j-1", "name": "Journal of Roads", "data_type": "Journal", "ids": {"Online_ISSN": "1234-5679"}},
        "publisher": {"name": "Pub", "ids": {"ROR": ["00hx57361"]}}, "databases": [{"id": "d1", "name": "Roads DB"}], "country": "NL",
    },
}  # fmt: skip

SECRETS = ("198.51.100.7", "login-7", "cookie-9", "s-1", "Windows NT")


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found.update(flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {prefix + name: inner})
    return found


#: The same usage under a tick's own names.
TICK: dict[str, Any] = {
    **{name: value for name, value in flat(USAGE).items() if name not in ("action_labels", "item_guid", "client_session_id")
       and not name.endswith((".page_url", ".referer_url", ".timestamp", ".status", ".user_agent", ".user_cookie", ".country", ".databases"))},
    "event": "download", "id": "ab12c", "session_id": "s-1", "url": USAGE["pageview_info"]["page_url"],
    "referer": USAGE["pageview_info"]["referer_url"], "@timestamp": "2026-11-22T09:01:29.000Z", "status": 200,
    "user_agent": CHROME, "distinct_id": "cookie-9", "country": "NL", "counter.databases.id": "d1", "counter.databases.name": "Roads DB",
}  # fmt: skip


def stored(gateway: Gateway) -> dict[str, Any]:
    """The one document, without where it is and through which door it came."""
    (document,) = gateway.documents()
    return {name: value for name, value in document.items() if name not in ("_id", "_index", "dialect", "item_id")}


@pytest.mark.parametrize(
    "tick",
    [
        pytest.param(USAGE, id="nested"),
        pytest.param(flat(USAGE), id="flat"),
        pytest.param(TICK, id="a tick's own names"),
    ],
)
@pytest.mark.parametrize("batch", [False, True], ids=["alone", "in a batch"])
def test_a_tick_becomes_the_event_that_the_route_of_usages_makes(
    gateway_for: Callable[..., Gateway], tick: dict[str, Any], batch: bool
) -> None:
    # One home, since its key makes the hashes. So each event is shipped before the other comes.
    by_route = gateway_for(NOW, index_prefix=f"r{uuid.uuid4().hex[:10]}")
    assert by_route.http.post(PATH, json={"data": {"attributes": USAGE}}).status_code == 201
    wanted = stored(by_route)
    gateway = gateway_for(NOW)
    body = b"\n".join([json.dumps(tick).encode()]) if batch else json.dumps(tick).encode()
    receipt = gateway.tick(
        data=body, content_type="application/x-ndjson" if batch else "application/json", headers={"Accept": "*/*"}
    )
    assert (receipt.status_code, receipt.json["accepted"], receipt.json["rejected"]) == (202, 1, []), receipt.text
    # What a tick said of its Accept header stays.
    found = {name: value for name, value in stored(gateway).items() if name != "accept"}
    assert found == wanted


def test_a_usage_keeps_what_else_a_tick_says(gateway: Gateway) -> None:
    gateway.accepted({**TICK, "app": "shop", "shelf": 7, "insert_id": "one"})
    gateway.accepted({**TICK, "app": "shop", "shelf": 7, "insert_id": "one"})
    found = stored(gateway)
    assert (found["app"], found["shelf"], found["insert_id"], found["event"]) == ("shop", 7, "one", "download")


def test_who_it_was_reaches_no_disk_not_even_where_the_usage_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    refused = {**TICK, "counter.item.yop": "24"}
    answer = gateway.tick([TICK, refused, USAGE])
    assert (answer.json["accepted"], answer.json["quarantined"]) == (2, 1)
    on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"ab12c" in on_disk
    documents = json.dumps(gateway.documents())
    assert [secret for secret in SECRETS if secret in documents or secret.encode() in on_disk] == []


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        pytest.param({"counter.staus": 1}, "counter.staus", "Unknown field.", id="a name that there isn't"),
        pytest.param({"counter.ip": "here"}, "counter.ip", "An IP address.", id="no address"),
        pytest.param({"counter.customer_id": "c9"}, "counter.customer_id", "There is no customer 'c9'; add it: metronome counter customers add", id="no customer"),
        pytest.param({"counter.item": "x"}, "counter.item", "An object is expected.", id="a text and its parts"),
        pytest.param({"event": "purchase"}, "action_labels", "This field is required.", id="neither view nor download"),
        pytest.param({"id": None, "url": None, "pageview_info.page_title": None}, None, "At least one of item_guid and pageview_info.page_url is required.", id="no item"),
    ],
)  # fmt: skip
def test_a_usage_that_cannot_be_taken_is_named_and_costs_its_neighbours_nothing(
    gateway: Gateway, changed: dict[str, Any], field: str | None, reason: str
) -> None:
    answer = gateway.tick([TICK, {**TICK, **changed, "insert_id": "mine"}, {"id": "plain"}], query_string={"receipt": "full"})  # fmt: skip
    assert answer.json["rejected"] == [{"index": 1, "id": "mine", "field": field, "reason": reason}]
    assert (answer.json["accepted"], answer.json["quarantined"]) == (2, 1)


NESTED: Any = "x"
for _ in range(900):
    NESTED = {"a": NESTED}


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        pytest.param({"counter.item": NESTED}, "counter.item.a.a.a.a", "Unknown field.", id="objects in objects"),
        pytest.param({"counter." + "a." * 9000: 1, "counter.status": 200}, "counter.a.a.a.a.a", "Unknown field.", id="a long name"),
        pytest.param({"counter.databases": [{"id": "d"}] * 1001}, "counter.databases", "At most 1000.", id="a long list"),
        pytest.param({"counter.databases": [[[[]]]]}, "counter.databases.0", "An object is expected.", id="lists in lists"),
    ],
)  # fmt: skip
def test_a_usage_of_any_shape_is_refused_and_not_stumbled_over(
    gateway: Gateway, changed: dict[str, Any], field: str, reason: str
) -> None:
    answer = gateway.tick([{"id": "a", "event": "view", **changed}], query_string={"receipt": "full"})
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "nothing_accepted"), answer.text
    (row,) = answer.json["rejected"]
    assert (row["field"], row["reason"]) == (field, reason)


@pytest.mark.parametrize("own", [{"counter": 3}, {"counter.requests": 3}, {"counter": {"hits": 3}}])
def test_properties_of_ones_own_below_counter_make_no_usage(gateway: Gateway, own: dict[str, Any]) -> None:
    assert not is_usage({"id": "a", **own})
    gateway.accepted({"id": "a", **own, "session_id": "kept"})
    (document,) = gateway.documents()
    assert (document["session_id"], "counter.about" in document) == ("kept", False)
    assert {name: document[name] for name in flat(own)} == flat(own)


def test_whose_usage_a_tick_is_is_told_by_its_address(gateway: Gateway) -> None:
    indices.install(gateway.elasticsearch, gateway.settings)
    Customers(gateway.elasticsearch, gateway.settings).add("c1", "One", networks=["198.51.100.0/24"])
    gateway.accepted(TICK)
    assert json.loads(stored(gateway)["counter.about"])["customers"] == ["c1"]


def test_a_page_says_what_was_used_and_a_server_alone_says_who_and_when(gateway_for: Callable[..., Gateway]) -> None:
    keyed = Keyed(gateway_for(NOW, open="no"))
    _, token = keyed.make(publishable=True, origins=["https://repo.example"])
    headers = {"Authorization": f"Bearer {token}", "Origin": "https://repo.example", "User-Agent": CHROME}
    page = {"id": "a", "counter.item.name": "On roads", "@timestamp": "2026-11-21T09:00:00.000Z", "status": 404, "distinct_id": "d-1", "session_id": "s"}  # fmt: skip
    named = [
        {**page, f"counter.{name}": "x"}
        for name in ("timestamp", "customer_id", "user_id", "user_cookie", "ip", "user_agent", "status")
    ]
    answer = keyed.gateway.tick([page, *named], query_string={"receipt": "full"}, headers=headers)
    assert answer.json["accepted"] == 1
    assert [(row["index"], row["field"]) for row in answer.json["rejected"]] == [
        (number + 1, next(name for name in one if name not in page)) for number, one in enumerate(named)
    ]
    found = stored(keyed.gateway)
    assert (found["@timestamp"], "distinct_id" in found) == ("2026-11-22T09:30:00.000Z", False)
    about = {"item": {"id": "a", "name": "On roads"}, "labels": ["view", "web"]}
    assert json.loads(found["counter.about"]) == about
    keyed.gateway.app.extensions["gate"].rates.close()


def leaves(schema: Schema, prefix: str = "") -> Iterator[str]:
    for name, field in schema.fields.items():
        if isinstance(field, fields.Nested):
            yield from leaves(field.schema, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}{'.*' if name == 'ids' else ''}"


def test_the_table_has_every_attribute_that_a_usage_may_have() -> None:
    assert [name.name for name in NAMES] == list(leaves(UsageSchema()))


def test_every_attribute_is_read_from_its_flat_name() -> None:
    expected = {**USAGE, "counter": {**USAGE["counter"], "item": USAGE["counter"]["item"]}}
    assert attributes(flat(USAGE)) == attributes(USAGE) == expected


def by_schema(attributes: Any) -> Any:
    """What marshmallow makes of it, or None."""
    try:
        return UsageSchema().load(attributes)
    except ValidationError:
        return None


def test_usages_are_read_as_their_schema_says() -> None:
    rng = random.Random(3)
    good = [USAGE, *random_usages(rng, 300, ["c1", "c2"])]
    bad: list[Any] = [None, [], {}, {"action_labels": []}, {"action_labels": ["view"], "counter": []}]
    for one in good:  # of each usage one value is spoilt or left out
        path = rng.choice(list(flat(one)))
        spoilt = flat(one) | {path: rng.choice([None, "", [], {}, "x", 1, True, [{}], {"a": 1}])}
        bad.append(attributes(spoilt) | {"extra": 1})
    found = [_read_quickly(one) for one in good + bad]
    assert found == [by_schema(one) for one in good + bad]
    assert None not in found[: len(good)] and found[len(good) :].count(None) > 50


@pytest.fixture
def repository(gateway: Gateway) -> Iterator[Repository]:
    found = Repository(gateway)
    yield found
    found.raw.close()


def test_the_figures_of_a_month_of_ticks_are_those_of_plain_python(repository: Repository) -> None:
    rng = random.Random(7)
    repository.customers.add("c1", "One")
    repository.customers.add("c2", "Two", networks=["198.51.100.1/32"])
    usages = random_usages(rng, 300, ["c1", "c2"])
    for one in usages:  # else both would be told by the network
        one["counter"].setdefault("customer_id", ["c1"])
    ticks = [rng.choice((flat, dict))(one) for one in usages]
    answer = repository.gateway.tick(ticks)
    assert (answer.status_code, answer.json["accepted"]) == (202, 300), answer.text
    repository.process()
    assert repository.figures() == figures(usages, MAY, {})
