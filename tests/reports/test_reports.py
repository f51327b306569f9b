"""Reports: made, kept, replaced, caught up with, compared and read; and the page that shows how to add one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Gateway
from elasticsearch_dsl import Integer, Keyword

from metronome.cli import main
from metronome.dialects.counted.reports import table
from metronome.errors import BadQuestion, Conflict, ReportInvalid
from metronome.reports import models, reporters
from metronome.reports.kept import Kept
from metronome.reports.models import DailyReport, MonthlyReport, YearMonth
from metronome.reports.run import Runner
from metronome.store import indices

ROOT = Path(__file__).parent.parent.parent
DAY = date(2026, 5, 3)
NOW = datetime(2026, 5, 4, 7, 0, tzinfo=UTC)
RECENT = "/_/metrics/reports/download_count/recent/"


class UniqueReport(DailyReport):
    DAILY_UNIQUE_FIELD = "hello"

    hello = Keyword()


class MonthReport(MonthlyReport):
    hello = Keyword()


# --- Keys and fields: the contract's vectors -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "key"),
    [
        pytest.param(models.DownloadCountReport(report_date=date(2022, 5, 18)), "6fe48593af0f9d34159616759bd4678f383c912fdff3e8a338c51ecb1cf9d0d5", id="a day"),
        pytest.param(UniqueReport(report_date=date(2022, 5, 18), hello="blah"), "dca57e6cde89b19274ea24bc713971dab137a896b8e06d43a11a3f437cd1d151", id="a day and a value"),
        pytest.param(UniqueReport(report_date=date(2022, 5, 18), hello="fleh"), "e7dd5ff6b087807efcfa958077dc713878f21c65af79b3ccdb5dc2409bf5ad99", id="another value"),
        pytest.param(MonthReport(report_yearmonth=YearMonth(2022, 5)), "8463aac67c1e5a038049196781d8f100f069225352d1829651892cf3fbfc50e2", id="a month"),
        pytest.param(MonthReport(report_yearmonth="2022-05"), "8463aac67c1e5a038049196781d8f100f069225352d1829651892cf3fbfc50e2", id="a month as text"),
    ],
)  # fmt: skip
def test_a_report_has_the_key_of_the_contract(report: Any, key: str) -> None:
    assert report.key() == key


@pytest.mark.parametrize(
    ("report", "said"),
    [
        pytest.param(UniqueReport(report_date=DAY), "hello is None", id="no unique value"),
        pytest.param(UniqueReport(report_date=DAY, hello=""), "hello is ''", id="an empty one"),
        pytest.param(UniqueReport(report_date=DAY, hello=3), "hello is 3", id="one that is no text"),
        pytest.param(MonthReport(hello="x"), "needs report_yearmonth", id="no month"),
        pytest.param(MonthReport(report_yearmonth="2022-05", other=1), "has no field other", id="an unknown field"),
    ],
)
def test_a_report_that_cannot_be_kept_says_why(report: Any, said: str) -> None:
    with pytest.raises(ReportInvalid, match=re.escape(said)):
        report.key()


@pytest.mark.parametrize("text", ["2026-13", "2026", "26-05", "2026-05-03", "0000-01"])
def test_a_text_that_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(BadQuestion, match="isn't a month"):
        YearMonth.read(text)


# --- Running ---------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway], tmp_path: Path) -> Gateway:
    return gateway_for(NOW, platform_folder=tmp_path / "platform")


@pytest.fixture
def runner(gateway: Gateway) -> Runner:
    indices.install(gateway.elasticsearch, gateway.settings)
    return Runner(gateway.settings, gateway.elasticsearch, clock=lambda: gateway.now or NOW)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reporters that a test adds go when it ends."""
    monkeypatch.setattr(reporters, "DAILY_REPORTERS", list(reporters.DAILY_REPORTERS))
    monkeypatch.setattr(reporters, "MONTHLY_REPORTERS", list(reporters.MONTHLY_REPORTERS))
    monkeypatch.setattr(reporters, "VIEWABLE_REPORTS", dict(reporters.VIEWABLE_REPORTS))


def platform_says(gateway: Gateway, report: str, when: str, rows: Any) -> None:
    assert gateway.settings.platform_folder
    folder = gateway.settings.platform_folder / report
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{when}.json").write_text(json.dumps(rows))


