"""A part follows its index: by what is new while nothing else changed, anew on any doubt, with several processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import parts_oracle
import pytest
from conftest import wait_for
from part_days import DAY, Days, event, opened_days  # noqa: F401  (a fixture)
from test_part_contents import contents, file_of

from metronome.errors import NotFound, PartsUnavailable
from metronome.parts import build
from metronome.parts.build import Builder, Verdict, documents_of
from metronome.parts.folder import File, Folder, Part
from metronome.parts.index import Index
from metronome.parts.read import Wanted, read


def stored(days: Days, part: Part | None = None) -> dict[str, str]:
    """Ids and documents of the day's part, over all its files."""
    part = part or days.folder.part(DAY)
    assert part is not None
    paths = [days.folder.path(DAY, file) for file in part.files]
    pages = list(documents_of(paths, days.folder.root))
    assert sum(len(page.ids) for page in pages) == part.events
    return {number: source.decode() for page in pages for number, source in zip(page.ids, page.sources, strict=True)}


def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of events of each page that is fetched from now on, grows as they are."""
    counts: list[int] = []
    add = build.Sorter.add

    def counting(self: build.Sorter, documents: build.Documents) -> None:
        counts.append(len(documents.ids))
        add(self, documents)

    monkeypatch.setattr(build.Sorter, "add", counting)
    return counts


@pytest.mark.parametrize("seed", range(3))
def test_a_part_brought_up_to_date_step_by_step_is_the_part_built_at_once(
    days: Days, seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    for _ in range(6):
        days.write([parts_oracle.random_source(rng) for _ in range(rng.choice((1, 5, 40)))])
        if rng.random() < 0.3:
            days.delete(rng.choice(sorted(days.written)))
        days.builder.update(DAY)
        assert stored(days) == days.written
    stepwise = days.builder.update(DAY, one_file=True)
    fresh = Builder(replace(days.settings, home=tmp_path / "fresh"), days.raw)
    at_once = fresh.update(DAY)
    assert stepwise is not None and at_once is not None
    assert contents(file_of(days.builder, stepwise)) == contents(file_of(fresh, at_once))
    assert stepwise.files[0].ids_sha256 == at_once.files[0].ids_sha256


def test_only_what_is_new_is_fetched_for_an_open_day(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    days.write([event(n) for n in range(300)])
    days.builder.update(DAY)
    days.write([event(400), event(0, late=True)])
    counts = fetched(monkeypatch)
    part = days.builder.update(DAY)
    assert counts == [2]
    assert part is not None and [file.events for file in part.files] == [300, 2]
    assert stored(days) == days.written


def test_a_part_whose_index_gave_no_number_since_is_left_alone(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    days.write([event(1)])
    first = days.builder.update(DAY)
    counts = fetched(monkeypatch)
    assert days.builder.update(DAY) == first
    assert counts == []


def _delete_one(days: Days) -> None:
    days.delete(sorted(days.written)[0])


def _replace_one(days: Days) -> None:
    days.write([event(7, replaced=True)], ids=sorted(days.written)[:1])


def _delete_and_add(days: Days) -> None:
    _delete_one(days)
    days.write([event(9, added=True)])


def _make_again(days: Days) -> None:
    days.client.indices.delete(index=days.index())
    days.written.clear()
    days.write([event(n, again=True) for n in range(20)])


def _cut_a_file(days: Days) -> None:
    part = days.folder.part(DAY)
    assert part is not None
    path = days.folder.path(DAY, part.files[0])
    os.truncate(path, path.stat().st_size - 10)


def _garble_the_manifest(days: Days) -> None:
    (days.folder.root / str(DAY) / "part.json").write_bytes(b'{"format": 1,')


@pytest.mark.parametrize(
    "change",
    [_delete_one, _replace_one, _delete_and_add, _make_again, _cut_a_file, _garble_the_manifest],
    ids=lambda change: change.__name__.strip("_").replace("_", " "),
)
def test_on_any_doubt_the_part_is_built_anew(days: Days, change: object) -> None:
    days.write([event(n) for n in range(20)])
    days.builder.update(DAY)
    assert callable(change)
    change(days)
    part = days.builder.update(DAY)
    assert part is not None and len(part.files) == 1
    assert stored(days) == days.written


def test_operations_whose_predecessors_are_under_way_wait_for_the_next_time(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    days.write([event(n) for n in range(10)])
    counters = Index.counters

    def as_of_before(self: Index) -> object:
        """The counters while numbers 6 to 9 are given, and 6 isn't done yet."""
        found = counters(self)
        assert found is not None
        return replace(found, shards={n: replace(shard, checkpoint=5) for n, shard in found.shards.items()})

    with monkeypatch.context() as patched:
        patched.setattr(Index, "counters", as_of_before)
        part = days.builder.update(DAY)
    assert part is not None and part.events == 6
    days.builder.update(DAY)
    assert stored(days) == days.written


