"""Paths: the engine on columns walks as the oracle walks, and its answer adds up."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from columned import columns_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import walks as oracle

from metronome.periods import Period, to_ms
from metronome.query import All, Is
from metronome.query.journeys import paths
from metronome.query.journeys.answers import Link, Node, PathsAnswer
from metronome.query.journeys.questions import Paths

START = datetime(2026, 10, 24, 20, tzinfo=UTC)
MINUTE = 60_000

#: JOURNEY_CASES=30000 looks longer.
CASES = int(os.environ.get("JOURNEY_CASES", "1000"))


def answered(question: Paths, events: list[dict[str, Any]], now: datetime) -> PathsAnswer:
    columns = columns_of(events, question.subject, paths.conditions(question), paths.fields(question))
    return paths.answer(question, columns, now)


def at(minutes: float) -> int:
    return to_ms(START) + int(minutes * MINUTE)


def drawn(question: Paths, walked: list[list[tuple[Any, int]]]) -> PathsAnswer:
    """The answer from all paths, by the contract."""
    top: list[list[Any]] = []
    for step in range(question.depth + 1):
        counts = Counter(path[step][0] for path in walked if len(path) > step)
        top.append(sorted(counts, key=lambda one: (-counts[one], one is None, one or ()))[: question.top])
    labels = [
        [("$none" if name is None else name) if name in top[step] else "$other" for step, (name, _) in enumerate(path)]
        for path in walked
    ]
    nodes = Counter((step, name) for path in labels for step, name in enumerate(path))
    ended = Counter((len(path) - 1, path[-1]) for path in labels if len(path) <= question.depth)
    links: dict[Any, list[int]] = {}
    for path, names in zip(walked, labels, strict=True):
        for step in range(len(path) - 1):
            took = abs(path[step + 1][1] - path[step][1])
            links.setdefault((step, names[step], names[step + 1]), []).append(took)

    def plain(name: Any) -> Any:
        return name if isinstance(name, str) else name[1]

    def order(name: Any) -> Any:
        return (1, name) if isinstance(name, str) else (0, *name)

    def rows(counts: Counter[Any]) -> tuple[Node, ...]:
        ordered = sorted(counts.items(), key=lambda one: (one[0][0], -one[1], order(one[0][1])))
        return tuple(Node(step, plain(name), count) for (step, name), count in ordered)

    ordered = sorted(links.items(), key=lambda one: (one[0][0], -len(one[1]), order(one[0][1]), order(one[0][2])))
    found = tuple(
        Link(step, plain(one), plain(other), len(took), sorted(took)[-(-len(took) // 2) - 1] / 1000)
        for (step, one, other), took in ordered
    )
    return PathsAnswer(paths=len(walked), nodes=rows(nodes), links=found, ended=rows(ended))


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event": st.sampled_from("AABC"),
            "@timestamp": st.integers(0, 40).map(lambda n: at(n * 3)),
            "u": st.sampled_from(["u1", "u1", "u2", None]),
        },
        optional={
            "seq": st.integers(0, 2),
            "session_id": st.sampled_from(["s1", "s2"]),
            "page": st.sampled_from(["p", 1, ["q", "p"], [], None]),
        },
    ),
    max_size=14,
)
QUESTIONS = st.builds(
    Paths,
    start=st.sampled_from([Is("event", "A"), All()]),
    backward=st.booleans(),
    period=st.just(Period(START + timedelta(minutes=10), START + timedelta(minutes=90))),
    subject=st.just("u"),
    depth=st.integers(1, 4),
    top=st.integers(1, 3),
    node=st.sampled_from(["event", "page"]),
    within_ms=st.sampled_from([5, 9, 60]).map(lambda n: n * MINUTE),
    collapse_repeats=st.booleans(),
    across_sessions=st.booleans(),
)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(QUESTIONS, EVENTS, st.sampled_from([60, 5000]))
def test_the_engine_gives_what_the_oracle_gives(question: Paths, events: list[dict[str, Any]], now: int) -> None:
    events = [{**event, "_id": f"{number:02}"} for number, event in enumerate(events)]
    moment = START + timedelta(minutes=now)
    assert answered(question, events, moment) == drawn(question, oracle.paths(question, events, moment))


@settings(max_examples=CASES // 5, deadline=None, suppress_health_check=list(HealthCheck))
@given(QUESTIONS, EVENTS)
def test_what_enters_a_node_goes_on_or_ends(question: Paths, events: list[dict[str, Any]]) -> None:
    found = answered(question, events, START + timedelta(days=1))
    for node in found.nodes:
        if node.step < question.depth:
            onward = sum(link.count for link in found.links if (link.step, link.source) == (node.step, node.name))
            ended = sum(one.count for one in found.ended if (one.step, one.name) == (node.step, node.name))
            assert node.count == onward + ended
