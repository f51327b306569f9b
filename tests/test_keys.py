"""Keys: made, rotated and revoked by their owner, known to every worker of every host, also while Elasticsearch is away."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, free_port, remove_indices, wait_for
from elasticsearch import Elasticsearch
from proxy import Proxy

from metronome.errors import BadKey, BadQuestion, Conflict, NotFound
from metronome.keyring import Keyring
from metronome.keys import Keys, digest_of, from_record, read_span, split
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.records import Records

START = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
TOKEN = re.compile(r"mt_live_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def installation(engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path) -> Iterator[Settings]:
    settings = replace(engine_settings, index_prefix=f"t{uuid.uuid4().hex[:10]}", home=tmp_path / "home")
    indices.install(elasticsearch, settings)
    yield settings
    remove_indices(elasticsearch, settings)


@pytest.fixture
def keys(installation: Settings, elasticsearch: Elasticsearch, clock: Clock) -> Keys:
    return Keys(Records(elasticsearch, installation, "keys"), clock)


@pytest.fixture
def ring(installation: Settings, elasticsearch: Elasticsearch, clock: Clock) -> Callable[[], Keyring]:
    """A process that has just looked."""

    def look() -> Keyring:
        keyring = Keyring(installation, elasticsearch, clock=clock)
        keyring.refresh()
        return keyring

    return look


# --- Making ----------------------------------------------------------------------------------------------------


def test_of_a_key_only_a_hash_is_kept(keys: Keys, elasticsearch: Elasticsearch, installation: Settings) -> None:
    key, token = keys.create(
        "shippers", scopes=["read", "write"], app="shop", rate="5/second", networks=["192.0.2.7/24"]
    )
    assert TOKEN.fullmatch(token)
    (hit,) = elasticsearch.search(index=f"metronome-keys-{installation.index_prefix}")["hits"]["hits"]
    assert hit["_source"] == {
        "id": key.id,
        "name": "shippers",
        "scopes": ["write", "read"],
        "env": "live",
        "app": "shop",
        "rate": "5/second",
        "networks": ["192.0.2.0/24"],
        "hash": digest_of(token.split("_", 3)[3]),
        "created_at": "2026-11-22T09:30:00.000Z",
    }
    assert keys.get(key.id) == key
    assert "hash" not in key.as_dict()


def test_a_publishable_key_can_be_shown_again(keys: Keys) -> None:
    key, token = keys.create(
        "site", publishable=True, origins=["https://Www.Example.org:443/", "http://localhost:3000"]
    )
    assert (key.token, key.scopes) == (token, ("write",))
    assert key.origins == ("https://www.example.org", "http://localhost:3000")
    assert keys.all() == [key]


def test_a_publishable_key_may_have_a_text_of_its_owner(keys: Keys, ring: Callable[[], Keyring]) -> None:
    text = "HDsj3NfKQTNwn5Ix9g+cfQ=="
    key, token = keys.create("players", publishable=True, origins=["*"], text=text)
    assert (token, key.token, ring().find(text)) == (text, text, key)
    with pytest.raises(Conflict):
        keys.create("players", publishable=True, origins=["*"], text=text)
    with pytest.raises(BadKey):
        ring().find(text[:-1])


WRONG = [
    pytest.param({"scopes": ["wirte"]}, "scopes: 'wirte' isn't one; there are write, read, edit, admin", id="an unknown scope"),
    pytest.param({"scopes": []}, "scopes: a key has at least one of write, read, edit, admin", id="no scope"),
    pytest.param({"publishable": True, "origins": ["https://a.example"], "scopes": ["write", "read"]}, "scopes: everybody can read a publishable key, so it may only write", id="a publishable key that reads"),
    pytest.param({"publishable": True}, "origins: a publishable key names the sites it is for", id="a publishable key for no site"),
    pytest.param({"origins": ["www.example.org"]}, "origins: 'www.example.org' isn't an origin, such as https://www.example.org", id="a site without a scheme"),
    pytest.param({"origins": ["https://example.org/path"]}, "origins: 'https://example.org/path' isn't an origin", id="a site with a path"),
    pytest.param({"origins": ["https://["]}, "origins: 'https://[' isn't an origin", id="a site with half an address"),
    pytest.param({"origins": ["https://example.org#top"]}, "origins: 'https://example.org#top' isn't an origin", id="a site with a fragment"),
    pytest.param({"origins": ["https://me@example.org"]}, "origins: 'https://me@example.org' isn't an origin", id="a site with a user"),
    pytest.param({"origins": ["https://example.org:port"]}, "origins: 'https://example.org:port' isn't an origin", id="a site with a port that is none"),
    pytest.param({"origins": ["https://exam ple.org"]}, "origins: 'https://exam ple.org' isn't an origin", id="a site with a blank"),
    pytest.param({"expires_at": START}, "expires: 2026-11-22T09:30:00.000Z is past; name a time to come", id="an expiry that is past"),
    pytest.param({"networks": ["office"]}, "networks: 'office' isn't a network or address, such as 192.0.2.0/24", id="a network that is none"),
    pytest.param({"rate": "fast"}, "rate: 'fast' isn't a number a second, minute, hour or day, such as 100/second", id="a rate that is none"),
    pytest.param({"env": "Live!"}, "env: 'Live!' isn't a name of 1 to 16 letters", id="an env with other characters"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "text"), WRONG)
def test_what_a_key_cannot_be_is_told_and_nothing_is_made(keys: Keys, wanted: dict[str, Any], text: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        keys.create("x", **wanted)
    assert refused.value.message.startswith(text)
    assert keys.all() == []


@pytest.mark.parametrize(
    ("token", "parts"),
    [
        pytest.param(
            "mt_live_0123456789ab_a_b-c", ("0123456789ab", "a_b-c"), id="ours; a secret may hold what parts it"
        ),
        pytest.param("mt_live", ("t" + digest_of("mt_live")[:23], "mt_live"), id="a text that only begins like ours"),
        pytest.param("", ("t" + digest_of("")[:23], ""), id="no text"),
    ],
)
def test_a_text_is_taken_apart(token: str, parts: tuple[str, str]) -> None:
    assert split(token) == parts


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30m", 1800), ("24h", 86_400), ("90d", 7_776_000), ("2w", 1_209_600)]
)
def test_a_span_is_read(text: str, seconds: int) -> None:
    assert read_span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "-1h", "1y", "1.5h", "soon"])
def test_what_is_no_span_is_told(text: str) -> None:
    with pytest.raises(BadQuestion, match="isn't a span of time, such as 30m, 24h, 90d or 2w"):
        read_span(text)


# --- Changing --------------------------------------------------------------------------------------------------


def test_after_a_rotation_both_secrets_are_valid_until_the_overlap_ends(
    keys: Keys, ring: Callable[[], Keyring], clock: Clock
) -> None:
    key, first = keys.create("x")
    _, second = keys.rotate(key.id, timedelta(hours=2))
    keyring = ring()

    def valid() -> list[bool]:
        found = []
        for token in (first, second):
            try:
                found.append(keyring.find(token).id == key.id)
            except BadKey:
                found.append(False)
        return found

    assert (first.rpartition("_")[0] != second, valid()) == (True, [True, True])
    clock.now = START + timedelta(hours=2, seconds=-1)
    assert valid() == [True, True]
    clock.now = START + timedelta(hours=2)
    assert valid() == [False, True]


def test_without_an_overlap_the_secret_before_is_refused_at_once(keys: Keys, ring: Callable[[], Keyring]) -> None:
    key, first = keys.create("x", publishable=True, origins=["*"])
    rotated, second = keys.rotate(key.id, timedelta())
    assert (rotated.token, ring().find(second)) == (second, rotated)
    with pytest.raises(BadKey):
        ring().find(first)


def test_of_two_rotations_only_the_last_secret_before_stays(keys: Keys, ring: Callable[[], Keyring]) -> None:
    key, first = keys.create("x")
    _, second = keys.rotate(key.id)
    _, third = keys.rotate(key.id)
    assert {ring().find(token).id for token in (second, third)} == {key.id}
    with pytest.raises(BadKey):
        ring().find(first)


def test_a_revoked_key_stays_in_the_list_and_is_not_rotated(keys: Keys, clock: Clock) -> None:
    key, _ = keys.create("x")
    clock.now += timedelta(minutes=1)
    revoked = keys.revoke(key.id)
    clock.now += timedelta(minutes=1)
    assert keys.revoke(key.id) == revoked == replace(key, revoked_at=START + timedelta(minutes=1))
    assert keys.all() == [revoked]
    with pytest.raises(BadQuestion, match=f"key {key.id} is revoked; make a new one"):
        keys.rotate(key.id)


@pytest.mark.parametrize("change", ["rotate", "revoke"])
def test_a_key_that_is_not_there_cannot_be_changed(keys: Keys, change: str) -> None:
    with pytest.raises(NotFound, match="there is no record '0123456789ab'"):
        getattr(keys, change)("0123456789ab")


def test_a_revocation_wins_over_a_last_use_that_is_written_at_the_same_time(
    keys: Keys, ring: Callable[[], Keyring], clock: Clock
) -> None:
    key, token = keys.create("x")
    keyring = ring()
    keyring.find(token)
    keys.revoke(key.id)
    keyring.write_uses()
    assert keys.get(key.id) == replace(key, revoked_at=START)
    with pytest.raises(BadKey, match="is revoked"):
        keyring.find(token)


def test_the_last_use_is_kept_now_and_then(keys: Keys, ring: Callable[[], Keyring], clock: Clock) -> None:
    key, token = keys.create("x")
    keys.create("never used")
    keyring = ring()
    used = []
    for minutes in (0, 1, 4, 1, 0):
        clock.now += timedelta(minutes=minutes)
        keyring.find(token)
        keyring.write_uses()
        kept = keys.get(key.id).used_at
        used.append(kept and (kept - START) // timedelta(minutes=1))
    assert used == [0, 0, 0, 6, 6], "what is kept is never more than five minutes old"
    assert {found.name: found.used_at is None for found in keys.all()} == {"x": False, "never used": True}


def test_a_field_of_a_newer_version_is_left_out(
    keys: Keys, installation: Settings, elasticsearch: Elasticsearch
) -> None:
    key, _ = keys.create("x")
    record = Records(elasticsearch, installation, "keys").get(key.id)
    assert from_record(replace(record, value={**record.value, "colour": "red"})) == key


# --- The commands ----------------------------------------------------------------------------------------------


class Installation(Server):
    """Real processes of their own, with Elasticsearch behind a proxy."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self.proxy = Proxy(settings.elasticsearch_url, free_port())
        super().__init__(replace(settings, elasticsearch_url=self.proxy.url), home)
        self.proxy.start()

    def keys(self, *arguments: str) -> str:
        """What `metronome keys …` prints."""
        found = self.command("keys", *arguments)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    def status(self, token: str) -> int:
        """Of a post on a connection of its own."""
        connection = http.client.HTTPConnection(self.bind, timeout=20)
        connection.request("POST", "/tick", '{"id": "a"}', {"Authorization": f"Bearer {token}"})
        found = connection.getresponse().status
        connection.close()
        return found

    def statuses(self, token: str) -> list[int]:
        """Of a post to each worker: the others are held meanwhile, so that they can't take the connection."""
        workers, found = self.workers(), []
        for worker in workers:
            others = [other for other in workers if other != worker]
            for other in others:
                os.kill(other, signal.SIGSTOP)
            found.append(self.status(token))
            for other in others:
                os.kill(other, signal.SIGCONT)
        return found

    def workers(self) -> list[int]:
        pid = self.processes["serve"].pid
        return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def running(installation: Settings, tmp_path: Path) -> Iterator[Installation]:
    found = Installation(installation, tmp_path / "home")
    found.environ["METRONOME_OPEN"] = "no"
    yield found
    found.stop()
    found.proxy.stop()


