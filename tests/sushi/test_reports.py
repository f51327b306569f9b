"""Reports from random facts: views equal their full report, every form holds the same numbers, JSON fits its schema."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema
import openpyxl
import pytest
from harvest import CUSTOMER, MONTHS, Figures, InMemory, figures, made, performances, random_facts, report, table
from hypothesis import given, settings
from hypothesis import strategies as st
from schema import VIEWS, schema

from metronome.counter.customers import Customer
from metronome.counter.facts import Fact, Performance, Subject
from metronome.counter.reports import files
from metronome.counter.reports.table import REPORTS
from metronome.counter.reports.tables import rows

FULL = ("PR", "DR", "TR", "IR")

#: Everything that a full report can show.
SHOWN = {
    "PR": "Access_Method|Country_Code|Attributed",
    "DR": "Access_Method|Country_Code|Attributed",
    "TR": "YOP|Access_Type|Access_Method|Country_Code|Attributed",
    "IR": "Authors|Publication_Date|Article_Version|YOP|Access_Type|Access_Method|Country_Code|Attributed",
}

VALIDATORS = {report_id: jsonschema.Draft202012Validator(schema(report_id)) for report_id in REPORTS}

#: From a seed, since the random numbers that hypothesis draws are mostly small, and so are the months made of them.
randomly = given(st.integers(0, 2**32).map(random.Random))
often = settings(max_examples=60, deadline=None)


def summed(whole: Figures, view_id: str) -> Counter[Any]:
    """What a Standard View must say, from its full report with every column: filtered, and the rest added up."""
    kinds, access, metrics, shown = VIEWS[view_id]
    found: Counter[Any] = Counter()
    for (item, attributes, metric, month), count in whole.items():
        said = dict(attributes)
        if (
            said["Access_Method"] == "Regular"
            and said["Data_Type"] in (kinds or [said["Data_Type"]])
            and said.get("Access_Type") in (access or [said.get("Access_Type")])
            and metric in metrics
        ):
            found[item, tuple(sorted((name, said[name]) for name in shown)), metric, month] += count
    return found


@randomly
@often
def test_a_standard_view_is_its_full_report_filtered_and_summed(chance: random.Random) -> None:
    facts = InMemory(random_facts(chance))
    whole = {full: figures(report(full, facts, attributes_to_show=SHOWN[full])) for full in FULL}
    for view_id in VIEWS:
        assert figures(report(view_id, facts)) == summed(whole[REPORTS[view_id].full], view_id), view_id


@randomly
@often
def test_a_full_report_has_every_count_of_the_facts_once(chance: random.Random) -> None:
    random_ones = random_facts(chance)
    facts = InMemory(random_ones)
    for full in FULL:
        expected: Counter[tuple[str, str, str]] = Counter()
        for (month, _, sort), several in random_ones.items():
            for fact in several if sort == full else ():
                for performance in fact.performances:
                    for metric, count in performance.counts.items():
                        expected[fact.subject.id if fact.subject else "", metric, month] += count
        for shown in ({}, {"attributes_to_show": SHOWN[full]}):
            found: Counter[tuple[str, str, str]] = Counter()
            for (item, _, metric, month), count in figures(report(full, facts, **shown)).items():
                found[item.removeprefix("roads:"), metric, month] += count
            assert found == expected


@randomly
@often
def test_every_report_fits_the_schema_of_the_standard(chance: random.Random) -> None:
    facts = InMemory(random_facts(chance))
    for report_id in REPORTS:
        asked = [{}, {"platform": "roads"}]
        if report_id in FULL:
            asked.append({"attributes_to_show": SHOWN[report_id], "granularity": "Totals"})
            asked.append({"data_type": "Book|Article|Report", "metric_type": "Total_Item_Requests"})
        if report_id == "IR":
            asked.append({"attributes_to_show": SHOWN["IR"], "include_parent_details": "True"})
        for one in asked:
            VALIDATORS[report_id].validate(report(report_id, facts, **one))


@randomly
@often
def test_totals_are_at_least_uniques_and_investigations_at_least_requests(chance: random.Random) -> None:
    facts = InMemory(random_facts(chance))
    for report_id in REPORTS:
        for _, _, performance in performances(report(report_id, facts)):
            counts = performance["Performance"]
            for less, more in (
                ("Unique_Item_Investigations", "Total_Item_Investigations"),
                ("Unique_Item_Requests", "Total_Item_Requests"),
                ("Total_Item_Requests", "Total_Item_Investigations"),
                ("Unique_Item_Requests", "Unique_Item_Investigations"),
                ("Unique_Title_Requests", "Unique_Title_Investigations"),
                ("Unique_Title_Investigations", "Unique_Item_Investigations"),
            ):
                if more in REPORTS[report_id].metrics:
                    for month, count in counts.get(less, {}).items():
                        assert count <= counts[more][month]


def from_rows(found: list[list[Any]]) -> Counter[tuple[str, ...]]:
    """(proprietary id, data type, YOP, access type, access method, metric, month) to a count, from a table."""
    heads = found[14]
    counts: Counter[tuple[str, ...]] = Counter()
    for row in found[15:]:
        said = dict(zip(heads, row, strict=True))
        key = tuple(str(said.get(name) or "") for name in COLUMNS)
        by_month = {month: int(said[head]) for month, head in zip(MONTHS, HEADS, strict=True)}
        assert int(said["Reporting_Period_Total"]) == sum(by_month.values()) > 0
        counts.update({(*key, month): count for month, count in by_month.items() if count})
    return counts


HEADS = ("Jan-2026", "Feb-2026", "Mar-2026")
COLUMNS = ("Proprietary_ID", "Data_Type", "YOP", "Access_Type", "Access_Method", "Metric_Type")


def workbook_rows(content: bytes) -> list[list[Any]]:
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True)
    sheets = [list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets]
    return [list(row) for row in (*sheets[0], *(row for sheet in sheets[1:] for row in sheet[1:]))]


@randomly
@settings(max_examples=15, deadline=None)
def test_json_tsv_and_xlsx_hold_the_same_numbers(chance: random.Random) -> None:
    facts = InMemory(random_facts(chance))
    for report_id in REPORTS:
        shown = SHOWN.get(report_id, "").replace("|Country_Code|Attributed", "")
        asked = {"attributes_to_show": shown} if shown else {}
        in_json = figures(report(report_id, facts, **asked))
        expected = {
            (item, *(dict(attributes).get(name, "") for name in COLUMNS[1:5]), metric, month): count
            for (item, attributes, metric, month), count in in_json.items()
        }
        in_xlsx = b"".join(files.pieces(made(report_id, facts, format="xlsx", **asked)))
        assert from_rows(table(report_id, facts, **asked)) == expected
        assert from_rows(workbook_rows(in_xlsx)) == expected


# --- Whole reports, as they are written ------------------------------------------------------------------------

ROADS = Subject("j-1", "Roads", "Journal", (("Online_ISSN", "1234-5679"),), "Pub", (("ROR", ("00hx57361",)),))
BOOK = Subject("b-1", "=Roads\tand\nmore", "Book", (("ISBN", "978-3-16-148410-0"),))
ITEM_COUNTS = {
    "Total_Item_Investigations": 5,
    "Unique_Item_Investigations": 3,
    "Total_Item_Requests": 2,
    "Unique_Item_Requests": 1,
}


def titles(*facts: Fact, month: str = "2026-01") -> InMemory:
    return InMemory({(month, "c1", "TR"): facts})


def used(counts: dict[str, int], data_type: str = "Journal", **more: Any) -> Performance:
    return Performance(counts, data_type, **{"yop": "2024", "access_type": "Controlled", **more})


def test_a_title_report_is_written_as_the_standard_shows_it() -> None:
    facts = titles(Fact(ROADS, None, (used(ITEM_COUNTS), used({"No_License": 4}, yop="2023"))))
    assert report("TR", facts, attributes_to_show="YOP", data_type="Journal", yop="2019|2023-2024") == {
        "Report_Header": {
            "Release": "5.1",
            "Report_ID": "TR",
            "Report_Name": "Title Report",
            "Created": "2026-05-10T12:00:00Z",
            "Created_By": "Metronome",
            "Institution_ID": {"Proprietary": ["roads:c1"], "ROR": ["00hx57361"]},
            "Institution_Name": "Example University",
            "Registry_Record": "",
            "Report_Filters": {
                "Begin_Date": "2026-01-01",
                "End_Date": "2026-03-31",
                "Data_Type": ["Journal"],
                "YOP": ["2019", "2023-2024"],
            },
            "Report_Attributes": {"Attributes_To_Show": ["YOP"]},
        },
        "Report_Items": [
            {
                "Title": "Roads",
                "Publisher": "Pub",
                "Publisher_ID": {"ROR": ["00hx57361"]},
                "Platform": "Roads Online",
                "Item_ID": {"Proprietary": "roads:j-1", "Online_ISSN": "1234-5679"},
                "Attribute_Performance": [
                    {"Data_Type": "Journal", "YOP": "2023", "Performance": {"No_License": {"2026-01": 4}}},
                    {
                        "Data_Type": "Journal",
                        "YOP": "2024",
                        "Performance": {
                            "Total_Item_Investigations": {"2026-01": 5},
                            "Total_Item_Requests": {"2026-01": 2},
                            "Unique_Item_Investigations": {"2026-01": 3},
                            "Unique_Item_Requests": {"2026-01": 1},
                        },
                    },
                ],
            }
        ],
    }


def test_a_table_is_written_as_the_standard_shows_it() -> None:
    facts = titles(Fact(ROADS, None, (used(ITEM_COUNTS), used(ITEM_COUNTS, yop="2023"))))
    assert table("TR_J1", facts) == [
        ["Report_Name", "Journal Requests (Controlled)"],
        ["Report_ID", "TR_J1"],
        ["Release", "5.1"],
        ["Institution_Name", "Example University"],
        ["Institution_ID", "ROR:00hx57361; roads:c1"],
        ["Metric_Types", "Total_Item_Requests; Unique_Item_Requests"],
        ["Report_Filters", "Data_Type=Journal; Access_Type=Controlled; Access_Method=Regular"],
        ["Report_Attributes", ""],
        ["Exceptions", ""],
        ["Reporting_Period", "Begin_Date=2026-01-01; End_Date=2026-03-31"],
        ["Created", "2026-05-10T12:00:00Z"],
        ["Created_By", "Metronome"],
        ["Registry_Record", ""],
        [""],
        ["Title", "Publisher", "Publisher_ID", "Platform", "DOI", "Proprietary_ID", "Print_ISSN", "Online_ISSN", "URI",
         "Metric_Type", "Reporting_Period_Total", "Jan-2026", "Feb-2026", "Mar-2026"],
        ["Roads", "Pub", "ROR:00hx57361", "Roads Online", "", "roads:j-1", "", "1234-5679", "",
         "Total_Item_Requests", "4", "4", "0", "0"],
        ["Roads", "Pub", "ROR:00hx57361", "Roads Online", "", "roads:j-1", "", "1234-5679", "",
         "Unique_Item_Requests", "2", "2", "0", "0"],
    ]  # fmt: skip


_TITLE = ["Title", "Publisher", "Publisher_ID", "Platform", "DOI", "Proprietary_ID"]
_ISSNS = ["Print_ISSN", "Online_ISSN", "URI"]
_END = ["Metric_Type", "Reporting_Period_Total"]
_ITEM = ["Item", "Publisher", "Publisher_ID", "Platform"]
_DETAILS = ["Authors", "Publication_Date", "Article_Version"]


@pytest.mark.parametrize(
    ("report_id", "asked", "heads"),
    [
        ("PR", {}, ["Platform", "Data_Type", *_END]),
        ("PR_P1", {}, ["Platform", "Data_Type", *_END]),
        ("DR", {}, ["Database", "Publisher", "Publisher_ID", "Platform", "Proprietary_ID", "Data_Type", *_END]),
        ("DR_D1", {}, ["Database", "Publisher", "Publisher_ID", "Platform", "Proprietary_ID", *_END]),
        ("TR", {}, [*_TITLE, "ISBN", *_ISSNS, "Data_Type", *_END]),
        ("TR_B1", {}, [*_TITLE, "ISBN", *_ISSNS, "Data_Type", "YOP", *_END]),
        ("TR_B3", {}, [*_TITLE, "ISBN", *_ISSNS, "Data_Type", "YOP", "Access_Type", *_END]),
        ("TR_J2", {}, [*_TITLE, *_ISSNS, *_END]),
        ("TR_J3", {}, [*_TITLE, *_ISSNS, "Access_Type", *_END]),
        ("TR_J4", {}, [*_TITLE, *_ISSNS, "YOP", *_END]),
        ("IR", {}, [*_ITEM, "DOI", "Proprietary_ID", "ISBN", *_ISSNS, "Data_Type", *_END]),
        (
            "IR",
            {"include_parent_details": "True", "attributes_to_show": "Access_Method|Authors|Customer_ID|Attributed"},
            ["Customer_ID", *_ITEM, "Authors", "DOI", "Proprietary_ID", "ISBN", *_ISSNS,
             "Parent_Title", "Parent_Authors", "Parent_Publication_Date", "Parent_Article_Version", "Parent_Data_Type",
             "Parent_DOI", "Parent_Proprietary_ID", "Parent_ISBN", "Parent_Print_ISSN", "Parent_Online_ISSN",
             "Parent_URI", "Data_Type", "Access_Method", "Attributed", *_END],
        ),
        (
            "IR_A1",
            {},
            [*_ITEM, *_DETAILS, "DOI", "Proprietary_ID", *_ISSNS, "Parent_Title", "Parent_Authors",
             "Parent_Article_Version", "Parent_DOI", "Parent_Proprietary_ID", "Parent_Print_ISSN", "Parent_Online_ISSN",
             "Parent_URI", "Access_Type", *_END],
        ),
        ("IR_M1", {}, [*_ITEM, "DOI", "Proprietary_ID", "URI", "Data_Type", *_END]),
    ],
)  # fmt: skip
def test_columns_are_those_of_the_standard_in_its_order(
    report_id: str, asked: dict[str, str], heads: list[str]
) -> None:
    assert table(report_id, InMemory({}), **asked)[14] == [*heads, *HEADS]


def test_months_are_summed_or_left_out_where_that_was_asked() -> None:
    facts = InMemory({(month, "c1", "TR"): [Fact(ROADS, None, (used(ITEM_COUNTS),))] for month in MONTHS})
    whole = report("TR", facts, granularity="Totals", metric_type="Total_Item_Requests")
    assert list(figures(whole).items()) == [
        (("roads:j-1", (("Data_Type", "Journal"),), "Total_Item_Requests", "2026-01"), 6)
    ]
    assert whole["Report_Header"]["Report_Attributes"] == {"Granularity": "Totals"}
    for asked in ({"granularity": "Totals"}, {"exclude_monthly_details": "True"}):
        found = table("TR", facts, metric_type="Total_Item_Requests", **asked)
        assert found[14][-2:] == ["Metric_Type", "Reporting_Period_Total"]
        assert found[15][-2:] == ["Total_Item_Requests", "6"]
    assert found[7] == ["Report_Attributes", "Exclude_Monthly_Details=True"]
    found = table("TR", facts, exclude_monthly_details="yes")
    assert found[8][1] == "3062: Invalid ReportAttribute Value (exclude_monthly_details=yes)"


def test_items_stand_below_their_parents_where_that_was_asked() -> None:
    items = [Subject(f"a-{number}", f"Article {number}") for number in range(3)]
    one = Performance({"Total_Item_Requests": 1, "Unique_Item_Requests": 1}, "Article", "2024", "Open")
    parents = (None, ROADS, ROADS)
    facts = InMemory({(MONTHS[0], "c1", "IR"): [Fact(*pair, (one,)) for pair in zip(items, parents, strict=True)]})

    def shape(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
        return [(one.get("Title", ""), [item["Item"] for item in one["Items"]]) for one in found["Report_Items"]]

    assert shape(report("IR", facts)) == [("", ["Article 0", "Article 1", "Article 2"])]
    below = [("", ["Article 0"]), ("Roads", ["Article 1", "Article 2"])]
    assert shape(report("IR", facts, include_parent_details="True")) == below
    assert shape(report("IR_A1", facts)) == below
    parent = report("IR", facts, include_parent_details="True")["Report_Items"][1]
    del parent["Items"]
    ids = {"Proprietary": "roads:j-1", "Online_ISSN": "1234-5679"}
    assert parent == {"Title": "Roads", "Data_Type": "Journal", "Item_ID": ids}
    assert "Data_Type" not in report("IR_A1", facts)["Report_Items"][1], "only IR says it"


def test_a_title_is_described_as_it_was_in_the_last_month() -> None:
    old = Fact(ROADS._replace(name="Streets"), None, (used(ITEM_COUNTS),))
    facts = InMemory(
        {("2026-01", "c1", "TR"): [old], ("2026-02", "c1", "TR"): [Fact(ROADS, None, (used(ITEM_COUNTS),))]}
    )
    (found,) = report("TR", facts)["Report_Items"]
    assert (found["Title"], len(found["Attribute_Performance"])) == ("Roads", 1)


def test_what_is_not_known_is_left_out_of_json_and_empty_in_tables() -> None:
    facts = titles(Fact(ROADS, None, (used(ITEM_COUNTS, country="NL"), used(ITEM_COUNTS))))
    asked = {"attributes_to_show": "Country_Code", "metric_type": "Unique_Item_Requests"}
    assert [found.get("Country_Code") for _, _, found in performances(report("TR", facts, **asked))] == [None, "NL"]
    place = table("TR", facts, **asked)[14].index("Country_Code")
    assert [row[place] for row in table("TR", facts, **asked)[15:]] == ["", "NL"]


def test_a_cell_can_neither_break_its_row_nor_become_a_formula() -> None:
    facts = titles(Fact(BOOK, None, (used({"No_License": 1}, "Book"),)))
    assert table("TR_B2", facts)[15][0] == "=Roads and more"
    book = openpyxl.load_workbook(io.BytesIO(b"".join(files.pieces(made("TR_B2", facts, format="xlsx")))))
    cell = book.active["A16"]
    assert (cell.value, cell.data_type) == ("=Roads\tand\nmore", "s")


def test_what_a_sheet_cannot_hold_goes_on_in_the_next() -> None:
    facts = titles(*(Fact(ROADS._replace(id=f"j-{n}"), None, (used(ITEM_COUNTS),)) for n in range(20)))
    one = made("TR", facts, format="xlsx")
    with files.xlsx(rows(one.header, one.entries, one.covered), sheet_rows=40) as file:
        found = workbook_rows(file.read())
    assert len(found) == 15 + 20 * 4
    assert len({tuple(row) for row in found[15:]}) == 20 * 4


# --- Consortia -------------------------------------------------------------------------------------------------

ALL = Customer("all", "All of them")
NORTH, SOUTH = Customer("n", "North", member_of=("all",)), Customer("s", "South", member_of=("all",))


def test_a_consortium_has_its_own_usage_or_that_of_each_member() -> None:
    fact = Fact(ROADS, None, (used({"No_License": 2}),))
    facts = InMemory(
        {
            ("2026-01", "n", "TR"): [fact],
            ("2026-01", "s", "TR"): [fact, Fact(BOOK, None, (used({"No_License": 1}, "Book"),))],
            ("2026-01", "all", "TR"): [Fact(ROADS, None, (used({"No_License": 4}),))],
        }
    )
    whole = report("TR", facts, customer=ALL, members=[NORTH, SOUTH])
    assert list(figures(whole).values()) == [4]
    apart = report("TR", facts, customer=ALL, members=[NORTH, SOUTH], attributes_to_show="Customer_ID|Institution_Name")
    assert [
        (item["Title"], one["Institution_Name"], one["Customer_ID"], one["Performance"]["No_License"]["2026-01"])
        for item, _, one in performances(apart)
    ] == [("=Roads\tand\nmore", "South", "s", 1), ("Roads", "North", "n", 2), ("Roads", "South", "s", 2)]
    alone = report("TR", InMemory({("2026-01", "c1", "TR"): [fact]}), attributes_to_show="Customer_ID")
    assert [one["Customer_ID"] for _, _, one in performances(alone)] == [CUSTOMER.id]


def test_more_members_and_months_than_can_be_told_apart_are_summed_and_that_is_said() -> None:
    members = [Customer(f"m-{number}", f"Member {number}", member_of=("all",)) for number in range(201)]
    facts = InMemory({("2026-01", "all", "TR"): [Fact(ROADS, None, (used({"No_License": 4}),))]})
    found = report("TR", facts, customer=ALL, members=members, attributes_to_show="Customer_ID|YOP")
    (said,) = found["Report_Header"]["Exceptions"]
    assert (said["Code"], said["Data"]) == (
        3062, "attributes_to_show=Customer_ID: 201 members and 3 months are too many at once",
    )  # fmt: skip
    assert found["Report_Header"]["Report_Attributes"] == {"Attributes_To_Show": ["YOP"]}
    assert list(figures(found).values()) == [4]


# --- Memory ----------------------------------------------------------------------------------------------------


class Endless(InMemory):
    """As many titles as were asked for, made as they are read."""

    def __init__(self, titles: int) -> None:
        super().__init__({})
        self._titles = titles

    def facts(self, month: str, customer_id: str, report: Any) -> Iterator[Fact]:
        for number in range(self._titles):
            yield Fact(ROADS._replace(id=f"j-{number:06}"), None, (used(dict(ITEM_COUNTS)),))


@pytest.mark.parametrize("form", ["json", "tsv", "xlsx"])
def test_a_report_of_any_size_takes_the_same_memory(form: str) -> None:
    peaks = []
    for titles in (300, 3000):
        size = 0
        tracemalloc.start()
        for piece in files.pieces(made("TR", Endless(titles), format=form)):
            size += len(piece)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert size > 60_000
    assert peaks[1] < 1.5 * peaks[0] + 100_000
