"""A person's properties: set, set_once, unset, add, and what becomes of them where two people turn out to be one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metronome.people.fold import Link, fold
from metronome.people.properties import Change, Property, fold_properties


def change(owner: str, at: int, seq: float = -1.0, **event: Any) -> Change:
    flat = {name.replace("__", "."): value for name, value in event.items()}
    return Change(owner, at, seq, "", f"c{at}-{seq}", {"@timestamp": f"t{at}", "event": "$set", **flat})


def values(changes: list[Change], links: list[Link[str]] | None = None, *ids: str) -> dict[str, Any]:
    found = fold_properties(ids or ["u"], fold(links or []).joined, changes)
    return {name: tuple(value) for name, value in found.items()}


def identify(at: int, source: str, target: str, session: bool = False) -> Link[str]:
    return Link(at, f"l{at}", "$identify", source, target, session)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param([change("u", 1, set__plan="free"), change("u", 2, set__plan="pro")], {"plan": ("pro", "t2")}, id="the last value counts"),
        pytest.param([change("u", 2, set__plan="pro"), change("u", 1, set__plan="free")], {"plan": ("pro", "t2")}, id="in whichever order they came"),
        pytest.param([change("u", 1, 1.0, set__a=1), change("u", 1, 0.0, set__a=2)], {"a": (1, "t1")}, id="of one moment by seq"),
        pytest.param([change("u", 1, set_once__from="ad"), change("u", 2, set_once__from="mail")], {"from": ("ad", "t1")}, id="set_once keeps the first"),
        pytest.param([change("u", 1, set__a=1, set__b=2), change("u", 2, unset=["a", "c"])], {"b": (2, "t1")}, id="unset forgets"),
        pytest.param([change("u", 1, add__n=2), change("u", 2, add__n=0.5)], {"n": (2.5, "t2")}, id="add counts from zero"),
        pytest.param([change("u", 1, set__n="x"), change("u", 2, add__n=1), change("u", 3, add__n="y")], {"n": (1, "t2")}, id="text can't be added to"),
        pytest.param([change("u", 1, set__a=None)], {"a": (None, "t1")}, id="null is a value"),
        pytest.param([change("u", 1, **{"set.a.b": 1, "set.first-name": "é"})], {"a.b": (1, "t1"), "first-name": ("é", "t1")}, id="names are as given"),
        pytest.param([change("other", 1, set__a=1)], {}, id="another's values aren't this person's"),
    ],
)  # fmt: skip
def test_changes_make_properties(changes: list[Change], found: dict[str, Any]) -> None:
    assert values(changes) == found


def test_on_a_merge_the_target_wins_and_missing_ones_are_copied() -> None:
    changes = [change("a", 1, set__a=1, set__c=3), change("u", 2, set__a=2, set__b=2)]
    assert values(changes, [identify(3, "a", "u")], "a", "u") == {"a": (2, "t2"), "b": (2, "t2"), "c": (3, "t1")}


def test_where_v1_merges_the_sessions_values_win() -> None:
    changes = [change("s1", 1, set__a=1), change("u", 2, set__a=2, set__b=3)]
    assert values(changes, [identify(3, "s1", "u", True)], "s1", "u") == {"a": (1, "t1"), "b": (3, "t2")}


def test_what_is_set_after_a_merge_is_everybodys() -> None:
    changes = [change("a", 1, set__a=1), change("a", 4, set__a=4), change("u", 2, set__a=2)]
    assert values(changes, [identify(3, "a", "u")], "a", "u") == {"a": (4, "t4")}


NAMES = ["s1", "s2", "u1", "u2"]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(NAMES), st.sampled_from(["set", "set_once", "add", "unset"]), st.sampled_from("ab")), max_size=12),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(NAMES), st.sampled_from(NAMES), st.booleans()), max_size=6),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_properties_are_those_of_the_definition(changed: Any, linked: Any, random: Any) -> None:
    """A merge happens before what is set at the same moment, here as there."""
    links = [Link(at, f"l{n:02d}", "$identify", a, b, v1) for n, (at, a, b, v1) in enumerate(linked)]
    changes = [
        change(owner, at, float(n), **({"unset": name} if how == "unset" else {f"{how}__{name}": n}))
        for n, (at, owner, how, name) in enumerate(changed)
    ]
    folded = fold(links)
    people: list[tuple[set[str], dict[str, tuple[Any, str]]]] = [({name}, {}) for name in NAMES]

    def of(name: str) -> tuple[set[str], dict[str, tuple[Any, str]]]:
        return next(person for person in people if name in person[0])

    for at in range(10):
        for link in sorted((link for link in folded.joined if link.at == at), key=lambda link: link.id):
            source, target = of(link.source), of(link.target)
            people.remove(source)
            target[0].update(source[0])
            for name, value in source[1].items():
                if link.session or name not in target[1]:
                    target[1][name] = value
        for n, (when, owner, how, name) in enumerate(changed):
            known = of(owner)[1]
            if when == at and how == "unset":
                known.pop(name, None)
            elif when == at and not (how == "set_once" and name in known):
                base = known[name][0] if how == "add" and name in known else 0
                known[name] = (base + n, f"t{at}")
    random.shuffle(changes)
    for ids, known in people:
        assert fold_properties(ids, folded.joined, changes) == {name: Property(*value) for name, value in known.items()}