def test_several_shards_are_each_followed_by_their_own_numbers(days: Days) -> None:
    days.client.indices.create(index=days.index(), settings={"number_of_shards": 3})
    days.write([event(n) for n in range(50)])
    days.builder.update(DAY)
    days.write([event(n) for n in range(50, 60)])
    part = days.builder.update(DAY)
    assert part is not None and [file.events for file in part.files] == [50, 10]
    assert stored(days) == days.written
    assert days.builder.verify(DAY).agrees


def test_an_event_acknowledged_before_the_question_is_in_it_without_waiting_for_a_refresh(days: Days) -> None:
    days.client.indices.create(index=days.index(), settings={"refresh_interval": "-1"})
    for n in range(5):
        days.write([event(n)])
        days.builder.update(DAY)
        assert stored(days) == days.written


def test_files_of_similar_size_are_merged_so_that_there_are_few(days: Days) -> None:
    for n in range(12):
        days.write([event(n)])
        part = days.builder.update(DAY)
    assert part is not None
    assert len(part.files) <= 3
    assert stored(days) == days.written
    on_disk = sorted(path.name for path in (days.folder.root / str(DAY)).iterdir())
    assert on_disk == sorted([*(file.name for file in part.files), "part.json"])


@pytest.mark.parametrize(
    ("sizes", "one_file", "merged"),
    [
        ((100,), False, 0),
        ((100, 49), False, 0),
        ((100, 50), False, 2),
        ((900_000, 100, 50), False, 2),
        ((900_000, 450_000), False, 0),
        ((100, 1), True, 2),
        (tuple(3**n for n in range(17, 0, -1)), False, 16),
    ],
)
def test_which_files_are_merged_follows_from_their_sizes(sizes: tuple[int, ...], one_file: bool, merged: int) -> None:
    files = tuple(File(str(size), 1, size, "") for size in sizes)
    assert build._to_merge(files, one_file=one_file) == merged


def test_while_intake_lags_a_build_asks_for_nothing(days: Days) -> None:
    days.write([event(n) for n in range(1200)])
    asked: list[bool] = []

    def may_go_on() -> bool:
        asked.append(len(asked) > 3)
        return asked[-1]

    part = Builder(days.settings, days.raw, may_go_on=may_go_on).update(DAY)
    assert part is not None and part.events == 1200
    assert asked[:5] == [False] * 4 + [True]


def test_the_least_recently_read_parts_make_room(days: Days) -> None:
    others = [DAY + timedelta(days=n) for n in range(1, 4)]
    for day in (DAY, *others):
        days.write([event(n, text=f"{n**20}") for n in range(500)], day)
        days.builder.update(day)
    each = max(days.folder.part(day).bytes for day in (DAY, *others))  # type: ignore[union-attr]
    for age, day in ((400, others[1]), (300, DAY), (200, others[0]), (100, others[2])):
        os.utime(days.folder.root / str(day) / "part.json", (time.time() - age,) * 2)
    with days.folder.open(others[1]):  # read just now
        pass
    small = Builder(replace(days.settings, parts_max_bytes=3 * each + each // 2), days.raw)
    days.write([event(2)], others[2])
    small.update(others[2])
    assert small.folder.days() == [others[0], others[1], others[2]]


def test_a_reader_keeps_what_it_opened(days: Days) -> None:
    days.write([event(n) for n in range(5)])
    days.builder.update(DAY)
    before = dict(days.written)
    with days.folder.open(DAY) as opened:
        assert opened is not None
        days.write([event(n) for n in range(5, 10)])
        days.builder.update(DAY)
        with days.folder.lock(DAY, timeout_s=1):
            days.folder.drop(DAY)
        pages = list(documents_of([Path(path) for path in opened.paths], days.folder.root))
    found = {n: source.decode() for page in pages for n, source in zip(page.ids, page.sources, strict=True)}
    assert found == before


def test_verify_names_the_ids_that_only_one_side_has(days: Days) -> None:
    with pytest.raises(NotFound, match="metronome parts build 2026-11-03"):
        days.builder.verify(DAY)
    days.write([event(n) for n in range(20)])
    days.builder.update(DAY)
    days.write([event(30)])  # came later, so it isn't missing
    assert days.builder.verify(DAY) == Verdict(DAY, 20, 20)
    gone = sorted(days.written)[3]
    days.delete(gone)
    verdict = days.builder.verify(DAY)
    assert verdict == Verdict(DAY, 20, 19, surplus=(gone,))
    assert not verdict.agrees
    days.client.indices.delete(index=days.index())
    assert days.builder.verify(DAY).in_index == 0


#: What a process does in the tests below: bring a day up to date, and say how many events it has then.
_BUILD = """
import os, sys, pickle
from datetime import date
from metronome.parts.build import Builder
from metronome.settings import Settings
from metronome.store.client import connect, unread
settings = Settings.from_env()
print("started", flush=True)
part = Builder(settings, unread(connect(settings))).update(date(2026, 11, 3))
print(part.events)
"""


def started(days: Days, program: str = _BUILD) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "ELASTIC"))}
    environ |= {
        "METRONOME_HOME": str(days.settings.home),
        "METRONOME_INDEX_PREFIX": days.settings.index_prefix,
        "ELASTICSEARCH_URL": days.settings.elasticsearch_url,
        "ELASTICSEARCH_USERNAME": days.settings.elasticsearch_username,
        "ELASTICSEARCH_PASSWORD": days.settings.elasticsearch_password,
    }
    return subprocess.Popen([sys.executable, "-c", program], env=environ, text=True, stdout=subprocess.PIPE)


