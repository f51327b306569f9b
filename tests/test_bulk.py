"""Bulk requests against the real Elasticsearch, through a proxy that plays faults: what is sent again, and what comes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from conftest import free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from proxy import (
    Fault,
    Proxy,
    applied_but,
    applied_but_cut,
    applied_but_silent,
    passed,
    refused,
    refused_above,
    refused_items,
    without_last_item,
)

from metronome.drain import sender
from metronome.drain.judge import judge
from metronome.drain.sender import Outcome, Sender, Stopped
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.held import Held
from metronome.spool.quarantine import Quarantine
from metronome.spool.status import held
from metronome.store import indices, names
from metronome.store.client import connect


@pytest.fixture
def proxy(engine_settings: Settings) -> Iterator[Proxy]:
    """A proxy before the session's Elasticsearch, listening, without a script."""
    found = Proxy(engine_settings.elasticsearch_url, free_port())
    found.start()
    yield found
    found.stop()


@dataclass
class Bench:
    """A sender behind the proxy, with an index of its own."""

    sender: Sender
    quarantine: Quarantine
    settings: Settings
    elasticsearch: Elasticsearch

    def body(self, ids: str, *, day: str = "2026.11.22", **fields: object) -> bytes:
        """One event a letter of `ids`."""
        index = f"{self.settings.index_prefix}-{day}"
        lines = b""
        for one in ids:
            lines += b'{"create":{"_index":"%b","_id":"%b"}}\n' % (index.encode(), one.encode())
            lines += json.dumps({"@timestamp": "2026-11-22T09:30:00.000Z", "id": one, **fields}).encode() + b"\n"
        return lines

    def stored(self) -> str:
        """Letters of the events stored, each as often as it is there."""
        pattern = names.pattern(self.settings)
        self.elasticsearch.indices.refresh(index=pattern, allow_no_indices=True)
        hits = self.elasticsearch.search(index=pattern, size=1000, allow_no_indices=True)["hits"]["hits"]
        return "".join(sorted(hit["_source"]["id"] for hit in hits))

    def refusals(self) -> list[tuple[str, int, str]]:
        return [(row.id, row.status, row.kind) for row in self.quarantine.list()]


@pytest.fixture
def bench(settings: Settings, engine_settings: Settings, elasticsearch: Elasticsearch, proxy: Proxy) -> Iterator[Bench]:
    behind = replace(
        settings,
        elasticsearch_url=proxy.url,
        elasticsearch_username=engine_settings.elasticsearch_username,
        elasticsearch_password=engine_settings.elasticsearch_password,
    )
    client = connect(behind, timeout_s=3, exact=False)
    quarantine = Quarantine(behind.spool_dir)
    found = Sender(
        client, quarantine, Held(behind.spool_dir), Metrics(), prepare=lambda: indices.install(client, behind)
    )
    yield Bench(found, quarantine, behind, elasticsearch)
    quarantine.close()
    client.close()
    remove_indices(elasticsearch, behind)


