"""Reading times, and the edges of days, weeks and months on days of 23, 24 and 25 hours."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from metronome.periods import (
    INTERVALS,
    Every,
    Period,
    bucket_of,
    common_step,
    edges,
    from_ms,
    label,
    midnight,
    next_bucket,
    period,
    read_time,
    to_ms,
    to_text,
    zone,
)

PARIS, NEW_YORK, UTC_ZONE = ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York"), ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param("2026-11-22T09:30:00.123Z", "2026-11-22T09:30:00.123Z", id="as we write it"),
        pytest.param("2026-11-22T09:30:00", "2026-11-22T09:30:00.000Z", id="without an offset it is UTC"),
        pytest.param("2026-11-22T09:30:00+01:00", "2026-11-22T08:30:00.000Z", id="with an offset"),
        pytest.param("2026-11-22T09:30:00-0530", "2026-11-22T15:00:00.000Z", id="an offset without colon"),
        pytest.param("2026-11-22 09:30:00", "2026-11-22T09:30:00.000Z", id="a blank instead of the T"),
        pytest.param("2026-11-22", "2026-11-22T00:00:00.000Z", id="a date is its midnight"),
        pytest.param("2026-11-22T09:30:00.123456789Z", "2026-11-22T09:30:00.123Z", id="nanoseconds are cut"),
        pytest.param("2026-11-22T09:30:00.9999Z", "2026-11-22T09:30:00.999Z", id="never rounded into the next second"),
        pytest.param(" 2026-11-22T09:30:00Z ", "2026-11-22T09:30:00.000Z", id="blanks around don't matter"),
        pytest.param(1421884800, "2015-01-22T00:00:00.000Z", id="below 1e11 seconds"),
        pytest.param(1421884800.5, "2015-01-22T00:00:00.500Z", id="seconds with a fraction"),
        pytest.param(1421884800123, "2015-01-22T00:00:00.123Z", id="below 1e14 milliseconds"),
        pytest.param(1421884800123456, "2015-01-22T00:00:00.123Z", id="below 1e17 microseconds"),
        pytest.param(1421884800123456789, "2015-01-22T00:00:00.123Z", id="else nanoseconds"),
        pytest.param("1421884800", "2015-01-22T00:00:00.000Z", id="a number as text, as forms send it"),
        pytest.param("1421884800123", "2015-01-22T00:00:00.123Z", id="milliseconds as text"),
        pytest.param("1421884800.5", "2015-01-22T00:00:00.500Z", id="a fraction as text"),
        pytest.param(0, "1970-01-01T00:00:00.000Z", id="zero is 1970"),
        pytest.param(-1, "1969-12-31T23:59:59.000Z", id="a time before 1970"),
        pytest.param(99_999_999_999, "5138-11-16T09:46:39.000Z", id="the last second"),
        pytest.param(100_000_000_000, "1973-03-03T09:46:40.000Z", id="the first millisecond"),
        pytest.param(99_999_999_999_999, "5138-11-16T09:46:39.999Z", id="the last millisecond"),
        pytest.param(100_000_000_000_000, "1973-03-03T09:46:40.000Z", id="the first microsecond"),
        pytest.param(100_000_000_000_000_000, "1973-03-03T09:46:40.000Z", id="the first nanosecond"),
    ],
)
def test_a_clients_time_is_read_by_its_form_and_size(given: Any, text: str) -> None:
    moment = read_time(given)
    assert (to_text(moment), moment.tzinfo) == (text, UTC)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param("yesterday", "'yesterday' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z", id="words"),
        pytest.param("", "'' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z", id="nothing"),
        pytest.param(
            "2026-02-30T00:00:00Z",
            "'2026-02-30T00:00:00Z' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z",
            id="30 February",
        ),
        pytest.param(
            "0001-01-01T00:00:00+14:00",
            "'0001-01-01T00:00:00+14:00' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z",
            id="before the year 1",
        ),
        pytest.param(
            "x" * 99,
            f"{'x' * 40!r} is not an ISO 8601 time, such as 2026-11-22T09:30:00Z",
            id="a long text is told in part",
        ),
        pytest.param(float("nan"), "is not a finite number", id="NaN"),
        pytest.param(float("inf"), "is not a finite number", id="infinity"),
        pytest.param(10**30, f"{10**30} is out of range for a time", id="a number past the year 9999"),
        pytest.param(True, "is not a time: send ISO 8601 text or a Unix time in seconds or milliseconds", id="a flag"),
        pytest.param([1], "is not a time: send ISO 8601 text or a Unix time in seconds or milliseconds", id="an array"),
    ],
)
def test_what_is_no_time_is_refused_with_what_would_be_one(given: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        read_time(given)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_stored_time_is_read_back_as_the_same_millisecond(moment: datetime) -> None:
    read = read_time(to_text(moment))
    assert timedelta() <= moment - read < timedelta(milliseconds=1)
    assert from_ms(to_ms(read)) == read


@pytest.mark.parametrize(
    ("day", "tz", "hours"),
    [
        pytest.param(date(2026, 3, 29), "Europe/Paris", 23, id="Paris springs forward"),
        pytest.param(date(2026, 10, 25), "Europe/Paris", 25, id="Paris falls back"),
        pytest.param(date(2026, 3, 8), "America/New_York", 23, id="New York springs forward"),
        pytest.param(date(2026, 11, 1), "America/New_York", 25, id="New York falls back"),
        pytest.param(date(2026, 11, 22), "America/New_York", 24, id="any other day"),
        pytest.param(date(2018, 11, 4), "America/Sao_Paulo", 23, id="Sao Paulo skips midnight"),
        pytest.param(date(2018, 2, 17), "America/Sao_Paulo", 25, id="Sao Paulo shows the hour before midnight twice"),
        pytest.param(date(2026, 4, 24), "Africa/Cairo", 23, id="Cairo skips midnight"),
        pytest.param(date(2026, 10, 29), "Africa/Cairo", 25, id="Cairo shows the hour before midnight twice"),
        pytest.param(date(2025, 11, 2), "America/Havana", 25, id="Havana shows midnight twice"),
        pytest.param(date(2026, 4, 5), "Australia/Lord_Howe", 24.5, id="Lord Howe falls back by half an hour"),
        pytest.param(date(2011, 12, 29), "Pacific/Apia", 24, id="Samoa's last day before the date line moved"),
        pytest.param(date(2011, 12, 30), "Pacific/Apia", 0, id="Samoa's day that never was"),
    ],
)
def test_a_local_day_lasts_as_long_as_its_clock_says(day: date, tz: str, hours: float) -> None:
    start, end = midnight(day, zone(tz)), midnight(day + timedelta(days=1), zone(tz))
    assert end - start == timedelta(hours=hours)
    assert list(edges(start, end, "day", zone(tz))) == ([start, end] if hours else [start])


@pytest.mark.parametrize(
    ("day", "tz", "first", "last"),
    [
        pytest.param(date(2018, 11, 4), "America/Sao_Paulo", "01:00:00-02:00", "00:00:00-02:00", id="Sao Paulo"),
        pytest.param(date(2026, 4, 24), "Africa/Cairo", "01:00:00+03:00", "00:00:00+03:00", id="Cairo"),
        pytest.param(date(2025, 3, 9), "America/Havana", "01:00:00-04:00", "00:00:00-04:00", id="Havana"),
    ],
)
def test_a_day_without_midnight_begins_at_the_first_instant_that_exists(
    day: date, tz: str, first: str, last: str
) -> None:
    start = midnight(day, zone(tz))
    following = next_bucket(start, "day", zone(tz))
    assert start.astimezone(zone(tz)).isoformat() == f"{day}T{first}"
    assert following.astimezone(zone(tz)).isoformat() == f"{day + timedelta(days=1)}T{last}"
    assert label(start, "day", zone(tz)) == str(day)
    assert label(start - timedelta(milliseconds=1), "day", zone(tz)) == str(day - timedelta(days=1))


@pytest.mark.parametrize(
    ("first", "last", "interval", "tz", "labels"),
    [
        pytest.param(
            "2026-03-28T12:00Z", "2026-03-30T12:00Z", "day", "Europe/Paris", ["2026-03-28", "2026-03-29", "2026-03-30"], id="days"
        ),
        pytest.param("2026-11-20T00:00Z", "2026-11-30T00:00Z", "week", "UTC", ["2026-11-16", "2026-11-23", "2026-11-30"], id="weeks begin on Monday"),
        pytest.param("2026-11-30T22:59Z", "2027-01-31T23:00Z", "month", "Europe/Paris", ["2026-11", "2026-12", "2027-01", "2027-02"], id="months in local time"),
        pytest.param("2025-06-01T00:00Z", "2027-01-01T00:00Z", "year", "UTC", ["2025", "2026", "2027"], id="years"),
        pytest.param(
            "2026-10-25T00:00Z",
            "2026-10-25T02:30Z",
            "hour",
            "Europe/Paris",
            ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
            id="the hour shown twice is two hours",
        ),
        pytest.param(
            "2026-03-29T00:59Z", "2026-03-29T01:00Z", "hour", "Europe/Paris", ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"], id="the hour left out is none"
        ),
        pytest.param(
            "2026-11-22T00:00Z", "2026-11-22T01:00Z", "hour", "Asia/Kolkata", ["2026-11-22T05:00+05:30", "2026-11-22T06:00+05:30"], id="hours begin on the local clock"
        ),
        pytest.param(
            "2026-10-03T15:00Z",
            "2026-10-03T16:00Z",
            "hour",
            "Australia/Lord_Howe",
            ["2026-10-04T01:00+10:30", "2026-10-04T02:30+11:00", "2026-10-04T03:00+11:00"],
            id="half an hour left out cuts an hour short",
        ),
        pytest.param(
            "2026-04-04T14:59Z",
            "2026-04-04T15:30Z",
            "hour",
            "Australia/Lord_Howe",
            ["2026-04-05T01:00+11:00", "2026-04-05T01:30+10:30", "2026-04-05T02:00+10:30"],
            id="half an hour shown twice is two buckets",
        ),
    ],
)  # fmt: skip
def test_buckets_have_the_names_of_the_local_calendar(
    first: str, last: str, interval: str, tz: str, labels: list[str]
) -> None:
    starts = edges(read_time(first), read_time(last), interval, zone(tz))
    assert [label(start, interval, zone(tz)) for start in starts] == labels


@tuned(max_examples=400)
@given(
    st.datetimes(datetime(1972, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(sorted(available_timezones())),
    st.sampled_from(INTERVALS),
)
def test_every_moment_is_in_exactly_one_bucket_of_any_zone(moment: datetime, tz: str, interval: str) -> None:
    start = bucket_of(moment, interval, zone(tz))
    following = next_bucket(start, interval, zone(tz))
    assert start <= moment < following
    assert [bucket_of(start, interval, zone(tz)), bucket_of(following, interval, zone(tz))] == [start, following]


@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
@pytest.mark.parametrize(
    ("tz", "change"),
    [
        pytest.param("Europe/Paris", "2026-10-25T01:00Z", id="back in Paris"),
        pytest.param("America/Sao_Paulo", "2018-11-04T03:00Z", id="forward over midnight in Sao Paulo"),
        pytest.param("America/Havana", "2025-11-02T05:00Z", id="back to midnight in Havana"),
        pytest.param(
            "America/St_Johns", "2010-11-07T02:31Z", id="back over midnight, a minute after it, in Newfoundland"
        ),
        pytest.param("Australia/Lord_Howe", "2026-10-03T15:30Z", id="forward by half an hour on Lord Howe"),
        pytest.param("Pacific/Apia", "2011-12-30T10:00Z", id="forward by a day in Samoa"),
    ],
)
def test_edges_partition_the_time_line_around_a_change_of_the_clock(tz: str, change: str, interval: str) -> None:
    first, last = read_time(change) - timedelta(days=2), read_time(change) + timedelta(days=2)
    starts = list(edges(first, last, interval, zone(tz)))
    assert starts[0] <= first
    assert all(one < other for one, other in pairwise(starts))
    names = [label(start, interval, zone(tz)) for start in starts]
    assert len(set(names)) == len(names)
    moments = [first + timedelta(minutes=7 * step) for step in range(4 * 24 * 60 // 7)]
    assert {moment: bucket_of(moment, interval, zone(tz)) for moment in moments} == {
        moment: max(start for start in starts if start <= moment) for moment in moments
    }


@pytest.mark.parametrize(
    ("first", "last", "tz", "found"),
    [
        pytest.param(None, None, UTC_ZONE, (None, None), id="open on both sides"),
        pytest.param("", "", UTC_ZONE, (None, None), id="empty is open"),
        pytest.param("2026-11-22", "2026-11-22", UTC_ZONE, ("2026-11-22T00:00:00.000Z", "2026-11-23T00:00:00.000Z"), id="to a date includes that day"),
        pytest.param("2026-10-25", "2026-10-25", PARIS, ("2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"), id="a date is a day of the zone"),
        pytest.param("2026-11-22T10:00Z", "2026-11-22T11:00Z", PARIS, ("2026-11-22T10:00:00.000Z", "2026-11-22T11:00:00.000Z"), id="a time is an instant"),
        pytest.param("2026-11-22T10:00", None, NEW_YORK, ("2026-11-22T15:00:00.000Z", None), id="without an offset it is in the zone"),
        pytest.param("2026-11-22 10:00:00", None, NEW_YORK, ("2026-11-22T15:00:00.000Z", None), id="a blank for the T"),
        pytest.param("2026-11-22T10:00:00 01:00", None, UTC_ZONE, ("2026-11-22T09:00:00.000Z", None), id="a plus that arrives as a blank"),
    ],
)  # fmt: skip
def test_a_period_as_users_write_it(
    first: str | None, last: str | None, tz: ZoneInfo, found: tuple[str | None, str | None]
) -> None:
    start, end = (read_time(text) if text else None for text in found)
    assert period(first, last, tz) == Period(start, end)


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        pytest.param("today", None, "from: 'today' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z", id="a word"),
        pytest.param("2026-13-01", None, "from: '2026-13-01' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z", id="a 13th month"),
        pytest.param(None, "9999-12-31", "to: '9999-12-31' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z", id="the end of time"),
        pytest.param("0001-01-01T00:00:00+14:00", None, "from: '0001-01-01T00:00:00+14:00' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z", id="before time"),
        pytest.param("2026-11-22", "2026-11-21", "to: '2026-11-21' is before from: '2026-11-22'", id="the wrong way round"),
        pytest.param("2026-11-22T10:00Z", "2026-11-22T10:00Z", "to: '2026-11-22T10:00Z' is before from: '2026-11-22T10:00Z'", id="nothing in between"),
    ],
)  # fmt: skip
def test_what_is_no_period_is_refused_by_parameter(first: str | None, last: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        period(first, last, UTC_ZONE)


@pytest.mark.parametrize("name", ["Europe/Pari", "", "../etc/passwd", "/etc/passwd", "UTC\0", "x" * 300])
def test_an_unknown_time_zone_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone; use an IANA name such as Europe/Paris or UTC"):
        zone(name)


def test_clocks_never_change_twice_within_the_stretch_that_hours_are_counted_in() -> None:
    # What `Every.starts` skips over, against the step by step way, for every zone and the years in which most changed.
    for name in sorted(available_timezones()):
        every = Every("hour", tz=zone(name))
        for year in (1945, 1972, 2007, 2026):
            first, last = datetime(year, 3, 20, tzinfo=UTC), datetime(year, 4, 12, tzinfo=UTC)
            found = list(every.starts(first, last))
            assert found[0] == every.start_of(first)
            assert [every.after(start) for start in found[:-1]] == found[1:], (name, year)


def test_hours_of_five_years_in_a_zone_are_cheap() -> None:
    started = time.process_time()
    found = list(edges(datetime(2021, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), "hour", PARIS))
    assert len(found) == 24 * (5 * 365 + 1) + 1
    assert time.process_time() - started < 0.5  # 2.4 s before; 0.02 s on a slow machine


@pytest.mark.parametrize(
    ("every", "moment", "start"),
    [
        pytest.param(Every("week"), "2000-01-09T23:59:59Z", "2000-01-03T00:00:00Z", id="weeks begin on Monday"),
        pytest.param(Every("week", week_start=6), "2000-01-09T00:00:00Z", "2000-01-09T00:00:00Z", id="or on Sunday"),
        pytest.param(Every("minute", 10), "2026-11-22T09:39:59Z", "2026-11-22T09:30:00Z", id="ten minutes"),
        pytest.param(Every("minute", 10), "1999-12-31T23:55:00Z", "1999-12-31T23:50:00Z", id="before the anchor"),
        pytest.param(Every("second", 7), "2000-01-03T00:00:13Z", "2000-01-03T00:00:07Z", id="seven seconds"),
        pytest.param(Every("hour", 5), "2000-01-03T09:00:00Z", "2000-01-03T05:00:00Z", id="five hours"),
        pytest.param(Every("week", 2), "2000-01-16T12:00:00Z", "2000-01-03T00:00:00Z", id="two weeks"),
        pytest.param(Every("day", 3), "2000-01-01T12:00:00Z", "1999-12-31T00:00:00Z", id="three days, backwards"),
        pytest.param(Every("month", 3), "2026-11-22T00:00:00Z", "2026-10-01T00:00:00Z", id="three months"),
        pytest.param(Every("year", 10), "2026-11-22T00:00:00Z", "2020-01-01T00:00:00Z", id="ten years"),
        pytest.param(
            Every("month", 3, tz=PARIS), "2026-09-30T22:00:00Z", "2026-09-30T22:00:00Z", id="months of a zone"
        ),
        pytest.param(
            Every("day", 2, tz=PARIS), "2026-10-25T23:30:00Z", "2026-10-24T22:00:00Z", id="over a clock change"
        ),
    ],
)
def test_multiples_are_counted_from_a_monday(every: Every, moment: str, start: str) -> None:
    assert every.start_of(read_time(moment)) == read_time(start)


@given(
    st.datetimes(datetime(1890, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(("second", "minute", "hour", "day", "week", "month", "year")),
    st.integers(1, 40),
    st.sampled_from(("UTC", "Europe/Paris", "Africa/Monrovia", "Australia/Lord_Howe", "America/Sao_Paulo")),
    st.integers(0, 6),
)
def test_every_moment_is_in_the_bucket_that_starts_before_it(
    at: datetime, unit: str, count: int, tz: str, week_start: int
) -> None:
    moment = at.replace(tzinfo=UTC)
    every = Every(unit, count, zone(tz), week_start)
    start = every.start_of(moment)
    assert start <= moment < every.after(start)
    assert every.start_of(start) == start
    assert every.start_of(every.after(start)) == every.after(start)


@pytest.mark.parametrize(
    ("zone_name", "first", "last", "interval", "step_s"),
    [
        ("Europe/Paris", "2026-06-01", "2026-06-10", "day", 86_400),
        ("Europe/Paris", "2026-10-20", "2026-10-30", "day", 3600),
        ("Australia/Lord_Howe", "2026-03-20", "2026-04-20", "day", 1800),
        ("Africa/Monrovia", "1971-12-01", "1972-02-01", "month", 30),
        ("UTC", "2026-06-01", "2026-06-01", "year", 86_400),
    ],
)
def test_a_common_step_crosses_no_edge(zone_name: str, first: str, last: str, interval: str, step_s: int) -> None:
    starts = list(edges(read_time(first), read_time(last), interval, zone(zone_name)))
    step, offset = common_step(starts)
    assert all((to_ms(start) - offset) % step == 0 for start in starts)
    assert step >= step_s * 1000


@pytest.mark.parametrize(
    ("first", "last", "tz"),
    [
        ("9999-12-31T20:00:00Z", None, "Asia/Tokyo"),
        ("0001-01-01T00:00:00Z", None, "America/New_York"),
        ("0001-01-01", None, "UTC"),
        (None, "9999-12-31", "UTC"),
    ],
)
def test_what_lies_outside_the_calendar_is_an_error_that_says_so(first: str | None, last: str | None, tz: str) -> None:
    with pytest.raises(ValueError, match=r"(is not a date|before the calendar)"):
        period(first, last, zone(tz))


def test_a_time_of_elasticsearch_beyond_the_calendar_is_its_last_moment() -> None:
    assert from_ms(1e18).year == 9999
    assert from_ms(-1e18).year == 1