def sources(kept: Kept, report: Any, when: str = f"{DAY}") -> list[dict[str, Any]]:
    return [
        {name: value for name, value in one.source.items() if name != "timestamp"}
        for one in kept.search(report, when, when)
    ]


def download(time: str = "2026-05-03T10:00:00Z", **more: Any) -> dict[str, Any]:
    return {"id": "a", "event": "download", "@timestamp": time, **more}


def test_a_days_reports_are_made_of_events_and_of_what_the_platform_says(gateway: Gateway, runner: Runner) -> None:
    gateway.accepted([download(), download("2026-05-03T23:59:59.999Z"), download("2026-05-04T00:00:00Z"), {"id": "a"}])
    gateway.accepted([download(user_agent="GPTBot/1.0")])
    gateway.accepted(
        [
            {"event": "user_confirmed", "email_domain": one, "@timestamp": "2026-05-03"}
            for one in ("a.example", "b.example", "a.example")
        ]
    )
    for time in ("10:00:01", "10:00:02", "10:01:00"):
        usage = {
            "action_labels": ["download"],
            "item_guid": "b",
            "counter": {"timestamp": f"2026-05-03T{time}Z", "user_agent": "Mozilla/5.0 (X11; Linux) Firefox/140"},
        }
        assert (
            gateway.http.post("/_/metrics/events/counted_usage/", json={"data": {"attributes": usage}}).status_code
            == 201
        )
    gateway.drain()
    platform_says(gateway, "node_summary", f"{DAY}", {"nodes": {"total": 12, "public": 7}})
    platform_says(
        gateway,
        "preprint_summary",
        f"{DAY}",
        [{"provider_key": "osf", "preprint_count": 3}, {"provider_key": "x", "preprint_count": 1}],
    )
    runs = {run.reporter: (run.reports, run.problem) for run in runner.run(DAY)}
    assert runs == {
        "DownloadCountReporter": (1, ""), "InstitutionSummaryReporter": (0, ""), "NewUserDomainReporter": (2, ""), "NodeCountReporter": (1, ""),
        "OsfstorageFileCountReporter": (0, ""), "PreprintCountReporter": (2, ""), "StorageAddonUsageReporter": (0, ""), "UserCountReporter": (0, ""),
    }  # fmt: skip
    # Two ticks, and of three counted usages the two of one slot are one.
    assert sources(runner.kept, models.DownloadCountReport) == [
        {"report_date": "2026-05-03", "daily_file_downloads": 4}
    ]
    assert sources(runner.kept, models.NewUserDomainReport) == [
        {"report_date": "2026-05-03", "domain_name": "a.example", "new_user_count": 2},
        {"report_date": "2026-05-03", "domain_name": "b.example", "new_user_count": 1},
    ]
    assert sources(runner.kept, models.NodeSummaryReport) == [
        {"report_date": "2026-05-03", "nodes": {"total": 12, "public": 7}}
    ]


def test_running_again_replaces_and_deletes_what_is_no_more(gateway: Gateway, runner: Runner) -> None:
    platform_says(
        gateway,
        "preprint_summary",
        f"{DAY}",
        [{"provider_key": "osf", "preprint_count": 3}, {"provider_key": "x", "preprint_count": 1}],
    )
    list(runner.run(DAY, "preprint"))
    platform_says(gateway, "preprint_summary", f"{DAY}", [{"provider_key": "osf", "preprint_count": 4}])
    differences = sorted(((one.stored or {})["preprint_count"], one.now) for one in runner.verify(DAY, "PREPRINT"))
    assert differences == [(1, None), (3, {"report_date": "2026-05-03", "provider_key": "osf", "preprint_count": 4})]
    list(runner.run(DAY, "preprint"))
    assert sources(runner.kept, models.PreprintSummaryReport) == [
        {"report_date": "2026-05-03", "provider_key": "osf", "preprint_count": 4}
    ]
    assert list(runner.verify(DAY, "preprint")) == []


class FailingReporter(reporters.DailyReporter):
    MAKES = models.UserSummaryReport

    def report(self, day: date) -> Any:
        raise OSError("the database is away")