FAULTS = [
    pytest.param([], Outcome(indexed=5), ["abcde"], id="no fault: one request"),
    pytest.param([refused(429)], Outcome(indexed=5), ["abcde"] * 2, id="429 for the whole: all again"),
    pytest.param([refused(503), refused(500)], Outcome(indexed=5), ["abcde"] * 3, id="503 and 500: all again"),
    pytest.param([refused(401), refused(403)], Outcome(indexed=5), ["abcde"] * 3, id="401 and 403 for the whole: again"),
    pytest.param([refused(404), refused(408)], Outcome(indexed=5), ["abcde"] * 3, id="404 and 408 for the whole: again"),
    pytest.param([refused(400, by={})], Outcome(indexed=5), ["abcde"] * 2, id="400 of a proxy in front: again"),
    pytest.param([refused(405)], Outcome(indexed=5), ["abcde"] * 2, id="405, whatever that means: again"),
    pytest.param([refused(200, by={})], Outcome(indexed=5), ["abcde"] * 2, id="200 of something that isn't Elasticsearch: again"),
    pytest.param([refused_items(429, "es_rejected_execution_exception", "bd")], Outcome(5, retried=2), ["abcde", "bd"], id="429 for b and d: only these again"),
    pytest.param([refused_items(503, "unavailable_shards_exception", "e"), refused_items(500, "node_closed", "e")], Outcome(5, retried=2), ["abcde", "e", "e"], id="503 and 500 for e: only e again"),
    pytest.param([refused_items(403, "cluster_block_exception", "a")], Outcome(5, retried=1), ["abcde", "a"], id="403 for a, block lifted: indexed"),
    pytest.param([refused_items(404, "index_not_found_exception", "a")], Outcome(5, retried=1), ["abcde", "a"], id="404 for a, index back: indexed"),
    pytest.param([refused_items(400, "index_closed_exception", "a")], Outcome(5, retried=1), ["abcde", "a"], id="closed index, opened: indexed"),
    pytest.param([refused_items(400, "validation_exception", "abcde", "this action would add [1] shards")], Outcome(5, retried=5), ["abcde"] * 2, id="out of shards, more given: indexed"),
    pytest.param([refused_items(400, "illegal_argument_exception", "c", "mapper [x] cannot be changed from type [double] to [keyword]")], Outcome(5, retried=1), ["abcde", "c"], id="race for a name's type: c again"),
    pytest.param([applied_but_silent()], Outcome(duplicate=5), ["abcde"] * 2, id="timeout after apply: duplicates"),
    pytest.param([applied_but_cut(reset=True)], Outcome(duplicate=5), ["abcde"] * 2, id="reset in mid-answer: duplicates"),
    pytest.param([applied_but_cut(reset=False)], Outcome(duplicate=5), ["abcde"] * 2, id="answer cut: duplicates"),
    pytest.param([applied_but(lambda answer: b"<html>")], Outcome(duplicate=5), ["abcde"] * 2, id="answer isn't JSON: duplicates"),
    pytest.param([applied_but(lambda answer: b"[]")], Outcome(duplicate=5), ["abcde"] * 2, id="answer is other JSON: duplicates"),
    pytest.param([applied_but(lambda answer: b'{"errors":true,"items":[1,2,3,4,5]}')], Outcome(duplicate=5), ["abcde"] * 2, id="items aren't objects: duplicates"),
    pytest.param([applied_but(without_last_item)], Outcome(duplicate=5), ["abcde"] * 2, id="an item too few: duplicates"),
    pytest.param([refused_above(320)] * 9, Outcome(indexed=5), ["abcde", "ab", "cde", "c", "de"], id="413: in halves until they fit"),
    pytest.param([refused(413), refused_items(429, "busy", "b"), refused(503), refused(503)], Outcome(5, retried=1), ["abcde", "ab", "b", "b", "b", "cde"], id="faults inside a half: only what needs it"),
]  # fmt: skip


@pytest.mark.parametrize("said", [1, 3, 0])
def test_a_wrong_number_of_events_holds_nothing_up(bench: Bench, said: int) -> None:
    assert bench.sender.ship(bench.body("ab"), said) == Outcome(indexed=2)
    assert bench.stored() == "ab"


@pytest.mark.parametrize(("faults", "outcome", "requests"), FAULTS)
def test_each_event_is_stored_once_and_only_what_failed_is_sent_again(
    bench: Bench, proxy: Proxy, faults: list[Fault], outcome: Outcome, requests: list[str]
) -> None:
    proxy.faults.extend(faults)

    assert bench.sender.ship(bench.body("abcde")) == outcome

    assert ["".join(ids) for ids in proxy.bulks] == requests
    assert bench.stored() == "abcde"
    assert bench.refusals() == []
    assert bench.sender.trouble == ""


