"""The COUNTER API over HTTP: who may have what, every exception with its code, status and message, and the lists."""

from __future__ import annotations

import gzip
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from conftest import Gateway, remove_indices
from elasticsearch import Elasticsearch
from schema import schema

from metronome.counter.customers import Customers
from metronome.counter.facts import WORLD, Fact, Performance, Subject
from metronome.counter.kept import Kept
from metronome.counter.reports.table import REPORTS
from metronome.dialects import sushi
from metronome.errors import QuestionsWait, StoreUnavailable
from metronome.keys import Keys
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.client import connect
from metronome.store.records import Records
from metronome.web.app import Opened, create_app

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)

ROADS = Subject("j-1", "Roads", "Journal", (("Online_ISSN", "1234-5679"),), "Pub")
USED = Performance({"Total_Item_Investigations": 2, "Unique_Item_Investigations": 1}, "Journal", "2024", "Controlled")


class Provider:
    """A gateway with customers: c1 and c2, of whom c2 is a member of the consortium all, and facts of two months."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        indices.install(gateway.elasticsearch, gateway.settings)
        self.customers = Customers(gateway.elasticsearch, gateway.settings)
        self.keys = {
            "c1": self.add("c1", "One", ids=[("ROR", ("00hx57361",))]),
            "all": self.add("all", "All of them", requestor_id="req-all"),
            "c2": self.add("c2", "Two", member_of=["all"]),
        }
        self.facts = Kept(gateway.elasticsearch, gateway.settings)
        for month in ("2026-02", "2026-03"):
            self.process(month)

    def add(self, customer_id: str, name: str, **more: Any) -> str:
        return self.customers.add(customer_id, name, **more)[1]

    def process(self, month: str, *, at: datetime = NOW, cause: str = "", performance: Performance = USED) -> None:
        facts = [Fact(ROADS, None, (performance,))]
        self.facts.replace(month, [(one, "TR", facts) for one in ("c1", "c2", "all", WORLD)], at=at, cause=cause)

    def get(self, path: str, customer: str = "c1", **given: str | None) -> Any:
        """GET /r51/…; a parameter that is None isn't sent."""
        requestor = given.pop("requestor_id", {"all": "req-all"}.get(customer, customer))
        key = given.pop("api_key", self.keys.get(customer, ""))
        asked = {"customer_id": customer, "requestor_id": requestor, "api_key": key, **given}
        query = {name: value for name, value in asked.items() if value is not None}
        return self.gateway.http.get(f"/r51/{path}", query_string=query, headers=given.get("headers"))

    def report(self, report_id: str = "tr", customer: str = "c1", **given: str | None) -> Any:
        return self.get(f"reports/{report_id}", customer, **{"begin_date": "2026-02", "end_date": "2026-03", **given})


@pytest.fixture(scope="module")
def offered(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Provider]:
    """One installation for all tests that only ask."""
    home, prefix = tmp_path_factory.mktemp("offered"), f"t{uuid.uuid4().hex[:10]}"
    named = {"platform": "Roads Online", "platform_id": "roads"}
    gateway = Gateway(replace(engine_settings, home=home, index_prefix=prefix, **named), elasticsearch, NOW)
    yield Provider(gateway)
    gateway.spool.close()
    remove_indices(elasticsearch, gateway.settings)