def test_one_reporters_failure_is_noted_and_leaves_the_others(
    gateway: Gateway, runner: Runner, registries: None, caplog: pytest.LogCaptureFixture
) -> None:
    reporters.DAILY_REPORTERS.insert(0, FailingReporter)
    platform_says(gateway, "preprint_summary", f"{DAY}", [{"provider_key": ""}])
    runs = {run.reporter: run.problem for run in runner.run(DAY)}
    assert {name: problem for name, problem in runs.items() if problem} == {
        "FailingReporter": "the database is away",
        "PreprintCountReporter": "PreprintSummaryReport.provider_key is ''; reports of a day are told apart by its text",
    }
    assert {run.reporter for run in runner.kept.runs()} == set(runs)
    assert len(sources(runner.kept, models.DownloadCountReport)) == 1


def test_what_was_missed_is_due_and_what_went_well_is_not(runner: Runner, registries: None) -> None:
    reporters.DAILY_REPORTERS[1:] = []
    early, late = NOW.replace(hour=5, minute=59), NOW.replace(hour=6)
    name, spam = "DownloadCountReporter", "SpamCountReporter"
    assert runner.due(early) == [(name, DAY - timedelta(days=1)), (spam, YearMonth(2026, 4))]
    assert runner.due(late) == [(name, DAY), (spam, YearMonth(2026, 4))]
    assert [(run.reporter, run.when) for run in runner.run_due(late)] == [(name, "2026-05-03"), (spam, "2026-04")]
    assert runner.due(late) == []
    # Three days later, three days are due; on the first of June May isn't yet.
    assert runner.due(late + timedelta(days=3)) == [(name, DAY + timedelta(days=days)) for days in (1, 2, 3)]
    assert runner.due(datetime(2026, 6, 2, 6, 29, tzinfo=UTC))[-1] == (name, date(2026, 6, 1))
    assert runner.due(datetime(2026, 6, 2, 6, 30, tzinfo=UTC))[-1] == (spam, YearMonth(2026, 5))


def test_months_between_two_days_are_caught_up_with_as_well(runner: Runner) -> None:
    runs = [(run.reporter, run.when) for run in runner.backfill(date(2026, 4, 1), date(2026, 4, 30), "count")]
    assert len([when for name, when in runs if name == "DownloadCountReporter"]) == 30
    assert [when for name, when in runs if name == "SpamCountReporter"] == ["2026-04"]


def test_two_processes_do_not_run_reporters_at_a_time(runner: Runner) -> None:
    with runner.alone(), pytest.raises(Conflict, match="is running reporters"), runner.alone():
        pass


# --- Reading ---------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(gateway: Gateway) -> Gateway:
    """Reports of ten days, and of two months."""
    kept = Kept(gateway.elasticsearch, gateway.settings)
    for back in range(10):
        day = DAY - timedelta(days=back)
        report = models.DownloadCountReport(report_date=day, daily_file_downloads=back)
        kept.replace(models.DownloadCountReport, f"{day}", [report], NOW, refresh=False)
    for month in (YearMonth(2025, 11), YearMonth(2026, 4)):
        spam = models.SpamSummaryReport(report_yearmonth=month, node_flagged=1)
        kept.replace(models.SpamSummaryReport, f"{month}", [spam], NOW, refresh=False)
    for kind in (models.DownloadCountReport, models.SpamSummaryReport):
        kept.refresh(kind)
    return gateway


def test_the_names_of_reports_are_listed_with_where_they_are(gateway: Gateway) -> None:
    answer = gateway.http.get("/_/metrics/reports/")
    assert answer.content_type == "application/vnd.api+json; charset=utf-8"
    assert answer.json["meta"] == {"version": "2.0"}
    assert answer.json["data"][0] == {
        "id": "download_count",
        "type": "metrics-report-name",
        "links": {"recent": "http://localhost/_/metrics/reports/download_count/recent/"},
    }
    assert [one["id"] for one in answer.json["data"]] == list(reporters.VIEWABLE_REPORTS)


