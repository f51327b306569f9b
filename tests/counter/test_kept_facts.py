"""Facts as they are kept: read as they were written, replaced as a whole, with a log of what changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Gateway

from metronome.counter import kept as module
from metronome.counter.customers import THE_WORLD, Customer, Customers, Directory
from metronome.counter.facts import WORLD, Author, Change, Fact, Month, Performance, Restatement, Subject
from metronome.counter.kept import Kept
from metronome.counter.process import alerts
from metronome.errors import BadQuestion, Conflict, NotFound
from metronome.store import indices, records
from metronome.store.names import record_index, record_template_name
from metronome.store.records import Record

AT = datetime(2026, 6, 2, 6, 30, tzinfo=UTC)
LATER = AT + timedelta(days=3)

JOURNAL = Subject("j-1", "Roads", "Journal", (("Online_ISSN", "1234-5679"),))
ARTICLE = Subject(
    "a-1",
    "On roads",
    ids=(("DOI", "10.1234/roads"),),
    publisher="Pub",
    publisher_ids=(("ROR", ("00hx57361",)),),
    authors=(Author("Ann", "ORCID:0000-0001-2345-6789"),),
    publication_date="2024-02-01",
    article_version="VoR",
)


def used(total: int, unique: int = 1) -> Performance:
    counts = {"Total_Item_Requests": total, "Unique_Item_Requests": unique}
    return Performance(counts, "Article", "2024", "Open", country="NL", attributed=False)


ITEM = Fact(ARTICLE, JOURNAL, (used(3),))


def test_an_index_of_before_gets_the_fields_that_came_since(gateway: Gateway) -> None:
    index = record_index(gateway.settings, "counter-months")
    old = records.template(gateway.settings, "counter-months")
    for field in ("asked_at", "failed_at", "lost"):
        del old["template"]["mappings"]["properties"][field]
    name = record_template_name(gateway.settings, "counter-months")
    meta = old.pop("_meta")
    gateway.elasticsearch.indices.put_index_template(name=name, meta=meta, **old)
    gateway.elasticsearch.indices.create(index=index)
    indices.install(gateway.elasticsearch, gateway.settings)
    Kept(gateway.elasticsearch, gateway.settings).ask("2026-05")


@pytest.mark.parametrize("others", [module.TRIES - 1, module.TRIES])
def test_a_change_that_meets_others_is_tried_again(kept: Kept, monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    kept.begin("2026-05")
    read, left = kept._record, [others]

    def read_late(month: str) -> Record | None:
        found = read(month)
        if left[0]:
            left[0] -= 1
            # Somebody else changes the record between this one's reading and writing.
            assert found is not None
            kept._months.replace(found, found.value)
        return found

    monkeypatch.setattr(kept, "_record", read_late)
    with pytest.raises(Conflict) if others == module.TRIES else nullcontext():
        kept.lose("2026-05", "a day")
    assert [month.lost for month in kept.months()] == (["a day"] if others < module.TRIES else [""])


@pytest.fixture
def kept(gateway: Gateway) -> Kept:
    indices.install(gateway.elasticsearch, gateway.settings)
    return Kept(gateway.elasticsearch, gateway.settings)


def test_facts_are_read_as_they_were_written_chunk_by_chunk(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    several = [ITEM._replace(subject=ARTICLE._replace(id=f"a-{n}")) for n in range(5)]
    kept.replace("2026-05", [(WORLD, "IR", several), ("c1", "IR", several[:2]), ("c1", "PR", [])], at=AT)
    assert list(kept.facts("2026-05", WORLD, "IR")) == several
    assert list(kept.facts("2026-05", "c1", "IR")) == several[:2]
    assert list(kept.facts("2026-05", "c1", "PR")) == []
    assert list(kept.facts("2026-05", "nobody", "IR")) == []
    assert list(kept.facts("2026-04", WORLD, "IR")) == []


def test_a_month_that_is_replaced_has_the_new_facts_alone_and_says_what_changed(kept: Kept) -> None:
    kept.begin("2026-05")
    assert kept.months() == [Month("2026-05", processing=True)]
    kept.replace("2026-05", [(WORLD, "IR", [ITEM]), ("c1", "IR", [ITEM])], at=AT, robot_list="list 1")
    kept.begin("2026-05")
    assert kept.months() == [Month("2026-05", AT, True, "list 1", AT)]
    done = kept.replace("2026-05", [(WORLD, "IR", [Fact(ARTICLE, JOURNAL, (used(5),))])], at=LATER, cause="late events")
    changes = (
        Change(WORLD, "IR", "Total_Item_Requests", 3, 5),
        Change("c1", "IR", "Total_Item_Requests", 3, 0),
        Change("c1", "IR", "Unique_Item_Requests", 1, 0),
    )
    assert done == Month("2026-05", LATER, False, "", LATER, (Restatement(LATER, "late events", changes),))
    assert kept.months() == [done]
    assert list(kept.facts("2026-05", "c1", "IR")) == []
    assert [fact.performances[0].counts["Total_Item_Requests"] for fact in kept.facts("2026-05", WORLD, "IR")] == [5]


def test_a_customer_that_vanishes_has_no_facts_even_where_the_clock_stands_still(kept: Kept) -> None:
    kept.replace("2026-05", [(WORLD, "IR", [ITEM]), ("c1", "IR", [ITEM])], at=AT)
    kept.replace("2026-05", [(WORLD, "IR", [ITEM])], at=AT)
    assert list(kept.facts("2026-05", "c1", "IR")) == []


def test_a_figure_far_from_those_of_the_months_before_is_pointed_out(kept: Kept) -> None:
    for month, total in (("2026-03", 40), ("2026-04", 60), ("2026-05", 250)):
        kept.replace(month, [(WORLD, "IR", [Fact(ARTICLE, JOURNAL, (used(total),))])], at=AT)
    assert alerts(kept, "2026-05") == ["2026-05: IR Total_Item_Requests is 250; the average of 2 months was 50.0"]
    assert alerts(kept, "2026-04") == alerts(kept, "2026-03") == []


def test_a_month_that_comes_out_the_same_was_not_restated(kept: Kept) -> None:
    kept.replace("2026-05", [(WORLD, "IR", [ITEM])], at=AT)
    assert kept.replace("2026-05", [(WORLD, "IR", [ITEM])], at=LATER) == Month("2026-05", LATER, changed_at=AT)


def test_who_began_to_read_before_a_month_was_replaced_reads_on(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)
    second = ITEM._replace(subject=ARTICLE._replace(id="a-2"))
    kept.replace("2026-05", [(WORLD, "IR", [ITEM, second])], at=AT)
    reading = kept.facts("2026-05", WORLD, "IR")
    assert next(reading) == ITEM
    kept.replace("2026-05", [], at=LATER)
    assert list(reading) == [second]


def test_the_first_month_is_that_of_the_first_facts_where_no_usage_is_kept(kept: Kept) -> None:
    assert kept.first_month() is None
    kept.replace("2026-05", [], at=AT)
    kept.begin("2026-03")
    assert kept.first_month() == "2026-05"


# --- Customers -------------------------------------------------------------------------------------------------


@pytest.fixture
def customers(gateway: Gateway) -> Customers:
    indices.install(gateway.elasticsearch, gateway.settings)
    return Customers(gateway.elasticsearch, gateway.settings)


def test_a_customer_is_found_by_id_requestor_network_and_consortium(gateway: Gateway, customers: Customers) -> None:
    customers.add("all", "All libraries")
    north, key = customers.add(
        "north", "North", requestor_id="r-n", networks=["192.0.2.7/24", "2001:db8::/32"], member_of=["all"], ids=[("ROR", ("00hx57361",))]
    )  # fmt: skip
    assert north == Customer(
        "north", "North", "r-n", north.key_hash, ("192.0.2.0/24", "2001:db8::/32"), ("all",), (("ROR", ("00hx57361",)),), north.created_at
    )  # fmt: skip
    found = Directory(gateway.elasticsearch, gateway.settings)
    assert found.find("north") is not None
    assert found.find("nobody") is None
    assert found.find(WORLD) == THE_WORLD
    assert [one and one.id for one in (found.of_requestor("r-n"), found.of_requestor("all"), found.of_requestor("x"))] == ["north", "all", None]  # fmt: skip
    assert (north.has_key(key), north.has_key(key[:-1]), THE_WORLD.has_key("")) == (True, False, False)
    assert [found.of_address(ip) for ip in ("192.0.2.255", "192.0.3.0", "2001:db8::1", "::ffff:192.0.2.1", "?")] == [["north"], [], ["north"], ["north"], []]  # fmt: skip
    assert [one.id for one in found.members("all")] == ["north"]
    assert found.with_consortia(["north"]) == ["all", "north"]


def test_a_customer_that_is_added_or_removed_is_known_soon(
    gateway: Gateway, customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metronome.counter.customers.REFRESH_S", 0)
    found = Directory(gateway.elasticsearch, gateway.settings)
    assert found.all() == []
    customers.add("c1", "One")
    assert [one.id for one in found.all()] == ["c1"]
    customers.remove("c1")
    assert found.all() == []


def test_customers_are_known_while_elasticsearch_is_away(
    gateway: Gateway, customers: Customers, gateway_for: Callable[..., Gateway]
) -> None:
    from metronome.store.client import connect

    customers.add("c1", "One")
    Directory(gateway.elasticsearch, gateway.settings).refresh()
    from dataclasses import replace

    away = replace(gateway.settings, elasticsearch_url="http://127.0.0.1:1")
    with connect(away) as client:
        assert [one.id for one in Directory(client, away).all()] == ["c1"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        pytest.param({"customer_id": "a b", "name": "x"}, "id: 'a b' isn't", id="an id with a space"),
        pytest.param({"customer_id": "a", "name": " "}, "a customer has a name", id="no name"),
        pytest.param({"customer_id": "a", "name": "x", "networks": ["10.0.0"]}, "isn't a network", id="no network"),
        pytest.param({"customer_id": "a", "name": "x", "requestor_id": "r1"}, "is another customer's", id="another's requestor id"),
        pytest.param({"customer_id": WORLD, "name": "x", "networks": ["::/0"]}, "The World has no networks", id="The World with networks"),
    ],
)  # fmt: skip
def test_a_customer_that_cannot_be_is_refused(customers: Customers, wanted: dict[str, object], said: str) -> None:
    customers.add("r1", "One")
    with pytest.raises(BadQuestion, match=said):
        customers.add(**wanted)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        customers.add("b", "B", member_of=["nobody"])
