"""The socket of video players: frames of Phoenix Channels, byte for byte (video contract, sections 2.1, 4 and 6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for
from elasticsearch import Elasticsearch
from playing import CHROME, JOIN, KEY, OTHER, TOPIC, Gateway, Player, started
from websockets.exceptions import ConnectionClosed, InvalidStatus

from metronome.settings import Settings

OK = '{"status":"ok","response":{}}'


@pytest.fixture(scope="module")
def running(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    settings = Settings(
        home=Path("unused"),
        elasticsearch_url=engine_settings.elasticsearch_url,
        elasticsearch_username=engine_settings.elasticsearch_username,
        elasticsearch_password=engine_settings.elasticsearch_password,
        index_prefix=f"v{datetime.now(UTC):%H%M%S%f}",
    )
    yield from started(settings, elasticsearch, tmp_path_factory.mktemp("video"), silent_s=6.0)


@pytest.fixture
def gateway(running: Gateway) -> Iterator[Gateway]:
    """The module's gateway; its sockets close when the test ends."""
    before = running.opened
    with ExitStack() as opened:
        running.opened = opened
        yield running
    running.opened = before


@pytest.fixture
def player(gateway: Gateway) -> Player:
    return gateway.player()


def reply(topic: str, join_ref: str | None, ref: str, payload: str = OK) -> str:
    return f'[{json.dumps(join_ref)},"{ref}","{topic}","phx_reply",{payload}]'


def refused(reason: str) -> str:
    return f'{{"status":"error","response":{{"reason":"{reason}"}}}}'


def named(gateway: Gateway, identifier: str, *events: str) -> list[dict[str, Any]]:
    return [row for row in gateway.documents(*events) if row.get("id") == identifier]


# --- The contract's own conversation ---------------------------------------------------------------------------


def test_the_frames_of_the_contract_byte_for_byte(gateway: Gateway, player: Player) -> None:
    assert (
        player.ask(
            '["3","3","session:LVMbxIe4PEY6bDtNLdOJj","phx_join",{"identifier":"label name","metadata":'
            '{"custom_query_id":1234},"session_data":{"sess":"x"},"source_url":"http://example.test/page/one?utm=1#frag",'
            f'"key":"{KEY}"}}]'
        )
        == '["3","3","session:LVMbxIe4PEY6bDtNLdOJj","phx_reply",{"status":"ok","response":{}}]'
    )
    player.say('["3","7","session:LVMbxIe4PEY6bDtNLdOJj","event",{"name":"play","duration":12.5,"from":0}]')
    player.say('["3","8","session:LVMbxIe4PEY6bDtNLdOJj","event",{"name":"pause","duration":12.5,"to":0.6}]')
    player.say('["3","9","session:LVMbxIe4PEY6bDtNLdOJj","event",{"name":"play","duration":12.5,"from":"3.25"}]')
    assert (
        player.ask('[null,"10","phoenix","heartbeat",{}]')
        == '[null,"10","phoenix","phx_reply",{"status":"ok","response":{}}]'
    )
    player.say('["3","12","session:LVMbxIe4PEY6bDtNLdOJj","event",{"name":"pause","duration":12.5,"to":"6.27"}]')
    assert player.ask('["3","13","session:LVMbxIe4PEY6bDtNLdOJj","phx_leave",{}]') == (
        '["3","13","session:LVMbxIe4PEY6bDtNLdOJj","phx_reply",{"status":"ok","response":{}}]'
    )
    assert player.hear() == '["3","3","session:LVMbxIe4PEY6bDtNLdOJj","phx_close",{}]'
    rows = named(gateway, "label name", "watch")
    assert [(row["stretch.from"], row["stretch.to"], row["stretch.elapsed"]) for row in rows] == [
        (0, 0.6, 0.6),
        (3.25, 6.27, 3.02),
    ]
    shown = {
        name: rows[0][name]
        for name in (
            "stretch.host",
            "stretch.address",
            "stretch.browser",
            "stretch.platform",
            "stretch.device",
            "session_id",
            "video.custom_query_id",
            "session.sess",
            "browser",
            "dialect",
        )
    }
    assert shown == {
        "stretch.host": "example.test", "stretch.address": "http://example.test/page/one", "stretch.browser": "chrome",
        "stretch.platform": "mac", "stretch.device": "desktop", "session_id": "LVMbxIe4PEY6bDtNLdOJj",
        "video.custom_query_id": 1234, "session.sess": "x", "browser": "Chrome", "dialect": "video",
    }  # fmt: skip
    raw = [
        (row["event"], row.get("position"), row.get("duration"))
        for row in named(gateway, "label name", "play", "pause", "leave")
    ]
    assert sorted(raw, key=str) == sorted([
        ("video.play", 0, 12.5), ("video.pause", 0.6, 12.5), ("video.play", 3.25, 12.5), ("video.pause", 6.27, 12.5),
        ("video.leave", None, 12.5),
    ], key=str)  # fmt: skip
    assert not [row for row in rows if CHROME in json.dumps(row)]


