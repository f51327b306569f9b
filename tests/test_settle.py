"""Names: any JSON object becomes one flat event that Elasticsearch takes, and nothing is dropped unsaid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from metronome.event.fields import METADATA, OWNED
from metronome.intake.settle import Names, Settled, Unacceptable
from metronome.settings import Settings

SETTINGS = Settings(home=Path("unused"), cache=Path("unused"))
HUGE = 123456789012345678901234567890


def settle(posted: Any, **limits: Any) -> dict[str, Any]:
    return Names(replace(SETTINGS, **limits)).settle(posted)


@pytest.mark.parametrize(
    ("posted", "event"),
    [
        pytest.param({"id": "a", "n": 1, "f": 1.5, "b": True, "z": None}, {"id": "a", "n": 1, "f": 1.5, "b": True, "z": None}, id="a flat event is itself"),
        pytest.param({"a": {"b": {"c": 1}, "d": 2}}, {"a.b.c": 1, "a.d": 2}, id="nested objects become dotted names"),
        pytest.param({"a.b": 1, "a": {"c": 2}}, {"a.b": 1, "a.c": 2}, id="dotted and nested names meet"),
        pytest.param({"a": 1, "a.b": 2}, {"a": 1, "a.b": 2}, id="a name and names below it live side by side"),
        pytest.param({"a": {}}, {"a": None}, id="an empty object is a null"),
        pytest.param({"a": []}, {"a": []}, id="an empty array stays"),
        pytest.param({"a": [1, 2.5], "b": ["x", None], "c": [[1], [2]]}, {"a": [1, 2.5], "b": ["x", None], "c": [[1], [2]]}, id="arrays of one type stay"),
        pytest.param({"a": [True, "x"]}, {"a": [True, "x"]}, id="text and flags are one type"),
        pytest.param({"a": [1, "x", True, None, [2]]}, {"a": ["1", "x", "true", None, "[2]"], "flags": ["mixed_array"]}, id="an array of mixed types becomes text"),
        pytest.param({"a": [1, [2, "x"]]}, {"a": ["1", '[2, "x"]'], "flags": ["mixed_array"]}, id="mixed further down"),
        pytest.param({"a": [{"b": 1}, {"b": 2}]}, {"a.b": [1, 2]}, id="an array of objects is one array a leaf"),
        pytest.param({"a": [{"b": 1}, {"c": {"d": 2}}, 3]}, {"a.b": [1, None, None], "a.c.d": [None, 2, None], "a": [None, None, 3]}, id="padded so that positions match"),
        pytest.param({"a": [{"b": 1}, {"b": "x"}]}, {"a.b": ["1", "x"], "flags": ["mixed_array"]}, id="objects that disagree on a type"),
        pytest.param({"a": [{"b": [1, 2]}, {"b": 3}]}, {"a.b": [[1, 2], 3]}, id="arrays inside objects inside an array"),
        pytest.param({"a": [{}, {"b": 1}]}, {"a.b": [None, 1]}, id="an empty object in an array leaves its place"),
        pytest.param({"a": [[{"b": 1}], [{"b": "x"}]]}, {"a": ['[{"b": 1}]', '[{"b": "x"}]'], "flags": ["mixed_array"]}, id="objects in arrays of arrays become text"),
        pytest.param({"é": 1, "日本": 2, "a b": 3, "a.": 4, ".a": 5, "a..b": 6, "_x": 7, "-": 8}, {"é": 1, "日本": 2, "a b": 3, "a.": 4, ".a": 5, "a..b": 6, "_x": 7, "-": 8}, id="any other name is a name"),
        pytest.param({"user_agent": "x"}, {"user_agent": "x"}, id="the visitor's agent goes on to be judged"),
        pytest.param({"user-agent": "x"}, {"user_agent": "x"}, id="under a header's name"),
        pytest.param({"User-Agent": "x"}, {"user_agent": "x"}, id="in any case"),
        pytest.param({"user_agent": {"original": "x", "name": "Firefox"}}, {"user_agent": "x", "user_agent.name": "Firefox"}, id="in the Elastic Common Schema"),
    ],
)  # fmt: skip
def test_a_posted_object_is_flattened(posted: dict[str, Any], event: dict[str, Any]) -> None:
    before = json.dumps(posted)
    settled = settle(posted)
    assert settled == event
    assert json.dumps(posted) == before


@pytest.mark.parametrize(
    ("posted", "event", "renamed"),
    [
        pytest.param({"": 1}, {"renamed.empty": 1}, [("", "renamed.empty")], id="an empty name"),
        pytest.param({" \t": 1, "": 2}, {"renamed.empty": 1, "renamed.empty.2": 2}, [(" \t", "renamed.empty"), ("", "renamed.empty.2")], id="blank names"),
        pytest.param({"\u2028": 1, "\u3000": 2, "\x1f": 3}, {"renamed.empty": 1, "renamed.empty.2": 2, "renamed.empty.3": 3}, [("\u2028", "renamed.empty"), ("\u3000", "renamed.empty.2"), ("\x1f", "renamed.empty.3")], id="names of blanks beyond ASCII"),
        pytest.param({"_id": "a"}, {"renamed._id": "a"}, [("_id", "renamed._id")], id="a name of Elasticsearch's metadata"),
        pytest.param({"_source": {"a": 1}}, {"_source.a": 1}, [], id="below such a name any name will do"),
        pytest.param({"a.b": 1, "a": {"b": "x"}}, {"renamed.a.b": 1, "a.b": "x"}, [("a.b", "renamed.a.b")], id="of one dotted name given twice the last keeps it"),
        pytest.param({"a": {"b": 1}, "a.b": 2}, {"renamed.a.b": 1, "a.b": 2}, [("a.b", "renamed.a.b")], id="also with one type"),
        pytest.param({"a.b.c": 1, "a": {"b.c": 2, "b": {"c": 3}}}, {"renamed.a.b.c": 1, "renamed.a.b.c.2": 2, "a.b.c": 3}, [("a.b.c", "renamed.a.b.c"), ("a.b.c", "renamed.a.b.c.2")], id="given thrice"),
        pytest.param({"is_robot": False, "received_at": 5, "flags": ["x"]}, {"renamed.is_robot": False, "renamed.received_at": 5, "renamed.flags": ["x"]}, [("is_robot", "renamed.is_robot"), ("received_at", "renamed.received_at"), ("flags", "renamed.flags")], id="names that the gateway owns"),
        pytest.param({"_id": 1, "renamed._id": 2}, {"renamed.renamed._id": 1, "renamed._id": 2}, [("_id", "renamed._id"), ("renamed._id", "renamed.renamed._id")], id="a name that a rename has taken"),
        pytest.param({"renamed._id": 1, "_id": 2}, {"renamed._id": 1, "renamed._id.2": 2}, [("_id", "renamed._id.2")], id="a rename whose name is taken"),
        pytest.param({"a": [{"": 1}, {"b": 2}]}, {"a.": [1, None], "a.b": [None, 2]}, [], id="an empty name below another has one"),
    ],
)  # fmt: skip
def test_a_name_that_elasticsearch_would_refuse_is_renamed(
    posted: dict[str, Any], event: dict[str, Any], renamed: list[tuple[str, str]]
) -> None:
    settled = settle(posted)
    assert isinstance(settled, Settled)
    assert (settled, settled.renamed) == ({**event, "flags": ["renamed_keys"]} if renamed else event, renamed)


@pytest.mark.parametrize("name", sorted(METADATA | OWNED))
def test_a_reserved_name_is_renamed_each_time(name: str) -> None:
    names = Names(SETTINGS)
    names.settle({"ordinary": 1})
    for _ in range(2):
        settled = names.settle({name: "x", "ordinary": 2})
        assert settled == {f"renamed.{name}": "x", "ordinary": 2, "flags": ["renamed_keys"]}


@pytest.mark.parametrize("name", ["ip", "clientIp", "x-forwarded-for", "source.ip", "authorization", "http_cookie"])
@pytest.mark.parametrize("change", [str, str.upper], ids=["as listed", "in capitals"])
def test_a_private_property_is_withheld_and_said_each_time(name: str, change: Any) -> None:
    names = Names(SETTINGS)
    for _ in range(2):
        settled = names.settle({change(name): "192.0.2.7", "id": "a"})
        assert isinstance(settled, Settled)
        assert (settled, settled.withheld) == ({"id": "a", "flags": ["withheld"]}, {change(name): "name"})


@pytest.mark.parametrize(
    "posted",
    [
        pytest.param({"source": {"ip": "192.0.2.7", "port": 1}}, id="in an object"),
        pytest.param({"source": [{"ip": "192.0.2.7"}, {"port": 1}]}, id="in an array of objects"),
        pytest.param({"source.ip": ["192.0.2.7"], "source.port": 1}, id="as an array"),
    ],
)
def test_a_nested_address_is_withheld(posted: dict[str, Any]) -> None:
    settled = settle(posted)
    assert isinstance(settled, Settled)
    assert settled.withheld == {"source.ip": "name"}
    assert "192.0.2.7" not in json.dumps(settled)


@pytest.mark.parametrize(
    ("posted", "reason", "field"),
    [
        pytest.param(1, 'an event is a JSON object, such as {"id": "home"}', None, id="a number"),
        pytest.param(None, 'an event is a JSON object, such as {"id": "home"}', None, id="null"),
        pytest.param([{"id": "a"}], 'an event is a JSON object, such as {"id": "home"}', None, id="an array"),
        pytest.param({"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}, "objects are nested more than 5 deep", "a.b.c.d.e", id="objects too deep"),
        pytest.param({"a": [{"b": {"c": {"d": {"e": {"f": 1}}}}}]}, "objects are nested more than 5 deep", "a.b.c.d.e", id="objects too deep in an array"),
        pytest.param({"a": [[[[[[[]]]]]]]}, "arrays are nested too deep", None, id="arrays too deep"),
        pytest.param({"a": [[{"b": [[[[[]]]]]}]]}, "arrays are nested too deep", None, id="arrays too deep in what becomes text"),
        pytest.param({str(n): n for n in range(256)}, "more than 255 properties (METRONOME_MAX_PROPERTIES)", None, id="too many properties"),
        pytest.param({"a": {str(n): n for n in range(256)}}, "more than 255 properties (METRONOME_MAX_PROPERTIES)", None, id="too many once flattened"),
        pytest.param({"x" * 257: 1}, "the name is 257 characters long; at most 256 are taken", "x" * 64, id="a name too long"),
        pytest.param({"x" * 200: {"y" * 100: 1}}, "the name is 301 characters long; at most 256 are taken", "x" * 64, id="a name too long once flattened"),
    ],
)  # fmt: skip
def test_what_is_past_the_limits_is_refused_with_field_and_reason(posted: Any, reason: str, field: str | None) -> None:
    with pytest.raises(Unacceptable) as refusal:
        settle(posted)
    assert (refusal.value.reason, refusal.value.field) == (reason, field)


@pytest.mark.parametrize(
    "posted",
    [
        pytest.param({"a": {"b": {"c": {"d": {"e": 1}}}}}, id="five levels of objects"),
        pytest.param({str(n): n for n in range(255)}, id="255 properties"),
        pytest.param({"x" * 256: 1}, id="a name of 256 characters"),
    ],
)
def test_what_is_at_the_limits_is_taken(posted: Any) -> None:
    assert len(settle(posted)) == len(posted)


def test_limits_hold_for_names_seen_before_too() -> None:
    names = Names(replace(SETTINGS, max_properties=2))
    for name in "abc":
        names.settle({name: 1})
    with pytest.raises(Unacceptable):
        names.settle({"a": 1, "b": 2, "c": 3})


KEYS = st.sampled_from(
    ["a", "b", "a.b", "", " ", "_id", "_source", "is_robot", "renamed.a", "renamed._id", "renamed.empty"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@tuned(max_examples=60)
@given(st.lists(st.dictionaries(KEYS | st.text(max_size=4), VALUES, max_size=6), max_size=3))
def test_any_objects_settle_into_flat_ones_that_settling_leaves_alone(objects: list[dict[str, Any]]) -> None:
    names = Names(replace(SETTINGS, max_depth=20))
    for posted in objects:
        before = json.dumps(posted)
        settled = dict(names.settle(posted))
        assert json.dumps(posted) == before
        assert [name for name, value in settled.items() if isinstance(value, dict) or not name.strip()] == []
        assert not (METADATA | OWNED - {"flags"}) & settled.keys()
        settled.pop("flags", None)
        assert names.settle(dict(settled)) == settled
