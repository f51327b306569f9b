"""Records: things that change, so that two writers can't overwrite each other, and there while Elasticsearch is away."""

from __future__ import annotations

import json
import logging
import stat
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import remove_indices
from elasticsearch import Elasticsearch

from metronome.errors import Conflict, NotFound, StoreFailed, StoreUnavailable
from metronome.settings import Settings
from metronome.store import indices, names, records
from metronome.store.client import connect
from metronome.store.records import Mirror, Record, Records


@pytest.fixture
def installation(engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Iterator[Settings]:
    settings = replace(engine_settings, index_prefix=f"t{uuid.uuid4().hex[:10]}", home=tmp_path / "home")
    indices.install(elasticsearch, settings)
    yield settings
    remove_indices(elasticsearch, settings)


@pytest.fixture
def kept(installation: Settings, elasticsearch: Elasticsearch) -> Records:
    return Records(elasticsearch, installation, "keys")


# --- Names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "index", "template", "pattern"),
    [
        pytest.param("logstash", "metronome-keys", "metronome-records-keys", "metronome-*", id="the default prefix"),
        pytest.param(
            "usage", "metronome-keys-usage", "metronome-records-keys-usage", "metronome-*-usage", id="another"
        ),
    ],
)
def test_records_are_named_by_kind_and_kept_apart_by_prefix(
    prefix: str, index: str, template: str, pattern: str
) -> None:
    settings = Settings(index_prefix=prefix)
    found = (
        names.record_index(settings, "keys"),
        names.record_template_name(settings, "keys"),
        names.record_pattern(settings),
    )
    assert found == (index, template, pattern)


# --- One record ------------------------------------------------------------------------------------------------


def test_a_record_is_made_read_replaced_and_deleted(kept: Records) -> None:
    made = kept.create("a", {"name": "one", "app": "shop"})
    assert (kept.get("a"), made.version) == (made, (0, 1))

    replaced = kept.replace(made, {"name": "two"})
    assert (kept.get("a"), replaced) == (replaced, Record("a", {"name": "two"}, (1, 1)))

    kept.delete(replaced)
    with pytest.raises(NotFound, match="there is no record 'a' in metronome-keys-"):
        kept.get("a")


@pytest.mark.parametrize("record_id", ["", "a", "../_search", "a?b#c"])
def test_a_record_that_is_not_there_is_not_found_whatever_its_id(kept: Records, record_id: str) -> None:
    with pytest.raises(NotFound):
        kept.get(record_id)


def test_an_id_is_given_once(kept: Records) -> None:
    kept.create("a", {"name": "one"})
    with pytest.raises(Conflict, match="there is already a record 'a'"):
        kept.create("a", {"name": "two"})
    assert kept.get("a").value == {"name": "one"}


def test_who_writes_what_has_changed_since_it_was_read_is_refused(kept: Records) -> None:
    read = kept.create("a", {"name": "one"})
    kept.replace(read, {"name": "two"})
    with pytest.raises(Conflict, match=r"record 'a' in .* has changed; read it again"):
        kept.replace(read, {"name": "three"})
    with pytest.raises(Conflict):
        kept.delete(read)
    assert kept.get("a").value == {"name": "two"}


def test_who_writes_what_was_deleted_since_it_was_read_is_refused(kept: Records) -> None:
    read = kept.create("a", {"name": "one"})
    kept.delete(read)
    for change in (lambda: kept.replace(read, {"name": "two"}), lambda: kept.delete(read)):
        with pytest.raises(Conflict):
            change()