@pytest.fixture
def provider(gateway_for: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setattr("metronome.counter.customers.REFRESH_S", 0)
    return Provider(gateway_for(NOW, platform="Roads Online", platform_id="roads"))


def exception(answer: Any) -> tuple[int, int, str, str]:
    """(HTTP status, code, message, data) of an exception that is the whole answer."""
    assert answer.content_type == "application/json"
    found = answer.json
    assert found.keys() <= {"Code", "Message", "Data"}
    return answer.status_code, found["Code"], found["Message"], found.get("Data", "")


INSUFFICIENT = (400, 1030, "Insufficient Information to Process Request")
UNKNOWN = (401, 2000, "Requestor Not Authorized to Access Service", "")
BAD_KEY = (401, 2020, "APIKey Invalid", "")
NOT_FOR = (403, 2010, "Requestor is Not Authorized to Access Usage for Institution", "")
NO_GLOBAL = (403, 2011, "Global Reports Not Supported", "")
DATES = (400, 3020, "Invalid Date Arguments")


@pytest.mark.parametrize("path", ["members", "reports", "reports/tr"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"customer_id": None}, (*INSUFFICIENT, "customer_id missing"), id="no customer"),
        pytest.param({"requestor_id": None}, (*INSUFFICIENT, "requestor_id missing"), id="no requestor"),
        pytest.param({"api_key": None}, (*INSUFFICIENT, "api_key missing"), id="no key"),
        pytest.param({"api_key": " "}, (*INSUFFICIENT, "api_key missing"), id="an empty key"),
        pytest.param({"customer_id": None, "api_key": None}, (*INSUFFICIENT, "customer_id and api_key missing"), id="two of them"),
        pytest.param({"requestor_id": "nobody"}, UNKNOWN, id="a requestor that isn't known"),
        pytest.param({"requestor_id": "all"}, UNKNOWN, id="a customer's id that isn't its requestor id"),
        pytest.param({"api_key": "guessed"}, BAD_KEY, id="a wrong key"),
        pytest.param({"requestor_id": "c2"}, BAD_KEY, id="another requestor's key"),
        pytest.param({"customer_id": "c2"}, NOT_FOR, id="another customer"),
        pytest.param({"customer_id": "all"}, NOT_FOR, id="a consortium that it isn't in"),
        pytest.param({"customer_id": "nobody"}, NOT_FOR, id="a customer that isn't known"),
        pytest.param({"customer_id": WORLD}, NO_GLOBAL, id="all usage"),
        pytest.param({"customer_id": "nobody", "api_key": "guessed"}, BAD_KEY, id="two errors: the key's comes first"),
        pytest.param({"requestor_id": "nobody", "begin_date": "x"}, UNKNOWN, id="two errors: the lower code"),
        pytest.param({"customer_id": "c2", "begin_date": "2027-01"}, NOT_FOR, id="a date is looked at last"),
    ],
)  # fmt: skip
def test_who_may_not_have_it_is_told_in_the_words_of_the_standard(
    offered: Provider, path: str, given: dict[str, str | None], said: tuple[int, int, str, str]
) -> None:
    assert exception(offered.get(path, **{"begin_date": "2026-02", "end_date": "2026-03", **given})) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"begin_date": None}, (*INSUFFICIENT, "begin_date missing"), id="no begin"),
        pytest.param({"end_date": ""}, (*INSUFFICIENT, "end_date missing"), id="an empty end"),
        pytest.param({"begin_date": None, "end_date": None}, (*INSUFFICIENT, "begin_date and end_date missing"), id="neither"),
        pytest.param({"begin_date": "2026"}, (*DATES, "2026: write yyyy-mm, or a month's first and last day"), id="a year"),
        pytest.param({"begin_date": "2026-13"}, (*DATES, "2026-13: write yyyy-mm, or a month's first and last day"), id="no such month"),
        pytest.param({"begin_date": "2026-02-02"}, (*DATES, "2026-02-02: write yyyy-mm, or a month's first and last day"), id="begin within a month"),
        pytest.param({"end_date": "2026-03-30"}, (*DATES, "2026-03-30: write yyyy-mm, or a month's first and last day"), id="end within a month"),
        pytest.param({"end_date": "2026-02-29"}, (*DATES, "2026-02-29: write yyyy-mm, or a month's first and last day"), id="no such day"),
        pytest.param({"end_date": "2026-01"}, (*DATES, "end_date 2026-01 is before begin_date 2026-02"), id="end before begin"),
        pytest.param({"begin_date": "2026-05", "end_date": "2026-05"}, (*DATES, "begin_date: 2026-05 isn't over yet"), id="the running month"),
        pytest.param({"begin_date": "2027-01", "end_date": "2027-02"}, (*DATES, "begin_date: 2027-01 isn't over yet"), id="months to come"),
    ],
)  # fmt: skip
def test_dates_that_cannot_be_taken_are_refused(
    offered: Provider, given: dict[str, str | None], said: tuple[int, int, str, str]
) -> None:
    assert exception(offered.report(**given)) == said


