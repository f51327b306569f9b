"""A report of a month that was never processed has it processed: by the drain, once, and within bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from conftest import Gateway, Server, remove_indices, wait_for
from elasticsearch import Elasticsearch
from months import MAY, Repository, usage

from metronome.cli import main
from metronome.counter import demand
from metronome.counter.demand import last_due, lock_of, note_of
from metronome.counter.reports import months
from metronome.drain.schedule import OnDemand
from metronome.files import Lock
from metronome.settings import Settings

QUEUED = {"Code": 1011, "Message": "Report Queued for Processing", "Data": MAY}


class Asked(Repository):
    """A repository with usage of May, and a customer who asks for it."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.key = self.customers.add("c1", "One", networks=["198.51.100.0/24"])[1]
        self.waiting = Lock(lock_of(gateway.settings))
        self.post(usage("03T10:00:00", ["download"]))
        gateway.drain()

    def ask(self, begin: str = MAY, end: str = MAY) -> Any:
        credentials = {"customer_id": "c1", "requestor_id": "c1", "api_key": self.key}
        return self.gateway.http.get(
            "/r51/reports/ir", query_string={**credentials, "begin_date": begin, "end_date": end}
        )

    @property
    def started(self) -> bool:
        return note_of(self.gateway.settings).exists()