FRAMES = [
    pytest.param("", ["2026-04-29", "2026-05-03"], id="the last five days"),
    pytest.param("?days_back=2", ["2026-05-02", "2026-05-03"], id="days back"),
    pytest.param("?timeframe=previous_3_days", ["2026-05-01", "2026-05-03"], id="a frame of days"),
    pytest.param("?timeframe=previous_1_day", ["2026-05-03", "2026-05-03"], id="one day"),
    pytest.param("?start_date=2026-04-25&end_date=2026-04-27", ["2026-04-25", "2026-04-27"], id="from day to day, both included"),
    pytest.param("?start_date=2026-05-02", ["2026-05-02", "2026-05-03"], id="from a day on"),
    pytest.param("?timeframeStart=2026-04-26&timeframeEnd=2026-04-28", ["2026-04-26", "2026-04-27"], id="the end of a frame is left out"),
    pytest.param("?timeframeStart=2026-04-26T00:00:01Z&timeframeEnd=2026-04-28T00:00:01Z", ["2026-04-27", "2026-04-28"], id="times within days"),
]  # fmt: skip


def test_recent_reports_are_those_of_the_frame(filled: Gateway) -> None:
    found = {}
    for frame in FRAMES:
        days = [one["attributes"]["report_date"] for one in filled.http.get(RECENT + frame.values[0]).json["data"]]
        assert days == sorted(days)
        found[frame.values[0]] = [days[0], days[-1]]
    assert found == {frame.values[0]: frame.values[1] for frame in FRAMES}
    (first,) = filled.http.get(RECENT.rstrip("/") + "?start_date=2026-05-03").json["data"]
    assert first == {
        "id": models.DownloadCountReport(report_date=DAY).key(),
        "type": "daily-report:download_count",
        "attributes": {"report_date": "2026-05-03", "daily_file_downloads": 0, "timestamp": "2026-05-04T07:00:00.000Z"},
    }


def test_monthly_reports_have_their_month_under_both_names(filled: Gateway) -> None:
    (found,) = filled.http.get("/_/metrics/reports/spam_summary/recent/").json["data"]
    assert (found["type"], found["attributes"]["report_yearmonth"], found["attributes"]["report_month"]) == ("monthly-report:spam_summary", "2026-04", "2026-04")  # fmt: skip


def test_reports_are_tables_too(filled: Gateway) -> None:
    path = RECENT + "?start_date=2026-05-02&end_date=2026-05-03&format="
    answer = filled.http.get(path + "csv")
    assert answer.text == (
        "report_date,timestamp,daily_file_downloads\r\n2026-05-02,2026-05-04T07:00:00.000Z,1\r\n2026-05-03,2026-05-04T07:00:00.000Z,0\r\n"
    )
    assert answer.content_type == "text/csv; charset=utf-8"
    assert (
        answer.headers["Content-Disposition"]
        == "attachment; filename=download_count__until_2026-05-03__from_2026-05-02.csv"
    )
    as_tsv = filled.http.get(path + "tsv")
    assert (as_tsv.content_type, as_tsv.text) == (
        "text/tab-separated-values; charset=utf-8",
        answer.text.replace(",", "\t"),
    )
    days = filled.http.get(RECENT + "?days_back=1&format=csv").headers["Content-Disposition"]
    assert days == "attachment; filename=download_count__until_2026-05-04__from_2026-05-03.csv"
    assert filled.http.get(RECENT + "?start_date=2020-01-01&end_date=2020-01-02&format=csv").status_code == 404


def test_a_table_has_the_union_of_columns_and_no_python_in_it() -> None:
    rows = [{"report_date": "1234-12-12", "hello": "goodbye"}, {"report_date": "1234-12-11", "hello": "upwa"}]
    assert table(rows, ",") == "report_date,hello\r\n1234-12-12,goodbye\r\n1234-12-11,upwa\r\n"
    nested = [{"report_date": "d", "b": {"c": 1, "a": None}}, {"a": [1, {"x": "y"}], "timestamp": "t"}]
    assert table(nested, ",") == 'report_date,timestamp,a,b.c\r\nd,,,1\r\n,t,"[1, {""x"": ""y""}]",\r\n'


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        pytest.param("x/recent/", 404, 'unknown report: "x"', id="an unknown report"),
        pytest.param(
            "download_count/recent/?end_date=2026-05-03",
            400,
            "You cannot provide a specific end_date with no start_date",
            id="an end without a start",
        ),
        pytest.param(
            "download_count/recent/?start_date=2026-05-03&end_date=2026-05-02",
            400,
            "The end_date must be after the start_date",
            id="an end before the start",
        ),
        pytest.param(
            "download_count/recent/?start_date=3rd", 400, "start_date: '3rd' isn't a day", id="a day that is none"
        ),
        pytest.param(
            "download_count/recent/?timeframe=previous_2_months", 400, "isn't previous_N_days", id="a frame of months"
        ),
        pytest.param("download_count/recent/?days_back=0", 400, "from 1 to", id="no days"),
        pytest.param("download_count/recent/?timeframeStart=soon", 400, "timeframeStart: ", id="a time that is none"),
        pytest.param("download_count/recent/?format=xls", 400, "is none of json, csv, tsv", id="another form"),
    ],
)
def test_what_cannot_be_asked_is_refused_as_json_api(gateway: Gateway, path: str, status: int, said: str) -> None:
    answer = gateway.http.get(f"/_/metrics/reports/{path}")
    assert (answer.status_code, said in answer.json["errors"][0]["detail"]) == (status, True), answer.text