PARAMETER = "Parameter Not Recognized in this Context"
FILTER = "Invalid ReportFilter Value"
INCONGRUOUS = "Incongruous ReportFilter Value"
ATTRIBUTE = "Invalid ReportAttribute Value"
NOT_READY = "Usage Not Ready for Requested Dates"
NO_LONGER = "Usage No Longer Available for Requested Dates"
NO_USAGE = "No Usage Available for Requested Dates"


@pytest.mark.parametrize(
    ("report_id", "given", "said"),
    [
        pytest.param("tr", {}, [], id="nothing to say"),
        pytest.param("tr", {"begin_date": "2026-02-01", "end_date": "2026-03-31"}, [], id="whole dates"),
        pytest.param("tr", {"data_type": "", "yop": " "}, [], id="empty filters"),
        pytest.param("tr", {"x": "1", "author": "ISNI:1"}, [(3050, PARAMETER, "x|author")], id="parameters that TR hasn't"),
        pytest.param("tr_j3", {"data_type": "Book"}, [(3050, PARAMETER, "data_type")], id="a view has no filters"),
        pytest.param("tr_j3", {"attributes_to_show": "YOP"}, [(3050, PARAMETER, "attributes_to_show")], id="a view has no attributes"),
        pytest.param("tr", {"exclude_monthly_details": "True"}, [(3050, PARAMETER, "exclude_monthly_details")], id="only tables leave months out"),
        pytest.param("tr", {"data_type": "Journal|Article|book"}, [(3060, FILTER, "data_type=Article|book")], id="data types that TR hasn't"),
        pytest.param("tr", {"metric_type": "Searches_Platform"}, [(3060, FILTER, "metric_type=Searches_Platform")], id="a metric that TR hasn't"),
        pytest.param("tr", {"yop": "2024|99|2024-2020", "access_type": "OA_Gold"}, [(3060, FILTER, "access_type=OA_Gold; yop=99|2024-2020")], id="several bad filters"),
        pytest.param("tr", {"platform": "Elsewhere"}, [(3060, FILTER, "platform=Elsewhere")], id="another platform"),
        pytest.param("tr", {"format": "pdf"}, [(3060, FILTER, "format=pdf")], id="another form"),
        pytest.param("tr", {"item_id": "Online_ISSN:1234-5679|DOI:10.1/2"}, [(3061, INCONGRUOUS, "item_id=Online_ISSN:1234-5679|DOI:10.1/2")], id="ids of two kinds"),
        pytest.param("tr", {"item_id": "1234-5679"}, [(3060, FILTER, "item_id=1234-5679")], id="an id of no kind"),
        pytest.param("tr", {"attributes_to_show": "YOP|Data_Type|Authors", "granularity": "Day"}, [(3062, ATTRIBUTE, "attributes_to_show=Authors|Data_Type; granularity=Day")], id="attributes that TR hasn't"),
        pytest.param("tr", {"format": "json", "granularity": "month"}, [(3062, ATTRIBUTE, "granularity=month")], id="in other letters"),
        pytest.param("ir", {"include_component_details": "True"}, [(3030, NO_USAGE, ""), (3063, "Components Not Supported", "")], id="components"),
        pytest.param("ir", {}, [(3030, NO_USAGE, "")], id="no usage at all"),
        pytest.param("tr", {"data_type": "Book"}, [(3030, NO_USAGE, "")], id="no usage of a kind"),
        pytest.param("tr", {"end_date": "2026-04"}, [(3031, NOT_READY, "2026-04")], id="a month that wasn't processed"),
        pytest.param("tr", {"end_date": "2026-06"}, [(3031, NOT_READY, "2026-04 to 2026-06")], id="months that aren't over"),
        pytest.param("tr", {"begin_date": "2025-11"}, [(3032, NO_LONGER, "2025-11 to 2026-01; usage is available from 2026-02")], id="months before the first"),
        pytest.param("tr", {"begin_date": "2026-01", "end_date": "2026-04", "x": "1"}, [(3031, NOT_READY, "2026-04"), (3032, NO_LONGER, "2026-01; usage is available from 2026-02"), (3050, PARAMETER, "x")], id="several, by code"),
        pytest.param("ir", {"end_date": "2026-04"}, [(3031, NOT_READY, "2026-04")], id="none yet is not none"),
        pytest.param("tr", {"begin_date": "2026-04", "end_date": "2026-04"}, [(3031, NOT_READY, "2026-04")], id="nothing but a month that wasn't processed"),
    ],
)  # fmt: skip
def test_what_a_report_has_to_say_of_itself_stands_in_its_header(
    offered: Provider, report_id: str, given: dict[str, str], said: list[tuple[int, str, str]]
) -> None:
    answer = offered.report(report_id, **given)
    header = answer.json["Report_Header"]
    found = [(one["Code"], one["Message"], one.get("Data", "")) for one in header.get("Exceptions", [])]
    assert (answer.status_code, found) == (200, said)
    assert ("Exceptions" in header) == bool(said)
    jsonschema.validate(answer.json, schema(report_id.upper()))