AT_FAULT = [
    pytest.param([refused_items(400, "document_parsing_exception", "c")], ["abcde"], (400, "document_parsing_exception"), 0, id="400 for c"),
    pytest.param([refused_items(422, "odd", "c")], ["abcde"], (422, "odd"), 0, id="any other 4xx for c"),
    pytest.param([refused_items(400, "x", "c", "mapper [x] cannot be changed from type")] * 5, ["abcde", "c", "c", "c", "c"], (400, "x"), 4, id="a race that c loses five times"),
    pytest.param([refused(400), passed(), refused(400), refused(400)], ["abcde", "ab", "cde", "c", "de"], (400, "request_refused"), 0, id="400 for the whole: found by halving"),
    pytest.param([refused(413), passed(), refused(413), refused(413)], ["abcde", "ab", "cde", "c", "de"], (413, "request_refused"), 0, id="413 for c alone: found by halving"),
]  # fmt: skip


@pytest.mark.parametrize(("faults", "requests", "refusal", "retried"), AT_FAULT)
def test_the_event_at_fault_goes_to_quarantine_and_the_others_are_stored(
    bench: Bench, proxy: Proxy, faults: list[Fault], requests: list[str], refusal: tuple[int, str], retried: int
) -> None:
    proxy.faults.extend(faults)

    assert bench.sender.ship(bench.body("abcde")) == Outcome(indexed=4, quarantined=1, retried=retried)

    assert ["".join(ids) for ids in proxy.bulks] == requests
    assert bench.stored() == "abde"
    assert bench.refusals() == [("c", *refusal)]


def test_events_of_a_day_that_stays_closed_are_set_aside_and_hold_up_no_other(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "PATIENCE_S", 1.0)
    closed = f"{bench.settings.index_prefix}-2026.11.21"
    # The other day's index is there as well: making one may take all the patience.
    bench.sender.ship(bench.body("a", day="2026.11.21") + bench.body("z"))
    bench.elasticsearch.indices.close(index=closed)

    first = bench.sender.ship(bench.body("bc", day="2026.11.21") + bench.body("de"), since_ms=1000)
    proxy.bulks.clear()
    second = bench.sender.ship(bench.body("f", day="2026.11.21") + bench.body("g"))

    assert (first.indexed, first.held, first.retried > 0) == (2, 2, True)
    assert second == Outcome(indexed=1, held=1)
    assert ["".join(ids) for ids in proxy.bulks] == ["g"], "what its index refuses anyhow isn't sent"
    assert bench.refusals() == []
    waiting = held(bench.settings.spool_dir)
    assert {index: part.events for index, part in waiting.items()} == {closed: 3}
    assert waiting[closed].age_s > 10**9, "the age is that of the event"
    assert bench.sender.trouble == ""
    bench.elasticsearch.indices.open(index=closed)


def test_of_500_events_one_that_the_mapping_refuses_is_quarantined_and_replayed_once_its_cause_is_gone(
    bench: Bench,
) -> None:
    index = f"{bench.settings.index_prefix}-2026.11.22"
    # Somebody's own index without our mapping's tolerance: `size` is a number and stays one.
    bench.elasticsearch.indices.create(index=index, settings={"index.mapping.ignore_malformed": False}, mappings=LONG)
    body = b"".join(
        b'{"create":{"_index":"%b","_id":"e%d"}}\n{"id":"x","size":%b}\n'
        % (index.encode(), number, b'"large"' if number == 77 else b"1")
        for number in range(500)
    )

    assert bench.sender.ship(body) == Outcome(indexed=499, quarantined=1)

    (row,) = bench.quarantine.list()
    assert (row.index, row.id, row.status, row.kind) == (index, "e77", 400, "document_parsing_exception")
    assert "size" in row.reason
    assert "large" in row.reason
    assert row.source == b'{"id":"x","size":"large"}'

    bench.elasticsearch.indices.delete(index=index)
    bench.elasticsearch.indices.create(index=index, mappings={"properties": {"size": {"type": "keyword"}}})
    assert bench.sender.ship(row.action + b"\n" + row.source + b"\n") == Outcome(indexed=1)


