"""What isn't stored unasked: names and values of all shippers, and what is cut off the addresses of web pages."""

from __future__ import annotations

from typing import Any

import pytest

from metronome.event.privacy import Pages, is_address, kind_of

#: As the shippers of docs/shippers.md, and web servers' JSON logs, call what they know of a visitor.
WITHHELD = """
    ip $ip client_ip clientip ipAddress IPAddress remote_addr remote_ip remote_host REMOTE_ADDR client.ip client.address
    source.ip source.address request.remote_ip request.client_ip context.ip extra.ip extra.authorization extra.cookie
    headers.cookie headers.Cookie request.headers.Authorization http_x_forwarded_for http.x_forwarded_for X-Forwarded-For
    x-real-ip forwarded cf-connecting-ip CF-Connecting-IP True-Client-IP authorization Proxy-Authorization cookie Set-Cookie
    http_cookie http_authorization fromhost-ip SOURCEIP x-api-key password user.password url.query query_string
""".split()

AGENTS = "user_agent user-agent User-Agent userAgent user_agent.original http_user_agent extra.user_agent agent".split()

PLAIN = """
    id item_id app event session_id distinct_id browser platform country price zip recipe tipp shipping equip address
    street_address agent.name agent.version description cookie_policy_accepted message status host
""".split()


@pytest.mark.parametrize("name", WITHHELD)
def test_names_of_addresses_and_credentials_are_withheld(name: str) -> None:
    assert kind_of(name) == "withheld"


@pytest.mark.parametrize("name", AGENTS)
def test_names_of_agents_are_judged(name: str) -> None:
    assert kind_of(name) == "agent"


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_are_nobodys_business(name: str) -> None:
    assert kind_of(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "url",
        "referer",
        "extra.referer",
        "http_referer",
        "referrer",
        "page_url",
        "url.original",
        "pageUrl",
        "path",
        "request",
    ],
)
def test_names_of_web_pages_are_cut(name: str) -> None:
    assert kind_of(name) == "page"


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        pytest.param("198.51.100.7", True, id="an address"),
        pytest.param("198.51.100.7:52114", True, id="with a port"),
        pytest.param("2001:db8::7", True, id="an address of version 6"),
        pytest.param("[2001:db8::7]:443", True, id="with a port, too"),
        pytest.param("::1", True, id="the short form"),
        pytest.param("::ffff:198.51.100.7", True, id="of version 4 in version 6"),
        pytest.param("fe80::1%eth0", True, id="with a zone"),
        pytest.param('198.51.100.7 - ann [22/Nov/2026:09:30:00 +0000] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0"', True, id="a line of an access log"),
        pytest.param("10.0.22631.1", False, id="a version of Windows"),
        pytest.param("1.2.3", False, id="a version"),
        pytest.param("12:30:45", False, id="a time of day"),
        pytest.param("00:1b", False, id="something with a colon"),
        pytest.param("198.51.100.7 is blocked", False, id="a sentence"),
        pytest.param("home", False, id="a word"),
        pytest.param(3232235777, False, id="a number"),
        pytest.param(None, False, id="nothing"),
    ],
)  # fmt: skip
def test_values_that_are_addresses(value: Any, is_one: bool) -> None:
    assert is_address(value) is is_one


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        pytest.param("https://a.example/p", "https://a.example/p", id="nothing to cut"),
        pytest.param("https://a.example/p?token=1", "https://a.example/p", id="a token"),
        pytest.param("https://a.example/p?token=1&utm_source=x&UTM_medium=y#access_token=2", "https://a.example/p?utm_source=x&UTM_medium=y", id="what analytics needs stays"),
        pytest.param("https://ann:pw@a.example/p", "https://a.example/p", id="user info"),
        pytest.param("https://a.example/@ann", "https://a.example/@ann", id="an @ of the path stays"),
        pytest.param("//ann@a.example/p", "//a.example/p", id="user info without a scheme"),
        pytest.param("/p?token=1", "/p", id="a relative address"),
        pytest.param("/p#utm_source", "/p", id="a fragment"),
        pytest.param("?token=1", "", id="a query alone"),
        pytest.param("/s?q=x&lang=de", "/s?lang=de", id="a parameter that the setting names"),
    ],
)  # fmt: skip
def test_addresses_of_pages_keep_what_analytics_needs(address: str, stored: str) -> None:
    assert Pages(("utm_*", "lang")).stripped(address) == stored


def test_with_no_parameters_to_keep_none_is_kept() -> None:
    assert Pages(()).stripped("/p?utm_source=x&=y&") == "/p"