@pytest.mark.parametrize(
    ("given", "filters"),
    [
        pytest.param({"data_type": "Journal|Article"}, {"Data_Type": ["Journal"]}, id="the good of a list stays"),
        pytest.param({"data_type": "Article"}, {}, id="a filter of which nothing is good isn't applied"),
        pytest.param({"metric_type": "Unique_Item_Investigations|Total_Item_Investigations"}, {"Metric_Type": ["Total_Item_Investigations", "Unique_Item_Investigations"]}, id="in the standard's order"),
        pytest.param({"platform": "Roads Online"}, {"Platform": "Roads Online"}, id="the platform by name"),
        pytest.param({"platform": "roads"}, {"Platform": "roads"}, id="the platform by id"),
        pytest.param({"item_id": "Online_ISSN:1234-5679"}, {"Item_ID": "Online_ISSN:1234-5679"}, id="an ISSN"),
        pytest.param({"item_id": "roads:j-1"}, {"Item_ID": "roads:j-1"}, id="a proprietary id"),
        pytest.param({"item_id": "Proprietary:roads:j-1"}, {"Item_ID": "Proprietary:roads:j-1"}, id="and with its kind"),
        pytest.param({"access_method": "Regular|TDM", "yop": "2023-2024|1999"}, {"Access_Method": ["Regular", "TDM"], "YOP": ["2023-2024", "1999"]}, id="several"),
    ],
)  # fmt: skip
def test_filters_that_can_be_applied_are_and_stand_in_the_header(
    offered: Provider, given: dict[str, str], filters: dict[str, Any]
) -> None:
    found = offered.report(**given).json
    dates = {"Begin_Date": "2026-02-01", "End_Date": "2026-03-31"}
    assert found["Report_Header"]["Report_Filters"] == {**dates, **filters}
    assert len(found["Report_Items"]) == 1


@pytest.mark.parametrize("given", [{"item_id": "Online_ISSN:0000-0000"}, {"item_id": "roads:j-2"}, {"yop": "1999"}])
def test_what_a_filter_leaves_out_is_not_in_the_report(offered: Provider, given: dict[str, str]) -> None:
    assert offered.report(**given).json["Report_Items"] == []


