"""What the tests of COUNTER reports share: facts in memory, random facts, and a report asked for as a harvester would."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from metronome.counter.customers import Customer
from metronome.counter.facts import Author, Fact, Month, Performance, Report, Subject, order
from metronome.counter.reports import files
from metronome.counter.reports.report import Made, make
from metronome.counter.reports.selection import Platform, select
from metronome.counter.reports.table import REPORTS

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
MONTHS = ("2026-01", "2026-02", "2026-03")
PLATFORM = Platform("Roads Online", "roads")
CUSTOMER = Customer("c1", "Example University", ids=(("ROR", ("00hx57361",)),))

#: Facts by month, customer and full report.
Given = Mapping[tuple[str, str, str], Sequence[Fact]]


class InMemory:
    """Facts as the reports read them. Every month named was processed, unless `processed` says otherwise."""

    def __init__(
        self, given: Given, *, months: Sequence[Month] | None = None, processed: Sequence[str] = MONTHS, first: str = ""
    ) -> None:
        self._given = given
        self._months = [Month(month, processed_at=NOW, changed_at=NOW) for month in processed]
        self._months = sorted([*self._months, *(months or [])], key=lambda month: month.month)
        self._first = first or None

    def months(self) -> list[Month]:
        return self._months

    def first_month(self) -> str | None:
        return self._first

    def facts(self, month: str, customer_id: str, report: Report) -> Iterator[Fact]:
        return iter(sorted(self._given.get((month, customer_id, report), ()), key=order))


def made(
    report_id: str,
    facts: InMemory,
    *,
    customer: Customer = CUSTOMER,
    members: Sequence[Customer] = (),
    **given: str,
) -> Made:
    asked = {"begin_date": MONTHS[0], "end_date": MONTHS[-1], **given}
    selection = select(REPORTS[report_id], asked, now="2026-05", platform=PLATFORM)
    return make(selection, facts, customer, list(members), NOW)


def report(report_id: str, facts: InMemory, **given: Any) -> dict[str, Any]:
    """The report as a client reads it."""
    found: dict[str, Any] = orjson.loads(b"".join(files.pieces(made(report_id, facts, **given))))
    return found


def table(report_id: str, facts: InMemory, **given: Any) -> list[list[str]]:
    """The rows of the report as TSV."""
    text = b"".join(files.pieces(made(report_id, facts, format="tsv", **given))).decode("utf-8-sig")
    return [line.split("\t") for line in text.removesuffix("\r\n").split("\r\n")]


# --- Random facts ----------------------------------------------------------------------------------------------

TITLE_TYPES = ("Journal", "Journal", "Book", "Reference_Work", "Report", "Unspecified")
BOOKS = ("Book", "Reference_Work")
PARENTS = {"Article": "Journal", "Book_Segment": "Book", "Dataset": "", "Audiovisual": "", "Sound": ""}


def random_facts(chance: random.Random, months: Sequence[str] = MONTHS) -> dict[tuple[str, str, str], list[Fact]]:
    """Some months of one customer: every sort of fact, each with counts that can be true of one another."""
    titles = [_title(number, chance) for number in range(chance.randrange(8))]
    items = [_item(number, chance) for number in range(chance.randrange(10))]
    databases = [Subject(f"d-{number}", f"Database {number}") for number in range(chance.randrange(4))]
    found: dict[tuple[str, str, str], list[Fact]] = {}
    for month in months:
        platform = _performances(chance, ("Journal", "Book", "Audiovisual"), "PR")
        if chance.random() < 0.5:
            platform.append(Performance({"Searches_Platform": chance.randint(1, 9)}, "Platform"))
        sorts: dict[str, list[Fact]] = {
            "PR": [Fact(None, None, tuple(platform))],
            "DR": [Fact(one, None, tuple(_database(chance))) for one in databases],
            "TR": [Fact(one, None, tuple(_performances(chance, (one.data_type,), "TR"))) for one in titles],
            "IR": [Fact(one, parent, tuple(_performances(chance, (kind,), "IR"))) for one, parent, kind in items],
        }
        for sort, facts in sorts.items():
            kept = [fact for fact in facts if fact.performances]
            found[month, "c1", sort] = [fact for fact in kept if chance.random() < 0.8]
    return found


def _title(number: int, chance: random.Random) -> Subject:
    kind = chance.choice(TITLE_TYPES)
    ids = (("ISBN", "978-3-16-148410-0"),) if kind == "Book" else (("Online_ISSN", "1234-5679"),)
    return Subject(f"t-{number}", f"Title {number}", kind, ids, chance.choice(("", "Pub")), (("ROR", ("00hx57361",)),))


def _item(number: int, chance: random.Random) -> tuple[Subject, Subject | None, str]:
    kind, parent = chance.choice([*PARENTS.items(), ("Article", "Journal")])
    item = Subject(
        f"i-{number}",
        f"Item {number}",
        ids=(("DOI", f"10.1234/{number}"),),
        authors=(Author("Ann", "ORCID:0000-0001-2345-6789"),)[: chance.randrange(2)],
        publication_date=chance.choice(("", "2024-02-01")),
        article_version=chance.choice(("", "VoR")) if kind == "Article" else "",
    )
    return item, Subject(f"p-{number % 2}-{parent}", f"Parent {number % 2}", parent) if parent else None, kind


def _performances(chance: random.Random, kinds: Sequence[str], sort: str) -> list[Performance]:
    found: dict[tuple[Any, ...], Performance] = {}
    for _ in range(chance.randrange(9)):
        kind = chance.choice(kinds)
        counts = _counts(chance, titled=kind in BOOKS and sort != "IR")
        dated = sort in ("TR", "IR")
        if dated and chance.random() < 0.3:
            counts = {**(counts if chance.random() < 0.5 else {}), chance.choice(("No_License", "Limit_Exceeded")): 2}
        performance = Performance(
            counts,
            kind,
            chance.choice(("0001", "2019", "2024")) if dated else "",
            chance.choice(("Controlled", "Open", "Free_To_Read")) if dated else "",
            chance.choice(("Regular", "Regular", "TDM")),
            chance.choice(("", "NL", "FR")),
            attributed=chance.random() < 0.7,
        )
        found[performance[1:]] = performance
    return list(found.values())


def _database(chance: random.Random) -> list[Performance]:
    searches = {"Searches_Regular": chance.randint(1, 9), "Searches_Federated": chance.randint(1, 9), "No_License": 1}
    chosen = dict(chance.sample(sorted(searches.items()), chance.randint(1, 3)))
    return [*_performances(chance, ("Journal", "Book"), "DR"), Performance(chosen, "Database_Full")]


def _counts(chance: random.Random, *, titled: bool) -> dict[str, int]:
    """Totals and uniques of one combination. Of a book, unique titles are at most as many as unique items."""
    requests, more = chance.randrange(4), chance.randint(1, 4)
    counts = {
        "Total_Item_Investigations": 2 * requests + more,
        "Unique_Item_Investigations": requests + more,
        "Total_Item_Requests": 2 * requests,
        "Unique_Item_Requests": requests,
    }
    if titled:
        counts |= {"Unique_Title_Investigations": 1, "Unique_Title_Requests": min(1, requests)}
    return {metric: count for metric, count in counts.items() if count}


# --- Reading reports -------------------------------------------------------------------------------------------


def performances(found: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]]:
    """(item, its parent, one of its Attribute_Performance) of a report in JSON."""
    for one in found["Report_Items"]:
        items = one.get("Items", [one])
        parent = one if "Items" in one and len(one) > 1 else None
        for item in items:
            for performance in item["Attribute_Performance"]:
                yield item, parent, performance


#: (item's proprietary id, attributes, metric, month) to a count
Figures = dict[tuple[str, tuple[tuple[str, str], ...], str, str], int]


def figures(found: Mapping[str, Any]) -> Figures:
    """Every count of a report in JSON; fails where two stand for the same."""
    counts: Figures = {}
    for item, _, performance in performances(found):
        attributes = tuple(sorted((name, value) for name, value in performance.items() if name != "Performance"))
        for metric, by_month in performance["Performance"].items():
            for month, count in by_month.items():
                key = (item.get("Item_ID", {}).get("Proprietary", ""), attributes, metric, month)
                assert key not in counts, f"{key} stands twice"
                counts[key] = count
    return counts
