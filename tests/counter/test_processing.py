"""A month, processed: each figure against plain Python, and the worked examples of the standard."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from counter_oracle import WORLD, figures
from doors import CHROME
from months import MAY, NOW, Repository, random_usages, usage

from metronome.archive.work import opened
from metronome.counter.facts import Change, Restatement
from metronome.counter.process import after, is_spike, last_finished, month_of
from metronome.errors import BadQuestion, Conflict
from metronome.files import Lock
from metronome.parts.index import days as days_with_index


@pytest.fixture
def repository(gateway: Gateway) -> Iterator[Repository]:
    found = Repository(gateway)
    yield found
    found.raw.close()


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_of_a_random_month_is_that_of_plain_python(repository: Repository, seed: int) -> None:
    rng = random.Random(seed)
    repository.customers.add("all", "All")
    repository.customers.add("c1", "One", member_of=["all"])
    repository.customers.add("c2", "Two")
    usages = random_usages(rng, 400, ["c1", "c2"])
    repository.post(*usages)
    repository.process()
    expected = figures(usages, MAY, {"c1": ["all"]})
    assert {key[-1] for key in expected} >= {
        "Unique_Title_Requests",
        "Searches_Federated",
        "No_License",
        "Searches_Platform",
    }
    assert repository.figures() == expected


def summed(repository: Repository, report: str = "PR", customer: str = WORLD) -> dict[str, int]:
    """The metrics of one report, over everything."""
    found: dict[str, int] = {}
    for key, count in repository.figures(customers=[customer]).items():
        if key[1] == report:
            found[key[-1]] = found.get(key[-1], 0) + count
    return found


CHAPTERS = [{"id": f"ch{n}"} for n in range(12)]
BOOK = {"data_type": "Book", "yop": "2024"}
TITLE = {"id": "b", "name": "Roads", "data_type": "Book"}


def item_metrics(total: int, unique: int, asked: int = 0, unique_asked: int = 0) -> dict[str, int]:
    names = ("Total_Item_Investigations", "Unique_Item_Investigations", "Total_Item_Requests", "Unique_Item_Requests")
    return {name: count for name, count in zip(names, (total, unique, asked, unique_asked), strict=True) if count}


# What happened, the usages, and the platform's figures.
WORKED: dict[str, tuple[list[dict[str, Any]], dict[str, int]]] = {
    "29 s apart: a double click": (
        [usage("03T10:01:00"), usage("03T10:01:29")], item_metrics(1, 1),
    ),
    "35 s apart: two": (
        [usage("03T10:01:00"), usage("03T10:01:35")], item_metrics(2, 1),
    ),
    "exactly 30 s apart: one": (
        [usage("03T10:01:00"), usage("03T10:01:30")], item_metrics(1, 1),
    ),
    "a millisecond more: two": (
        [usage("03T10:01:00"), usage("03T10:01:30.001")], item_metrics(2, 1),
    ),
    "a chain leaves its last": (
        [usage(f"03T10:01:{s:02}") for s in (0, 20, 40)], item_metrics(1, 1),
    ),
    "a double click across midnight": (
        [usage("03T23:59:50"), usage("04T00:00:10")], item_metrics(1, 1),
    ),
    "a chain across midnight": (
        [usage("03T23:59:50"), usage("04T00:00:10"), usage("04T00:00:38")], item_metrics(1, 1),
    ),
    "the second click is the next month's": (
        [usage("31T23:59:50"), usage("2026-06-01T00:00:10")], {},
    ),
    "another hour is another session": (
        [usage("03T09:59:00"), usage("03T10:01:00")], item_metrics(2, 2),
    ),
    "a session's own id holds the day": (
        [usage("03T09:59:00", CLIENT_SESSION_ID="hold"), usage("03T10:01:00", CLIENT_SESSION_ID="hold")], item_metrics(2, 1),
    ),
    "HTML and PDF are two links and one item": (
        [usage("03T10:00:00", ["view"]), usage("03T10:00:10", ["download"])], item_metrics(2, 1, 1, 1),
    ),
    "another status than 200 and 304": (
        [usage("03T10:00:00", ["download"], status=404)], {},
    ),
    "a page that shows no item": (
        [usage("03T10:00:00", ["web"])], {},
    ),
    "a robot, in any letters": (
        [usage("03T10:00:00", user_agent="Mozilla/5.0 (compatible; YandexBot/3.0)")], {},
    ),
    "a robot's click takes nobody's away": (
        [usage("03T10:00:00"), usage("03T10:00:10", user_agent="curl/8")], item_metrics(1, 1),
    ),
    "twelve chapters one by one": (
        [usage("03T10:00:00", ["download"], f"f{n}", item={**BOOK, "data_type": "Book_Segment", "segments": [one]}, title=TITLE) for n, one in enumerate(CHAPTERS)],
                 {**item_metrics(12, 12, 12, 12), "Unique_Title_Investigations": 1, "Unique_Title_Requests": 1},
    ),
    "a whole book of twelve chapters": (
        [usage("03T10:00:00", ["download"], "b", item={**BOOK, "segments": CHAPTERS})],
                 {**item_metrics(12, 12, 12, 12), "Unique_Title_Investigations": 1, "Unique_Title_Requests": 1},
    ),
    "a book of which no chapter is known": (
        [usage("03T10:00:00", ["download"], "b", item=BOOK)],
                 {**item_metrics(1, 1, 1, 1), "Unique_Title_Investigations": 1, "Unique_Title_Requests": 1},
    ),
    "searches are never double clicks, and one a platform": (
        [usage("03T10:00:00", ["search"], None, PAGEVIEW_INFO={"page_url": "https://repo.example/?q=a"}, databases=[{"id": "d1"}, {"id": "d2"}])] * 2,
                 {"Searches_Platform": 2},
    ),
    "who was denied and sent to the abstract": (
        [usage("03T10:00:00", ["download"], status=403, denial="No_License"), usage("03T10:00:05")], item_metrics(1, 1),
    ),
}  # fmt: skip


def test_the_worked_examples(repository: Repository) -> None:
    # Each example has visitors and a customer of its own, so that all are of one month.
    for number, (usages, _) in enumerate(WORKED.values()):
        repository.customers.add(f"e{number}", "An example")
        for one in usages:
            repository.post(
                {**one, "counter": {**one["counter"], "customer_id": f"e{number}", "ip": f"198.51.100.{number}"}}
            )
    repository.process()
    found = {name: summed(repository, customer=f"e{number}") for number, name in enumerate(WORKED)}
    assert found == {name: expected for name, (_, expected) in WORKED.items()}
    assert found == {name: figures_of(usages) for name, (usages, _) in WORKED.items()}


def figures_of(usages: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, count in figures(usages, MAY, {}).items():
        if key[1] == "PR":
            found[key[-1]] = found.get(key[-1], 0) + count
    return found


def test_usage_is_its_customers_by_their_networks_and_the_worlds_once(repository: Repository) -> None:
    repository.customers.add("all", "All")
    repository.customers.add("north", "North", networks=["198.51.100.0/24"], member_of=["all"])
    repository.customers.add("south", "South", networks=["198.51.0.0/16"], member_of=["all"])
    repository.post(usage("03T10:00:00"), usage("03T10:00:00", ip="203.0.113.1"))
    repository.process()
    counts = {one: summed(repository, "IR", one) for one in (WORLD, "all", "north", "south")}
    assert counts == {WORLD: item_metrics(2, 2), **dict.fromkeys(("all", "north", "south"), item_metrics(1, 1))}


def test_a_late_event_restates_its_month_and_is_logged(repository: Repository) -> None:
    repository.post(usage("03T10:00:00"))
    first = repository.process()
    assert (first.restatements, first.changed_at) == ((), NOW)
    later = NOW + timedelta(days=1)
    repository.gateway.now = later
    repository.post(usage("07T10:00:00", ["download"]))
    again = repository.process(cause="late events")
    changes = tuple(
        Change(WORLD, report, metric, *was)
        for report in ("IR", "PR", "TR")
        for metric, was in (("Total_Item_Investigations", (1, 2)), ("Total_Item_Requests", (0, 1)), ("Unique_Item_Investigations", (1, 2)), ("Unique_Item_Requests", (0, 1)))
    )  # fmt: skip
    assert again.restatements == (Restatement(later, "late events", changes),)
    assert repository.process().restatements == again.restatements


def test_a_title_has_the_name_that_it_had_last(repository: Repository) -> None:
    article = {"data_type": "Article"}
    names = [{"id": "j", "name": name, "data_type": "Journal"} for name in ("New", "Old")]
    repository.post(
        usage("07T10:00:00", item=article, title=names[0]), usage("03T10:00:00", item=article, title=names[1])
    )
    repository.process()
    (fact,) = repository.kept.facts(MAY, WORLD, "TR")
    assert (fact.subject and fact.subject.name, fact.performances[0].counts["Total_Item_Investigations"]) == ("New", 2)


def test_where_usage_came_from_is_told_apart_and_adds_up(repository: Repository) -> None:
    repository.post(
        usage("03T10:00:00", CLIENT_SESSION_ID="s", country="NL"),
        usage("03T11:00:00", CLIENT_SESSION_ID="s", country="DE"),
        usage("03T12:00:00", CLIENT_SESSION_ID="s"),
    )
    repository.process()
    (fact,) = repository.kept.facts(MAY, WORLD, "PR")
    assert sum(one.counts.get("Unique_Item_Investigations", 0) for one in fact.performances) == 1
    totals = {one.country: one.counts["Total_Item_Investigations"] for one in fact.performances}
    assert totals == {"NL": 1, "DE": 1, "": 1}


def test_a_month_that_is_not_over_and_one_that_is_being_processed_are_refused(repository: Repository) -> None:
    for month in ("2026-06", "2027-01"):
        with pytest.raises(BadQuestion, match="isn't over"):
            repository.process(month)
    with pytest.raises(BadQuestion, match="isn't a month"):
        repository.process("May")
    lock = Lock(repository.gateway.settings.home / "counter.lock")
    assert lock.take()
    with pytest.raises(Conflict, match="is processing a month"):
        repository.process()
    lock.release()


def test_a_month_without_usage_is_processed_and_holds_nothing(repository: Repository) -> None:
    repository.gateway.tick({"id": "a", "@timestamp": "2026-05-03T10:00:00Z"})
    assert repository.process().processed_at == NOW
    assert repository.figures() == {}
    assert repository.kept.first_month() == MAY


def test_archived_days_count_as_those_in_elasticsearch_and_late_ones_with_them(
    gateway_for: Callable[..., Gateway], tmp_path: Path
) -> None:
    repository = Repository(gateway_for(archive=f"file://{tmp_path}/archive"))
    first = random_usages(random.Random(7), 60, ["c1"])
    repository.customers.add("c1", "One")
    repository.post(*first)
    repository.process()
    before = repository.figures()
    assert before == figures(first, MAY, {})
    settings = repository.gateway.settings
    with opened(settings, None) as work, (lease := work.lease()).held():
        for day in days_with_index(work.builder.client, settings):
            work.archiver(lease).archive(day)
        assert days_with_index(work.builder.client, settings) == []
    assert repository.process().restatements == ()
    assert repository.figures() == before
    late = [usage("03T10:00:00", guid="late"), usage("09T10:00:00", guid="late")]
    repository.post(*late)
    repository.process()
    assert repository.figures() == figures([*first, *late], MAY, {})
    repository.raw.close()


@pytest.mark.parametrize(
    ("count", "average", "alert"), [(250, 50, True), (249, 50, False), (0, 50, True), (0, 19, False), (1, 100, False)]
)
def test_a_spike_is_far_above_or_far_below_the_average(count: int, average: float, alert: bool) -> None:
    assert is_spike(count, average) is alert


def test_months_begin_and_end_in_utc() -> None:
    assert last_finished(datetime.fromisoformat("2026-06-01T01:00:00+02:00")) == "2026-04"
    assert last_finished(datetime(2026, 1, 1, tzinfo=UTC)) == "2025-12"
    assert [f"{after(month_of(month))}" for month in ("2026-01", "2026-12")] == ["2026-02-01", "2027-01-01"]
    assert CHROME


NAMES = ('Roads "and", \\ "customers":["c1"]', "a\x00b\x1fc\u2028d", '{"country":"NL"}', "Straßen 🛣", "Roads, NULL")


def test_titles_that_look_like_parts_of_a_text_keep_their_items_apart(repository: Repository) -> None:
    repository.customers.add("c1", "One")
    named = [usage(f"03T10:{n:02}:00", guid=f"i{n}", item={"name": name}) for n, name in enumerate(NAMES)]
    theirs = [usage(f"03T11:{n:02}:00", guid=f"i{n}", item={"name": name}, customer_id=["c1"], country="DE") for n, name in enumerate(NAMES)]  # fmt: skip
    repository.post(*named, *theirs)
    repository.process()
    for customer, count in ((WORLD, 2), ("c1", 1)):
        found = {
            fact.subject.name: sum(one.counts["Total_Item_Investigations"] for one in fact.performances)
            for fact in repository.kept.facts(MAY, customer, "TR")
            if fact.subject
        }
        assert found == dict.fromkeys(NAMES, count)