def test_the_last_month_of_a_report_is_the_last_that_is_over(offered: Provider) -> None:
    header = offered.report(end_date="2026-12-31").json["Report_Header"]
    assert header["Report_Filters"]["End_Date"] == "2026-04-30"


def test_a_month_that_is_being_processed_for_the_first_time_is_worth_another_request(provider: Provider) -> None:
    provider.facts.begin("2026-04")
    provider.facts.begin("2026-03")
    answer = provider.report(end_date="2026-04")
    assert exception(answer) == (202, 1011, "Report Queued for Processing", "2026-04")
    assert answer.headers["Retry-After"] == "60"
    assert provider.report().status_code == 200, "a month that is processed again is read as it was"


@pytest.mark.parametrize("path", ["reports/TR", "reports/tr_j5", "reports/tr/x", "report/tr", "r50/reports"])
def test_what_there_is_not_is_a_404_without_an_exception(offered: Provider, path: str) -> None:
    answer = offered.get(path)
    assert (answer.status_code, "Code" in answer.json) == (404, False)


def test_the_gateways_own_keys_have_nothing_to_do_with_reports(gateway_for: Callable[..., Gateway]) -> None:
    provider = Provider(gateway_for(NOW, open="no"))
    assert provider.gateway.http.get("/tock/home.json").status_code == 401
    assert provider.report().status_code == 200
    token = Keys(Records(provider.gateway.elasticsearch, provider.gateway.settings, "keys")).create(
        "all", scopes=["admin"]
    )[1]
    answer = provider.gateway.http.get("/r51/members", headers={"X-Api-Key": token})
    assert exception(answer) == (*INSUFFICIENT, "customer_id and requestor_id and api_key missing")


# --- Consortia, and all usage ----------------------------------------------------------------------------------


def test_a_consortiums_key_works_for_its_members_and_theirs_for_themselves(offered: Provider) -> None:
    with_all = {"requestor_id": "req-all", "api_key": offered.keys["all"]}
    assert offered.report(customer="c2").status_code == 200
    for customer in ("c2", "all"):
        found = offered.report(customer=customer, **with_all).json["Report_Header"]
        assert found["Institution_ID"] == {"Proprietary": [f"roads:{customer}"]}
    assert exception(offered.report(customer="c1", **with_all)) == NOT_FOR
    with_c2 = {"requestor_id": "c2", "api_key": offered.keys["c2"]}
    assert exception(offered.report(customer="all", **with_c2)) == NOT_FOR


def test_members_are_those_of_a_consortium_or_the_customer_itself(offered: Provider) -> None:
    ids = {"Proprietary": ["roads:c1"], "ROR": ["00hx57361"]}
    assert offered.get("members").json == [{"Customer_ID": "c1", "Institution_Name": "One", "Institution_ID": ids}]
    assert offered.get("members", "all", x="1").json == [
        {"Customer_ID": "c2", "Institution_Name": "Two", "Institution_ID": {"Proprietary": ["roads:c2"]}}
    ]


def test_all_usage_is_reported_to_who_was_given_a_key_to_it(provider: Provider) -> None:
    provider.keys[WORLD] = provider.add(WORLD, "The World")
    header = provider.report(customer=WORLD).json["Report_Header"]
    assert (header["Institution_Name"], header["Institution_ID"]) == (
        "The World", {"Proprietary": [f"roads:{WORLD}"]},
    )  # fmt: skip
    assert exception(provider.get("members", WORLD, requestor_id="c1", api_key=provider.keys["c1"])) == NOT_FOR


# --- Lists -----------------------------------------------------------------------------------------------------


def test_every_report_is_listed_with_its_months(offered: Provider) -> None:
    found = offered.get("reports", x="1").json
    assert [one["Report_ID"] for one in found] == list(REPORTS)
    assert found[6] == {
        "Report_Name": "Book Requests (Controlled)",
        "Report_ID": "TR_B1",
        "Release": "5.1",
        "Report_Description": "Requests of books, without open and free content.",
        "First_Month_Available": "2026-02",
        "Last_Month_Available": "2026-03",
    }