def test_the_commands_make_list_rotate_and_revoke(running: Installation) -> None:
    made = running.command(
        "keys", "create", "shippers", "--network", "192.0.2.0/24", "--rate", "9/second", "--expires", "90d"
    )
    token = made.stdout.strip()
    key_id = split(token)[0]
    assert TOKEN.fullmatch(token)
    assert made.stderr == f"key {key_id} (write); keep it now, gateways know it within 5 s\n"
    page = running.keys("create", "site", "--publishable", "--origin", "https://a.example", "--env", "test")
    assert page.startswith("mt_test_")

    listed = running.keys("list").splitlines()
    assert re.fullmatch(
        rf"{key_id}  valid    write  shippers  networks=192.0.2.0/24  rate=9/second  expires=\S+", listed[0]
    )
    assert listed[1].endswith(f"site  origins=https://a.example  key={page}")
    assert token.rpartition("_")[2] not in running.keys("list") + running.keys("list", "--json")

    rotated = running.keys("rotate", key_id, "--overlap", "30m")
    assert (rotated != token, split(rotated)[0]) == (True, key_id)
    assert running.keys("revoke", key_id) == f"key {key_id} (shippers) is revoked"
    states = [json.loads(line)["state"] for line in running.keys("list", "--json").splitlines()]
    assert states == ["revoked", "valid"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            ("create", "x", "--scope", "wirte"), "scopes: 'wirte' isn't one; there are write, read", id="a scope"
        ),
        pytest.param(("create", "x", "--expires", "soon"), "'soon' isn't a span of time, such as 30m", id="an expiry"),
        pytest.param(("create", "x", "--expires", "2026-99-99"), "'2026-99-99' is not an ISO 8601 time", id="a day"),
        pytest.param(("rotate", "x", "--overlap", "long"), "'long' isn't a span of time", id="an overlap"),
        pytest.param(("revoke", "0123456789ab"), "there is no record '0123456789ab'", id="a key that isn't there"),
    ],
)
def test_a_command_says_in_a_line_what_is_wrong(running: Installation, arguments: tuple[str, ...], text: str) -> None:
    found = running.command("keys", *arguments)
    assert found.returncode != 0
    assert text in found.stderr
    assert "Traceback" not in found.stderr


