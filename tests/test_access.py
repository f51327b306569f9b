"""Who may do what: every way to come without the right key, and every way to come with it."""

from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Gateway
from keyed import Kept

from metronome.errors import SetupError, StoreUnavailable
from metronome.keyring import Keyring
from metronome.kinds import NETWORKS
from metronome.logs import Discreet
from metronome.settings import Settings
from metronome.store.client import connect
from metronome.wire.access import Access, bound_app, check_start, current

SITE, OTHER_SITE = "https://www.example.org", "https://evil.example"


@pytest.fixture
def kept_for(gateway_for: Callable[..., Gateway]) -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def make(**changed: Any) -> Kept:
        made.append(Kept(gateway_for(**{"open": "no", **changed})))
        return made[-1]

    yield make
    for kept in made:
        kept.gateway.app.extensions["gate"].rates.close()


@pytest.fixture
def kept(kept_for: Callable[..., Kept]) -> Kept:
    return kept_for()


# --- Where a key may stand -------------------------------------------------------------------------------------


def basic(user: str, key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}


WAYS = [
    pytest.param(lambda token: {"headers": {"Authorization": f"Bearer {token}"}}, id="Bearer"),
    pytest.param(lambda token: {"headers": {"Authorization": f"bearer  {token}"}}, id="bearer in small letters"),
    pytest.param(lambda token: {"headers": {"X-Api-Key": token}}, id="X-Api-Key"),
    pytest.param(lambda token: {"headers": {"X-Api-Key": token, **basic("proxy", "its own")}}, id="X-Api-Key beside what a proxy asked for"),
    pytest.param(lambda token: {"headers": basic("logstash", token)}, id="Basic, any user name"),
    pytest.param(lambda token: {"headers": basic("", token)}, id="Basic, no user name"),
    pytest.param(lambda token: {"path": f"/tick?key={token}"}, id="a query parameter"),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_taken_wherever_a_client_can_put_it(kept: Kept, way: Callable[[str], dict[str, Any]]) -> None:
    _, token = kept.make()
    assert kept.gateway.tick({"id": "home"}, **way(token)).status_code == 202
    wrong = kept.gateway.tick({"id": "home"}, **way(token[:-1] + ("a" if token[-1] != "a" else "b")))
    assert (wrong.status_code, wrong.json["error"]["code"]) == (401, "bad_key")


def test_a_key_in_the_query_reaches_no_event_and_no_log(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    _, token = kept.make()
    with caplog.at_level(logging.DEBUG):
        answer = kept.gateway.tick({"text": "x"}, path=f"/tick?id=home&key={token}&shown=1")
        logging.getLogger("metronome.gunicorn").warning("Invalid HTTP request line: %r", f"GET /tick?key={token} BAD")
    assert answer.status_code == 202
    (document,) = kept.gateway.documents()
    assert {name: document.get(name) for name in ("id", "shown", "key", "text")} == {
        "id": "home", "shown": "1", "key": None, "text": "x",
    }  # fmt: skip
    secret = token.rpartition("_")[2][-20:]
    assert secret not in json.dumps(document)
    logged = [Discreet().format(record) for record in caplog.records]
    assert any("Invalid HTTP request line" in line for line in logged)
    assert not [line for line in logged if secret in line]


def test_a_key_in_the_query_is_no_property_where_none_is_asked_for_either(gateway: Gateway) -> None:
    gateway.tick(path="/tick?id=home&key=mt_live_0_secret", data=b"")
    (document,) = gateway.documents()
    assert "key" not in document


def test_a_key_in_the_query_does_not_open_what_only_reads(kept: Kept) -> None:
    _, token = kept.make(scopes=["admin"])
    assert kept.ask(path=f"/tock/home.json?key={token}").status_code == 401


# --- The table of refusals (OWASP API 1, 2 and 5) --------------------------------------------------------------

PAST, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1)


def wrong_secret(token: str) -> str:
    return token.rpartition("_")[0] + "_" + "A" * 43


REFUSALS = [
    pytest.param({}, lambda kept, token: kept.post(), 401, "this gateway asks for a key", id="no key"),
    pytest.param({}, lambda kept, token: kept.post(wrong_secret(token)), 401, "isn't known here", id="a wrong secret"),
    pytest.param({}, lambda kept, token: kept.post("mt_live_000000000000_x"), 401, "isn't known here", id="a key that never was"),
    pytest.param({}, lambda kept, token: kept.post(token[:-2]), 401, "isn't known here", id="a key cut short"),
    pytest.param({}, lambda kept, token: kept.post("letmein"), 401, "isn't known here", id="another text"),
    pytest.param({}, lambda kept, token: kept.post("ключ".encode().decode("latin-1")), 401, "isn't known here", id="bytes that are no text"),
    pytest.param({}, lambda kept, token: kept.post(headers={"Authorization": "Basic %%%"}), 401, "isn't followed by user:key", id="Basic that is none"),
    pytest.param({"expires_at": PAST}, lambda kept, token: kept.post(token), 401, "is expired", id="an expired key"),
    pytest.param({"scopes": ["write"]}, lambda kept, token: kept.ask(token), 403, "has no scope read; it may write", id="a write key reading"),
    pytest.param({"scopes": ["write"]}, lambda kept, token: kept.ask(token, "/metrics"), 403, "has no scope read", id="a write key reading figures"),
    pytest.param({"scopes": ["read"]}, lambda kept, token: kept.post(token), 403, "has no scope write; it may read", id="a read key writing"),
    pytest.param({"networks": ["198.51.100.0/24"]}, lambda kept, token: kept.post(token), 403, "isn't for the network", id="from another network"),
    pytest.param({"origins": [SITE]}, lambda kept, token: kept.post(token, headers={"Origin": OTHER_SITE}), 403, "isn't for pages of https://evil.example", id="from another site"),
    pytest.param({"origins": [SITE]}, lambda kept, token: kept.post(token, headers={"Origin": SITE + ".evil.example"}), 403, "isn't for pages of", id="from a site that begins alike"),
    pytest.param({"origins": [SITE]}, lambda kept, token: kept.post(token), 403, "isn't for pages of no origin", id="from no site"),
    pytest.param({"origins": [SITE]}, lambda kept, token: kept.post(token, headers={"Referer": "https://["}), 403, "isn't for pages of no origin", id="from a page whose address is none"),
    pytest.param({"origins": [SITE], "publishable": True}, lambda kept, token: kept.ask(token), 403, "has no scope read", id="a publishable key reading"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "request_of", "status", "text"), REFUSALS)
def test_a_request_without_the_right_key_is_refused(
    kept: Kept, wanted: dict[str, Any], request_of: Callable[[Kept, str], Any], status: int, text: str
) -> None:
    _, token = kept.make(**wanted)
    answer = request_of(kept, token)
    error = answer.json["error"]
    assert (answer.status_code, error["code"]) == (status, {401: "bad_key", 403: "forbidden"}[status])
    assert text in error["message"]
    assert token.split("_", 3)[-1] not in answer.text  # a secret may hold underscores
    challenges = ['Bearer realm="metronome"', 'Basic realm="metronome"'] if status == 401 else []
    assert answer.headers.getlist("WWW-Authenticate") == challenges
    assert kept.gateway.drain().outcome.indexed == 0, "nothing of it is kept"


def test_a_browser_has_no_window_for_a_password_before_a_page_with_a_field_for_the_key(kept: Kept) -> None:
    kept.make()
    by_script = kept.ask(None, "/query/events", headers={"Sec-Fetch-Dest": "empty"})
    assert by_script.headers.getlist("WWW-Authenticate") == ['Bearer realm="metronome"']
    by_address = kept.ask(None, "/query/events", headers={"Sec-Fetch-Dest": "document"})
    assert by_address.headers.getlist("WWW-Authenticate") == ['Bearer realm="metronome"', 'Basic realm="metronome"']


PERMITTED = [
    pytest.param({"expires_at": LATER}, {}, id="before it expires"),
    pytest.param({"networks": ["127.0.0.0/8", "2001:db8::/32"]}, {}, id="from its network"),
    pytest.param({"networks": ["127.0.0.0/8"]}, {"environ_overrides": {"REMOTE_ADDR": "::ffff:127.0.0.1"}}, id="from its network, in the form of IPv6"),
    pytest.param({"origins": [SITE + "/", "http://localhost:3000"]}, {"headers": {"Origin": "HTTPS://WWW.example.org"}}, id="from its site, however written"),
    pytest.param({"origins": [SITE]}, {"headers": {"Referer": SITE + "/a?b"}}, id="from an image of its site"),
    pytest.param({"origins": ["*"], "publishable": True}, {}, id="from anywhere"),
    pytest.param({"scopes": ["edit"]}, {}, id="with a scope that has it within"),
    pytest.param({"scopes": ["admin"]}, {}, id="with every scope"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "options"), PERMITTED)
def test_a_request_with_the_right_key_is_served(kept: Kept, wanted: dict[str, Any], options: dict[str, Any]) -> None:
    _, token = kept.make(**wanted)
    assert kept.post(token, **options).status_code == 202


@pytest.mark.parametrize(
    ("scopes", "post", "ask"),
    [(["write"], 202, 403), (["read"], 403, 200), (["read", "write"], 202, 200), (["edit"], 202, 200), (["admin"], 202, 200)],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_a_scope_opens_what_it_says(kept: Kept, scopes: list[str], post: int, ask: int) -> None:
    _, token = kept.make(scopes=scopes)
    assert (kept.post(token).status_code, kept.ask(token).status_code) == (post, ask)


def test_a_revoked_key_is_refused_as_soon_as_the_process_has_looked(kept: Kept) -> None:
    key, token = kept.make()
    assert kept.post(token).status_code == 202
    kept.keys.revoke(key.id)
    kept.keyring.refresh()
    answer = kept.post(token)
    assert (answer.status_code, answer.json["error"]["message"]) == (
        401,
        f"key {key.id} is revoked; ask whoever runs this gateway for another",
    )


def test_secrets_are_compared_in_constant_time_whether_or_not_there_is_such_a_key(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = kept.make()
    compared: list[int] = []
    in_constant_time = hmac.compare_digest

    def noting(one: str, other: str) -> bool:
        compared.append(len(one) + len(other))
        return in_constant_time(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    for text in (token, wrong_secret(token), "mt_live_000000000000_x"):
        compared.clear()
        kept.post(text)
        assert compared == [128, 128], "two digests of 64 digits, twice"


# --- A key that is bound to an application ---------------------------------------------------------------------


def test_a_bound_key_writes_events_of_its_application_alone(kept: Kept) -> None:
    _, token = kept.make(app="shop")
    batch = [{"id": "a"}, {"id": "b", "app": "shop"}, {"id": "c", "app": "bank"}, {"id": "d", "app": None}]
    receipt = kept.post(token, batch).json
    assert [(row["index"], row["reason"]) for row in receipt["rejected"]] == [
        (2, "the key is bound to the app 'shop'; send that one or none")
    ]
    given_in_query = kept.post(token, {"id": "e"}, path="/tick?app=bank")
    assert given_in_query.status_code == 422
    assert {row["id"]: row["app"] for row in kept.gateway.documents()} == {"a": "shop", "b": "shop", "d": "shop"}


def test_a_bound_key_reads_its_application_alone(kept: Kept) -> None:
    _, admin = kept.make(scopes=["admin"])
    _, shop = kept.make(scopes=["read"], app="shop")
    for app, times in (("shop", 1), ("bank", 2)):
        kept.post(admin, [{"id": "home", "app": app}] * times + [{"id": f"only-{app}", "app": app}])
    kept.gateway.drain()

    def views(token: str, item: str) -> int:
        return sum(kept.ask(token, f"/tock/{item}.json").json["views"].values())

    assert [views(admin, item) for item in ("home", "only-shop", "only-bank")] == [3, 1, 1]
    assert [views(shop, item) for item in ("home", "only-shop", "only-bank")] == [1, 1, 0]
    assert kept.ask(shop, "/tock/only-bank.json?strict=1").status_code == 404, "of another it doesn't learn that it is"


def test_a_view_reads_who_came(kept_for: Callable[..., Kept]) -> None:
    kept = kept_for(trusted_proxies=PROXIES)
    key, token = kept.make(app="shop", origins=[SITE], publishable=True)
    headers = {"X-Api-Key": token, "Origin": SITE, "X-Forwarded-For": "198.51.100.1"}
    proxied = {"REMOTE_ADDR": "10.0.0.1"}
    with kept.gateway.app.test_request_context("/tick", method="POST", headers=headers, environ_overrides=proxied):
        kept.gateway.app.extensions["gate"].check("write")
        found = current()
        assert bound_app() == "shop"
    assert found == Access("198.51.100.1", key.id, frozenset({"write"}), "shop", True, (SITE,))


def test_where_no_key_is_asked_for_a_view_reads_the_address_alone(gateway: Gateway) -> None:
    with gateway.app.test_request_context("/tick", environ_overrides={"REMOTE_ADDR": "192.0.2.9"}):
        assert (bound_app(), current()) == ("", Access("192.0.2.9"))


# --- Rates -----------------------------------------------------------------------------------------------------


def left(answer: Any) -> tuple[int, str | None, str | None]:
    return answer.status_code, answer.headers.get("RateLimit-Limit"), answer.headers.get("RateLimit-Remaining")


def test_a_key_has_its_own_rate_and_the_others_are_unharmed(kept: Kept) -> None:
    slow, token = kept.make(rate="2/hour")
    _, other = kept.make()
    answers = [kept.post(token) for _ in range(3)]
    assert [left(answer) for answer in answers] == [(202, "2", "1"), (202, "2", "0"), (429, "2", "0")]
    wait = answers[2].headers["Retry-After"]
    assert answers[2].headers["RateLimit-Reset"] == wait
    assert 3590 < int(wait) <= 3600
    message = f"more than 2/hour from key {slow.id}; send again in {wait} s"
    assert answers[2].json["error"] == {"status": 429, "code": "too_many", "message": message}
    assert left(kept.post(other)) == (202, None, None)


def test_of_two_rates_the_tighter_is_told(kept_for: Callable[..., Kept]) -> None:
    kept = kept_for(rate_limit="3/hour")
    _, token = kept.make(rate="10/hour", scopes=["admin"])
    assert [left(kept.post(token)) for _ in range(4)] == [
        (202, "3", "2"), (202, "3", "1"), (202, "3", "0"), (429, "3", "0"),
    ]  # fmt: skip
    assert left(kept.ask(token)) == (200, "10", "6"), "an address's rate is of posts; a key's is of all it does"


# --- Addresses behind proxies ----------------------------------------------------------------------------------

PROXIES = NETWORKS.read("10.0.0.0/8, 2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        pytest.param("192.0.2.9", "198.51.100.1", "192.0.2.9", id="who is no proxy of ours is not believed"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="a proxy that says nothing"),
        pytest.param("10.0.0.1", "198.51.100.1", "198.51.100.1", id="a proxy names the client"),
        pytest.param("10.0.0.1", "203.0.113.7, 198.51.100.1", "198.51.100.1", id="what the client said itself is left of it"),
        pytest.param("10.0.0.1", "198.51.100.1, 10.0.0.2,10.0.0.3", "198.51.100.1", id="through several proxies of ours"),
        pytest.param("10.0.0.1", "10.1.2.3, 10.0.0.2", "10.1.2.3", id="nobody but proxies: the left-most"),
        pytest.param("10.0.0.1", "198.51.100.1, nonsense, 10.0.0.2", "10.0.0.2", id="behind what is no address nothing is believed"),
        pytest.param("10.0.0.1", "198.51.100.1:4711", "198.51.100.1", id="with a port"),
        pytest.param("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1", id="IPv6 with a port"),
        pytest.param("2001:db8:ffff::1", "2001:db8::1", "2001:db8::1", id="IPv6"),
    ],
)  # fmt: skip
def test_the_client_is_the_right_most_hop_that_is_no_proxy_of_ours(
    kept_for: Callable[..., Kept], peer: str, forwarded: str | None, address: str
) -> None:
    kept = kept_for(trusted_proxies=PROXIES)
    _, token = kept.make(networks=[address])
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    options = {"headers": headers, "environ_overrides": {"REMOTE_ADDR": peer}}
    assert kept.post(token, **options).status_code == 202
    _, token = kept.make(networks=["192.0.2.250"])
    assert kept.post(token, **options).status_code == 403


# --- Pages -----------------------------------------------------------------------------------------------------


def cors(answer: Any) -> tuple[int, str | None, str | None]:
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return answer.status_code, answer.headers.get("Access-Control-Allow-Origin"), answer.headers.get("Vary")


def test_a_preflight_needs_no_key(kept: Kept) -> None:
    answer = kept.gateway.http.options("/tick", headers={"Origin": SITE, "Access-Control-Request-Method": "POST"})
    allowed = answer.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
    assert cors(answer)[:2] == (204, "*")
    assert {"authorization", "x-api-key", "content-type"} <= set(allowed)
    assert kept.gateway.http.options("/tock/home.json").status_code == 200


def test_an_answer_is_for_pages_that_the_key_is_for(kept: Kept) -> None:
    _, page = kept.make(origins=[SITE], publishable=True)
    _, server = kept.make()
    assert cors(kept.post(page, headers={"Origin": SITE})) == (202, SITE, "Origin")
    assert cors(kept.post(page, headers={"Origin": OTHER_SITE})) == (403, None, "Origin")
    assert cors(kept.post(headers={"Origin": SITE})) == (401, None, "Origin")
    assert cors(kept.post(server, headers={"Origin": SITE})) == (202, SITE, "Origin")
    assert cors(kept.post(server)) == (202, None, "Origin")


def test_where_no_key_is_asked_for_every_page_may_post(gateway: Gateway) -> None:
    assert cors(gateway.tick({}, headers={"Origin": SITE})) == (202, "*", None)


# --- Whether keys are asked for --------------------------------------------------------------------------------

HERE, ELSEWHERE = "127.0.0.1:8000", "0.0.0.0:8000"


@pytest.mark.parametrize(
    ("open_", "bind", "without_a_key_made", "after_one_was"),
    [
        pytest.param("", HERE, 202, 401, id="on this machine: until the first key"),
        pytest.param("", ELSEWHERE, 401, 401, id="elsewhere: always"),
        pytest.param("no", HERE, 401, 401, id="no: always"),
        pytest.param("yes", HERE, 202, 202, id="yes: never"),
        pytest.param("yes", ELSEWHERE, 202, 202, id="yes, elsewhere: never"),
    ],
)
def test_keys_are_asked_for_by_setting_address_and_first_key(
    kept_for: Callable[..., Kept], open_: str, bind: str, without_a_key_made: int, after_one_was: int
) -> None:
    kept = kept_for(open=open_, bind=bind)
    kept.keyring.refresh()
    before = kept.post().status_code
    key, _ = kept.make()
    kept.keys.revoke(key.id)
    kept.keyring.refresh()
    assert (before, kept.post().status_code) == (without_a_key_made, after_one_was), "a revoked key counts too"


def test_until_elasticsearch_has_said_which_keys_there_are_the_sender_shall_come_again(settings: Settings) -> None:
    client = connect(settings)
    keyring = Keyring(replace(settings, open="no"), client)
    with pytest.raises(StoreUnavailable, match="doesn't know the keys yet"):
        keyring.find("mt_live_0123456789ab_secret")
    client.close()


@pytest.mark.parametrize("open_", ["", "no"])
@pytest.mark.parametrize("bind", [ELSEWHERE, "[::]:8000", ":8000", "192.0.2.1:8000", "gateway.example.org:8000"])
def test_a_start_where_others_reach_it_and_nobody_has_a_key_is_refused_and_says_what_to_do(
    gateway: Gateway, bind: str, open_: str
) -> None:
    settings = replace(gateway.settings, bind=bind, open=open_)
    with pytest.raises(SetupError) as refused:
        check_start(settings, lambda: Keyring(settings, gateway.elasticsearch))
    assert refused.value.message == (
        f"METRONOME_BIND: {bind} can be reached from elsewhere, and there is no key yet. Make one with "
        "`metronome keys create`, or bind to 127.0.0.1, or say METRONOME_OPEN=yes if everybody may post and ask"
    )


@pytest.mark.parametrize("bind", [HERE, "127.9.9.9:80", "localhost:8000", "[::1]:8000"])
def test_a_start_on_this_machine_alone_needs_no_key(settings: Settings, bind: str) -> None:
    check_start(replace(settings, bind=bind), lambda: pytest.fail("needn't be looked at"))


def test_a_start_elsewhere_is_fine_with_a_key_or_where_it_says_yes_or_while_elasticsearch_is_away(kept: Kept) -> None:
    settings = replace(kept.gateway.settings, bind=ELSEWHERE, open="")
    check_start(replace(settings, open="yes"), lambda: pytest.fail("needn't be looked at"))
    away = connect(replace(settings, elasticsearch_url="http://127.0.0.1:1"))
    check_start(settings, lambda: Keyring(settings, away))
    away.close()
    kept.make()
    check_start(settings, lambda: Keyring(settings, kept.gateway.elasticsearch))


# --- Routes ----------------------------------------------------------------------------------------------------


PUBLIC = (
    *("/", "/healthz", "/readyz", "/openapi.json", "/limits", "/v1/ping"),
    *("/apis/javascript.js", "/apis/javascript/client.js", "/apis/video.js"),
    *("/static/application.js", "/static/applications.css", "/static/graph.js"),
    *("/_/metrics/reports/", "/_/metrics/openapi.json"),
    "/r51/status",
    # The page holds no data; its streams ask for a key.
    *("/live", "/live/page.js", "/live/page.css"),
)

#: The standard of these has credentials of its own (tests/sushi/test_admission.py), which stand in the address.
WITH_THEIR_OWN = ("/r51/members", "/r51/reports", "/r51/reports/<id>")


def test_what_is_public_and_what_is_nowhere_needs_no_key(kept: Kept) -> None:
    found = {path: kept.gateway.http.get(path) for path in (*PUBLIC, "/try/", "/nowhere")}
    assert {path: answer.status_code for path, answer in found.items()} == {
        **dict.fromkeys((*PUBLIC, "/try/"), 200), "/nowhere": 404,
    }  # fmt: skip
    for answer in found.values():
        answer.close()


def test_every_route_but_those_is_closed_to_who_has_no_key(kept: Kept) -> None:
    closed = {}
    for rule in kept.gateway.app.url_map.iter_rules():
        if rule.rule in (*PUBLIC, *WITH_THEIR_OWN):
            continue
        if not rule.rule.startswith(("/try", "/dashboard/", "/videos/")):
            path = rule.rule.replace("<item:item>", "a")
            for method in (rule.methods or set()) - {"OPTIONS"}:
                closed[rule.rule, method] = kept.gateway.http.open(path, method=method).status_code
    assert {name: status for name, status in closed.items() if status != 401} == {}
    assert {("/tick", "POST"), ("/tock/<item:item>", "GET"), ("/tock/<item:item>", "HEAD")} <= closed.keys()
