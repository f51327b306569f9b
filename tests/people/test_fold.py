"""Which ids are one person: by the worked rules of semantics section 7, and against the oracle on random links."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.people import Oracle

from metronome.people.fold import Link, owner_of
from metronome.people.graph import Graph

NAMES = ["a1", "a2", "a3", "a4", "u1", "u2", "u3"]


def link(at: int, kind: str, source: str, target: str, **more: Any) -> dict[str, Any]:
    found = {"at": at, "id": more.pop("id", f"e{at}"), "kind": kind, "source": source, "target": target, "reverses": ""}
    return {**found, **more}


def identify(at: int, source: str, target: str, **more: Any) -> dict[str, Any]:
    return link(at, "$identify", source, target, **more)


def graph_of(*links: dict[str, Any], step: int = 1000) -> Graph:
    graph = Graph()
    for place, one in enumerate(links):
        graph.add(Link(**one))
        if place % step == step - 1:
            graph.settle()
    graph.settle()
    return graph


def persons(graph: Graph) -> dict[str, str]:
    return dict(zip(NAMES, graph.resolve(NAMES), strict=True))


def expected(**changed: str) -> dict[str, str]:
    return {**{name: name for name in NAMES}, **changed}


@pytest.mark.parametrize(
    ("links", "found"),
    [
        pytest.param([identify(1, "a1", "u1")], {"a1": "u1"}, id="an anonymous id becomes a user's"),
        pytest.param([identify(1, "a1", "u1"), identify(2, "a2", "u1")], {"a1": "u1", "a2": "u1"}, id="two devices are one user"),
        pytest.param([identify(1, "a1", "u1"), identify(2, "a1", "u2")], {"a1": "u1"}, id="a device that is another user already isn't merged"),
        pytest.param([identify(2, "a1", "u2"), identify(1, "a1", "u1")], {"a1": "u1"}, id="whichever of two identifies comes first"),
        pytest.param([identify(1, "a1", "u2", id="b"), identify(1, "a1", "u1", id="a")], {"a1": "u1"}, id="of one moment the lower id decides"),
        pytest.param([identify(1, "a1", "u1"), link(2, "$alias", "a2", "a1")], {"a1": "u1", "a2": "u1"}, id="an alias of an identified id"),
        pytest.param([identify(1, "a1", "u1"), link(2, "$alias", "a1", "u2")], {"a1": "u1"}, id="an alias has the same guard"),
        pytest.param([link(1, "$alias", "a1", "a2"), identify(2, "a1", "u1")], {"a1": "u1", "a2": "u1"}, id="identify takes all of an anonymous person"),
        pytest.param([link(1, "$alias", "a1", "a2")], {"a1": "a2"}, id="an alias makes nobody a user"),
        pytest.param([identify(1, "a1", "u1"), link(2, "$merge", "u1", "u2")], {"a1": "u2", "u1": "u2"}, id="a merge has no guard"),
        pytest.param([identify(1, "a1", "u1"), link(2, "$merge", "u1", "a2")], {"a1": "a2", "u1": "a2"}, id="a merged person has the id that it was merged into"),
        pytest.param([identify(1, "a1", "u1"), link(2, "$merge", "u1", "u2", id="m"), link(3, "$unmerge", "u1", "u2", reverses="m")], {"a1": "u1"}, id="a merge taken back was never there"),
        pytest.param([identify(1, "a1", "u1", id="i"), identify(2, "a1", "u2"), link(3, "$unmerge", "a1", "u1", reverses="i")], {"a1": "u2"}, id="without the first identify the second holds"),
        pytest.param([link(1, "$merge", "u1", "u2", id="m"), link(2, "$unmerge", "u1", "u2", id="x", reverses="m"), link(3, "$unmerge", "u1", "u2", reverses="x")], {"u1": "u2"}, id="an unmerge can be taken back"),
        pytest.param([identify(1, "a1", "undefined"), identify(2, "a2", "Undefined"), identify(3, "NULL", "u1")], {}, id="placeholders link nobody"),
        pytest.param([identify(1, "a1", "u" * 201)], {}, id="an id that is too long links nobody"),
        pytest.param([identify(1, "a1", "u1")] * 3, {"a1": "u1"}, id="the same link again changes nothing"),
    ],
)  # fmt: skip
def test_links_make_persons(links: list[dict[str, Any]], found: dict[str, str]) -> None:
    assert persons(graph_of(*links)) == expected(**found)
    assert persons(graph_of(*reversed(links), step=1)) == expected(**found)


def test_a_person_has_at_most_500_ids() -> None:
    graph = graph_of(*(identify(at, f"s{at}", "u1") for at in range(1, 503)))
    assert graph.resolve(["s499", "s500", "s501"]) == ["u1", "s500", "s501"]
    assert graph.component("u1").refused == {"e500": "too_many_ids", "e501": "too_many_ids", "e502": "too_many_ids"}


def test_later_events_of_a_session_belong_to_the_user_that_is_named_last() -> None:
    graph = graph_of(
        identify(1, "a1", "u1", session=True),
        identify(2, "a1", "u2", session=True),
        identify(3, "a1", "u1", session=True),
    )
    assert [owner_of("a1", received, graph.moves()) for received in (0, 1, 2, 3)] == ["a1", "a1", "u2", "u1"]
    assert graph.resolve(["a1", "u2"]) == ["u1", "u2"]
    assert [graph.moves(1), graph.moves(2)] == [{}, {"a1": [(2, "u2")]}]


def test_a_link_taken_back_since_leaves_earlier_answers_as_they_were() -> None:
    graph = graph_of(
        identify(0, "a1", "u1", id="first"),
        identify(1, "a1", "u2", session=True),
        link(2, "$unmerge", "a1", "u1", reverses="first"),
    )
    assert (graph.resolve(["a1"]), graph.moves()) == (["u2"], {})
    assert (graph.resolve_as_of(["a1"], 1), graph.moves(1)) == (["u1"], {"a1": [(1, "u2")]})


def test_what_was_deleted_links_nobody() -> None:
    graph = graph_of(identify(1, "a1", "u1"), identify(2, "a2", "u1"))
    graph.forget(graph.ids_of_day(0)["e1"])
    assert graph.settle() == 1
    assert persons(graph) == expected(a2="u1")


def test_an_id_of_any_form_is_kept_as_it_is() -> None:
    ids = ["01a200fd-c731-77d1-a8b4-45660fea4b0c", "01A200FD-c731-77d1-a8b4-45660fea4b0c", "shop:é", "x" * 36]
    graph = graph_of(*(identify(at, f"s{at}", "u1", id=name) for at, name in enumerate(ids)))
    assert graph.ids_of_day(0) == {name: row for row, name in enumerate(ids)}


# --- Against the oracle ---------------------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Links of few ids at few moments, so that ties, cycles and refusals are common; unmerges of all, in any order."""
    links: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 14))):
        kind = draw(st.sampled_from(["$identify", "$identify", "$alias", "$merge", "$unmerge"]))
        at, source, target = draw(st.integers(0, 5)), draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))
        more: dict[str, Any] = {"id": f"e{draw(st.integers(0, 9))}-{number}"}
        if kind == "$unmerge":
            if not links:
                continue
            undone = draw(st.sampled_from(links))
            more["reverses"], source, target = undone["id"], undone["source"], undone["target"]
        elif kind == "$identify" and draw(st.booleans()):
            more["session"] = True
        links.append(link(at, kind, source, target, **more))
    return links


