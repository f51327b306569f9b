"""One index that can't take its events holds up no others: they wait apart, are told, and go by themselves later."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from conftest import Gateway, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from proxy import ELASTIC, Fault, Proxy, error, refused_items, silent_for
from test_drain import Yard

from metronome.drain import retry, sender
from metronome.settings import Settings
from metronome.spool.held import Held
from metronome.spool.quarantine import Quarantine
from metronome.spool.spool import Spool
from metronome.spool.status import Backlog, backlog, drain_status, held

#: No node has this name, so that a new index with this setting has no primary shard.
NOWHERE = {"index.routing.allocation.include._name": "nowhere"}


@pytest.fixture
def yard(settings: Settings, engine_settings: Settings, elasticsearch: Elasticsearch) -> Iterator[Yard]:
    """A spool folder and drains for it, before the session's Elasticsearch, with a proxy that is listening."""
    proxy = Proxy(engine_settings.elasticsearch_url, free_port())
    proxy.start()
    behind = replace(
        settings,
        elasticsearch_url=proxy.url,
        elasticsearch_username=engine_settings.elasticsearch_username,
        elasticsearch_password=engine_settings.elasticsearch_password,
    )
    found = Yard(behind, elasticsearch, proxy)
    yield found
    found.stop()
    proxy.stop()
    remove_indices(elasticsearch, behind)


