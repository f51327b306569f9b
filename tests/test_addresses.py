"""Addresses, read by cutting text, against the standard library's reader."""

from __future__ import annotations

import random
from urllib.parse import urlsplit

import pytest

from metronome.event.addresses import MAX_REFERER_PAGE, host_of, referer_page

PIECES = [
    "http://",
    "https://",
    "//",
    "HTTP://",
    "ftp://",
    "a.com",
    "A.com",
    "www.b.org",
    "user@c.net",
    ":80",
    ":443",
    ":8080",
    "[::1]",
    "/",
    "/p/a",
    "/p/a/",
    "?q=1",
    "#f",
    "?a#b",
    "#a?b",
    "é",
    "%20",
    "-",
    ".",
    "..",
    "http:",
    "localhost",
    "://",
    "[bad",
    ":99999",
    "a_b.c",
    "",
    " ",
    "\t",
    "\n",
    "x y",
]


def page_by_urlsplit(referer: str) -> str | None:
    """The rule of the tick/tock contract, section 3.3, in the words of the standard library."""
    referer = referer.strip()
    if referer in ("", "-"):
        return None
    try:
        parts = urlsplit(referer if "://" in referer else "//" + referer.lstrip("/"))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return referer.lstrip("/")[:MAX_REFERER_PAGE]
    host = f"[{host}]" if ":" in host else host
    if port and {"http": 80, "https": 443}.get(parts.scheme) != port:
        host += f":{port}"
    return (host + parts.path).rstrip("/")[:MAX_REFERER_PAGE] or None


def test_any_text_is_read_as_the_standard_library_reads_it() -> None:
    rng = random.Random(3)
    for _ in range(40_000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 6)))
        page = page_by_urlsplit(text)
        assert referer_page(text) == page, text
        absolute = "://" in text or text.startswith("//")
        host = page.partition("/")[0].removeprefix("www.") if page and absolute else None
        assert host_of(text) == host, text


@pytest.mark.parametrize(
    ("address", "page"),
    [
        pytest.param("https://washingtonpost.com/articles/dc-news?x=1#top", "washingtonpost.com/articles/dc-news", id="the contract's example"),
        pytest.param("https://arcgis.com/", "arcgis.com", id="only a host remains"),
        pytest.param("-", None, id="the dash of access logs"),
        pytest.param("https://a.example/" + "x" * 5000, "a.example/" + "x" * (MAX_REFERER_PAGE - 10), id="an endless one is cut"),
    ],
)  # fmt: skip
def test_the_key_of_a_referer(address: str, page: str | None) -> None:
    assert referer_page(address) == page