@settings(max_examples=1500, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.integers(1, 4), st.integers(-1, 6))
def test_any_order_of_arrival_gives_the_persons_of_the_definition(
    links: list[dict[str, Any]], random: Any, step: int, at: int
) -> None:
    oracle = Oracle(links)
    arrived = links + random.choices(links, k=3) if links else []
    random.shuffle(arrived)
    graph = graph_of(*arrived, step=step)
    assert persons(graph) == {name: oracle.resolve(name) for name in NAMES}
    for name in NAMES:
        component = graph.component(name)
        ids = component.clusters[name].ids if name in component.clusters else [name]
        assert set(ids) == oracle.ids(name)
        assert len(ids) == len(set(ids))
    refused = {key: why for name in NAMES for key, why in graph.component(name).refused.items()}
    assert refused == oracle.refused
    earlier = Oracle([link for link in links if link["at"] <= at])
    assert graph.resolve_as_of(NAMES, at) == [earlier.resolve(name) for name in NAMES]


@settings(max_examples=500, deadline=None)
@given(histories(), st.integers(-1, 6), st.integers(-1, 6))
def test_an_events_owner_is_that_of_the_definition(links: list[dict[str, Any]], received: int, at: int) -> None:
    graph, oracle = graph_of(*links), Oracle(links)
    assert [owner_of(name, received, graph.moves()) for name in NAMES] == [
        oracle.owner(name, received) for name in NAMES
    ]
    earlier = Oracle([link for link in links if link["at"] <= at])
    assert [owner_of(name, received, graph.moves(at)) for name in NAMES] == [
        earlier.owner(name, received) for name in NAMES
    ]


@settings(max_examples=300, deadline=None)
@given(histories(), st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 6))
def test_a_merge_that_is_taken_back_was_never_there(
    links: list[dict[str, Any]], source: str, target: str, at: int
) -> None:
    merge = link(at, "$merge", source, target, id="m")
    undone = link(at, "$unmerge", source, target, id="x", reverses="m")
    assert persons(graph_of(*links, merge, undone, step=1)) == persons(graph_of(*links))


@settings(max_examples=300, deadline=None)
@given(histories(), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_later_merge_changes_no_answer_as_of_before(links: list[dict[str, Any]], source: str, target: str) -> None:
    before = graph_of(*links).resolve_as_of(NAMES, 6)
    assert graph_of(*links, link(7, "$merge", source, target, id="m")).resolve_as_of(NAMES, 6) == before