LONG = {"properties": {"size": {"type": "long"}}}


def test_an_index_gets_our_mapping_even_if_the_template_was_deleted(bench: Bench) -> None:
    bench.sender.ship(bench.body("a"))
    bench.elasticsearch.indices.delete_index_template(name=names.template_name(bench.settings))

    bench.sender.ship(bench.body("b", day="2026.11.23", name="2026-11-22"))

    index = f"{bench.settings.index_prefix}-2026.11.23"
    mapping = bench.elasticsearch.indices.get_mapping(index=index)[index]["mappings"]
    assert mapping["properties"]["name"] == {"type": "keyword", "ignore_above": 1024, "meta": {"kind": "text"}}
    assert mapping["subobjects"] is False


def test_a_quarantine_that_cannot_be_written_keeps_the_event_going_round(bench: Bench, proxy: Proxy) -> None:
    proxy.faults.extend([refused_items(400, "odd", "c")] * 2)
    assert bench.quarantine.count() == 0
    assert bench.quarantine._db is not None
    bench.quarantine._db.execute(
        "create temp trigger full before insert on refused begin select raise(abort, 'full'); end"
    )
    shipping = threading.Thread(target=lambda: outcomes.append(bench.sender.ship(bench.body("abc"))))
    outcomes: list[Outcome] = []
    shipping.start()
    wait_for(lambda: bench.sender.trouble, "the trouble to be told")
    told = bench.sender.trouble
    bench.quarantine._db.execute("drop trigger full")
    shipping.join(10)

    assert told == "the quarantine can't be written: full"
    assert outcomes[0].indexed + outcomes[0].quarantined == 3
    assert bench.sender.trouble == ""


def test_a_sender_that_is_stopped_while_elasticsearch_is_away_gives_up_its_body(bench: Bench, proxy: Proxy) -> None:
    proxy.stop()
    threading.Timer(0.2, bench.sender.stopping.set).start()

    with pytest.raises(Stopped):
        bench.sender.ship(bench.body("abc"))

    assert bench.sender.trouble == "StoreUnavailable: Elasticsearch doesn't answer (ConnectionError)"
    assert bench.stored() == ""


JUDGED = [
    pytest.param(201, "", "", "indexed", id="created"),
    pytest.param(200, "", "", "indexed", id="stored"),
    pytest.param(409, "version_conflict_engine_exception", "document already exists", "duplicate", id="there already"),
    pytest.param(429, "es_rejected_execution_exception", "", "later", id="too busy"),
    pytest.param(429, "cluster_block_exception", "disk usage exceeded flood-stage watermark", "later", id="disk full"),
    pytest.param(503, "unavailable_shards_exception", "", "later", id="no shard"),
    pytest.param(403, "cluster_block_exception", "", "later", id="blocked"),
    pytest.param(403, "security_exception", "", "later", id="not allowed"),
    pytest.param(404, "index_not_found_exception", "", "later", id="no such index"),
    pytest.param(400, "index_closed_exception", "", "later", id="closed"),
    pytest.param(400, "validation_exception", "", "later", id="out of shards"),
    pytest.param(
        400, "illegal_argument_exception", "mapper [a] cannot be changed from type [x] to [y]", "again", id="race"
    ),
    pytest.param(400, "illegal_argument_exception", "Limit of total fields [9] exceeded", "quarantined", id="fields"),
    pytest.param(400, "document_parsing_exception", "failed to parse", "quarantined", id="malformed"),
    pytest.param(400, "invalid_index_name_exception", "", "quarantined", id="index name"),
]


@pytest.mark.parametrize(("status", "kind", "reason", "verdict"), JUDGED)
def test_an_item_is_judged_by_what_elasticsearch_says_of_it(status: int, kind: str, reason: str, verdict: str) -> None:
    assert judge(status, kind, reason) == verdict