def test_before_any_month_was_processed_the_list_names_the_last_that_is_over(
    gateway_for: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provider, "process", lambda *_: None)
    found = Provider(gateway_for(NOW)).get("reports").json
    assert {(one["First_Month_Available"], one["Last_Month_Available"]) for one in found} == {("2026-04", "2026-04")}


def test_restated_months_are_listed_for_the_reports_that_changed(provider: Provider) -> None:
    more = {"Total_Item_Investigations": 3, "Unique_Item_Investigations": 1}
    provider.process("2026-03", cause="late usage", performance=USED._replace(counts=more), at=NOW.replace(hour=13))
    found = {
        one["Report_ID"]: one["Month_Details"] for one in provider.get("reports", include_month_details="True").json
    }
    changed = {"2026-03": {"Last_Change_Date": "2026-05-10T13:00:00Z", "Last_Change_Note": "late usage"}}
    assert {report_id for report_id, months in found.items() if months == changed} == {"TR", "TR_B3", "TR_J3"}
    assert {report_id for report_id, months in found.items() if months} == {"TR", "TR_B3", "TR_J3"}
    alert = {"Date_Time": "2026-05-10T13:00:00Z", "Alert": "The usage of 2026-03 was processed again and has changed"}
    assert provider.gateway.http.get("/r51/status").json[0]["Alerts"] == [alert]


def test_the_status_is_for_everybody(gateway_for: Callable[..., Gateway]) -> None:
    record = "https://registry.countermetrics.org/platform/b2b2736c-2cb9-48ec-91f4-870336acfb1c"
    gateway = gateway_for(NOW, platform="Roads Online", registry_record=record, open="no")
    answer = gateway.http.get("/r51/status?x=1")
    assert (answer.status_code, answer.json) == (
        200,
        [{"Service_Active": True, "Description": "COUNTER reports of Roads Online", "Registry_Record": record}],
    )


# --- What goes wrong here --------------------------------------------------------------------------------------


@pytest.fixture
def alone(provider: Provider) -> Iterator[Provider]:
    """The same installation in another process, which has read the customers, and whose Elasticsearch is away."""
    assert provider.report().status_code == 200
    away = connect(replace(provider.gateway.settings, elasticsearch_url="http://127.0.0.1:1"))
    app = create_app(provider.gateway.settings, Opened(provider.gateway.spool, away), clock=lambda: NOW)
    provider.gateway.http = app.test_client()
    yield provider
    away.close()


def test_while_elasticsearch_is_away_the_service_is_not_available(
    alone: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL, "metronome"):
        answer = alone.report()
        assert exception(answer) == (503, 1000, "Service Not Available", "")
        assert int(answer.headers["Retry-After"]) > 0
        assert alone.gateway.http.get("/r51/status").json[0]["Service_Active"] is False
        assert alone.get("members").status_code == 200
        assert exception(alone.report(api_key="guessed")) == BAD_KEY
        assert exception(alone.report(requestor_id="nobody")) == UNKNOWN


