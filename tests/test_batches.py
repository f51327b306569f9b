"""The door in for long connections: one Intake, one row and one fsync for all that came together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from metronome.errors import SpoolUnavailable, TooLarge
from metronome.intake import Intake, Origin, Receipt
from metronome.settings import Settings
from metronome.spool.files import spool_files
from metronome.spool.reader import Reader
from metronome.spool.spool import Spool
from metronome.streams.batches import Batches, Gathered


@pytest.fixture
def spool(settings: Settings) -> Iterator[Spool]:
    opened = Spool(settings.spool_dir, role="streams")
    yield opened
    opened.close()


def run(settings: Settings, spool: Any, *calls: tuple[list[Any], Origin]) -> list[Receipt | BaseException]:
    """What each of the calls gives, made at one time."""

    async def all_calls() -> list[Receipt | BaseException]:
        gathered = Gathered(spool)
        batches = Batches(Intake(settings, gathered), gathered)
        found = await asyncio.gather(*(batches.accept(*call) for call in calls), return_exceptions=True)
        await batches.close()
        return list(found)

    return asyncio.run(all_calls())


def stored(settings: Settings) -> list[dict[str, Any]]:
    """The events on disk, in order."""
    (path,) = spool_files(settings.spool_dir)
    reader = Reader(path)
    rows = b"".join(row.body for row in reader.rows(10_000_000))
    reader.close()
    return [json.loads(line) for line in rows.splitlines()[1::2]]


def test_calls_that_come_together_share_one_row_and_each_has_its_own_receipt_and_origin(
    settings: Settings, spool: Spool
) -> None:
    calls = [([{"id": "home", "insert_id": f"e{number}"}], Origin(f"d{number % 3}")) for number in range(50)]
    found = run(settings, spool, *calls)
    assert [each.ids for each in found if isinstance(each, Receipt)] == [[f"e{number}"] for number in range(50)]
    assert spool.commits == 1
    assert [(event["insert_id"], event["dialect"]) for event in stored(settings)] == [
        (f"e{number}", f"d{number % 3}") for number in range(50)
    ]


def test_a_call_that_is_refused_costs_the_others_nothing(settings: Settings, spool: Spool) -> None:
    good = ([{"id": "home"}], Origin("test"))
    too_large, refused, last = run(
        settings, spool, ([{}] * 2001, Origin("test")), ([{"a": "x" * 40_000}], Origin("test")), good
    )
    assert isinstance(too_large, TooLarge)
    assert isinstance(refused, Receipt) and (refused.accepted, len(refused.rejected)) == (0, 1)
    assert isinstance(last, Receipt) and last.accepted == 1
    assert len(stored(settings)) == 1


class FailsOnce:
    """A spool whose first append fails."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._failed = False

    def append(self, body: bytes, events: int) -> None:
        if not self._failed:
            self._failed = True
            raise SpoolUnavailable("the disk said no")
        self._spool.append(body, events)


def test_what_could_not_be_written_is_told_to_all_who_wait_and_is_not_written_later(
    settings: Settings, spool: Spool
) -> None:
    async def twice() -> tuple[list[Any], Any]:
        gathered = Gathered(FailsOnce(spool))
        batches = Batches(Intake(settings, gathered), gathered)
        first = await asyncio.gather(
            *(batches.accept([{"id": "lost"}], Origin("test")) for _ in range(3)), return_exceptions=True
        )
        second = await batches.accept([{"id": "kept"}], Origin("test"))
        await batches.close()
        return list(first), second

    first, second = asyncio.run(twice())
    assert [str(error) for error in first] == ["the disk said no"] * 3
    assert second.accepted == 1
    assert [event["id"] for event in stored(settings)] == ["kept"]


def test_who_is_cancelled_while_waiting_leaves_the_others_and_its_event_alone(settings: Settings, spool: Spool) -> None:
    async def one_goes() -> Receipt:
        gathered = Gathered(spool)
        batches = Batches(Intake(settings, gathered), gathered)
        goes = asyncio.create_task(batches.accept([{"id": "goes"}], Origin("test")))
        stays = asyncio.create_task(batches.accept([{"id": "stays"}], Origin("test")))
        await asyncio.sleep(0)
        goes.cancel()
        found = await stays
        await batches.close()
        return found

    assert asyncio.run(one_goes()).accepted == 1
    assert [event["id"] for event in stored(settings)] == ["goes", "stays"]
