"""The text of an event, as the tracker writes it and as a load reads it. Source: tracker contract, 2.1 and 4.1."""

from __future__ import annotations

import re
from typing import Any

import pytest
from analytics.input import AnalyticsTracker
from hypothesis import given
from hypothesis import strategies as st

from metronome.client.text import PROPERTY_PREFIX, Printed, parsed, plain, printed

T = "2011-08-08T11:45:17.735045"

TEXTS = [
    pytest.param(
        ("myapp", "login", T, "42", {"username": "jo", "useragent": "x"}),
        f'{T} application="myapp" event="login" distinct_id="42"  analytics_prop__username="jo" analytics_prop__useragent="x" ',
        id="an event with everything",
    ),
    pytest.param(
        ("myapp", "login", T, None, {"username": 'a"b'}),
        f"{T} application=\"myapp\" event=\"login\"  analytics_prop__username=\"a'b\" ",
        id="no distinct_id, and a quote in a value",
    ),
    pytest.param(("myapp", "ping", "T", None, {}), 'T application="myapp" event="ping"  ', id="no property: two spaces at the end"),
    pytest.param(
        ("myapp", "n", "T", None, {"count": 3, "ok": True, "none": None}),
        'T application="myapp" event="n"  analytics_prop__count="3" analytics_prop__ok="True" analytics_prop__none="None" ',
        id="values of other types",
    ),
    pytest.param(
        ('my"app', "lo\r\ngin", "T", "a\nb", {"x": "a\nb\rc"}),
        "T application=\"my'app\" event=\"lo gin\" distinct_id=\"a b\"  analytics_prop__x=\"a b c\" ",
        id="line breaks: one event stays one line",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("event", "text"), TEXTS)
def test_an_event_has_this_text(event: tuple[Any, ...], text: str) -> None:
    application, name, time, distinct_id, properties = event
    assert printed(time, application, name, distinct_id, properties) == text


def test_the_tracker_gives_properties_alone_as_text_too() -> None:
    assert AnalyticsTracker.encode({"a": 1, "b c": 'x"'}) == ' analytics_prop__a="1" analytics_prop__b c="x\'" '


PARSED = [
    pytest.param(
        f'{T} application="myapp" event="login" distinct_id="42" analytics_prop__username="jo" ',
        Printed(T, "myapp", "login", "42", {"username": "jo"}),
        id="one space before the properties, as the documentation shows it",
    ),
    pytest.param(
        '2011-08-08 11:45:17   event="e" analytics_prop__b="2"   application="a"  ',
        Printed("2011-08-08 11:45:17", "a", "e", None, {"b": "2"}),
        id="any order, any number of spaces, a time with a space",
    ),
    pytest.param('T application="a" event="e"', Printed("T", "a", "e"), id="no space at the end"),
    pytest.param('application="a" event="e"  ', Printed("", "a", "e"), id="no time"),
    pytest.param(
        'T application="a" event="e"  analytics_prop__a b=c="1 = 2" ',
        Printed("T", "a", "e", None, {"a b=c": "1 = 2"}),
        id="a property of any name",
    ),
    pytest.param(
        'T application="a" event="e"  analytics_prop__event="x" analytics_prop__application="y" ',
        Printed("T", "a", "e", None, {"event": "x", "application": "y"}),
        id="the prefix keeps properties apart",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "event"), PARSED)
def test_a_text_says_this_event(text: str, event: Printed) -> None:
    assert parsed(text) == event


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "no part such as", id="nothing"),
        pytest.param("198.51.100.7 - - [22/Nov/2026:09:30:00 +0000]", "no part such as", id="an access log"),
        pytest.param('T event="e"', 'has no application="…"', id="no application"),
        pytest.param('T application="a" event=""', 'has no event="…"', id="an empty event"),
        pytest.param(
            'T application="a" event="e" other="x"', "can't be read from character 29 on", id="a foreign part"
        ),
        pytest.param('T application="a" event="e" analytics_prop__x="1', "from character 29 on", id="cut short"),
    ],
)
def test_a_text_that_says_none_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parsed(text)


NAMES = st.text(min_size=1).filter(lambda text: '="' not in plain(text) and text.strip())
VALUES = st.text() | st.integers() | st.booleans() | st.none()


@given(
    st.text().filter(lambda text: 'application="' not in text and "\n" not in text),
    NAMES,
    NAMES,
    st.none() | st.text(),
    st.dictionaries(st.text(max_size=20), VALUES, max_size=4),
)
def test_what_is_printed_is_read_again(
    time: str, application: str, event: str, distinct_id: str | None, properties: dict[str, Any]
) -> None:
    own = {plain(name): plain(value) for name, value in properties.items()}
    expected = Printed(
        time.strip(" "), plain(application), plain(event), None if distinct_id is None else plain(distinct_id), own
    )
    text = printed(time, application, event, distinct_id, properties)
    assert not re.search(r"[\r\n]", text[len(time) :])
    # Two names that differ by a quote only print alike.
    if len(own) == len(properties) and not any(part in time for part in ("event=", "distinct_id=", PROPERTY_PREFIX)):
        assert parsed(text) == expected
