"""Rates: exact over all processes of a host, and never a reason for a request to fail."""

from __future__ import annotations

import logging
import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metronome.wire.rates import Rates, Usage, name_of, parsed

S = 10**9


class Clock:
    """A clock in nanoseconds that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * S

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(tmp_path: Path, clock: Clock) -> Iterator[Rates]:
    found = Rates(tmp_path / "home" / "rates.db", now_ns=clock)
    yield found
    found.close()


def test_a_rate_is_a_moving_window(rates: Rates, clock: Clock) -> None:
    def hit(after_s: float) -> tuple[bool, int, int]:
        clock.now += int(after_s * S)
        found = rates.hit("a", "3/minute")
        assert found.limit == 3
        return found.allowed, found.remaining, found.reset_s

    # The oldest hit counts for a minute; each row says what is left, and until when the oldest counts.
    assert hit(0) == (True, 2, 60)
    assert hit(20) == (True, 1, 40)
    assert hit(20) == (True, 0, 20)
    assert hit(19) == (False, 0, 1)
    assert hit(1) == (True, 0, 20), "the first is a minute old, the second 40 s"
    assert hit(0) == (False, 0, 20)
    assert hit(600) == (True, 2, 60)


@pytest.mark.parametrize(("rate", "period_s"), [("1/second", 1), ("5 per 2 minutes", 120), ("1000/hour", 3600)])
def test_what_is_let_in_is_what_brute_force_lets_in(rates: Rates, clock: Clock, rate: str, period_s: int) -> None:
    import random

    moments = random.Random(rate)
    amount = int(rate.split("/")[0].split()[0])
    taken: list[int] = []
    for _ in range(400):
        clock.now += int(moments.expovariate(1.5 * amount / period_s) * S)
        expected = sum(at > clock.now - period_s * S for at in taken) < amount
        found = rates.hit("a", rate)
        assert found.allowed == expected
        if expected:
            taken.append(clock.now)
        assert found.remaining == amount - sum(at > clock.now - period_s * S for at in taken)


def test_names_do_not_count_for_each_other_and_a_refused_hit_does_not_count(rates: Rates, clock: Clock) -> None:
    assert [rates.hit(name, "1/hour").allowed for name in ("a", "b", "a", "a")] == [True, True, False, False]
    clock.now += 3600 * S
    assert rates.hit("a", "1/hour").allowed


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_a_clock_that_is_set_locks_nobody_out(rates: Rates, clock: Clock, seconds: int) -> None:
    assert [rates.hit("a", "2/minute").allowed for _ in range(3)] == [True, True, False]
    clock.now += seconds * S
    assert [rates.hit("a", "2/minute").allowed for _ in range(3)] == [True, True, False]


def hit_many(path: Path, times: int, both_are_there: Any, allowed: Any) -> None:
    """Run in a process of its own."""
    rates = Rates(path)
    found = 0
    for turn in range(times):
        if turn in (0, 50, 100):
            both_are_there.wait(60)
        found += rates.hit("a", "300/hour").allowed
    allowed.put(found)
    rates.close()


def test_a_rate_is_exact_over_two_processes(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    both_are_there, allowed = fork.Barrier(2), fork.SimpleQueue()
    given = (tmp_path / "rates.db", 400, both_are_there, allowed)
    processes = [fork.Process(target=hit_many, args=given) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    found = [allowed.get(), allowed.get()]
    assert sum(found) == 300
    assert min(found) >= 100, "both were let in before they met for the last time"


def test_a_rate_is_exact_over_threads(tmp_path: Path) -> None:
    rates = Rates(tmp_path / "rates.db")
    allowed: list[bool] = []
    threads = [
        threading.Thread(target=lambda: allowed.extend(rates.hit("a", "50/hour").allowed for _ in range(20)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rates.close()
    assert (len(allowed), sum(allowed)) == (160, 50)


def test_who_never_comes_back_is_forgotten(rates: Rates, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metronome.wire.rates.CLEAR_EVERY_S", -1)
    for number in range(50):
        rates.hit(f"caller {number}", "1/minute")
    clock.now += 61 * S
    rates.hit("another", "1/minute")
    assert rates._db is not None
    assert rates._db.execute("select name from hit").fetchall() == [("another",)]


def test_an_address_is_not_written_to_the_disk(rates: Rates, tmp_path: Path) -> None:
    rates.hit(name_of("192.0.2.77"), "5/hour")
    rates.close()
    written = b"".join(path.read_bytes() for path in (tmp_path / "home").iterdir())
    assert b"address " in written
    assert b"192.0.2" not in written


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", True, id="one IPv4 address"),
        pytest.param("192.0.2.1", "192.0.2.2", False, id="two IPv4 addresses"),
        pytest.param("2001:db8::1", "2001:db8:0:0:ffff::9", True, id="one IPv6 network of 64 bits"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="two such networks"),
    ],
)
def test_a_caller_is_an_address_or_the_network_that_one_caller_has(one: str, other: str, same: bool) -> None:
    assert (name_of(one) == name_of(other)) is same


FREE = Usage(True, 1, 1, 0)


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def a_file_in_the_way(path: Path) -> None:
    path.parent.write_text("no folder")


@pytest.mark.parametrize("damage", [a_folder, a_file_in_the_way])
def test_where_there_can_be_no_file_nobody_is_refused_and_the_log_says_so_once(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "home" / "rates.db"
    damage(path)
    rates = Rates(path)
    assert [rates.hit("a", "1/hour") for _ in range(5)] == [FREE] * 5
    assert [record.message for record in caplog.records] == ["rates aren't kept"]


def test_a_full_disk_refuses_nobody(rates: Rates, caplog: pytest.LogCaptureFixture) -> None:
    rates.hit("a", "5000/hour")
    assert rates._db is not None
    pages = rates._db.execute("pragma page_count").fetchone()[0]
    rates._db.execute(f"pragma max_page_count = {pages}")
    found = [rates.hit("a", "5000/hour").allowed for _ in range(300)]
    assert all(found)
    assert [record.problem for record in caplog.records] == ["database or disk is full"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("bytes_before", [b"", b"SQLite format 3\0" + b"\1" * 200], ids=["other bytes", "a torn file"])
def test_a_damaged_file_refuses_nobody_and_is_made_anew(
    tmp_path: Path, bytes_before: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr("metronome.wire.rates.time.monotonic", lambda: now)
    path = tmp_path / "rates.db"
    path.write_bytes(bytes_before + b"damaged" * 1000)
    rates = Rates(path)
    assert rates.hit("a", "1/hour") == FREE
    now += 2
    assert [rates.hit("a", "1/hour").allowed for _ in range(2)] == [True, False]
    rates.close()
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.ERROR


def test_another_process_that_holds_the_file_refuses_nobody(rates: Rates, tmp_path: Path) -> None:
    rates.hit("a", "1/hour")
    assert rates._db is not None
    rates._db.execute("pragma busy_timeout = 20")
    with sqlite3.connect(tmp_path / "home" / "rates.db", isolation_level=None) as other:
        other.execute("begin exclusive")
        assert rates.hit("a", "1/hour") == FREE
    other.close()


@pytest.mark.parametrize("rate", ["0/second", "fast", "10", "-1/hour", "1/fortnight"])
def test_what_is_no_rate_is_told(rate: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parsed(rate)
