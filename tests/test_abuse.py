"""Inputs of ill will: each costs no more than ordinary batches of its size, in time and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.abuse import MB, Input, Measured, inputs, ordinary
from metronome.errors import TooLarge
from metronome.listen.batch import read_lines
from metronome.settings import Settings
from metronome.wire.events import Limits, read_events

INPUTS = list(inputs())[1:]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return Measured(Path(tmp_path_factory.mktemp("abuse")))


#: Tries of which one must be cheap enough. What costs too much does so each time; a busy neighbour costs once.
TRIES = 4


@pytest.mark.parametrize("given", INPUTS, ids=lambda given: given.name)
def test_no_input_costs_more_than_ordinary_batches_of_its_size(measured: Measured, given: Input) -> None:
    tries = []
    while len(tries) < TRIES:
        # The ordinary batch is taken anew, so that both see the same machine.
        usual, cost = measured.cost(ordinary()), measured.cost(given)
        assert cost.status in (202, 400, 413, 422)
        # The JSON reader reserves twelve times the body before it reads; it touches what the values need.
        assert cost.memory <= 16 * len(given.body) + 16 * MB
        # The least is what one ordinary batch costs: under 5 ms on the machine of the printed table.
        limit = 8 * given.batches * usual.ms if len(given.body) >= 1024 else 1.5 * usual.ms
        if cost.ms <= limit:
            return
        tries.append((cost.ms, limit))
    pytest.fail(f"milliseconds and their limit: {tries}")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" + b",".join([b"{}"] * 400_000) + b"]", id="objects"),
        pytest.param(b"[" + b",".join([b"1"] * 2_000_000) + b"]", id="numbers"),
        pytest.param(b'{"a":1}\n' * 2001, id="lines"),
    ],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_read(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metronome.wire.events.orjson", None)
    kind = "application/x-ndjson" if body.endswith(b"\n") else "application/json"
    with pytest.raises(TooLarge):
        read_events(body, kind)


def test_a_line_far_beyond_the_limit_of_an_event_costs_the_others_nothing() -> None:
    long = b'{"id":"' + b"x" * 1000 + b'"}'
    posted = read_events(b'{"id":"a"}\n' + long + b'\n{"id":"b"}', "application/x-ndjson", Limits(10, 100))
    assert [getattr(event, "raw", event) for event in posted.events] == [{"id": "a"}, long, {"id": "b"}]
    with pytest.raises(TooLarge):
        read_events(long, "application/json", Limits(10, 100))


def test_a_line_of_very_many_values_costs_the_other_lines_of_its_block_nothing() -> None:
    heavy = b'{"a":[' + b",".join([b"[]"] * 60_000) + b"]}"
    first, found, last = read_lines(b'{"id":"a"}\n' + heavy + b'\n{"id":"b"}', Settings())
    assert (first, found, last) == ({"id": "a"}, {"a": [[]] * 60_000}, {"id": "b"})