@pytest.fixture
def spool(yard: Yard) -> Iterator[Spool]:
    found = Spool(yard.folder)
    yield found
    found.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience and pauses of a tenth."""
    monkeypatch.setattr(sender, "PATIENCE_S", 0.2)
    monkeypatch.setattr(retry, "PAUSE_S", (0.1, 0.5))


def event(yard: Yard, day: str, name: str, **fields: object) -> bytes:
    index = f"{yard.settings.index_prefix}-{day}"
    action = json.dumps({"create": {"_index": index, "_id": name}}, separators=(",", ":"))
    source = json.dumps({"@timestamp": f"{day.replace('.', '-')}T09:30:00.000Z", "id": name, **fields})
    return f"{action}\n{source}\n".encode()


def test_of_an_index_without_a_primary_shard_the_events_wait_and_all_others_are_stored(
    yard: Yard, spool: Spool
) -> None:
    red = f"{yard.settings.index_prefix}-2026.11.20"
    yard.elasticsearch.indices.create(index=red, settings=NOWHERE, wait_for_active_shards="0")
    started = time.monotonic()
    for number in range(2):
        spool.append(event(yard, "2026.11.20", f"late{number}"), 1)
    for number in range(10):
        spool.append(event(yard, "2026.11.22", f"today{number}"), 1)
    drain = yard.drain(timeout_s=30)

    wait_for(lambda: len(stored(yard)) == 10, "today's events", 20)
    told = wait_for(lambda: drain_status(yard.folder)["trouble"], "the trouble to be told", 20)
    assert time.monotonic() - started < 30
    assert told.startswith(f"{red} takes nothing (")
    wait_for(lambda: waiting(yard) == {red: 2}, "the late ones to be set aside")
    assert backlog(yard.folder).events == 2
    # What comes now waits for nobody.
    again = time.monotonic()
    spool.append(event(yard, "2026.11.20", "later") + event(yard, "2026.11.22", "now"), 2)
    wait_for(lambda: "now" in stored(yard), "an event of today", 5)
    assert time.monotonic() - again < 4

    yard.elasticsearch.indices.put_settings(index=red, settings={next(iter(NOWHERE)): None})

    wait_for(lambda: backlog(yard.folder).requests == 0, "the late ones to go by themselves", 60)
    assert stored(yard) == sorted(["late0", "late1", "later", "now", *(f"today{n}" for n in range(10))])
    wait_for(lambda: drain_status(yard.folder)["trouble"] == "", "the trouble to be over")
    yard.stop()
    assert (drain.outcome.indexed, drain.outcome.duplicate, drain.outcome.quarantined) == (14, 0, 0)


def stored(yard: Yard) -> list[str]:
    """Ids of what is stored in indices that can be searched; a missing shard would be waited for."""
    client = yard.elasticsearch.options(ignore_status=[404, 503])
    pattern = f"{yard.settings.index_prefix}-*"
    health = client.cluster.health(index=pattern, level="indices", timeout="1ms").body.get("indices", {})
    found = []
    for index in [index for index, state in health.items() if state["status"] != "red"]:
        client.indices.refresh(index=index)
        answer = client.search(index=index, size=1000).body
        found += [hit["_id"] for hit in answer.get("hits", {}).get("hits", [])]
    return sorted(found)


def waiting(yard: Yard) -> dict[str, int]:
    return {index: part.events for index, part in held(yard.folder).items()}


FAULTS = [
    pytest.param(429, "es_rejected_execution_exception", id="429"),
    pytest.param(503, "unavailable_shards_exception", id="503"),
    pytest.param(403, "security_exception", id="403: the role lost its rights"),
    pytest.param(403, "cluster_block_exception", id="403: the index is read-only"),
    pytest.param(404, "index_not_found_exception", id="404: indices aren't made by themselves"),
    pytest.param(400, "validation_exception", id="400: out of shards"),
]


@pytest.mark.parametrize(("status", "kind"), FAULTS)
def test_what_is_no_fault_of_the_events_waits_for_as_long_as_it_takes(
    yard: Yard, spool: Spool, quick: None, status: int, kind: str
) -> None:
    yard.proxy.faults.extend([refused_items(status, kind, "ab")] * 1000)
    spool.append(event(yard, "2026.11.21", "a") + event(yard, "2026.11.21", "b"), 2)
    spool.append(event(yard, "2026.11.22", "c"), 1)
    yard.drain()

    wait_for(lambda: stored(yard) == ["c"], "the others")
    index = f"{yard.settings.index_prefix}-2026.11.21"
    wait_for(lambda: waiting(yard) == {index: 2}, "the events to be set aside")
    tries = len(yard.proxy.bulks)
    wait_for(lambda: len(yard.proxy.bulks) > tries + 3, "some more tries")
    trouble = wait_for(lambda: drain_status(yard.folder)["trouble"], "the trouble to be told")
    assert trouble.startswith(f"{index} takes nothing ({status} {kind}), its oldest event waits since ")
    assert quarantined(yard) == []

    yard.proxy.faults.clear()
    wait_for(lambda: backlog(yard.folder) == Backlog(0, 0, 0.0), "all to arrive")
    assert stored(yard) == ["a", "b", "c"]
    assert quarantined(yard) == []


def quarantined(yard: Yard) -> list[tuple[str, int]]:
    kept = Quarantine(yard.folder)
    found = [(row.id, row.status) for row in kept.list()]
    kept.close()
    return found


def test_an_event_that_draws_a_500_by_itself_ends_in_quarantine_and_holds_up_no_other(
    yard: Yard, spool: Spool, quick: None
) -> None:
    yard.proxy.faults.extend([refused_items(500, "null_pointer_exception", "b")] * 1000)
    spool.append(b"".join(event(yard, "2026.11.22", one) for one in "abc"), 3)
    drain = yard.drain()

    wait_for(lambda: stored(yard) == ["a", "c"], "the others")
    wait_for(lambda: quarantined(yard) == [("b", 500)], "the one at fault to be in quarantine")
    spool.append(event(yard, "2026.11.22", "d"), 1)
    wait_for(lambda: backlog(yard.folder).requests == 0, "all to be settled")
    assert stored(yard) == ["a", "c", "d"]
    alone = [ids for ids in yard.proxy.bulks if ids == ["b"]]
    assert len(alone) >= retry.MOST_ALONE
    yard.stop()
    assert (drain.outcome.indexed, drain.outcome.quarantined, drain.outcome.held) == (3, 1, 1)


def test_an_index_that_answers_500_for_a_while_loses_no_event_to_the_quarantine(
    yard: Yard, spool: Spool, quick: None
) -> None:
    names = [f"n{number}" for number in range(50)]
    yard.proxy.faults.extend([refused_items(500, "node_closed_exception", "".join(names))] * 6)
    spool.append(b"".join(event(yard, "2026.11.22", name) for name in names), 50)
    yard.drain()

    wait_for(lambda: backlog(yard.folder).requests == 0, "all to arrive", 60)
    assert stored(yard) == sorted(names)
    assert quarantined(yard) == []


def test_429_for_the_whole_request_is_waited_out_and_nothing_is_set_aside(yard: Yard, spool: Spool) -> None:
    from proxy import refused

    yard.proxy.faults.extend([refused(429)] * 5)
    spool.append(event(yard, "2026.11.22", "a"), 1)
    drain = yard.drain()

    yard.arrive(["a"])
    yard.stop()
    assert (drain.outcome.indexed, drain.outcome.held) == (1, 0)
    assert not (yard.folder / "held").exists()


def test_what_waits_is_tried_again_by_the_next_drain(yard: Yard, spool: Spool, quick: None) -> None:
    yard.proxy.faults.extend([refused_items(503, "unavailable_shards_exception", "a")] * 1000)
    spool.append(event(yard, "2026.11.21", "a"), 1)
    yard.drain()
    wait_for(lambda: waiting(yard), "the event to be set aside")
    yard.stop()
    assert backlog(yard.folder).events == 1
    yard.proxy.faults.clear()

    drain = yard.drain()
    wait_for(lambda: backlog(yard.folder).requests == 0, "it to arrive")
    yard.stop()
    assert (stored(yard), drain.outcome.indexed) == (["a"], 1)


def test_where_nothing_can_be_set_aside_the_sender_keeps_it_and_the_other_sender_goes_on(
    yard: Yard, spool: Spool, quick: None
) -> None:
    (yard.folder / "held").write_text("a file where the folder should be")
    fault: Fault = refused_items(503, "unavailable_shards_exception", "a")
    yard.proxy.faults.extend([fault] * 1000)
    spool.append(event(yard, "2026.11.21", "a"), 1)
    yard.drain()
    wait_for(lambda: "can't be set aside" in drain_status(yard.folder)["trouble"], "the trouble to be told")
    spool.append(event(yard, "2026.11.22", "b"), 1)
    wait_for(lambda: stored(yard) == ["b"], "the other sender's event")
    assert backlog(yard.folder).events >= 1

    (yard.folder / "held").unlink()
    wait_for(lambda: waiting(yard), "the event to be set aside")
    yard.proxy.faults.clear()
    wait_for(lambda: backlog(yard.folder).requests == 0, "it to arrive")
    assert stored(yard) == ["a", "b"]


def test_an_index_that_hangs_every_request_it_is_part_of_holds_up_no_other(
    yard: Yard, spool: Spool, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SILENT_S", 0.5)
    hung = f"{yard.settings.index_prefix}-2026.11.20"
    yard.proxy.faults.extend([silent_for(hung)] * 1000)
    # Both senders and both kinds of requests: with events of the hung index alone, and with others beside them.
    spool.append(event(yard, "2026.11.20", "h0") + event(yard, "2026.11.22", "a"), 2)
    drain = yard.drain(timeout_s=1)
    wait_for(lambda: waiting(yard) == {hung: 1}, "the first to be set aside")
    spool.append(event(yard, "2026.11.20", "h1") + event(yard, "2026.11.21", "b") + event(yard, "2026.11.22", "c"), 3)
    for number in range(20):
        spool.append(event(yard, "2026.11.22", f"n{number}"), 1)

    others = ["a", "b", "c", *(f"n{number}" for number in range(20))]
    wait_for(lambda: stored(yard) == sorted(others), "what is for other indices")
    wait_for(lambda: waiting(yard) == {hung: 2}, "what is for it to be set aside")
    trouble = wait_for(lambda: drain_status(yard.folder)["trouble"], "the trouble to be told")
    assert trouble.startswith(f"{hung} takes nothing (")
    wait_for(lambda: "504 no_answer" in drain_status(yard.folder)["trouble"], "the reason to be told")
    assert quarantined(yard) == []

    yard.proxy.faults.clear()
    wait_for(lambda: backlog(yard.folder).requests == 0, "all to arrive", 60)
    assert stored(yard) == sorted([*others, "h0", "h1"])
    yard.stop()
    # `a` was stored before the first request was given up.
    assert (drain.outcome.indexed + drain.outcome.duplicate, drain.outcome.quarantined) == (25, 0)


def test_an_index_that_hangs_doesnt_keep_others_that_wait_from_their_next_try(
    yard: Yard, spool: Spool, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SILENT_S", 0.5)
    hung, red = (f"{yard.settings.index_prefix}-2026.11.{day}" for day in (20, 21))
    Held(yard.folder).put(hung, event(yard, "2026.11.20", "h"), 1, int(time.time() * 1000))
    Held(yard.folder).put(red, event(yard, "2026.11.21", "r"), 1, int(time.time() * 1000))
    yard.proxy.faults.extend([silent_for(hung)] * 1000)
    yard.drain(timeout_s=1)

    wait_for(lambda: waiting(yard) == {hung: 1}, "the other to be delivered")
    assert stored(yard) == ["r"]


def test_while_elasticsearch_as_a_whole_gives_no_answer_nothing_is_set_aside(
    yard: Yard, spool: Spool, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_ALIVE_S", 0.5)
    hung = f"{yard.settings.index_prefix}-2026.11.20"
    yard.proxy.answers["/_cluster/health"] = (503, ELASTIC, error("played"))
    yard.proxy.faults.extend([silent_for(hung)] * 1000)
    spool.append(event(yard, "2026.11.20", "a"), 1)
    yard.drain(timeout_s=1)
    wait_for(lambda: len(yard.proxy.bulks) > 3, "some tries")
    assert waiting(yard) == {}
    assert "ConnectionTimeout" in drain_status(yard.folder)["trouble"]
    yard.proxy.faults.clear()
    yard.arrive(["a"])


def test_a_damaged_file_of_held_events_costs_what_is_damaged(yard: Yard, spool: Spool, quick: None) -> None:
    yard.proxy.faults.extend([refused_items(503, "unavailable_shards_exception", "ab")] * 1000)
    spool.append(event(yard, "2026.11.21", "a") + event(yard, "2026.11.21", "b"), 2)
    yard.drain()
    index = f"{yard.settings.index_prefix}-2026.11.21"
    wait_for(lambda: waiting(yard) == {index: 2}, "the events to be set aside")
    yard.stop()
    (path,) = (yard.folder / "held" / index).glob("held-0.*.db")
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])
    yard.proxy.faults.clear()

    yard.drain()
    wait_for(lambda: stored(yard) == ["a", "b"], "both to arrive")
    wait_for(lambda: not (yard.folder / "held" / index).exists(), "the folder to go")
    assert list(yard.folder.glob("held-*.damaged-*")), "the damaged file is kept"


def test_what_waits_for_its_index_is_told_in_readyz_in_metrics_and_by_index(gateway: Gateway) -> None:
    index = f"{gateway.settings.index_prefix}-2026.11.20"
    Held(gateway.settings.spool_dir).put(index, b"{}\n{}\n" * 3, 3, int(time.time() * 1000) - 90_000)

    state = gateway.http.get("/readyz").json
    assert state is not None
    assert (state["status"], state["spool"]["events"]) == ("degraded", 3)
    assert 90 <= state["spool"]["lag_s"] < 120
    lines = gateway.http.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("metronome_undelivered_age_seconds{")]
    name, value = line.split()
    assert name == f'metronome_undelivered_age_seconds{{index="{index}"}}'
    assert 90 <= float(value) < 120
    assert "metronome_spool_events 3.0" in lines
