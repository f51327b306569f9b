"""What administrators ask Elasticsearch itself, by `/_/metrics/raw/` and searches of preprints; and moderation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Gateway
from doors import CHROME
from keyed import Kept

BASE = "/_/metrics"
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


class Asked:
    """A gateway that asks for keys, with one key for each scope."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        kept = Kept(gateway)
        self.tokens = {scope: kept.make(scopes=[scope])[1] for scope in ("read", "admin")}
        self.tokens["bound"] = kept.make(scopes=["admin"], app="shop")[1]

    def send(self, method: str, path: str, scope: str = "admin", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[scope]}"} if scope else {}
        return self.gateway.http.open(f"{BASE}/{path}", method=method, headers=headers, **options)


@pytest.fixture
def asked(gateway_for: Callable[..., Gateway]) -> Asked:
    return Asked(gateway_for(NOW, open="no", raw="yes"))


def detail(answer: Any) -> tuple[int, str]:
    assert answer.content_type == "application/vnd.api+json; charset=utf-8"
    (error,) = answer.json["errors"]
    return answer.status_code, error["detail"]


def test_requests_pass_through_to_elasticsearch_and_its_answers_back(asked: Asked) -> None:
    # An index as django-elasticsearch-metrics names them: application, class, year.
    index = f"{asked.gateway.settings.index_prefix}_countedauthusage_2026"
    try:
        put = asked.send("PUT", f"raw/{index}/_doc/1?refresh=true", json={"item_guid": "ab12c"})
        assert (put.status_code, put.json["_index"], put.json["result"]) == (201, index, "created")
        usage = {"_index": index, "_id": "1", "_source": {"item_guid": "ab12c"}}
        got = asked.send("GET", f"raw/{index}/_doc/1")
        assert got.status_code == 200
        assert {name: got.json[name] for name in usage} == usage
        query = {"query": {"match": {"item_guid": "ab12c"}}}
        found = asked.send("POST", f"raw/{index}/_search", json=query)
        assert [{name: hit[name] for name in usage} for hit in found.json["hits"]["hits"]] == [usage]
        assert asked.send("GET", f"raw/{index}/_doc/2").status_code == 404
        bad = asked.send("POST", f"raw/{index}/_search", json={"query": {"nothing": {}}})
        assert (bad.status_code, "unknown query [nothing]" in bad.json["error"]["reason"]) == (400, True)
    finally:
        asked.gateway.elasticsearch.options(ignore_status=404).indices.delete(index=index)


def test_nothing_is_deleted(asked: Asked) -> None:
    for path in ("raw/", "raw/some_index"):
        assert detail(asked.send("DELETE", path)) == (400, "DELETE not supported. Use GET/POST/PUT")


@pytest.mark.parametrize(
    ("path", "scope", "status", "said"),
    [
        pytest.param("raw/_search", "", 401, "this gateway asks for a key", id="without a key"),
        pytest.param("raw/_search", "read", 403, "has no scope admin", id="without the role"),
        pytest.param("raw/_search", "bound", 403, "bound to an application", id="with a key of one application"),
        pytest.param("raw/_security/user", "admin", 403, "users, roles and keys", id="what outlives a key of ours"),
        pytest.param("raw/x/_security/user", "admin", 403, "users, roles and keys", id="the same further behind"),
        pytest.param("raw/Index", "admin", 404, "small letters", id="a path in other letters"),
        pytest.param("raw/a-*", "admin", 404, "small letters", id="a path with other signs"),
    ],
)
def test_what_does_not_pass_is_told_why(asked: Asked, path: str, scope: str, status: int, said: str) -> None:
    found = detail(asked.send("GET", path, scope))
    assert (found[0], said in found[1]) == (status, True), found


def test_it_is_off_unless_it_was_switched_on(gateway_for: Callable[..., Gateway]) -> None:
    off = Asked(gateway_for(NOW, open="no"))
    assert detail(off.send("GET", "raw/_search")) == (404, "Endpoint is disabled.")
    assert detail(off.send("DELETE", "raw/_search")) == (404, "Endpoint is disabled.")
    assert off.send("GET", "raw/_search", "read").status_code == 403, "the role is looked at first"


def test_where_nothing_wants_a_key_it_does(gateway_for: Callable[..., Gateway]) -> None:
    answer = gateway_for(NOW, open="yes", raw="yes").http.get(f"{BASE}/raw/_search")
    assert detail(answer) == (403, "raw/ wants a key of scope admin, also where nothing else wants one")


def test_a_body_that_is_no_json_is_refused(asked: Asked) -> None:
    status, said = detail(asked.send("POST", "raw/_search", data=b"{"))
    assert (status, said.startswith("JSON parse error - ")) == (400, True)


# --- Preprints ---------------------------------------------------------------------------------------------------