def test_the_commands_that_post_and_ask_send_the_key(running: Installation, tmp_path: Path) -> None:
    token = running.keys("create", "cli", "--scope", "write", "--scope", "read")
    (tmp_path / "events").write_text('{"id": "home", "ts": "2026-11-22"}\n')
    running.start("serve")
    running.wait_until_ready()
    commands = (("tick", "home"), ("load", str(tmp_path / "events")), ("tock", "home"))
    without = [running.command(*command).returncode for command in commands]
    running.environ["METRONOME_KEY"] = token
    assert (without, [running.command(*command).returncode for command in commands]) == ([1, 1, 1], [0, 0, 0])


# --- Real workers ----------------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_within_five_seconds_by_every_worker(running: Installation) -> None:
    running.start("serve")
    running.wait_until_ready()
    assert len(running.workers()) == 2
    token = running.keys("create", "x")
    wait_for(lambda: running.statuses(token) == [202, 202], "both workers to know the new key", 5)

    running.keys("revoke", split(token)[0])
    revoked = time.monotonic()
    wait_for(lambda: running.statuses(token) == [401, 401], "both workers to refuse it", 5)
    assert time.monotonic() - revoked < 5
    assert running.statuses(token) == [401, 401]


def test_while_elasticsearch_is_away_keys_stay_valid_also_in_a_worker_that_starts_then(running: Installation) -> None:
    token = running.keys("create", "x")
    running.start("serve")
    running.wait_until_ready()
    wait_for(lambda: running.statuses(token) == [202, 202], "both workers to know the key", 5)
    running.proxy.stop()
    before = set(running.workers())
    assert running.statuses(token) == [202, 202]

    running.processes["serve"].send_signal(signal.SIGHUP)
    wait_for(
        lambda: len(set(running.workers())) == 2 and not before & set(running.workers()), "workers that never saw it"
    )
    assert running.statuses(token) == [202, 202]
    assert running.statuses(token[:-1]) == [401, 401]
    found = running.command("keys", "create", "y")
    assert (found.returncode, found.stderr) == (1, "metronome: Elasticsearch doesn't answer (ConnectionError)\n")