@pytest.fixture
def repository(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    monkeypatch.setattr("metronome.counter.customers.REFRESH_S", 0)
    found = Asked(gateway)
    # As a drain would, this test waits for what is asked.
    assert found.waiting.take()
    yield found
    found.waiting.release()
    found.raw.close()


def codes(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [one["Code"] for one in answer.json["Report_Header"].get("Exceptions", [])]


def test_a_request_has_a_month_processed_and_its_client_comes_back_for_it(repository: Asked) -> None:
    answer = repository.ask()
    assert (answer.status_code, answer.json, answer.headers["Retry-After"]) == (202, QUEUED, "60")
    assert repository.started
    settings = repository.gateway.settings
    environment = {
        "METRONOME_HOME": str(settings.home),
        "METRONOME_INDEX_PREFIX": settings.index_prefix,
        "ELASTICSEARCH_URL": settings.elasticsearch_url,
        "ELASTICSEARCH_USERNAME": settings.elasticsearch_username,
        "ELASTICSEARCH_PASSWORD": settings.elasticsearch_password,
    }
    run = CliRunner(env=environment).invoke(main, ["counter", "process", "--asked"])
    assert (run.exit_code, run.output.split("  ")[0]) == (0, MAY), run.output
    answer = repository.ask()
    assert codes(answer) == []
    (performance,) = answer.json["Report_Items"][0]["Items"][0]["Attribute_Performance"]
    assert performance["Performance"]["Total_Item_Requests"] == {MAY: 1}
    assert repository.kept.month(MAY).asked_at is None  # type: ignore[union-attr]
    # Nothing is left to do, and a month that can't be processed doesn't end the command at once either.
    assert CliRunner(env=environment).invoke(main, ["counter", "process", "--asked"]).output == ""
    both = CliRunner(env=environment).invoke(main, ["counter", "process", MAY, "--asked"])
    assert (both.exit_code, "leave MONTH out" in both.output) == (2, True)


def test_a_month_is_asked_for_once_however_often_a_client_comes_back(repository: Asked) -> None:
    repository.ask()
    first = repository.kept.month(MAY)
    note_of(repository.gateway.settings).unlink()
    for _ in range(3):
        assert repository.ask().json == QUEUED
    assert repository.kept.month(MAY) == first
    assert not repository.started


def test_a_note_that_nobody_saw_is_written_again(repository: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.ask()
    note_of(repository.gateway.settings).unlink()
    monkeypatch.setattr(demand, "RENEW", timedelta(0))
    assert repository.ask().json == QUEUED
    assert repository.started


@pytest.mark.parametrize(
    ("case", "given", "said"),
    [
        ("nobody waits", {}, [3031]),
        ("it failed within the hour", {}, [3031]),
        ("a month that isn't due", {"now": "2026-06-02T06:29:59"}, [3031]),
        ("a month before the first", {"begin": "2026-04", "end": "2026-04"}, [3032]),
    ],
)
def test_what_a_request_does_not_start(repository: Asked, case: str, given: dict[str, str], said: list[int]) -> None:
    if case == "nobody waits":
        repository.waiting.release()
    if case == "it failed within the hour":
        repository.kept.give_up(MAY)
    repository.gateway.now = datetime.fromisoformat(given.pop("now", "2026-06-02T12:00:00")).replace(tzinfo=UTC)
    assert codes(repository.ask(**given)) == said
    assert not repository.started


def test_a_month_that_failed_is_tried_again_after_a_pause(repository: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.kept.give_up(MAY)
    monkeypatch.setattr(demand, "PAUSE", timedelta(0))
    assert repository.ask().json == QUEUED


def test_an_operator_may_want_to_process_months_alone(gateway: Gateway) -> None:
    from metronome.counter.kept import Kept

    home = gateway.settings
    home.home.mkdir(parents=True, exist_ok=True)
    with Lock(lock_of(home)):
        asked = demand.Demand(replace(home, on_demand="no"), Kept(gateway.elasticsearch, home), gateway.app.extensions.get)  # type: ignore[arg-type]  # fmt: skip
        assert asked.ask([MAY], []) == []


def test_a_request_has_so_many_months_wait_and_no_more(repository: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.post(usage("2026-02-03T10:00:00Z"))
    repository.gateway.drain()
    monkeypatch.setattr(demand, "QUEUE", 2)
    assert repository.ask("2026-02").json == {**QUEUED, "Data": "2026-02 to 2026-03"}
    assert [month.month for month in repository.kept.months()] == ["2026-02", "2026-03"]


def test_a_month_of_which_some_are_processed_is_read_meanwhile_as_it_was(repository: Asked) -> None:
    repository.process()
    repository.kept.ask(MAY)
    assert codes(repository.ask()) == []


@pytest.mark.parametrize(
    ("now", "month"),
    [("2026-06-02T06:29:59", "2026-04"), ("2026-06-02T06:30:00", MAY), ("2026-06-01T23:00:00", "2026-04"), ("2026-01-31T00:00:00", "2025-12")],
)  # fmt: skip
def test_a_month_is_due_once_its_last_days_can_be_complete(now: str, month: str) -> None:
    assert last_due(datetime.fromisoformat(now).replace(tzinfo=UTC)) == month


def test_the_drain_runs_a_command_for_each_note_and_takes_the_note_away(settings: Settings, tmp_path: Path) -> None:
    settings.home.mkdir(parents=True)
    runs, note = tmp_path / "runs", note_of(settings)
    note.touch()
    command = ("/bin/sh", "-c", f"echo x >> {runs}")
    first, second = OnDemand(settings, command), OnDemand(settings, command)
    first.start()
    wait_for(lambda: not note.exists(), "the note of before to be taken")
    # The other one waits until the first has ended.
    second.start()
    first.stop()
    note.touch()
    wait_for(lambda: not note.exists(), "the second to take the next note")
    second.stop()
    assert runs.read_text() == "x\nx\n"


def test_what_is_asked_while_the_command_runs_is_done_after_it(settings: Settings, tmp_path: Path) -> None:
    settings.home.mkdir(parents=True)
    runs, note = tmp_path / "runs", note_of(settings)
    note.touch()
    # The first run is asked again in its midst.
    again = f"[ -e {runs} ] || {{ sleep 0.01; touch {note}; }}; echo x >> {runs}"
    running = OnDemand(settings, ("/bin/sh", "-c", again))
    running.start()
    wait_for(lambda: not note.exists(), "both notes to be taken")
    running.stop()
    assert runs.read_text() == "x\nx\n"


def test_a_harvester_gets_its_report_though_nobody_processed_the_month(
    engine_settings: Settings, elasticsearch: Elasticsearch, settings: Settings, tmp_path: Path
) -> None:
    import http.client

    server = Server(replace(engine_settings, index_prefix=settings.index_prefix), tmp_path / "home")
    month = months.before(months.before(months.month_of(datetime.now(UTC))))

    def ask(method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(server.bind, timeout=60)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    server.start("serve", "drain")
    try:
        server.wait_until_ready()
        key = json.loads(server.command("counter", "customers", "add", "c1", "--name", "One").stdout)["api_key"]
        attributes = usage(f"{month}-03T10:00:00", ["download"], customer_id="c1")
        posted = json.dumps({"data": {"type": "counted-usage", "attributes": attributes}})
        wait_for(lambda: ask("POST", "/_/metrics/events/counted_usage/", posted)[0] == 201, "the customer to be known")
        wait_for(lambda: ask("GET", "/tock/a.json?strict=1")[0] == 200, "the usage to be found")
        asked = {"customer_id": "c1", "requestor_id": "c1", "api_key": key, "begin_date": month, "end_date": month}
        path = f"/r51/reports/ir?{urlencode(asked)}"
        seen = []

        def reported() -> Any:
            status, body = ask("GET", path)
            seen.append((status, json.loads(body).get("Code")))
            time.sleep(0.2)
            return status == 200 and json.loads(body)

        report = wait_for(reported, "the report", 60)
        assert (seen[0], set(seen[:-1])) == ((202, 1011), {(202, 1011)})
        (performance,) = report["Report_Items"][0]["Items"][0]["Attribute_Performance"]
        assert performance["Performance"]["Total_Item_Requests"] == {month: 1}
    finally:
        server.stop()
        remove_indices(elasticsearch, replace(engine_settings, index_prefix=settings.index_prefix))