def use(gateway: Gateway, guid: str, *labels: str) -> None:
    counter = {"timestamp": "2026-05-18T10:00:00Z", "user_agent": CHROME}
    usage = {"action_labels": labels, "item_guid": guid, "counter": counter}
    answer = gateway.http.post(f"{BASE}/events/counted_usage/", json={"data": {"attributes": usage}})
    assert answer.status_code == 201, answer.text


def search(asked: Any, kind: str, query: Any, scope: str = "admin") -> Any:
    posted = {"data": {"type": "preprint_metrics", "attributes": {"query": query}}}
    return asked.send("POST", f"preprints/{kind}/", scope, json=posted)


def test_preprints_are_searched_as_elasticsearch_searches(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(NOW)
    for guid, *labels in (("a1", "view"), ("a1", "download"), ("b1", "view"), ("b1", "search")):
        use(gateway, guid, *labels)
    gateway.http.post("/tick", json={"id": "a1", "event": "view"})
    gateway.drain()
    asked = Asked(gateway)
    aggregation = {"items": {"terms": {"field": "id"}}}

    def found(kind: str, **query: Any) -> list[tuple[str, int]]:
        answer = search(asked, kind, {"size": 0, "aggs": aggregation, **query})
        assert (answer.status_code, answer.content_type) == (200, "application/json"), answer.text
        return [(one["key"], one["doc_count"]) for one in answer.json["aggregations"]["items"]["buckets"]]

    assert found("views") == [("a1", 1), ("b1", 1)]
    assert found("downloads") == [("a1", 1)]
    assert found("views", query={"term": {"id": "b1"}}) == [("b1", 1)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param("all", "Malformed elasticsearch query.", id="no object"),
        pytest.param(None, "Malformed elasticsearch query.", id="none"),
        pytest.param({"query": {"nothing": {}}}, "unknown query [nothing]", id="a query that there isn't"),
        pytest.param({"query": {"terms": {"id": {"index": "metronome-keys", "id": "k", "path": "id"}}}}, "Malformed elasticsearch query.", id="one that reads another index"),
        pytest.param({"query": {"bool": {"must": [{"more_like_this": {"like": [{"_index": "x"}]}}]}}}, "Malformed elasticsearch query.", id="and deeper"),
    ],
)  # fmt: skip
def test_a_search_that_elasticsearch_cannot_take_says_why(asked: Asked, query: Any, said: str) -> None:
    assert detail(search(asked, "views", query)) == (400, said)


def test_who_may_not_search_preprints(asked: Asked) -> None:
    assert search(asked, "views", {}, "read").status_code == 403
    assert search(asked, "views", {}, "bound").status_code == 403
    assert search(asked, "views", {}, "").status_code == 401
    assert search(asked, "clicks", {}).status_code == 404
    assert detail(asked.send("POST", "preprints/views/", json={}))[1] == "Request must include /data."


# --- Moderation --------------------------------------------------------------------------------------------------


def test_transitions_of_registrations_are_counted_by_provider(gateway: Gateway) -> None:
    for provider, trigger, state, comment in (
        ("osf", "submit", "pending", None),
        ("osf", "accept_submission", "accepted", "fine"),
        ("osf", "submit", "embargo", None),
        ("osf", "reject_submission", "rejected", "no data"),
        ("egap", "accept_withdrawal", "withdrawn", "as asked"),
        ("egap", "reject_withdrawal", "accepted", "no"),
    ):
        said = {"comment": comment} if comment else {}
        event = {"id": "r1", "event": "moderation", "provider_id": provider, "trigger": trigger, "to_state": state}
        gateway.accepted({**event, "from_state": "initial", **said})
    gateway.accepted({"id": "r1", "event": "view", "provider_id": "osf", "trigger": "submit"})
    gateway.drain()
    answer = gateway.http.get(f"{BASE}/registries_moderation/transitions/")

    def bucket(key: str, count: int, *counts: int) -> dict[str, Any]:
        names = ("transitions_without_comments", "transitions_with_comments", "submissions", "accepted_with_embargo", "accepted_without_embargo", "rejected", "withdrawn")  # fmt: skip
        return {"key": key, "doc_count": count, **{n: {"doc_count": c} for n, c in zip(names, counts, strict=True)}}

    assert (answer.status_code, answer.json) == (
        200,
        {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": 0,
            "buckets": [bucket("osf", 4, 2, 2, 2, 1, 1, 1, 0), bucket("egap", 2, 0, 2, 0, 0, 0, 0, 1)],
        },
    )


def test_before_any_moderation_there_are_no_providers_and_who_may_not_read_gets_none(asked: Asked) -> None:
    path = "registries_moderation/transitions/"
    assert asked.send("GET", path, "read").json["buckets"] == []
    assert asked.send("GET", path, "").status_code == 401