# --- Commands, and the page ------------------------------------------------------------------------------------


@pytest.fixture
def run(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, registries: None) -> Callable[..., tuple[int, str]]:
    for name, value in {
        "METRONOME_HOME": gateway.settings.home, "METRONOME_INDEX_PREFIX": gateway.settings.index_prefix, "METRONOME_PLATFORM_FOLDER": gateway.settings.platform_folder,
        "ELASTICSEARCH_URL": gateway.settings.elasticsearch_url, "ELASTICSEARCH_USERNAME": gateway.settings.elasticsearch_username, "ELASTICSEARCH_PASSWORD": gateway.settings.elasticsearch_password,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))

    def command(line: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, line.partition("#")[0].split()[1:])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return command


def test_reporters_are_run_listed_and_compared_from_the_command_line(
    gateway: Gateway, run: Callable[..., tuple[int, str]]
) -> None:
    gateway.accepted(download())
    gateway.drain()
    assert run("metronome report run --date 2026-05-03 --filter DOWNload") == (
        0,
        "DownloadCountReporter  2026-05-03  1 reports\n",
    )
    assert run("metronome report verify --date 2026-05-03 --filter download") == (0, "")
    gateway.accepted(download())
    gateway.drain()
    code, differs = run("metronome report verify --date 2026-05-03 --filter download")
    assert (code, '"daily_file_downloads": 1' in differs, '"daily_file_downloads": 2' in differs) == (1, True, True)
    assert (
        run("metronome report list")[1].splitlines()[0]
        == "DownloadCountReporter  daily  download_count  2026-05-03  1 reports"
    )
    assert json.loads(run("metronome report list --json")[1].splitlines()[-1]) == {
        "reporter": "SpamCountReporter",
        "kind": "monthly",
        "report": "spam_summary",
    }
    reporters.DAILY_REPORTERS.append(FailingReporter)
    assert run("metronome report run --date 2026-05-03 --filter failing") == (
        1,
        "FailingReporter  2026-05-03  failed: the database is away\n",
    )
    assert run("metronome report run --date May")[0] == 2


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's module, where Python finds it."""
    page = (ROOT / "docs/reports.md").read_text()
    (code,) = re.findall(r"```python\n# dataset_reports\.py\n(.*?)```", page, re.S)
    (tmp_path / "dataset_reports.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "dataset_reports"
    sys.modules.pop("dataset_reports", None)


def test_the_page_on_adding_a_monthly_report_runs_as_it_stands(
    gateway: Gateway, run: Callable[..., tuple[int, str]], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRONOME_REPORT_MODULES", module)
    gateway.accepted([download(kind="dataset"), download(kind="dataset", id="b"), download(kind="dataset"), download()])
    gateway.drain()
    page = (ROOT / "docs/reports.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("metronome ")]
    assert [line.split()[2] for line in commands] == ["run", "run", "backfill", "list", "verify", "run"]
    for line in commands:
        assert run(line)[0] == 0, line
    served = replace(gateway.settings, report_modules=(module,))
    again = Gateway(served, gateway.elasticsearch, NOW)
    curls = [line.split("127.0.0.1:8000")[1].rstrip("'") for line in lines if line.startswith("curl ")]
    answers = [again.http.get(path) for path in curls]
    again.spool.close()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200]
    (found,) = answers[-1].json["data"]
    assert {name: found["attributes"][name] for name in ("report_yearmonth", "downloads", "datasets")} == {
        "report_yearmonth": "2026-05",
        "downloads": 3,
        "datasets": 2,
    }
    assert Integer and found["type"] == "monthly-report:dataset_use"