def test_of_many_writers_at_one_time_none_is_lost(kept: Records) -> None:
    kept.create("a", {"scopes": []})

    def add(name: str) -> None:
        read = kept.get("a")
        all_have_read.wait()
        while True:
            try:
                kept.replace(read, {"scopes": [*read.value["scopes"], name]})
            except Conflict:
                conflicts.append(name)
                read = kept.get("a")
            else:
                return

    conflicts: list[str] = []
    all_have_read = threading.Barrier(6)
    threads = [threading.Thread(target=add, args=(f"writer-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept.get("a").value["scopes"]) == [f"writer-{number}" for number in range(6)]
    assert len(set(conflicts)) == 5, "all but the first were too late"


def test_a_field_that_the_model_lacks_is_refused(kept: Records) -> None:
    with pytest.raises(StoreFailed, match="strict_dynamic_mapping_exception"):
        kept.create("a", {"nmae": "one"})


# --- All records -----------------------------------------------------------------------------------------------


def test_all_are_listed_by_id_page_by_page(kept: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(kept.list()) == [], "no index is no record"
    monkeypatch.setattr(records, "PAGE", 3)
    made = [kept.create(f"{number}", {"name": str(number)}) for number in (3, 1, 6, 2, 5, 4)]
    assert list(kept.list()) == sorted(made, key=lambda record: record.id)


def test_the_marker_changes_with_every_change_and_with_nothing_else(kept: Records) -> None:
    seen = [kept.marker(timeout_s=5)]
    first = kept.create("a", {"name": "one"})
    seen.append(kept.marker(timeout_s=5))
    second = kept.create("b", {"name": "two"})
    seen.append(kept.marker(timeout_s=5))
    first = kept.replace(first, {"name": "three"})
    seen.append(kept.marker(timeout_s=5))
    kept.delete(second)
    seen.append(kept.marker(timeout_s=5))
    kept.delete(first)
    seen.append(kept.marker(timeout_s=5))

    assert seen[0] is None
    assert len(set(seen)) == len(seen)
    assert kept.marker(timeout_s=5) == seen[-1] == (0, 0, 0, "")


# --- The local copy --------------------------------------------------------------------------------------------


@pytest.fixture
def away(installation: Settings) -> Iterator[Records]:
    """The same records, while Elasticsearch is away."""
    client = connect(replace(installation, elasticsearch_url="http://127.0.0.1:1"))
    yield Records(client, installation, "keys")
    client.close()


def test_a_copy_follows_what_changes_and_reads_nothing_where_nothing_did(kept: Records, tmp_path: Path) -> None:
    copy = Mirror(kept, tmp_path / "copy.json")
    assert (copy.known, copy.rows) == (False, ())
    assert [copy.refresh(), copy.refresh(), copy.known, copy.rows] == [True, False, True, ()]
    made = kept.create("a", {"name": "one"})
    assert [copy.refresh(), copy.refresh(), copy.rows] == [True, False, (made,)]


def test_a_copy_is_there_after_a_restart_while_elasticsearch_is_away(
    kept: Records, away: Records, tmp_path: Path
) -> None:
    made = kept.create("a", {"name": "one"})
    Mirror(kept, tmp_path / "copy.json").refresh()

    restarted = Mirror(away, tmp_path / "copy.json")
    with pytest.raises(StoreUnavailable):
        restarted.refresh()
    assert (restarted.known, restarted.rows) == (True, (made,))


def test_only_its_user_reads_the_copy_and_nothing_is_left_beside_it(kept: Records, tmp_path: Path) -> None:
    kept.create("a", {"name": "one"})
    Mirror(kept, tmp_path / "home" / "copy.json").refresh()
    (path,) = (tmp_path / "home").iterdir()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("copy.json", 0o600)


DAMAGES: list[Any] = [
    pytest.param(lambda path: path.write_text(path.read_text()[:-9]), id="cut short"),
    pytest.param(lambda path: path.write_bytes(b"\xff\x00"), id="no text"),
    pytest.param(lambda path: path.write_text("[]"), id="another JSON"),
    pytest.param(lambda path: path.write_text(json.dumps({"index": "metronome-keys-other", "rows": []})), id="of others"),
    pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_copy_that_cannot_be_used_is_as_none_and_keeps_nobody_from_reading(
    kept: Records, away: Records, tmp_path: Path, damage: Any
) -> None:
    made = kept.create("a", {"name": "one"})
    path = tmp_path / "copy.json"
    Mirror(kept, path).refresh()
    damage(path)

    assert (Mirror(away, path).known, Mirror(away, path).rows) == (False, ())
    again = Mirror(kept, path)
    again.refresh()
    assert (again.known, again.rows) == (True, (made,))


def test_an_index_that_is_gone_takes_nothing_from_the_copy(
    kept: Records, elasticsearch: Elasticsearch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = kept.create("a", {"name": "one"})
    copy = Mirror(kept, tmp_path / "copy.json")
    copy.refresh()
    elasticsearch.indices.delete(index=kept.index)
    with caplog.at_level(logging.WARNING):
        assert (copy.refresh(), copy.rows) == (False, (made,))
    assert [record.message for record in caplog.records] == ["the index is gone; the local copy is used"]