def test_of_several_processes_one_builds_and_all_have_the_whole_day(days: Days) -> None:
    days.write([event(n % 3600, n=n) for n in range(5000)])
    processes = [started(days) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["started\n5000\n"] * 4
    assert stored(days) == days.written
    assert len(list((days.folder.root / str(DAY)).glob("*.parquet"))) == 1


def test_whoever_waits_too_long_for_another_builder_is_told(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    days.write([event(1)])
    monkeypatch.setattr(build, "WAIT_S", 0.1)
    with (
        Folder(days.settings.parts_dir, 10**9).lock(DAY, timeout_s=1),
        pytest.raises(PartsUnavailable, match="2026-11-03 is being built"),
    ):
        days.builder.update(DAY)


#: Kills itself once it came so far: the name of a function of ours, and whether before or after it.
_DIE = """
import os, signal
from metronome.parts import build, folder, sort
def deadly(owner, name, after):
    real = getattr(owner, name)
    def call(*args, **options):
        found = real(*args, **options) if after else None
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, call)
deadly({owner}, {name!r}, {after})
"""


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("sort.Sorter", "add"),
        ("sort.Sorter", "write"),
        ("sort.Sorter", "_sum"),
        ("folder.Folder", "take_in"),
        ("folder.Folder", "replace"),
        ("folder", "sync_folder"),
    ],
)
def test_a_builder_killed_at_any_step_leaves_nothing_that_is_read(
    days: Days, owner: str, name: str, after: bool
) -> None:
    days.write([event(n) for n in range(30)])
    days.builder.update(DAY)
    before = dict(days.written)
    days.write([event(n) for n in range(30, 40)])
    process = started(days, _DIE.format(owner=owner, name=name, after=after) + _BUILD)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert stored(days) in (before, days.written)
    days.builder.update(DAY)
    assert stored(days) == days.written
    part = days.folder.part(DAY)
    assert part is not None
    on_disk = sorted(path.name for path in (days.folder.root / str(DAY)).iterdir())
    assert on_disk == sorted([*(file.name for file in part.files), "part.json"])


def test_a_lock_of_a_dead_process_is_free(days: Days) -> None:
    days.write([event(n) for n in range(3)])
    holder = "import time\\nfrom metronome.parts.folder import Folder\\n"
    holder = holder.replace("\\n", "\n") + (
        "from metronome.settings import Settings\nfrom datetime import date\n"
        "folder = Folder(Settings.from_env().parts_dir, 10)\n"
        "with folder.lock(date(2026, 11, 3), timeout_s=1):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = started(days, holder)
    assert process.stdout is not None
    wait_for(lambda: process.stdout.readline() == "held\n", "the lock to be held")  # type: ignore[union-attr]
    process.kill()
    process.communicate()
    part = days.builder.update(DAY)
    assert part is not None and part.events == 3


def test_days_are_found_by_their_indices(days: Days) -> None:
    from metronome.parts.index import days as days_with_an_index

    days.write([event(1)])
    days.write([event(1)], date(2026, 10, 31))
    days.client.indices.create(index=f"{days.settings.index_prefix}-other")
    assert days_with_an_index(days.raw, days.settings) == [date(2026, 10, 31), DAY]


def test_of_many_days_those_that_are_current_cost_no_request_of_their_own(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = [DAY + timedelta(days=n) for n in range(5)]
    for day in dates[:4]:
        days.write([event(1), event(2)], day)
    assert [part.events for part in days.builder.update_all(dates).values()] == [2, 2, 2, 2]
    days.write([event(3)], dates[1])
    days.client.indices.delete(index=days.index(dates[2]))
    monkeypatch.setattr(days.builder, "update", lambda day: updated.append(day))
    updated: list[date] = []
    assert list(days.builder.update_all(dates)) == [DAY, dates[3]]
    assert updated == [dates[1], dates[2], dates[4]]
    monkeypatch.undo()
    assert {day: part.events for day, part in days.builder.update_all(dates).items()} == {
        DAY: 2,
        dates[1]: 3,
        dates[3]: 2,
    }
    assert days.folder.days() == [DAY, dates[1], dates[3]]


def test_a_file_that_cannot_be_read_says_how_to_go_on(days: Days) -> None:
    days.write([event(n) for n in range(3)])
    part = days.builder.update(DAY)
    assert part is not None
    path = days.folder.path(DAY, part.files[0])
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(PartsUnavailable, match="metronome parts drop"):
        list(read(days.folder, [DAY], [Wanted("_id", "text")]))