def test_a_gateway_that_others_can_reach_does_not_start_without_a_key(running: Installation) -> None:
    running.environ |= {"METRONOME_OPEN": "", "METRONOME_BIND": running.bind.replace("127.0.0.1", "0.0.0.0")}
    found = running.command("serve")
    assert found.returncode == 1
    assert "can be reached from elsewhere, and there is no key yet" in found.stderr
    assert "Traceback" not in found.stderr

    token = running.keys("create", "x")
    running.start("serve")
    running.wait_until_ready()
    assert (running.statuses(token), running.statuses("")) == ([202, 202], [401, 401])


def test_a_rate_counts_for_all_workers_of_a_host_together(running: Installation) -> None:
    token = running.keys("create", "x", "--rate", "30/hour")
    running.start("serve")
    running.wait_until_ready()
    # The workers look at the keys when they start.
    found = [status for _ in range(17) for status in running.statuses(token)]
    assert found == [202] * 30 + [429] * 4


@pytest.mark.parametrize(
    ("variable", "value"),
    [("METRONOME_RATE_LIMIT", "fast"), ("METRONOME_OPEN", "perhaps"), ("METRONOME_TRUSTED_PROXIES", "proxy")],
)
def test_a_setting_that_cannot_be_read_is_told_in_a_line_at_the_start(
    running: Installation, variable: str, value: str
) -> None:
    running.environ[variable] = value
    found = running.command("serve")
    assert found.returncode == 1
    assert f"metronome: {variable}: '{value}' isn't " in found.stderr
    assert "Traceback" not in found.stderr
