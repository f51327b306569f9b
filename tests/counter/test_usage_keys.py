"""Keys of sessions and usages: the contract's vectors; and who it was, as hashes that nobody can undo."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metronome.counter.identities import Identities, Visitor
from metronome.counter.keys import document_key, session_key, stable_key

AT = datetime(1981, 1, 1, 0, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (["foo"], "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"),
        ([date(1953, 7, 2)], "3943be98daa91031ee7d0e0765472ce1b4a50a21f8c6dcd31047d530a50ada93"),
        (["floo", "blar", date(3049, 2, 2)], "853cef24d58fa8cd69b20d7dfbcdbd33f20ccda1a14f57e25e43c2533504b64f"),
        ([1, 2, 7.3], "6ab892f8109fd23b03ab24aebc4e343ed2a058d9a72f750bf90ba051627d233e"),
        ([date(2022, 5, 18)], "6fe48593af0f9d34159616759bd4678f383c912fdff3e8a338c51ecb1cf9d0d5"),
        ([date(2022, 5, 18), "blah"], "dca57e6cde89b19274ea24bc713971dab137a896b8e06d43a11a3f437cd1d151"),
        (["2022-05"], "8463aac67c1e5a038049196781d8f100f069225352d1829651892cf3fbfc50e2"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_a_stable_key_is_that_of_the_contract(parts: list[Any], key: str) -> None:
    assert stable_key(*parts) == key


@pytest.mark.parametrize("parts", [[], [None], ["a", None]], ids=str)
def test_a_key_of_nothing_is_refused(parts: list[Any]) -> None:
    with pytest.raises(ValueError, match="at least one part"):
        stable_key(*parts)


# Case, who, where, labels; keys of session, of five parts and of six.
VECTORS = [
    pytest.param(
        {"client_session_id": "hello", "user_id": "u"}, {"page_url": "http://example.foo/blahblah/blee", "item_guid": "zyxwv"}, ["view", "api"],
        "5b7c8b0a740a5b23712258a9d1164d2af008df02a8e3d339f16ead1d19595b34",
        "55fffffdc0d674d15a5e8763d14e4ae90f658fbfb6fbf94f88a5d24978f02e72",
        "3239044c7462dd318edd0522a0ed7d84b9c6502ef16cb40dfcae6c1f456d57a2",
        id="A: the session's own id wins over the login",
    ),
    pytest.param(
        {"client_session_id": "hello"}, {"page_url": "http://example.foo/bliz/", "item_guid": "zyxwv"}, ["view", "web"],
        "5b7c8b0a740a5b23712258a9d1164d2af008df02a8e3d339f16ead1d19595b34",
        "e559ffbc4bd3e3e69252d34c273f0e771ec89ee455ec9b60fbbadf3944e4af4e",
        "d01759e963893f9dc9b2ccf016a5ef29135673779802b5578f31449543677e82",
        id="B: not logged in",
    ),
    pytest.param(
        {"user_id": "guidy"}, {"page_url": "http://osf.io/mst3k", "item_guid": "yxwvu"}, ["view", "web"],
        "ec768abb16c3411570af99b9d635c2c32d1ca31d1b25eec8ee73759e7242e74a",
        "743494d8a55079b91e202da1dbdfce5aea72e310c57a34b36df2c2af5ed4d362",
        "7b8bc27c6d90fb45aa5bbd02deceba9f7384ed61b9a6e7253317c262020b94c2",
        id="C: logged in",
    ),
    pytest.param(
        {"host": "localhost:80", "user_agent": "haha"}, {"item_guid": "yxwvu"}, ["view", "api"],
        "97098dd3f7cd26053c0d0264d1c84eaeea8e08d2c55ca34017ffbe53c749ba5a",
        "a50ac1b2dc1c918cdea7be50b005117fdb6ee00ea069ca3aa4aaf03c0f905fa0",
        "d669528b30f443ffe506e183537af9624ef290090e90a200ecce7b7ca19c77f7",
        id="D: nobody known, no page",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("who", "where", "labels", "session", "five", "six"), VECTORS)
def test_sessions_and_usages_have_the_keys_of_the_contract(
    who: dict[str, str], where: dict[str, str], labels: list[str], session: str, five: str, six: str
) -> None:
    assert session_key(at=AT, **who) == session
    usage: dict[str, Any] = {"platform_iri": "http://example.foo/", "session_id": session, "at": AT, **where}
    assert document_key(**usage) == five
    assert document_key(**usage, labels=labels) == document_key(**usage, labels=labels[::-1]) == six


# --- Keyed hashes ----------------------------------------------------------------------------------------------

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANN = Visitor(client_session_id="ann")
LINK = ("url", "https://repo.example/a?token=1")


def midnight(seconds: float) -> datetime:
    return datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=seconds)


def test_a_visitor_has_one_hash_a_link_and_day_in_every_process(tmp_path: Path) -> None:
    one, other = Identities(tmp_path), Identities(tmp_path)
    first = one.hashes(ANN, LINK, NOON, NOON)
    assert other.hashes(ANN, LINK, NOON + timedelta(hours=3), NOON) == first
    assert one.hashes(ANN, ("url", "x"), NOON, NOON).click != first.click
    assert one.hashes(Visitor(cookie="ann"), LINK, NOON, NOON).click != first.click
    assert Identities(tmp_path / "other").hashes(ANN, LINK, NOON, NOON).click != first.click


def test_a_click_just_after_midnight_also_has_the_hash_of_the_day_before(tmp_path: Path) -> None:
    kept = Identities(tmp_path)
    before = kept.hashes(ANN, LINK, midnight(-5), midnight(-5))
    after = kept.hashes(ANN, LINK, midnight(5), midnight(5))
    assert (after.click_before, after.click != before.click, after.session != before.session) == (
        before.click,
        True,
        True,
    )
    assert kept.hashes(ANN, LINK, midnight(29.999), midnight(30)).click_before == before.click
    assert kept.hashes(ANN, LINK, midnight(30), midnight(30)).click_before == ""


def test_a_key_is_deleted_when_the_day_after_its_own_has_ended(tmp_path: Path) -> None:
    kept = Identities(tmp_path)
    first = kept.hashes(ANN, LINK, NOON, NOON)
    kept.hashes(ANN, LINK, NOON + timedelta(days=1), NOON + timedelta(days=1))
    assert Identities(tmp_path).hashes(ANN, LINK, NOON, NOON + timedelta(days=1)) == first
    kept.hashes(ANN, LINK, NOON + timedelta(days=2), NOON + timedelta(days=2))
    assert sorted(path.name for path in (tmp_path / "counter-keys").iterdir()) == ["2026-11-23", "2026-11-24"]


def test_late_usages_are_those_of_one_visitor_but_not_of_one_who_came_in_time(tmp_path: Path) -> None:
    kept = Identities(tmp_path)
    in_time = kept.hashes(ANN, LINK, NOON, NOON)
    later = NOON + timedelta(days=40)
    late = kept.hashes(ANN, LINK, NOON, later)
    assert (late.unlinked, late.click == in_time.click) == (True, False)
    assert kept.hashes(ANN, LINK, NOON + timedelta(seconds=10), later) == late
    # The minute after midnight is held together in the past as well.
    assert kept.hashes(ANN, LINK, midnight(5), later).click_before == kept.hashes(ANN, LINK, midnight(-5), later).click
    assert [path.name for path in (tmp_path / "counter-keys").iterdir()] == ["2027-01-01"]


def test_keys_are_for_their_owner_alone_and_half_a_key_is_made_again(tmp_path: Path) -> None:
    Identities(tmp_path).hashes(ANN, LINK, NOON, NOON)
    (path,) = (tmp_path / "counter-keys").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.write_bytes(b"half")
    Identities(tmp_path).hashes(ANN, LINK, NOON, NOON)
    assert len(path.read_bytes()) == 32