# --- Joining ---------------------------------------------------------------------------------------------------

JOINS = [
    pytest.param({"metadata": None}, OK, id="an identifier alone"),
    pytest.param({"identifier": None}, OK, id="metadata alone"),
    pytest.param({"identifier": {"a": 1}}, OK, id="an object as identifier"),
    pytest.param({"identifier": 0, "metadata": None}, OK, id="a number as identifier"),
    pytest.param({"source_url": None}, OK, id="the page of the handshake"),
    pytest.param({"identifier": None, "metadata": None}, refused("missing parameters and/or invalid host"), id="neither"),
    pytest.param({"key": None}, refused("missing parameters and/or invalid host"), id="no key"),
    pytest.param({"key": 7}, refused("missing parameters and/or invalid host"), id="a key that is no text"),
    pytest.param({"key": "wrong"}, refused("invalid key"), id="an unknown key"),
    pytest.param({"source_url": "nonsense"}, refused("missing parameters and/or invalid host"), id="a page without host"),
    pytest.param({"source_url": "http://[::1"}, refused("missing parameters and/or invalid host"), id="a page that is no address"),
    pytest.param({"metadata": {"x": "y" * 5000}}, refused("missing parameters and/or invalid host"), id="too much metadata"),
    pytest.param({"metadata": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}, refused("missing parameters and/or invalid host"), id="metadata too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "answer"), JOINS)
def test_who_may_join(player: Player, changed: dict[str, Any], answer: str) -> None:
    assert player.join(**changed) == reply(TOPIC, "3", "3", answer)


@pytest.mark.parametrize(
    "payload", [pytest.param([], id="an array"), pytest.param("x", id="a text"), pytest.param(None, id="null")]
)
def test_a_join_that_is_no_object_is_refused(player: Player, payload: Any) -> None:
    assert player.ask(["3", "3", TOPIC, "phx_join", payload]) == reply(
        TOPIC, "3", "3", refused("missing parameters and/or invalid host")
    )


AGENTS = [
    pytest.param(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", refused("bot"), id="a bot"
    ),
    pytest.param(None, OK, id="no agent"),
    pytest.param(CHROME, OK, id="a browser"),
]


@pytest.mark.parametrize(("agent", "answer"), AGENTS)
def test_bots_are_refused(gateway: Gateway, agent: str | None, answer: str) -> None:
    assert gateway.player(agent=agent).join() == reply(TOPIC, "3", "3", answer)


HANDSHAKES = [
    pytest.param("/socket/websocket?key=x&vsn=2.0.0", id="no source_url"),
    pytest.param("/socket/websocket?source_url=&key=x&vsn=2.0.0", id="an empty source_url"),
    pytest.param("/socket/websocket", id="no query"),
    pytest.param("/socket/websocket?source_url=http%3A%2F%2Fa.test%2F&vsn=1.0.0", id="the older serializer"),
]


@pytest.mark.parametrize("path", HANDSHAKES)
def test_a_handshake_without_its_page_is_refused_with_an_empty_body(gateway: Gateway, path: str) -> None:
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus) as error, connect(f"ws://{gateway.bind}{path}", compression=None):
        pass
    assert (error.value.response.status_code, error.value.response.body) == (403, b"")


def test_the_key_is_asked_at_the_join_and_not_at_the_handshake(gateway: Gateway) -> None:
    from websockets.sync.client import connect

    address = f"ws://{gateway.bind}/socket/websocket?source_url=http%3A%2F%2Fa.test%2F&key=nonsense&vsn=2.0.0"
    with connect(address, compression=None) as socket:
        assert Player(socket).join() == reply(TOPIC, "3", "3")


def test_a_new_key_joins_at_once_and_a_revoked_one_no_longer(gateway: Gateway, player: Player) -> None:
    _, token = gateway.keys.create("mine", scopes=("video",), publishable=True, origins=("*",), text="ab/c+d==")
    wait_for(lambda: player.join(key=token) == reply(TOPIC, "3", "3"), "the key to be known")
    gateway.keys.revoke(next(key.id for key in gateway.keys.all() if key.token == token))
    wait_for(
        lambda: player.join(OTHER, key=token) == reply(OTHER, "3", "3", refused("invalid key")), "the key to be refused"
    )


# --- Topics and references -------------------------------------------------------------------------------------

STRANGERS = [
    pytest.param(["3", "4", "room:lobby", "phx_join", {}], reply("room:lobby", None, "4", refused("unmatched topic")), id="joining an unknown topic"),
    pytest.param(["3", "4", OTHER, "event", {"name": "play", "from": 0}], reply(OTHER, None, "4", refused("unmatched topic")), id="an event on a topic that isn't joined"),
    pytest.param(["9", "4", OTHER, "phx_leave", {}], reply(OTHER, "9", "4"), id="leaving a topic that isn't joined"),
    pytest.param([None, "4", "phoenix", "shout", {}], reply("phoenix", None, "4", refused("unmatched topic")), id="another event on phoenix"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "answer"), STRANGERS)
def test_what_nobody_takes_is_answered(player: Player, frame: Any, answer: str) -> None:
    assert player.ask(frame) == answer


BROKEN = [
    pytest.param("no json", id="no JSON"),
    pytest.param("{}", id="the older serializer's objects"),
    pytest.param('["3","3","session:x","phx_join"]', id="four parts"),
    pytest.param('["3","3",7,"phx_join",{}]', id="a topic that is no text"),
    pytest.param(b"\x00\x01", id="a binary frame"),
]


@pytest.mark.parametrize("message", BROKEN)
def test_a_message_that_is_no_frame_closes_the_socket(player: Player, message: Any) -> None:
    player.socket.send(message)
    with pytest.raises(ConnectionClosed) as error:
        player.hear()
    assert error.value.rcvd is not None and error.value.rcvd.code == 1003


def test_a_second_join_closes_the_first_and_its_stretches(gateway: Gateway, player: Player) -> None:
    player.join(identifier="twice")
    player.event("play", **{"from": 2})
    player.settle()
    again = ["5", "5", TOPIC, "phx_join", {**JOIN, "identifier": "twice"}]
    answers = {player.ask(again), player.hear()}
    assert answers == {f'["3","3","{TOPIC}","phx_close",{{}}]', reply(TOPIC, "5", "5")}
    player.event("pause", join_ref="5", to=4)
    player.settle()
    (row,) = named(gateway, "twice", "watch")
    assert (row["stretch.from"], row["stretch.to"] < 4) == (2, True)


def test_messages_of_an_earlier_join_are_ignored_and_those_without_a_join_are_taken(
    gateway: Gateway, player: Player
) -> None:
    player.join(identifier="stale", join_ref="8")
    player.event("play", join_ref="7", **{"from": 1})
    player.say(["7", "20", TOPIC, "phx_leave", {}])
    player.event("play", join_ref=None, **{"from": 2})
    player.event("pause", join_ref="7", to=3)
    player.event("pause", join_ref="8", to="4.50")
    player.settle()
    assert [(row["stretch.from"], row["stretch.to"]) for row in named(gateway, "stale", "watch")] == [(2, 4.5)]


def test_after_leaving_a_topic_is_joined_anew(gateway: Gateway, player: Player) -> None:
    player.join(identifier="again")
    assert player.leave() == [reply(TOPIC, "3", "99"), f'["3","3","{TOPIC}","phx_close",{{}}]']
    player.event("play", **{"from": 0})
    assert player.hear() == reply(TOPIC, None, str(player.ref), refused("unmatched topic"))
    assert player.join(join_ref="6", identifier="again") == reply(TOPIC, "6", "6")


def test_two_players_of_a_page_are_two_sessions(gateway: Gateway, player: Player) -> None:
    for topic, ref in ((TOPIC, "3"), (OTHER, "4")):
        player.join(topic, ref, identifier="two players")
        player.event("play", topic=topic, join_ref=ref, **{"from": 0})
        player.event("pause", topic=topic, join_ref=ref, to=5)
    player.settle()
    rows = named(gateway, "two players", "watch")
    assert [len({row[name] for row in rows}) for name in ("stretch.session", "session_id", "stretch.video")] == [
        2,
        2,
        1,
    ]


# --- What players say ------------------------------------------------------------------------------------------

NOTHING = [
    pytest.param([{"name": "pause", "to": 3}], id="a pause without a play"),
    pytest.param([{"name": "play", "from": 5}, {"name": "pause", "to": 3}, {"name": "pause", "to": 9}], id="a pause before its play"),
    pytest.param([{"name": "play", "from": "x"}, {"name": "pause", "to": 3}], id="a play from nowhere"),
    pytest.param([{"name": "play", "from": None}, {"name": "pause", "to": 3}], id="a play from null"),
    pytest.param([{"name": "play", "from": True}, {"name": "pause", "to": 3}], id="a play from true"),
    pytest.param([{"name": "play"}, {"name": "pause", "to": 3}], id="a play without a position"),
    pytest.param([{"name": ""}, {"name": 7}, {}, [], None, "play"], id="what is no event"),
]  # fmt: skip


@pytest.mark.parametrize("payloads", NOTHING)
def test_what_says_nothing_watched_disturbs_nothing(
    gateway: Gateway, player: Player, payloads: list[Any], request: pytest.FixtureRequest
) -> None:
    identifier = request.node.callspec.id
    player.join(identifier=identifier)
    for payload in payloads:
        player.say(["3", "9", TOPIC, "event", payload])
    player.leave()
    assert named(gateway, identifier, "watch") == []


def test_older_players_say_more_and_when(gateway: Gateway, player: Player) -> None:
    player.join(identifier="older")
    at = 1_683_016_140_000  # 2023-05-02T08:29:00Z
    player.event("loadedmetadata", timestamp=at, duration=30)
    player.event("play", timestamp=at, **{"from": "0.00"})
    player.event("source_set", timestamp=at + 5, source_url="https://a.test/v.m3u8?token=1", width=640, codec="avc1")
    player.event("pause", timestamp=at + 6267, to="6.267")
    player.settle()
    rows = named(gateway, "older", "loadedmetadata", "play", "source_set", "watch", "pause")
    assert [(row["event"], row["@timestamp"][:19], row.get("duration")) for row in rows if row["event"] != "video.watch"] == [
        ("video.loadedmetadata", "2023-05-02T08:29:00", 30), ("video.play", "2023-05-02T08:29:00", 30),
        ("video.source_set", "2023-05-02T08:29:00", 30), ("video.pause", "2023-05-02T08:29:06", 30),
    ]  # fmt: skip
    (source,) = (row for row in rows if row["event"] == "video.source_set")
    assert {name: source[name] for name in source if name.startswith("props.")} == {
        "props.source_url": "https://a.test/v.m3u8",
        "props.width": 640,
        "props.codec": "avc1",
    }
    (watch,) = (row for row in rows if row["event"] == "video.watch")
    assert (watch["@timestamp"], watch["stretch.elapsed"], watch["stretch.duration"]) == (
        "2023-05-02T08:29:00.000Z",
        6.267,
        30,
    )


def test_a_play_closes_no_other_and_leaving_closes_all(gateway: Gateway, player: Player) -> None:
    player.join(identifier="many")
    for position in (1, 2, 3):
        player.event("play", duration=3.5, **{"from": position}, timestamp=1_600_000_000_000 + position)
    player.event("pause", to=3.25)
    player.leave()
    rows = named(gateway, "many", "watch")
    # The pause closes the latest; those that are open at the end run to the end of the video.
    assert [(row["stretch.from"], row["stretch.to"], row["stretch.elapsed"]) for row in rows] == [
        (1, 3.5, 2.5),
        (2, 3.5, 1.5),
        (3, 3.25, 0.25),
    ]


def test_crossing_a_quarter_of_the_video_is_an_event(gateway: Gateway, player: Player) -> None:
    player.join(identifier="progress")
    for start, to in ((0, 3), (6, 10), (0, 8)):
        player.event("play", duration=10, **{"from": start}, timestamp=1_700_000_000_000 + start * 1000)
        player.event("pause", to=to, duration=10)
    player.settle()
    rows = named(gateway, "progress", "progress")
    assert [(row["coverage"], row["@timestamp"]) for row in rows] == [
        (0.25, "2023-11-14T22:13:22.500Z"), (0.75, "2023-11-14T22:13:23.500Z"), (0.95, "2023-11-14T22:13:25.500Z"), (0.5, "2023-11-14T22:13:28.000Z"),
    ]  # fmt: skip


# --- The end of a socket ---------------------------------------------------------------------------------------


def test_a_player_that_goes_away_while_it_plays_has_watched_until_then(gateway: Gateway, player: Player) -> None:
    player.join(identifier="gone")
    player.event("play", duration=0.5, **{"from": 0.25})
    player.settle()
    player.socket.close()
    rows = wait_for(lambda: named(gateway, "gone", "watch"), "the stretch to be closed")
    assert [(row["stretch.from"], row["stretch.to"] <= 0.5) for row in rows] == [(0.25, True)]
    assert [row["event"] for row in named(gateway, "gone", "disconnect")] == ["video.disconnect"]


def test_a_silent_socket_is_closed_though_it_answers_pings(gateway: Gateway, player: Player) -> None:
    player.join(identifier="silent")
    with pytest.raises(ConnectionClosed) as error:
        player.hear()
    assert error.value.rcvd is not None and error.value.rcvd.code == 1000


def test_heartbeats_keep_a_socket_open(gateway: Gateway, player: Player) -> None:
    import time

    player.join(identifier="beating")
    until = time.monotonic() + 8
    while time.monotonic() < until:
        player.settle()
        time.sleep(0.5)
    player.settle()
