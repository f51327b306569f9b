"""What is derived from an event: which item, what happened, as which format, where from."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from metronome.event.addresses import MAX_REFERER_PAGE, referer_host, referer_page
from metronome.event.agents import judge
from metronome.event.facts import classify, derive, extension_of, format_of, item_of, referer_page_of
from metronome.event.fields import FIELDS, ITEM_NAMES, OWNED, Event, Field, Kind


@pytest.mark.parametrize(
    ("event", "item"),
    [
        pytest.param({"id": "a"}, "a", id="id is the item"),
        pytest.param({"item_id": "b"}, "b", id="item_id alone counts as the id"),
        pytest.param({"extra.item_id": "c"}, "c", id="a log record carries it under extra"),
        pytest.param({"id": "a", "item_id": "b", "extra.item_id": "c"}, "a", id="id decides where all are there"),
        pytest.param({"id": None, "item_id": "b"}, "b", id="null is as good as absent"),
        pytest.param({"id": "", "item_id": "b"}, "", id="an empty id is an id"),
        pytest.param({"id": 0}, 0, id="a number is an id"),
        pytest.param({"event": "view"}, None, id="an event may belong to no item"),
    ],
)
def test_the_item_of_an_event(event: Event, item: object) -> None:
    assert item_of(event) == item


@pytest.mark.parametrize(
    ("event", "tick", "log_record"),
    [
        pytest.param({"accept": "text/html"}, "view", "view", id="html is a view"),
        pytest.param(
            {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}, "view", "view", id="a browser views"
        ),
        pytest.param({"accept": "application/xhtml+xml"}, "view", "view", id="xhtml contains html"),
        pytest.param({"accept": "Text/HTML"}, "view", "view", id="case doesn't matter"),
        pytest.param({"accept": "application/json, text/html"}, "view", "view", id="html wins over json"),
        pytest.param({"accept": "application/json"}, None, None, id="an API call is neither"),
        pytest.param({"accept": "text/javascript"}, None, None, id="a script is neither"),
        pytest.param({"accept": "application/ld+json"}, None, None, id="any kind of json is neither"),
        pytest.param(
            {"accept": "application/geo+json"}, "download", "download", id="GeoJSON is a format asked for by name"
        ),
        pytest.param({"accept": "text/csv"}, "download", "download", id="csv is a download"),
        pytest.param({"accept": "image/png"}, "download", "download", id="any other type is a download"),
        pytest.param({"accept": "*/*"}, "view", None, id="a script's fetch is a view, a shipped record neither"),
        pytest.param({"accept": " */*;q=0.8 "}, "view", None, id="so is anything with a weight"),
        pytest.param({"accept": ""}, "view", None, id="an empty accept is none"),
        pytest.param({"accept": None}, "view", None, id="a null accept is none"),
        pytest.param({}, "view", None, id="no accept is a view from a tick, nothing from a shipper"),
        pytest.param(
            {"format": "csv", "accept": "text/html"}, "download", "download", id="format decides before accept"
        ),
        pytest.param({"format": ""}, "view", None, id="an empty format is none"),
    ],
)
def test_view_download_or_neither(event: Event, tick: str | None, log_record: str | None) -> None:
    assert (classify(event, shipped=False), classify(event, shipped=True)) == (tick, log_record)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        pytest.param({"format": "KML", "accept": "text/csv"}, "kml", id="format first, in lower case"),
        pytest.param({"format": 7}, "7", id="a number is a name too"),
        pytest.param({"accept": "text/csv"}, "csv", id="text/csv is csv"),
        pytest.param({"accept": "TEXT/CSV; charset=utf-8"}, "csv", id="parameters and case don't matter"),
        pytest.param({"accept": "application/vnd.google-earth.kml+xml"}, "kml", id="Google Earth is kml"),
        pytest.param({"accept": "application/geo+json"}, "geojson", id="geo+json is geojson"),
        pytest.param({"accept": "application/x-shapefile"}, "shp", id="x-shapefile is shp"),
        pytest.param({"accept": "application/vnd.shp"}, "shp", id="vnd.shp is shp"),
        pytest.param({"accept": "application/pdf, text/csv"}, "pdf", id="the subtype of the first type otherwise"),
        pytest.param({"accept": "application/x-thing+xml"}, "x-thing+xml", id="the whole subtype"),
        pytest.param({"accept": "*/*", "url": "https://a/b.ZIP?x=.tar"}, "zip", id="else the extension of the address"),
        pytest.param({"url": "https://a.example/"}, "unknown", id="a host's dot is no extension"),
        pytest.param({}, "unknown", id="unknown where nothing tells"),
    ],
)
def test_the_format_of_a_download(event: Event, name: str) -> None:
    assert format_of(event) == name


@pytest.mark.parametrize(
    ("address", "extension"),
    [
        pytest.param("/a/b.tar.gz?x=1", "gz", id="the last one"),
        pytest.param("/a/b.CSV#top", "csv", id="in lower case, before the fragment"),
        pytest.param("/a/.htaccess", "", id="a hidden file has none"),
        pytest.param("/a.b/c", "", id="a folder's isn't the file's"),
        pytest.param("/a/b.", "", id="a last dot is none"),
        pytest.param("/a/b.c-d", "", id="letters and digits only"),
        pytest.param("/a/b.longername", "", id="eight characters at most"),
        pytest.param("", "", id="nothing has none"),
    ],
)
def test_the_extension_of_an_address(address: str, extension: str) -> None:
    assert extension_of(address) == extension


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        pytest.param("https://arcgis.com/", "arcgis.com", id="only the host where the path is a slash"),
        pytest.param("https://arcgis.com", "arcgis.com", id="or empty"),
        pytest.param(
            "https://washingtonpost.com/articles/dc-news?x=1#top",
            "washingtonpost.com/articles/dc-news",
            id="without query and fragment",
        ),
        pytest.param("http://a/b/", "a/b", id="without the last slash"),
        pytest.param(
            "http://user:secret@Example.COM/A", "example.com/A", id="without user; host in lower case, path as it is"
        ),
        pytest.param("http://example.com:80/a", "example.com/a", id="without http's own port"),
        pytest.param("https://example.com:443/a", "example.com/a", id="without https's own port"),
        pytest.param("https://example.com:80/a", "example.com:80/a", id="with the other's port"),
        pytest.param("http://example.com:8080/a", "example.com:8080/a", id="with any other port"),
        pytest.param("http://[2001:DB8::1]:8080/a", "[2001:db8::1]:8080/a", id="an IPv6 host keeps its brackets"),
        pytest.param("example.com/a?b", "example.com/a", id="an address without scheme"),
        pytest.param("//example.com/a", "example.com/a", id="or with slashes alone"),
        pytest.param("android-app://com.google.android.gm/", "com.google.android.gm", id="an app"),
        pytest.param("  https://a/b  ", "a/b", id="without blanks around"),
        pytest.param("http://[broken/a", "http://[broken/a", id="what is no address counts under its own text"),
        pytest.param("http://a:port/b", "http://a:port/b", id="so does one with a wrong port"),
        pytest.param("", None, id="empty is none"),
        pytest.param("-", None, id="a dash is how access logs write none"),
        pytest.param("http:///", None, id="an address without host and path is none"),
    ],
)
def test_the_key_of_a_referer(referer: str, page: str | None) -> None:
    assert referer_page(referer) == page


def test_a_referer_of_any_length_gives_a_key_that_elasticsearch_can_hold() -> None:
    page = referer_page("https://a/" + "x" * 30_000)
    assert page is not None
    assert len(page) == MAX_REFERER_PAGE


@pytest.mark.parametrize(
    ("event", "page"),
    [
        pytest.param({"referer": "https://a.example/x"}, "a.example/x", id="from elsewhere"),
        pytest.param({"extra.referer": "https://a.example/x"}, "a.example/x", id="as a log record carries it"),
        pytest.param({"referer": "", "extra.referer": "http://b/"}, "b", id="an empty one is none"),
        pytest.param(
            {"referer": "https://a.example/x", "url": "https://b.example/y"}, "a.example/x", id="from another host"
        ),
        pytest.param(
            {"referer": "https://a.example/x", "url": "https://a.example/y"}, None, id="not from its own host"
        ),
        pytest.param(
            {"referer": "https://www.a.example/x", "url": "https://A.example/y"}, None, id="nor with www or capitals"
        ),
        pytest.param(
            {"referer": "https://a.example/x", "url": "/y?from=a.example"}, "a.example/x", id="a path names no host"
        ),
        pytest.param(
            {"referer": "https://a.example/x", "url": "https://b.example/?to=a.example"},
            "a.example/x",
            id="a host inside the query isn't the event's own",
        ),
        pytest.param(
            {"referer": "http://a.example/x", "url": "http://a.example"}, None, id="its own host without a path"
        ),
        pytest.param(
            {"referer": "https://a.example/x", "url": "//a.example/y"}, None, id="its own host without a scheme"
        ),
        pytest.param(
            {"referer": "https://a.example/x", "url": "a.example//y"}, "a.example/x", id="two slashes aren't a host"
        ),
        pytest.param(
            {"referer": "app://a.example/x", "url": "app-of-ours://a.example/y"}, None, id="whatever the scheme"
        ),
        pytest.param({"referer": "https://a.example/x", "url": "///a.example/y"}, None, id="a slash too many"),
        pytest.param({"url": "https://a.example/y"}, None, id="none at all"),
        pytest.param({"referer": 5}, "5", id="a number is read as text"),
    ],
)
def test_where_an_event_came_from(event: Event, page: str | None) -> None:
    assert referer_page_of(event) == page


def test_the_host_of_a_referer_is_without_www() -> None:
    assert [referer_host(page) for page in ("www.arcgis.com/a/b", "arcgis.com", "wwww.a/b")] == [
        "arcgis.com",
        "arcgis.com",
        "wwww.a",
    ]


def test_the_table_names_each_field_once_with_a_meaning() -> None:
    names = [field.name for field in FIELDS]
    assert len(names) == len(set(names))
    assert [field.name for field in FIELDS if not field.meaning.endswith(".") or "  " in field.meaning] == []
    assert {field.kind for field in FIELDS} <= set(get_args(Kind))
    assert frozenset(("received_at", "dialect", "is_robot", "is_machine", "flags", "referer_page")) <= OWNED


@pytest.mark.parametrize("kind", ["text", "integer", "Keyword", ""])
def test_an_unknown_kind_is_an_error_not_silently_a_keyword(kind: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"^field 'x': kind '{kind}' is none of keyword, long, double, boolean, date$"
    ):
        Field("x", kind, "What it means.")


def test_item_names_are_fields_of_their_own() -> None:
    assert set(ITEM_NAMES) <= {field.name for field in FIELDS}


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"


@pytest.mark.parametrize(
    ("event", "tick", "record"),
    [
        pytest.param({}, {"event": "view"}, {}, id="nothing said"),
        pytest.param({"event": ""}, {"event": "view"}, {"event": ""}, id="an empty name"),
        pytest.param({"event": 0}, {}, {}, id="a name that is a number"),
        pytest.param({"event": None}, {"event": "view"}, {"event": None}, id="a null name"),
        pytest.param({"format": "KML"}, {"event": "download"}, {"event": "download"}, id="a format as sent stays"),
        pytest.param({"event": "download"}, {"format": "unknown"}, {"format": "unknown"}, id="a download gets a format"),
        pytest.param({"event": "login", "accept": "text/csv"}, {}, {}, id="another event doesn't"),
        pytest.param({"event": "x", "user_agent": FIREFOX}, judge(FIREFOX), judge(FIREFOX), id="an agent is judged"),
        pytest.param({"event": "x", "user_agent": "", "http_user_agent": FIREFOX}, judge(FIREFOX), judge(FIREFOX), id="under any of its names"),
        pytest.param({"event": "x", "user_agent": FIREFOX, "browser": "Edge"}, {**judge(FIREFOX), "browser": "Edge"}, {**judge(FIREFOX), "browser": "Edge"}, id="a browser as sent stays"),
        pytest.param({"event": "x", "user_agent": FIREFOX, "platform": None}, judge(FIREFOX), judge(FIREFOX), id="a null platform is none"),
        pytest.param({"event": "x", "referer": "https://a.example/x?y"}, {"referer_page": "a.example/x"}, {"referer_page": "a.example/x"}, id="a referer gets its key"),
    ],
)  # fmt: skip
def test_what_is_derived_of_a_raw_event(event: Event, tick: Event, record: Event) -> None:
    for shipped, facts in ((False, tick), (True, record)):
        found = dict(event)
        derive(found, shipped=shipped)
        assert found == {**event, **facts}
