"""`metronome counter`: customers, months and explanations from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner
from conftest import Gateway
from months import MAY, Repository, usage

from metronome.cli import main


@pytest.fixture
def run(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    settings = gateway.settings
    monkeypatch.setenv("METRONOME_HOME", str(settings.home))
    monkeypatch.setenv("METRONOME_INDEX_PREFIX", settings.index_prefix)
    monkeypatch.setenv("ELASTICSEARCH_URL", settings.elasticsearch_url)
    monkeypatch.setenv("ELASTICSEARCH_USERNAME", settings.elasticsearch_username)
    monkeypatch.setenv("ELASTICSEARCH_PASSWORD", settings.elasticsearch_password)

    def command(*arguments: str, leaves: int = 0) -> str:
        result = CliRunner().invoke(main, ["counter", *arguments])
        assert result.exit_code == leaves, result.output
        return result.output

    return command


@pytest.fixture
def repository(gateway: Gateway) -> Iterator[Repository]:
    found = Repository(gateway)
    yield found
    found.raw.close()


def test_customers_are_added_listed_and_removed(run: Callable[..., str]) -> None:
    run("customers", "add", "all", "--name", "All")
    made = json.loads(run("customers", "add", "c1", "--name", "One", "--network", "192.0.2.0/24", "--member-of", "all", "--institution-id", "ROR:00hx57361"))  # fmt: skip
    assert (list(made), made["customer_id"], made["requestor_id"]) == (["customer_id", "requestor_id", "api_key"], "c1", "c1")  # fmt: skip
    assert run("customers", "list") == "all  All  requestor=all\nc1  One  requestor=c1  networks=192.0.2.0/24  member_of=all\n"  # fmt: skip
    assert json.loads(run("customers", "list", "--json").splitlines()[1]) == {
        "customer_id": "c1", "name": "One", "requestor_id": "c1", "networks": ["192.0.2.0/24"], "member_of": ["all"],
    }  # fmt: skip
    assert run("customers", "remove", "c1") == "c1 is removed\n"
    assert "there is no record 'c1'" in run("customers", "remove", "c1", leaves=1)
    assert "isn't ROR:…" in run("customers", "add", "c2", "--name", "x", "--institution-id", "x", leaves=2)


def test_a_month_is_processed_listed_and_explained(repository: Repository, run: Callable[..., str]) -> None:
    repository.post(
        usage("03T10:00:00"),
        usage("03T10:00:20"),
        usage("03T10:05:00", ["download"]),
        usage("03T10:06:00", ["download"], status=404),
        usage("03T10:07:00", user_agent="GPTBot/1.0"),
        usage("03T10:08:00", guid="b"),
    )
    repository.gateway.drain()
    assert run("process", MAY).startswith(f"{MAY}  processed 20")
    repository.post(usage("04T10:00:00"))
    repository.gateway.drain()
    run("process", MAY, "--cause", "a late event")
    assert run("months").startswith(f"{MAY}  processed 20")
    (month,) = map(json.loads, run("months", "--json").splitlines())
    assert (month["month"], month["processing"], month["restatements"][0]["cause"]) == (MAY, False, "a late event")
    *lines, last = run("explain", MAY, "a").splitlines()
    assert [line.split("  ", 2)[2] for line in lines] == [
        "a double click: the same visitor opened the same link again within 30 s",
        "counts  Total_Item_Investigations+1  Unique_Item_Investigations+1",
        "counts  Total_Item_Investigations+1  Total_Item_Requests+1  Unique_Item_Requests+1",
        "counts for nothing: neither status 200 nor 304, no agent, or no use of an item",
        "a robot",
        "counts  Total_Item_Investigations+1  Unique_Item_Investigations+1",
    ]
    assert (
        last
        == "Total_Item_Investigations=3  Total_Item_Requests=1  Unique_Item_Investigations=2  Unique_Item_Requests=1"
    )
    # What the events became is what the facts say.
    figures = repository.figures()
    assert {key[-1]: count for key, count in figures.items() if key[1] == "IR" and key[3] == "a"} == {
        part.split("=")[0]: int(part.split("=")[1]) for part in last.split()
    }


def test_what_is_lost_for_good_is_noted_shown_and_taken_back(repository: Repository, run: Callable[..., str]) -> None:
    repository.process()
    assert run("lost", MAY, "3 to 5 May: a disk failed").endswith("  lost: 3 to 5 May: a disk failed\n")
    # Processing the month again brings nothing back.
    repository.process()
    assert json.loads(run("months", "--json"))["lost"] == "3 to 5 May: a disk failed"
    assert "lost" not in run("lost", MAY)
    assert json.loads(run("months", "--json"))["lost"] == ""
    assert "isn't a month" in run("lost", "05-2026", "x", leaves=1)


def test_a_month_that_cannot_be_processed_says_why(run: Callable[..., str]) -> None:
    assert "isn't over" in run("process", "2999-01", leaves=1)
    assert "isn't a month" in run("process", "05-2026", leaves=1)
