"""GET /limits says what is enforced: what is at a limit is taken, what is past it isn't."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from conftest import Gateway

from metronome.settings import Settings
from metronome.web.limits import limits

#: Small, so that a test needn't send much.
CHANGED = {
    "max_body_bytes": 40_000,
    "max_batch_events": 7,
    "max_event_bytes": 9_000,
    "max_properties": 20,
    "max_depth": 3,
    "max_key_length": 30,
    "rate_limit": "1000/hour",
}


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {"b": 1}


def padded(size: int) -> bytes:
    return json.dumps({"id": "a"}).encode().ljust(size)


#: By the name of a limit: what is posted if it is `n` long, many, deep.
POSTS: dict[str, Callable[[int], Any]] = {
    "batch": lambda n: [{"id": "a"}] * n,
    # A batch: intake completes a single tick with `event` and others.
    "properties": lambda n: [{f"p{number}": 1 for number in range(n)}],
    "depth": lambda n: nested(n - 1),
    "name": lambda n: {"n" * n: 1},
    "id": lambda n: {"id": "i" * n},
    "insert_id": lambda n: {"insert_id": "i" * n},
    "distinct_id": lambda n: {"distinct_id": "d" * n},
}


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway]) -> Any:
    found = gateway_for(**CHANGED)
    yield found
    found.app.extensions["gate"].rates.close()


def values(gateway: Gateway) -> dict[str, Any]:
    return {row["name"]: row["value"] for row in gateway.http.get("/limits").json["limits"]}


@pytest.mark.parametrize("name", POSTS)
def test_what_is_at_a_limit_is_taken_and_what_is_past_it_is_not(gateway: Gateway, name: str) -> None:
    most = values(gateway)[name]
    assert [gateway.tick(POSTS[name](size)).status_code for size in (most, most + 1)] == [
        202,
        413 if name == "batch" else 422,
    ]


def test_the_limit_of_a_body_is_in_bytes(gateway: Gateway) -> None:
    most = values(gateway)["body"]
    found = [gateway.tick(data=padded(size), content_type="application/json") for size in (most, most + 1)]
    assert [answer.status_code for answer in found] == [202, 413]


def test_the_limit_of_an_event_is_in_bytes_as_stored(gateway: Gateway) -> None:
    most = values(gateway)["event"]
    stored = len(gateway.tick({"text": ""}, path="/tick?echo=1").data)
    found = [gateway.tick({"text": "x" * (most + more)}) for more in (-2 * stored, 1)]
    assert [answer.status_code for answer in found] == [202, 422]


#: Numbers that bound nothing a client sends or asks: how the gateway itself is laid out.
NOT_LIMITS = {
    *("shards", "refresh_s", "workers", "threads"),
    *("drain_bulk_bytes", "drain_senders", "drain_timeout_s", "parts_max_bytes", "merged_max_bytes"),
    *("archive_after", "keep"),
}


def test_every_setting_that_is_a_limit_is_shown() -> None:
    numbers = {row.name: row.metadata["variable"] for row in fields(Settings) if type(row.default) is int}
    bounds = {variable for name, variable in numbers.items() if name not in NOT_LIMITS}
    assert bounds == {limit.setting for limit in limits(Settings())} - {None, "METRONOME_RATE_LIMIT"}


def test_the_limits_are_those_of_the_settings(gateway: Gateway) -> None:
    rows = gateway.http.get("/limits").json["limits"]
    variables = {row.metadata["variable"]: row.name for row in fields(Settings)}
    assert {row["name"]: row["value"] for row in rows if row["setting"] is None} == {
        "address": 8190,
        "address of /v1": 66_560,
        "id": 512,
        "insert_id": 64,
        "distinct_id": 200,
    }
    changeable = {row["setting"]: row["value"] for row in rows if row["setting"]}
    assert changeable == {name: getattr(gateway.settings, variables[name]) for name in changeable}
    assert CHANGED.items() <= {variables[name]: value for name, value in changeable.items()}.items()
    assert all(row.keys() == {"name", "value", "unit", "setting", "beyond"} for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)


def test_without_a_rate_the_table_says_that_there_is_none() -> None:
    assert next(limit for limit in limits(Settings()) if limit.name == "rate").value is None
