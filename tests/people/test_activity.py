"""Activity buckets: the vectors of the openmetrics contract, section 4.3."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome.people.activity import Buckets, buckets
from metronome.periods import from_ms

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "ms", "found"),
    [
        pytest.param("1970-01-01T00:00:00", 0, Buckets(0, 0, 0, 0), id="the first moment"),
        pytest.param("1970-01-04T23:59:59", 345599000, Buckets(95, 3, 0, 0), id="the first Sunday"),
        pytest.param("1970-01-05T00:00:00", 345600000, Buckets(96, 4, 1, 0), id="the first Monday"),
        pytest.param("2015-01-18T23:59:59", 1421625599000, Buckets(394895, 16453, 2350, 540), id="a Sunday"),
        pytest.param("2015-01-19T00:00:00", 1421625600000, Buckets(394896, 16454, 2351, 540), id="a Monday"),
        pytest.param("2015-01-22T00:00:00", 1421884800000, Buckets(394968, 16457, 2351, 540), id="a Thursday"),
    ],
)
def test_a_moment_is_in_the_buckets_of_the_contract(text: str, ms: int, found: Buckets) -> None:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert moment == from_ms(ms)
    assert buckets(moment) == found
    assert buckets(moment.astimezone(timezone(timedelta(hours=-7)))) == found


@given(MOMENTS)
def test_buckets_are_those_of_the_calendar(moment: datetime) -> None:
    found = buckets(moment)
    start = datetime(1970, 1, 1, tzinfo=UTC)
    monday = datetime(1969, 12, 29, tzinfo=UTC)
    assert start + timedelta(hours=found.hour) <= moment < start + timedelta(hours=found.hour + 1)
    assert (start + timedelta(days=found.day)).date() == moment.date()
    assert (monday + timedelta(weeks=found.week)).isocalendar()[:2] == moment.isocalendar()[:2]
    assert divmod(found.month, 12) == (moment.year - 1970, moment.month - 1)
