"""A closed index: no figure is silently too small. Who asks for its day is refused and told which; the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Gateway

FIRST, SECOND, THIRD = "2026-10-05", "2026-10-06", "2026-10-07"


@pytest.fixture
def closed(gateway: Gateway) -> Iterator[Gateway]:
    """Three days, the first of which is closed. `note` is text on the second day and a number on the third."""
    notes = {FIRST: 1, SECOND: "one", THIRD: 1}
    gateway.accepted([{"id": "home", "ts": day, "note": note, "user_id": "u1"} for day, note in notes.items()])
    gateway.accepted({"id": "left", "ts": FIRST})
    gateway.drain()
    index = f"{gateway.settings.index_prefix}-{FIRST.replace('-', '.')}"
    gateway.elasticsearch.indices.close(index=index)
    yield gateway
    gateway.elasticsearch.indices.delete(index=index)


def asked(gateway: Gateway, path: str, question: dict[str, Any]) -> Any:
    return (
        gateway.http.post(path, json=question)
        if path.startswith("/query")
        else gateway.http.get(path, query_string=question)
    )


def result(found: Any) -> Any:
    """The figures, without the moments of an answer."""
    return found.json.get("result", found.json)


PERSONS = {"measure": "unique"}
STEPS = {"steps": [{}, {}], "window": "7d"}
ALL_DAYS = [
    pytest.param("/tock/home.json", {}, id="tock of all days"),
    pytest.param("/tock/home.json", {"from": FIRST}, id="tock from that day on"),
    pytest.param("/tock/home.json", {"to": SECOND}, id="tock up to the next day"),
    pytest.param("/tock/home.json", {"from": f"{FIRST}T23:00:00Z", "to": THIRD}, id="tock of that day's last hour"),
    pytest.param("/tock/left.json", {"strict": "true", "from": SECOND}, id="whether an item is known"),
    pytest.param("/query/trend", {"series": [{}], "from": FIRST, "to": SECOND}, id="trend"),
    pytest.param("/query/values", {"field": "note", "from": FIRST, "to": SECOND}, id="values of one kind"),
    pytest.param("/query/values", {"field": "note", "from": FIRST, "to": THIRD}, id="values of two kinds"),
    pytest.param("/query/properties", {"from": FIRST, "to": SECOND}, id="fields"),
    pytest.param("/query/events", {"from": FIRST, "to": SECOND}, id="events"),
    pytest.param("/query/trend", {"series": [PERSONS], "from": FIRST, "to": SECOND}, id="trend of persons"),
    pytest.param("/query/people", {"from": SECOND, "to": THIRD}, id="people, who may have come at any time"),
    pytest.param(
        "/query/trend", {"series": [{}], "segment": {"did": {}}, "from": SECOND, "to": THIRD}, id="a segment, the same"
    ),
    pytest.param("/query/timeline", {"subject_id": "u", "from": FIRST, "to": SECOND}, id="timeline"),
    pytest.param("/query/funnel", {**STEPS, "from": SECOND, "to": THIRD}, id="funnel, which looks at all days"),
]


@pytest.mark.parametrize(("path", "question"), ALL_DAYS)
def test_a_question_that_needs_a_closed_day_is_refused_by_that_days_name(
    closed: Gateway, path: str, question: dict[str, Any]
) -> None:
    found = asked(closed, path, question)
    assert (found.status_code, found.json["error"]["code"]) == (503, "days_closed"), found.text
    assert found.json["error"]["message"] == (
        "the index of 2026-10-05 is closed, so its events can't be counted; open it, or ask for other days"
    )
    assert found.headers["Retry-After"]


OTHER_DAYS = [
    pytest.param("/tock/home.json", {"from": SECOND}, id="tock"),
    pytest.param("/tock/home.json", {"from": SECOND, "to": THIRD, "strict": "true"}, id="tock of a known item"),
    pytest.param("/query/trend", {"series": [{}], "from": SECOND, "to": THIRD}, id="trend"),
    pytest.param("/query/values", {"field": "note", "from": SECOND, "to": THIRD}, id="values of two kinds"),
    pytest.param("/query/trend", {"series": [PERSONS], "from": SECOND, "to": THIRD}, id="trend of persons"),
    pytest.param(
        "/query/trend",
        {"series": [{}], "segment": {"did": {}, "within": "1d"}, "from": SECOND, "to": THIRD},
        id="a segment of what was done on other days",
    ),
    pytest.param("/query/timeline", {"subject_id": "u", "from": SECOND, "to": THIRD}, id="timeline"),
    pytest.param("/query/properties", {"from": SECOND, "to": THIRD}, id="fields"),
    pytest.param("/query/events", {"from": SECOND, "to": THIRD}, id="events"),
]


@pytest.mark.parametrize(("path", "question"), OTHER_DAYS)
def test_questions_about_other_days_are_answered_as_before(
    closed: Gateway, path: str, question: dict[str, Any]
) -> None:
    index = f"{closed.settings.index_prefix}-{FIRST.replace('-', '.')}"
    found = asked(closed, path, question)
    closed.elasticsearch.indices.open(index=index, wait_for_active_shards=1)
    expected = asked(closed, path, question)
    assert found.status_code == expected.status_code == 200
    assert result(found) == result(expected) != {}


def test_once_it_is_open_again_all_is_counted(closed: Gateway) -> None:
    index = f"{closed.settings.index_prefix}-{FIRST.replace('-', '.')}"
    closed.elasticsearch.indices.open(index=index, wait_for_active_shards=1)
    assert closed.http.get("/tock/home.json").json["views"] == {THIRD: 1, SECOND: 1, FIRST: 1}


def test_an_index_that_is_no_days_may_hold_any_day(closed: Gateway) -> None:
    index = f"{closed.settings.index_prefix}-rest"
    closed.elasticsearch.indices.create(index=index, wait_for_active_shards=1)
    closed.elasticsearch.indices.close(index=index)
    found = closed.http.get("/tock/home.json", query_string={"from": THIRD})
    closed.elasticsearch.indices.delete(index=index)
    assert (found.status_code, "the index of no day is closed" in found.text) == (503, True)