def test_customers_that_could_not_be_read_yet_are_not_unknown(alone: Provider) -> None:
    (alone.gateway.settings.home / "counter-customers.json").unlink()
    settings = alone.gateway.settings
    away = connect(replace(settings, elasticsearch_url="http://127.0.0.1:1"))
    alone.gateway.http = create_app(settings, Opened(alone.gateway.spool, away), clock=lambda: NOW).test_client()
    assert exception(alone.report())[:2] == (503, 1000)
    usage = {"action_labels": ["view"], "item_guid": "a", "counter": {"ip": "192.0.2.1"}}
    posted = {"data": {"type": "counted-usage", "attributes": usage}}
    answer = alone.gateway.http.post("/_/metrics/events/counted_usage/", json=posted)
    assert answer.status_code == 503
    assert "doesn't know whose usage it is" in answer.text
    assert int(answer.headers["Retry-After"]) > 0
    away.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(QuestionsWait("many wait"), (503, 1010, "Service Busy", ""), id="busy"),
        pytest.param(RuntimeError("a secret"), (503, 1000, "Service Not Available", ""), id="unforeseen"),
    ],
)
def test_an_error_of_ours_is_told_without_its_words(
    offered: Provider, monkeypatch: pytest.MonkeyPatch, error: Exception, said: tuple[int, int, str, str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(sushi, "make", fail)
    logging.disable(logging.CRITICAL)
    try:
        assert exception(offered.report()) == said
    finally:
        logging.disable(logging.NOTSET)


def test_reports_leave_half_of_the_threads_to_others(
    gateway_for: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider(gateway_for(NOW, threads=4))
    reading = [provider.report() for _ in range(2)]
    answer = provider.report()
    assert exception(answer) == (503, 1010, "Service Busy", "as many reports as may be are being made")
    assert answer.headers["Retry-After"] == "5"
    reading[0].close()
    assert provider.report().status_code == 200
    for _ in range(3):
        assert provider.report(begin_date="x").status_code == 400, "a refusal takes no thread"
    reading[1].close()


def test_a_report_that_fails_takes_no_thread(
    gateway_for: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise StoreUnavailable("the facts were replaced while they were read")

    provider = Provider(gateway_for(NOW, threads=4))
    monkeypatch.setattr("metronome.counter.reports.files.xlsx", fail)
    with caplog.at_level(logging.CRITICAL, "metronome"):
        for _ in range(3):
            assert exception(provider.report(format="xlsx")) == (503, 1000, "Service Not Available", "")


def test_more_requests_than_the_rate_are_refused_to_that_requestor_alone(gateway_for: Callable[..., Gateway]) -> None:
    provider = Provider(gateway_for(NOW, report_rate="2/hour"))
    assert [provider.get("members").status_code for _ in range(2)] == [200, 200]
    answer = provider.get("members")
    assert exception(answer) == (
        429, 1020, "Client has made too many requests", "at most 2/hour for one requestor_id",
    )  # fmt: skip
    assert int(answer.headers["Retry-After"]) > 3000
    assert provider.get("members", "c2").status_code == 200
    assert exception(provider.get("members", api_key="guessed")) == BAD_KEY


# --- Forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "media", "begins"),
    [
        ("json", "application/json", b'{"Report_Header":{"Release":"5.1"'),
        ("tsv", "text/tab-separated-values; charset=utf-8", b"\xef\xbb\xbfReport_Name\tTitle Report\r\n"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
        ("XLSX", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
    ],
)
def test_a_report_comes_in_the_form_that_was_asked_for(offered: Provider, form: str, media: str, begins: bytes) -> None:
    answer = offered.report(format=form)
    assert (answer.status_code, answer.content_type) == (200, media)
    assert answer.data.startswith(begins)
    name = None if form == "json" else f'attachment; filename="TR_c1_2026-02_2026-03.{form.lower()}"'
    assert answer.headers.get("Content-Disposition") == name


def test_a_client_that_takes_gzip_gets_it(offered: Provider) -> None:
    query = {"customer_id": "c1", "requestor_id": "c1", "api_key": offered.keys["c1"]}
    query |= {"begin_date": "2026-02", "end_date": "2026-03"}
    answer = offered.gateway.http.get(
        "/r51/reports/tr", query_string=query, headers={"Accept-Encoding": "deflate, gzip;q=0.5"}
    )
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert json.loads(gzip.decompress(answer.data)) == offered.report().json
    assert "Content-Encoding" not in offered.report().headers


def test_each_of_the_sixteen_reports_answers(offered: Provider) -> None:
    for report_id in REPORTS:
        answer = offered.report(report_id.lower())
        assert answer.status_code == 200
        assert answer.json["Report_Header"]["Report_ID"] == report_id
        jsonschema.validate(answer.json, schema(report_id))
