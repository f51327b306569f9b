"""What Elasticsearch refused for good is kept with its reason, can be listed, and goes its way once the cause is gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import NOW, Gateway

from metronome.cli import main
from metronome.settings import Settings
from metronome.spool.quarantine import Quarantine, Refusal, Wanted, replay
from metronome.spool.reader import Reader


def refusal(name: str, reason: str = "failed to parse", kind: str = "document_parsing_exception") -> Refusal:
    action = b'{"create":{"_index":"t-2026.11.22","_id":"%b"}}' % name.encode()
    return Refusal(action, b'{"id":"%b"}' % name.encode(), 400, kind, reason)


@pytest.fixture
def quarantine(tmp_path: Path) -> Any:
    found = Quarantine(tmp_path)
    yield found
    found.close()


def ids(quarantine: Quarantine, **wanted: Any) -> list[str]:
    return [row.id for row in quarantine.list(Wanted(**wanted))]


def spooled(folder: Path) -> list[bytes]:
    reader = Reader(folder / "replay-0.1.db")
    found = [row.body for row in reader.rows(10**9)]
    reader.close()
    return found


def test_a_refused_document_is_kept_whole_with_its_reason(quarantine: Quarantine) -> None:
    quarantine.add([refusal("a")])

    (row,) = quarantine.list()
    assert (row.number, row.index, row.id, row.status, row.kind, row.reason, row.action, row.source) == (
        1,
        "t-2026.11.22",
        "a",
        400,
        "document_parsing_exception",
        "failed to parse",
        b'{"create":{"_index":"t-2026.11.22","_id":"a"}}',
        b'{"id":"a"}',
    )


def test_one_refused_again_is_there_once_with_the_newer_reason(quarantine: Quarantine) -> None:
    quarantine.add([refusal("a", "old"), refusal("b")])
    quarantine.add([refusal("a", "new")])

    assert [(row.id, row.reason) for row in quarantine.list()] == [("b", "failed to parse"), ("a", "new")]
    assert quarantine.count() == 2


WANTED = [
    pytest.param({}, ["a", "b", "c"], id="all, oldest first"),
    pytest.param({"reason": "PARSE"}, ["a", "c"], id="by a part of the reason, in any case"),
    pytest.param({"reason": "odd"}, ["b"], id="by a part of the kind"),
    pytest.param({"reason": "100%"}, [], id="% is a percent sign"),
    pytest.param({"since_ms": 2**52}, [], id="since a time to come"),
    pytest.param({"before_ms": 2**52}, ["a", "b", "c"], id="before a time to come"),
    pytest.param({"before_ms": 1}, [], id="before all of them"),
]


@pytest.mark.parametrize(("wanted", "found"), WANTED)
def test_it_is_listed(quarantine: Quarantine, wanted: dict[str, Any], found: list[str]) -> None:
    quarantine.add([refusal("a"), refusal("b", "full", "odd_exception"), refusal("c")])
    assert ids(quarantine, **wanted) == found


def test_many_threads_and_connections_add_at_once(tmp_path: Path, quarantine: Quarantine) -> None:
    other = Quarantine(tmp_path)
    failures: list[Exception] = []

    def add(thread: int) -> None:
        try:
            for number in range(30):
                (quarantine, other)[thread % 2].add([refusal(f"{thread}.{number}")])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    assert failures == []
    assert quarantine.count() == 240


def test_a_replay_spools_the_same_bytes_in_order_and_empties_the_quarantine(
    tmp_path: Path, quarantine: Quarantine
) -> None:
    names = [f"n{number}" for number in range(1203)]
    quarantine.add([refusal(name) for name in names])

    assert replay(tmp_path) == (1203, 0)

    assert b"".join(spooled(tmp_path)) == b"".join(
        refusal(name).action + b"\n" + refusal(name).source + b"\n" for name in names
    )
    assert [body.count(b"\n") // 2 for body in spooled(tmp_path)] == [500, 500, 203]
    assert quarantine.count() == 0


def test_a_replay_takes_only_what_is_asked_for(tmp_path: Path, quarantine: Quarantine) -> None:
    quarantine.add([refusal("a"), refusal("b", "full", "odd_exception")])

    assert replay(tmp_path, Wanted("odd")) == (1, 0)
    assert ids(quarantine) == ["a"]


def test_what_is_refused_once_more_while_it_is_replayed_stays(tmp_path: Path, quarantine: Quarantine) -> None:
    quarantine.add([refusal("a")])
    (before,) = quarantine.list()
    # The drain is quick: it has refused it anew before the replay removes the old number.
    quarantine.add([refusal("a", "refused anew")])
    quarantine.remove([before.number])

    assert [row.reason for row in quarantine.list()] == ["refused anew"]


def test_a_damaged_request_is_kept_once_and_never_sent(tmp_path: Path, quarantine: Quarantine) -> None:
    for _ in range(2):
        quarantine.add_damaged("web-0.1.db#7", b"\0\xff", "checksum")
    quarantine.add([refusal("a")])

    assert replay(tmp_path) == (1, 1)
    assert [(row.id, row.kind, row.source) for row in quarantine.list()] == [("web-0.1.db#7", "damaged", b"\0\xff")]


DROPPED = [
    pytest.param(["--all"], "y", 0, "3 events deleted", [], id="all"),
    pytest.param(["--all", "--yes"], "", 0, "3 events deleted", [], id="all, without a question"),
    pytest.param(["--reason", "FULL"], "y", 0, "1 events deleted", ["a", "c"], id="by reason"),
    pytest.param(["--before", "2020-01-01", "--yes"], "", 0, "no such events", ["a", "b", "c"], id="before all"),
    pytest.param(["--since", "2020-01-01", "--reason", "parse", "--yes"], "", 0, "2 events", ["b"], id="by both"),
    pytest.param(["--all"], "n", 1, "Aborted!", ["a", "b", "c"], id="the answer is no"),
    pytest.param(["--all"], "", 1, "Aborted!", ["a", "b", "c"], id="nobody answers"),
    pytest.param(["--yes"], "", 2, "say which: --reason, --since, --before, or else --all", ["a", "b", "c"], id="of none"),
    pytest.param(["--all", "--reason", "x", "--yes"], "", 2, "say which", ["a", "b", "c"], id="all, and some"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "answer", "status", "said", "left"), DROPPED)
def test_events_are_deleted_by_choice_and_after_a_question(
    settings: Settings, options: list[str], answer: str, status: int, said: str, left: list[str]
) -> None:
    kept = Quarantine(settings.spool_dir)
    kept.add([refusal("a"), refusal("b", "full", "odd_exception"), refusal("c")])
    metronome = CliRunner(env={"METRONOME_HOME": str(settings.home)})
    done = metronome.invoke(main, ["quarantine", "drop", *options], input=answer)
    assert (done.exit_code, said in done.output) == (status, True), done.output
    if answer and "--reason" not in options:
        assert "Delete 3 events for good (2 document_parsing_exception, 1 odd_exception)? [y/N]" in done.output
    assert ids(kept) == left
    kept.close()


def test_what_is_refused_after_the_question_was_put_stays(quarantine: Quarantine) -> None:
    quarantine.add([refusal("a"), refusal("b")])
    kinds, newest = quarantine.summary(Wanted())
    quarantine.add([refusal("b", "refused anew"), refusal("c")])
    assert kinds == {"document_parsing_exception": 2}
    assert quarantine.drop(Wanted(), newest) == 1
    assert ids(quarantine) == ["b", "c"]


def test_an_event_goes_from_refusal_over_list_and_replay_into_its_index(
    gateway_for: Callable[..., Gateway],
) -> None:
    gateway = gateway_for(now=NOW)
    index = f"{gateway.settings.index_prefix}-2026.11.22"
    # Somebody's own index, where `size` is a number and nothing else.
    strict = {"index.mapping.ignore_malformed": False}
    gateway.elasticsearch.indices.create(
        index=index, settings=strict, mappings={"properties": {"size": {"type": "long"}}}
    )
    environ = {"METRONOME_HOME": str(gateway.settings.home)}
    metronome = CliRunner(env=environ)
    gateway.accepted([{"id": "a", "insert_id": "a", "size": 1}, {"id": "b", "insert_id": "b", "size": "large"}])

    assert [row["_id"] for row in gateway.documents()] == ["a"]

    shown = metronome.invoke(main, ["quarantine", "list", "--json"])
    assert shown.exit_code == 0, shown
    row = json.loads(shown.output)
    assert (row["index"], row["id"], row["status"]) == (index, "b", 400)
    assert "failed to parse field [size] of type [long]" in row["reason"]
    assert json.loads(row["event"])["size"] == "large"
    line = metronome.invoke(main, ["quarantine", "list"]).output
    assert f"  {index}/b  400 document_parsing_exception: " in line

    assert metronome.invoke(main, ["quarantine", "replay"]).output == "1 events spooled again\n"
    gateway.drain()
    assert json.loads(metronome.invoke(main, ["quarantine", "list", "--json"]).output)["id"] == "b", "still refused"

    gateway.elasticsearch.indices.delete(index=index)
    metronome.invoke(main, ["quarantine", "replay"])
    assert [(row["_id"], row["size"]) for row in gateway.documents()] == [("b", "large")]
    assert metronome.invoke(main, ["quarantine", "list"]).output == ""
