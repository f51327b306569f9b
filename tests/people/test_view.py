"""What one question sees of people stays as it was when the question came, whatever links come meanwhile."""

from __future__ import annotations

import threading

import pytest

from metronome.people import View
from metronome.people.fold import Link
from metronome.people.graph import Graph

NAMES = ["a1", "a2", "u1", "u2", "new"]


def graph_of(*links: Link[str]) -> Graph:
    graph = Graph()
    for link in links:
        graph.add(link)
    graph.settle()
    return graph


def identify(at: int, source: str, target: str, *, session: bool = False) -> Link[str]:
    return Link(at, f"l{at}{source}", "$identify", source, target, session)


def test_links_that_come_later_change_nothing_of_a_view() -> None:
    graph, lock = graph_of(identify(1, "a1", "u1")), threading.RLock()
    view = View(graph, lock)
    for link in (identify(2, "a2", "u1"), Link(3, "m", "$merge", "u1", "u2"), identify(4, "new", "u2")):
        graph.add(link)
        graph.settle()
        assert view.resolve(NAMES) == ["u1", "a2", "u1", "u2", "new"]
    assert View(graph, lock).resolve(NAMES) == ["u2"] * 5


@pytest.mark.parametrize(
    ("at", "persons", "ids"),
    [
        (0, ["a1", "a2", "u1", "u2", "new"], ("a1",)),
        (1, ["u1", "a2", "u1", "u2", "new"], ("u1", "a1")),
        (2, ["u1", "u1", "u1", "u2", "new"], ("u1", "a1", "a2")),
    ],
)
def test_a_view_as_of_a_moment_has_the_links_up_to_then(at: int, persons: list[str], ids: tuple[str, ...]) -> None:
    graph = graph_of(identify(1, "a1", "u1"), identify(2, "a2", "u1"), identify(3, "new", "u2"))
    view = View(graph, threading.RLock(), at)
    assert [view.resolve(NAMES) for _ in range(2)] == [persons, persons]
    assert view.ids_of("a1") == ids


def test_events_of_a_person_were_sent_under_its_ids_and_as_sessions_that_moved_to_it() -> None:
    graph = graph_of(identify(1, "s", "u1", session=True), identify(5, "s", "u2", session=True))
    view = View(graph, threading.RLock())
    assert view.moves == {"s": [(5, "u2")]}
    assert (view.ids_of("s"), view.sent_under(view.ids_of("s"))) == (("u1", "s"), ["s", "u1"])
    assert (view.ids_of("u2"), view.sent_under(view.ids_of("u2"))) == (("u2",), ["s", "u2"])
