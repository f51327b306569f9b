"""POST /_/metrics/events/counted_usage/: what is taken, what is stored of it, and what is refused how."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from doors import CHROME
from keyed import Kept as Keyed

from metronome.counter.customers import Customers
from metronome.store import indices

PATH = "/_/metrics/events/counted_usage/"
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
PAGE = {"page_url": "https://repo.example/ab12c/file.pdf?session=s1", "page_title": "On roads", "route_name": "web.file",
        "referer_url": "https://elsewhere.example/index.php?q=roads"}  # fmt: skip


def post(gateway: Gateway, attributes: Any, **options: Any) -> Any:
    body = {"data": {"type": "counted-usage", "attributes": attributes}}
    headers = {"User-Agent": CHROME, "Content-Type": "application/vnd.api+json", **options.pop("headers", {})}
    return gateway.http.post(PATH, data=json.dumps(body), headers=headers, **options)


def stored(gateway: Gateway, attributes: Any, **options: Any) -> dict[str, Any]:
    """The one document of a usage, with `counter.about` read."""
    answer = post(gateway, attributes, **options)
    assert (answer.status_code, answer.data) == (201, b""), answer.text
    (document,) = gateway.documents()
    return {**document, "counter.about": json.loads(document["counter.about"])}


def test_a_usage_becomes_an_event_with_hashes_where_a_visitor_was(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(NOW)
    found = stored(gateway, {"action_labels": ["download", "web"], "item_guid": "ab12c", "client_session_id": "s-1", "provider_id": "osf", "pageview_info": PAGE})  # fmt: skip
    assert {name: len(found.pop(name)) for name in ("_id", "_index", "session_id", "counter.key", "counter.click")}
    assert found == {
        "@timestamp": "2026-11-22T09:30:00.000Z",
        "@version": "1",
        "received_at": "2026-11-22T09:30:00.000Z",
        "dialect": "counted",
        "event": "download",
        "format": "pdf",
        "id": "ab12c",
        "action_labels": ["download", "web"],
        "provider_id": "osf",
        "user_is_authenticated": False,
        "is_robot": False,
        "is_machine": False,
        "browser": "Chrome",
        "platform": "Windows",
        "url": "https://repo.example/ab12c/file.pdf",
        "referer": "https://elsewhere.example/index.php",
        "referer_page": "elsewhere.example/index.php",
        "pageview_info.page_title": "On roads",
        "pageview_info.route_name": "web.file",
        "pageview_info.page_path": "/ab12c/file.pdf",
        "pageview_info.referer_domain": "elsewhere.example",
        "pageview_info.hour_of_day": 9,
        "counter.about": {"databases": [{"id": "osf"}], "item": {"id": "ab12c"}, "labels": ["download", "web"]},
    }


FULL = {
    "timestamp": "2026-05-03T10:01:29.000Z", "status": 200, "ip": "198.51.100.7", "user_agent": CHROME, "user_id": "login-7", "user_cookie": "cookie-9",
    "item": {"name": "On roads", "data_type": "Article", "yop": "2024", "access_type": "Open", "ids": {"DOI": "10.1234/roads"}, "segments": [{"id": "ch1", "name": "One"}],
             "article_version": "VoR", "publication_date": "2024-02-01", "authors": [{"name": "Ann", "ORCID": "0000-0001-2345-6789"}]},
    "title": {"id": "j-1", "name": "Journal of Roads", "data_type": "Journal", "ids": {"Online_ISSN": "1234-5679"}},
    "publisher": {"name": "Pub", "ids": {"ROR": "00hx57361"}},
    "databases": [{"id": "d1", "name": "Roads DB", "data_type": "Database_Full"}], "denial": None, "search": None, "country": "NL",
}  # fmt: skip


def test_what_counter_needs_is_kept_and_who_it_was_reaches_no_disk(gateway: Gateway, tmp_path: Path) -> None:
    usage = {"action_labels": ["view", "api"], "item_guid": "ab12c", "client_session_id": "s-1", "counter": FULL}
    assert post(gateway, usage).status_code == 201
    on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"ab12c" in on_disk
    (found,) = gateway.documents()
    for secret in ("198.51.100.7", "login-7", "cookie-9", "s-1", "Windows NT"):
        assert secret not in json.dumps(found)
        assert secret.encode() not in on_disk
    assert (found["@timestamp"], found["country"], found["status"], found["user_is_authenticated"]) == ("2026-05-03T10:01:29.000Z", "NL", 200, True)  # fmt: skip
    assert found["flags"] == ["visitor_unlinked"]
    about = {name: FULL[name] for name in ("title", "databases", "country")}
    item = {**FULL["item"], "id": "ab12c", "authors": [{"name": "Ann", "id": "ORCID:0000-0001-2345-6789"}]}  # type: ignore[dict-item]
    publisher = {"name": "Pub", "ids": {"ROR": ["00hx57361"]}}
    assert json.loads(found["counter.about"]) == {**about, "item": item, "publisher": publisher, "labels": ["api", "view"]}  # fmt: skip


def test_null_and_empty_attributes_are_absent_and_unknown_ones_ignored(gateway: Gateway) -> None:
    found = stored(
        gateway,
        {"action_labels": ["web"], "item_guid": None, "client_session_id": None, "provider_id": "", "extra": [1], "counter": None,
         "pageview_info": {"page_url": "http://localhost:5000/", "referer_url": "", "page_title": None}},
    )  # fmt: skip
    assert (found["event"], found["pageview_info.page_path"], "id" in found) == ("web", "", False)


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        pytest.param({"status": 404}, {"void": True}, id="another status than 200 and 304"),
        pytest.param({"status": 304}, {}, id="304"),
        pytest.param({"status": 403, "denial": "No_License"}, {"denial": "No_License"}, id="a denial, whatever its status"),
        pytest.param({"user_agent": ""}, {"robot": True}, id="an empty agent, which the list of robots matches"),
        pytest.param({"user_agent": "-"}, {"robot": True}, id="an agent that is a dash"),
        pytest.param({"title": {"name": "T", "ids": {"Online_ISSN": "1234-5679", "DOI": "10.1/x"}}}, {"title": {"id": "DOI:10.1/x", "name": "T", "ids": {"Online_ISSN": "1234-5679", "DOI": "10.1/x"}}}, id="a title known by its identifiers"),
        pytest.param({"customer_id": "north"}, {"customers": ["all", "north"]}, id="a named customer and its consortium"),
        pytest.param({"customer_id": ["south", "north"]}, {"customers": ["all", "north", "south"]}, id="two named customers"),
        pytest.param({"customer_id": "south", "ip": "192.0.2.9"}, {"customers": ["south"]}, id="a named customer rather than that of the network"),
        pytest.param({"ip": "192.0.2.9"}, {"customers": ["all", "north"]}, id="the customer of the network"),
        pytest.param({"ip": "192.0.3.9"}, {}, id="a network of nobody"),
        pytest.param({"customer_id": "0000000000000000"}, {}, id="The World, whose everything is in any case"),
    ],
)  # fmt: skip
def test_validity_robots_and_customers_are_settled_at_intake(
    gateway: Gateway, changed: dict[str, Any], about: dict[str, Any]
) -> None:
    indices.install(gateway.elasticsearch, gateway.settings)
    customers = Customers(gateway.elasticsearch, gateway.settings)
    customers.add("all", "All")
    customers.add("north", "North", networks=["192.0.2.0/24"], member_of=["all"])
    customers.add("south", "South")
    found = stored(gateway, {"action_labels": ["view"], "item_guid": "a", "counter": changed})
    assert found["counter.about"] == {"item": {"id": "a"}, "labels": ["view"], **about}


def test_a_robot_is_told_by_the_visitors_agent(gateway: Gateway) -> None:
    found = stored(gateway, {"action_labels": ["view"], "item_guid": "a", "counter": {"user_agent": "GPTBot/1.0"}})
    assert (found["is_robot"], found["robot_pattern"]) == (True, "bot")


# --- Refusals --------------------------------------------------------------------------------------------------

LABELS = "Invalid value in action_labels! Valid labels: search, view, download, web, api"


def at(pointer: str, detail: str) -> dict[str, Any]:
    return {"source": {"pointer": f"/data/attributes/{pointer}"}, "detail": detail}


REFUSED = [
    pytest.param({}, [at("action_labels", "This field is required.")], id="nothing"),
    pytest.param({"action_labels": None, "item_guid": "a"}, [at("action_labels", "This field is required.")], id="labels that are null"),
    pytest.param({"item_guid": "foo", "action_labels": []}, [at("action_labels", "This list may not be empty.")], id="no label"),
    pytest.param({"item_guid": "foo", "action_labels": "view"}, [at("action_labels", 'Expected a list of items but got type "str".')], id="a label that is no list"),
    pytest.param({"item_guid": "foo", "action_labels": ["view", "look"]}, [at("action_labels", LABELS)], id="a label that isn't one"),
    pytest.param({"item_guid": "foo", "action_labels": [["view"]]}, [at("action_labels", LABELS)], id="a label that is a list"),
    pytest.param({"pageview_info": {"page_url": "http://example.foo/blahblah/blee"}}, [at("action_labels", "This field is required.")], id="a page without a label"),
    pytest.param({"action_labels": ["view"]}, [{"detail": "At least one of item_guid and pageview_info.page_url is required."}], id="neither item nor page"),
    pytest.param({"action_labels": ["view"], "item_guid": "a" * 256}, [at("item_guid", "Ensure this field has no more than 255 characters.")], id="a long item"),
    pytest.param({"action_labels": ["view"], "item_guid": {}}, [at("item_guid", "Not a valid string.")], id="an item that is no text"),
    pytest.param({"action_labels": ["view"], "pageview_info": {"page_url": "home"}}, [at("pageview_info/page_url", "Enter a valid URL.")], id="a page that is no URL"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "pageview_info": {"page_title": "x"}}, [at("pageview_info/page_url", "This field is required.")], id="a page without URL"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "counter": {"stat": 1}}, [at("counter/stat", "Unknown field.")], id="an unknown key in counter"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "counter": {"item": {"yop": "24"}}}, [at("counter/item/yop", "Four digits; 0001 where it isn't known, 9999 in press.")], id="a year of two digits"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "counter": {"item": {"ids": {"ISBN": "9781479978621"}}}}, [at("counter/item/ids/ISBN", "'9781479978621' isn't of this kind.")], id="an ISBN without hyphens"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "counter": {"customer_id": "nobody"}}, [at("counter/customer_id", "There is no customer 'nobody'; add it: metronome counter customers add")], id="an unknown customer"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "counter": {"search": "Regular"}}, [at("counter/search", "A search has the label search.")], id="a search without its label"),
    pytest.param({"action_labels": ["view"], "item_guid": "a", "counter": {"databases": [{"name": "x"}]}}, [at("counter/databases/0/id", "This field is required.")], id="a database without id"),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "errors"), REFUSED)
def test_a_usage_that_cannot_be_taken_is_refused_with_the_place(
    gateway: Gateway, attributes: dict[str, Any], errors: list[dict[str, Any]]
) -> None:
    answer = post(gateway, attributes)
    assert (answer.status_code, answer.json) == (400, {"errors": errors, "meta": {"version": "2.0"}})
    assert answer.content_type == "application/vnd.api+json; charset=utf-8"


NO_DATA = {"source": {"pointer": "/data"}, "detail": "Request must include /data.", "meta": {}, "status": "400"}


@pytest.mark.parametrize("body", ["{}", '{"data": null}', "[]", '{"data": {}}'])
def test_a_request_without_data_is_refused(gateway: Gateway, body: str) -> None:
    answer = gateway.http.post(PATH, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["errors"]) == (400, [NO_DATA])


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_refused_as_json_api(gateway: Gateway, method: str) -> None:
    answer = getattr(gateway.http, method)(PATH)
    assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"POST", "OPTIONS"})
    assert [error["status"] for error in answer.json["errors"]] == ["405"]


def test_another_content_type_and_broken_json_are_refused(gateway: Gateway) -> None:
    assert gateway.http.post(PATH, data="{}", content_type="text/csv").status_code == 415
    broken = gateway.http.post(PATH, data='{"data"', content_type="application/json")
    assert (broken.status_code, broken.json["errors"][0]["detail"].startswith("JSON parse error - ")) == (400, True)


@pytest.mark.parametrize("name", ["timestamp", "customer_id", "user_id", "user_cookie", "ip", "user_agent", "status"])
def test_a_page_cannot_say_what_only_a_server_may(gateway_for: Callable[..., Gateway], name: str) -> None:
    keyed = Keyed(gateway_for(open="no"))
    _, token = keyed.make(publishable=True, origins=["https://repo.example"])
    headers = {"Authorization": f"Bearer {token}", "Origin": "https://repo.example"}
    usage = {"action_labels": ["view"], "item_guid": "a", "counter": {name: FULL.get(name, "c1")}}
    refused = post(keyed.gateway, usage, headers=headers)
    assert (refused.status_code, refused.json["errors"][0]["detail"].startswith(f"counter.{name}: ")) == (403, True)
    taken = post(keyed.gateway, {**usage, "counter": {"item": {"name": "x"}}}, headers=headers)
    assert taken.status_code == 201
    assert post(keyed.gateway, usage).status_code == 401
    keyed.gateway.app.extensions["gate"].rates.close()


def test_every_click_is_kept_and_clicks_of_one_slot_share_a_key(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(NOW)
    for second in ("00", "10", "31"):
        usage = {"action_labels": ["view"], "item_guid": "a", "counter": {"timestamp": f"2026-11-22T09:00:{second}Z"}}
        assert post(gateway, usage).status_code == 201
    found = sorted(gateway.documents(), key=lambda row: str(row["@timestamp"]))
    keys = [row["counter.key"] for row in found]
    assert (len(found), keys[0] == keys[1], keys[1] == keys[2]) == (3, True, False)
    assert len({row["counter.click"] for row in found}) == 1


def test_ticks_cannot_pretend_to_be_counted_usage(gateway: Gateway) -> None:
    gateway.accepted({"id": "a", "counter.key": "x", "counter.about": "{}"})
    (document,) = gateway.documents()
    assert {name for name in document if "counter" in name} == {"renamed.counter.key", "renamed.counter.about"}
