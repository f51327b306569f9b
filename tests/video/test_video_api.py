"""The HTTP API of videos, held against plain Python over the same sessions (video contract, sections 2.2, 3.3 and 4)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import video_oracle
from conftest import NOW, Gateway
from seeded import KEY, METADATA, Session, random_sessions, store
from video_oracle import Said, selected

from metronome.keyring import make_sample
from metronome.store import indices

NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000

ONE = {"edge": 0, "ie": 0, "chrome": 1, "firefox": 0, "opera": 0, "safari": 0, "brave": 0, "other": 0}


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway]) -> Gateway:
    return gateway_for(now=NOW)


def ask(gateway: Gateway, path: str, **wanted: Any) -> Any:
    response = gateway.http.post(f"/api/v1/{path}", json=wanted)
    assert response.status_code == 200, response.text
    return response.json


def fill(gateway: Gateway, *sessions: Session) -> list[Said]:
    store(gateway, [fact for session in sessions for fact in session.facts])
    gateway.drain()
    return [one for session in sessions for one in session.stretches]


# --- The contract's figures ------------------------------------------------------------------------------------


@pytest.fixture
def contract(gateway: Gateway) -> Gateway:
    """The two stretches of the contract, section 4."""
    session = Session("contract", metadata={"custom_query_id": 1234}, session_data={"sess": "x"})
    session.watch(0, 0.6, NOW_MS - 60_000, 12.5)
    session.watch(3.25, 6.27, NOW_MS - 50_000, 12.5)
    fill(gateway, session)
    return gateway


PLAYS = {
    "interval": "2026-01-01T00:00:00.000000",
    "views": 1,
    "total_view_time": 3.62,
    "unique_total_view_time": 5,
    "platform": {"mac": 1, "ios": 0, "android": 0, "windows": 0, "linux": 0, "other": 0},
    "device_type": {"mobile": 0, "tablet": 0, "desktop": 1, "other": 0},
    "device": {"mobile": 0, "tablet": 0, "desktop": 1, "other": 0},
    "browser": ONE,
}


@pytest.mark.parametrize(
    ("wanted", "views"),
    [
        pytest.param({"identifier": "label name", "minimum_watch_seconds": 3}, [PLAYS], id="the sum of a session is compared"),
        pytest.param({"identifier": "label name", "minimum_watch_seconds": 4}, [], id="a session that watched less"),
        pytest.param({"query": {"video": {"custom_query_id": 1234}, "session": {"sess": "x"}}}, [PLAYS], id="by metadata and session data"),
        pytest.param({"query": {"video": {"custom_query_id": 1}}}, [], id="other metadata"),
        pytest.param({"query": {"key": KEY}}, [PLAYS], id="by key"),
        pytest.param({"query": {"key": "another"}}, [], id="by another key"),
        pytest.param({"identifier": "label name", "query": {"video": {"custom_query_id": 1}}}, [], id="both must hold"),
        pytest.param({"identifier": "label"}, [], id="an identifier is compared whole"),
        pytest.param({"identifier": {"a": 1}}, [], id="an object as identifier"),
    ],
)  # fmt: skip
def test_plays_of_the_contract(contract: Gateway, wanted: dict[str, Any], views: list[Any]) -> None:
    assert ask(contract, "plays", **wanted) == {"views": views}
    assert ask(contract, "views", **wanted) == {"views": views}


def test_sources_of_the_contract(contract: Gateway) -> None:
    row = {
        "interval": "2026-11-22T09:29:00.000000",
        "path": "http://example.test/page/one",
        "host": "example.test",
        "views": 1,
    }
    assert ask(contract, "sources", identifier="label name", interval="1 minute") == {"sources": [row]}


@pytest.mark.parametrize(
    ("start", "to", "viewers"),
    [
        pytest.param(0, 12.576, [1, 1, 1], id="the README's"),
        pytest.param(3, 6.27, [0, 1, 1], id="the original's defect"),
    ],
)
def test_engagement_of_the_contract(gateway: Gateway, start: float, to: float, viewers: list[int]) -> None:
    session = Session("one")
    session.watch(start, to, NOW_MS - 60_000)
    fill(gateway, session)
    rows = ask(gateway, "engagement", identifier="label name", ranges=3)["engagement"]
    edges = [round(to / 3 * number, 6) for number in range(4)]
    assert rows == [
        {"range": n, "range_time": {"from": edges[n], "to": edges[n + 1]}, "viewers": viewers[n]} for n in range(3)
    ]


def test_seed_rows_of_the_contract(gateway: Gateway) -> None:
    first, second, third = (Session(name, page="http://example.com/", identifier="seeded") for name in ("a", "b", "c"))
    for session, text in (
        (first, "2023-04-02T08:29:10"),
        (second, "2023-05-02T08:29:20"),
        (third, "2023-05-02T08:41:30"),
    ):
        session.watch(0, 6.267, int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000))
    fill(gateway, first, second, third)
    may = {"from": 1682985600, "to": 1683016199}
    (row,) = ask(gateway, "plays", identifier="seeded", interval="1 day", timeframe=may)["views"]
    assert (row["interval"], row["views"], row["total_view_time"]) == ("2023-05-02T00:00:00.000000", 1, 6.267)
    rows = ask(gateway, "sources", identifier="seeded", interval="1 minute", timeframe=1672531200)["sources"]
    assert [(one["interval"], one["path"], one["views"]) for one in rows] == [
        ("2023-04-02T08:29:00.000000", "http://example.com/", 1),
        ("2023-05-02T08:29:00.000000", "http://example.com/", 1),
        ("2023-05-02T08:41:00.000000", "http://example.com/", 1),
    ]


# --- Against plain Python --------------------------------------------------------------------------------------

QUERIES: tuple[dict[str, Any], ...] = (
    *({"video": wanted} for wanted in METADATA),
    {"video": {"tags": ["a"]}}, {"video": {"tags": []}}, {"video": {"by": {}}}, {"video": {"by": {"id": 7}}},
    {"video": {"tags": [{"a": 1}]}}, {"video": {"deep": [[2]]}}, {"video": {"flag": 1}}, {"video": {"flag": True}},
    {"session": {"plan": "paid"}}, {"session": {"user": {"id": 1.0}}, "video": {"custom_query_id": 1234}},
)  # fmt: skip


@pytest.fixture
def filled(gateway: Gateway) -> tuple[Gateway, list[Said]]:
    return gateway, fill(gateway, *random_sessions(7, 400, NOW_MS - 20 * DAY_MS, NOW_MS - 12 * DAY_MS))


def test_random_sessions_give_what_plain_python_gives(filled: tuple[Gateway, list[Said]]) -> None:
    gateway, stretches = filled
    asked_for = [({"query": query}, selected(stretches, query)) for query in QUERIES]
    asked_for += [({"identifier": one}, selected(stretches, None, one)) for one in ("label name", {"a": 1}, 5)]
    assert sum(1 for _, found in asked_for if found) > 15
    for number, (wanted, found) in enumerate(asked_for):
        width = ("12 months", "1 month", "1 week", "1 day", "2 hours", "5 minutes")[number % 6]
        minimum = (1, 0, 0.5, 5)[number % 4]
        more = {**wanted, "timeframe": "30 days", "interval": width, "minimum_watch_seconds": minimum}
        views = ask(gateway, "plays", **more)["views"]
        for row in views:
            row["total_view_time"] = round(row["total_view_time"], 4)
        assert views == video_oracle.plays(found, width, minimum), more
        assert ask(gateway, "sources", **more)["sources"] == video_oracle.sources(found, width, minimum), more
        ranges = ask(gateway, "engagement", **wanted, timeframe="30 days", ranges=7)["engagement"]
        assert ranges == video_oracle.engagement(found, 7), wanted
        if number % 4 == 0:
            rows = ask(gateway, "engagement", **wanted, timeframe="30 days", interval=width)["engagement"]
            assert rows == video_oracle.per_second(found, width), wanted


def test_reports_give_what_plain_python_gives(gateway: Gateway) -> None:
    sessions = random_sessions(11, 150, NOW_MS - 20 * DAY_MS, NOW_MS - 19 * DAY_MS)
    same = []
    for number, session in enumerate(sessions):
        one = Session(session.join, page_load=session.page_load, identifier="one video")
        for stretch in session.stretches:
            one.watch(stretch.start, stretch.to, stretch.start_ms, 60.0)
        if number % 10 == 0:
            one.facts += one.facts[:1]  # a message that came twice
        same.append(one)
    stretches = fill(gateway, *same)
    figures, curve = video_oracle.summary(stretches, 1, 6)
    found = ask(gateway, "video/summary", identifier="one video", timeframe="1 month")["summary"]
    shown = {**{name: found[name] for name in figures if name != "peak"}, "peak": found["concurrency"]["peak"]}
    assert shown == {name: pytest.approx(value, abs=1e-5) for name, value in figures.items()}
    rows = ask(gateway, "video/curve", identifier="one video", timeframe="1 month", ranges=6)["curve"]
    assert [(row["viewers"], row["watches"]) for row in rows] == [
        (row["viewers"], pytest.approx(row["watches"], abs=1e-5)) for row in curve
    ]
    assert sum(row["watches"] * 10 for row in rows) == pytest.approx(found["watch_s"], abs=1e-3)
    assert all(row["relative"] is None for row in rows)


def test_a_video_stands_among_its_peers(gateway: Gateway) -> None:
    sessions = []
    for number in range(7):
        session = Session(f"v{number}", identifier=f"video {number}")
        session.watch(0, 10 * (number + 1), NOW_MS - 60_000, 100.0 if number < 6 else 300.0)
        sessions.append(session)
    fill(gateway, *sessions)
    rows = ask(gateway, "video/curve", identifier="video 2", ranges=10)["curve"]
    # Of the five peers of its length, all were watched in the first range, and in the third only three of five.
    assert [row["relative"] for row in rows[:4]] == [0.5, 0.6, 0.7, 0.2]
    assert [row["watch_ratio"] for row in rows[:4]] == [1, 1, 1, 0]


def test_watching_counts_sessions_that_play(gateway: Gateway) -> None:
    from metronome.video.events import Fact, happened, played
    from metronome.video.stretches import Stretch

    sessions = [Session(f"s{number}", metadata={"n": number % 2}) for number in range(6)]
    facts = []
    for number, session in enumerate(sessions):
        facts.append(played(session.about, Stretch(0, NOW_MS - 5000, 0.0), 60.0))
        if number == 3:
            facts.append(played(session.about, Stretch(1, NOW_MS - 4000, 9.0), 60.0))
        if number in (0, 3):
            session.watch(0, 4, NOW_MS - 5000, 60.0)
            facts += session.facts
        if number == 1:
            # A pause before its play ends the stretch, and nothing was watched.
            facts.append(
                Fact(happened(session.about, "pause", NOW_MS), {"stretch.id": "s1-0", "stretch.session": "s1"})
            )
    store(gateway, facts)
    gateway.drain()
    assert ask(gateway, "watching", identifier="label name") == {"watching": 4}
    assert ask(gateway, "watching", query={"video": {"n": 1}}) == {"watching": 2}


# --- How one may ask -------------------------------------------------------------------------------------------


def test_arguments_come_in_a_body_or_a_query_string(contract: Gateway) -> None:
    wanted = {"identifier": "label name", "minimum_watch_seconds": 3, "timeframe": "1 day"}
    expected = {"views": [PLAYS]}
    assert contract.http.get("/api/v1/plays", json=wanted).json == expected
    assert contract.http.post("/api/v1/plays", data=json.dumps(wanted)).json == expected
    assert contract.http.get("/api/v1/plays", query_string=wanted).json == expected
    query = {"query": '{"video": {"custom_query_id": 1234}}', "timeframe": str(NOW_MS // 1000 - 3600)}
    assert contract.http.get("/api/v1/plays", query_string=query).json == expected
    assert contract.http.post("/api/v1/plays", query_string=query).json == expected
    within = {"identifier": "label name", "timeframe": json.dumps({"from": 0, "to": NOW_MS // 1000})}
    assert contract.http.get("/api/v1/plays", query_string=within).json == expected


UNSELECTED = {"error": "Requires a valid JSON query struct."}
WRONG = [
    pytest.param({}, UNSELECTED, id="nothing"),
    pytest.param({"timeframe": "1 day"}, UNSELECTED, id="no selection"),
    pytest.param({"query": {}}, UNSELECTED, id="an empty query"),
    pytest.param({"query": {"other": 1}}, UNSELECTED, id="a query of neither"),
    pytest.param({"query": "text"}, UNSELECTED, id="a query that is no object"),
    pytest.param({"query": {"video": 7}}, UNSELECTED, id="a video that is no object"),
    pytest.param({"query": {"key": 7}}, UNSELECTED, id="a key that is no text"),
    pytest.param({"identifier": "x", "interval": "1 fortnight"}, None, id="an unknown unit"),
    pytest.param({"identifier": "x", "interval": "0 days"}, None, id="no width"),
    pytest.param({"identifier": "x", "interval": "1 month 1 day"}, None, id="months and days"),
    pytest.param({"identifier": "x", "interval": 7}, None, id="an interval that is a number"),
    pytest.param({"identifier": "x", "timeframe": "soon"}, None, id="an unreadable timeframe"),
    pytest.param({"identifier": "x", "timeframe": {}}, None, id="a timeframe without bounds"),
    pytest.param({"identifier": "x", "timeframe": {"from": 10, "to": 5}}, None, id="a timeframe that ends before it begins"),
    pytest.param({"identifier": "x", "timeframe": {"from": "x"}}, None, id="a bound that is no number"),
    pytest.param({"identifier": "x", "timeframe": True}, None, id="a timeframe that is true"),
    pytest.param({"identifier": "x", "minimum_watch_seconds": "a lot"}, None, id="a minimum that is no number"),
    pytest.param({"identifier": "x", "query": {"video": {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}}, None, id="a query too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "answer"), WRONG)
@pytest.mark.parametrize("path", ["plays", "sources"])
def test_what_can_not_be_read_is_a_400(gateway: Gateway, path: str, wanted: dict[str, Any], answer: Any) -> None:
    response = gateway.http.post(f"/api/v1/{path}", json=wanted)
    assert response.status_code == 400 and list(response.json) == ["error"]
    assert answer is None or response.json == answer


@pytest.mark.parametrize("ranges", [0, -1, 1.5, "x", 10_001, True])
def test_ranges_are_whole_numbers_from_one(gateway: Gateway, ranges: Any) -> None:
    assert gateway.http.post("/api/v1/engagement", json={"identifier": "x", "ranges": ranges}).status_code == 400


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"null", b'"x"'])
def test_a_body_that_is_no_object_is_a_400(gateway: Gateway, data: bytes) -> None:
    for method in ("get", "post"):
        assert getattr(gateway.http, method)("/api/v1/plays", data=data).status_code == 400


def test_an_empty_request_is_a_400_and_no_videos_are_no_rows(gateway: Gateway) -> None:
    for path in ("plays", "views", "sources", "engagement", "watching", "video/summary", "video/curve"):
        assert gateway.http.get(f"/api/v1/{path}").json == UNSELECTED
        assert gateway.http.post(f"/api/v1/{path}").status_code == 400
    found = {
        path: ask(gateway, path, identifier="none")
        for path in ("plays", "sources", "engagement", "watching", "video/curve")
    }
    assert found == {
        "plays": {"views": []}, "sources": {"sources": []}, "engagement": {"engagement": []}, "watching": {"watching": 0},
        "video/curve": {"curve": []},
    }  # fmt: skip
    assert ask(gateway, "video/summary", identifier="none")["summary"]["plays"] == 0


def test_any_page_may_ask(gateway: Gateway) -> None:
    preflight = gateway.http.options("/api/v1/plays", headers={"Origin": "https://a.test"})
    answer = gateway.http.get("/api/v1/plays", headers={"Origin": "https://a.test"})
    assert [one.headers["Access-Control-Allow-Origin"] for one in (preflight, answer)] == ["*", "*"]
    assert preflight.status_code == 204


@pytest.mark.parametrize(
    ("text", "start"),
    [
        pytest.param("1 mon", "2026-02-28", id="a month that is shorter"),
        pytest.param("36:00:00", "2026-03-29T12:00", id="hours"),
        pytest.param("2 weeks", "2026-03-17", id="weeks"),
        pytest.param("1 year 1 month", "2025-02-28", id="a year and a month"),
    ],
)
def test_a_timeframe_reaches_back_as_postgresql_counts(
    gateway_for: Callable[..., Gateway], text: str, start: str
) -> None:
    now = datetime(2026, 3, 31, tzinfo=UTC)
    gateway = gateway_for(now=now)
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    sessions = [Session("before"), Session("at")]
    for session, at in zip(sessions, (first - timedelta(milliseconds=1), first), strict=True):
        session.watch(0, 5, int(at.timestamp() * 1000))
    fill(gateway, *sessions)
    rows = ask(gateway, "plays", identifier="label name", interval="1000 years", timeframe=text)["views"]
    assert sum(row["views"] for row in rows) == 1


# --- Keys ------------------------------------------------------------------------------------------------------


@pytest.fixture
def keyed(gateway: Gateway) -> Gateway:
    indices.install(gateway.elasticsearch, gateway.settings)
    assert make_sample(gateway.elasticsearch, gateway.settings)
    assert not make_sample(gateway.elasticsearch, gateway.settings)
    gateway.app.extensions["keyring"].refresh()
    return gateway


def shown(gateway: Gateway) -> dict[str, bool]:
    return {row["key"]: row["disabled_at"] is not None for row in gateway.http.get("/api/v1/keys").json["keys"]}


def test_keys_are_made_listed_and_revoked(keyed: Gateway) -> None:
    made = keyed.http.post("/api/v1/keys")
    assert made.status_code == 201 and list(made.json) == ["key"] and len(base64.b64decode(made.json["key"])) == 16
    named = keyed.http.post("/api/v1/keys", json={"key": "ab/c+d=="})
    assert (named.status_code, named.json) == (201, {"key": "ab/c+d=="})
    again = keyed.http.post("/api/v1/keys", json={"key": "ab/c+d=="})
    assert (again.status_code, again.json) == (400, {"error": "Could not create key"})
    assert shown(keyed) == {KEY: False, made.json["key"]: False, "ab/c+d==": False}
    revoked = keyed.http.delete("/api/v1/keys/ab%2Fc%2Bd%3D%3D")
    assert (revoked.status_code, revoked.json) == (200, {"message": "Key revoked"})
    assert shown(keyed) == {KEY: False, made.json["key"]: False, "ab/c+d==": True}
    unknown = keyed.http.delete("/api/v1/keys/nothing")
    assert (unknown.status_code, unknown.json) == (400, {"error": "Could not revoke key"})


@pytest.mark.parametrize("text", ["/slash/first==", "ends/", "a b", "ключ", "%2F", "?#", "a//b"])
def test_a_key_of_any_text_can_be_revoked(keyed: Gateway, text: str) -> None:
    assert keyed.http.post("/api/v1/keys", json={"key": text}).json == {"key": text}
    assert keyed.http.delete(f"/api/v1/keys/{quote(text, safe='')}").json == {"message": "Key revoked"}
    assert shown(keyed)[text]


@pytest.mark.parametrize(
    "given", [{"key": ""}, {"key": 7}, {"key": "x" * 201}, {"key": "mt_live_0_x"}, {"key": " "}, [], "x"]
)
def test_what_is_no_key_is_not_made(keyed: Gateway, given: Any) -> None:
    answer = keyed.http.post("/api/v1/keys", json=given)
    assert (answer.status_code, answer.json) == (400, {"error": "Could not create key"})


def test_keys_of_players_close_no_door_and_open_none(keyed: Gateway) -> None:
    assert keyed.tick({"id": "home"}).status_code == 202
    from keyed import Kept

    kept = Kept(keyed)
    _, token = kept.make()
    assert [kept.post().status_code, kept.post(token).status_code, kept.post(KEY).status_code] == [401, 202, 403]
    assert keyed.http.get("/api/v1/plays", headers={"X-Api-Key": KEY}).status_code == 403
    assert (
        keyed.http.delete(f"/api/v1/keys/{token}", headers={"X-Api-Key": kept.make(scopes=["admin"])[1]}).status_code
        == 400
    )


# --- Who may ask -----------------------------------------------------------------------------------------------


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


ROUTES = [("post", "plays"), ("get", "views"), ("get", "sources"), ("post", "engagement"), ("get", "watching"), ("get", "keys"),
          ("post", "keys"), ("delete", "keys/x"), ("get", "video/summary"), ("get", "video/curve")]  # fmt: skip


@pytest.fixture
def guarded(gateway_for: Callable[..., Gateway]) -> Iterator[Gateway]:
    yield gateway_for(metrics_auth_enabled="true", metrics_user="ann", metrics_password="pw:1")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_basic_authentication_on_every_route(guarded: Gateway, method: str, path: str) -> None:
    call = getattr(guarded.http, method)
    for headers in (
        {},
        basic("ann", "no"),
        basic("metrics", "metrics"),
        {"Authorization": "Basic %%"},
        {"Authorization": "Bearer x"},
    ):
        refused = call(f"/api/v1/{path}", headers=headers)
        assert (refused.status_code, refused.text, refused.headers["WWW-Authenticate"]) == (
            401,
            "Unauthorized",
            'Basic realm="Application"',
        )
    assert call(f"/api/v1/{path}", headers=basic("ann", "pw:1")).status_code in (200, 201, 400)


@pytest.mark.parametrize("text", ["TRUE", "1", "yes", "false", " true"])
def test_only_true_asks_for_a_password(gateway_for: Callable[..., Gateway], text: str) -> None:
    assert gateway_for(metrics_auth_enabled=text).http.get("/api/v1/plays").json == UNSELECTED


def test_refusals_have_the_form_of_the_original(gateway_for: Callable[..., Gateway]) -> None:
    closed = gateway_for(open="no")
    answer = closed.http.get("/api/v1/plays")
    assert answer.status_code == 401 and list(answer.json["errors"]) == ["detail"]
    for method, path, status in (
        ("get", "plays/below", 404),
        ("get", "nothing", 404),
        ("put", "plays", 405),
        ("get", "keys/x", 405),
    ):
        refused = getattr(closed.http, method)(f"/api/v1/{path}")
        detail = {404: "Not Found", 405: "Method Not Allowed"}[status]
        assert (refused.status_code, refused.json) == (status, {"errors": {"detail": detail}})
    assert closed.http.post("/api/v1/plays", data=b"x" * (closed.settings.max_body_bytes + 1)).status_code == 401
