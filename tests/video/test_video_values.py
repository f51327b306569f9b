"""The values behind videos: devices, spans of time, containment, stretches. No server is needed."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
import video_oracle

from metronome.errors import BadQuestion
from metronome.video import jsonb
from metronome.video.device import Device, classify
from metronome.video.identity import fits, page_of
from metronome.video.intervals import Interval, read_interval, read_width
from metronome.video.stretches import Parts, Playing, Seen, Stretch, Watched, closed_at, position_of

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
LINUX = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.5 Mobile/15E148 Safari/604.1"  # fmt: skip
IPAD = "Mozilla/5.0 (iPad; CPU OS 15_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.5 Mobile/15E148 Safari/604.1"  # fmt: skip
PIXEL = "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0 Mobile Safari/537.36"
UBUNTU = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
IE = "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        pytest.param(f"{MAC} Version/16.5 Safari/605.1.15", Device("safari", "mac", "desktop"), id="Safari"),
        pytest.param(WINDOWS, Device("chrome", "windows", "desktop"), id="Chrome"),
        pytest.param(f"{WINDOWS} Edg/120.0.0.0", Device("edge", "windows", "desktop"), id="Edge"),
        pytest.param(f"{WINDOWS} OPR/105.0.0.0", Device("opera", "windows", "desktop"), id="Opera"),
        pytest.param(LINUX, Device("chrome", "linux", "desktop"), id="Chrome on Linux"),
        pytest.param(UBUNTU, Device("firefox", "linux", "desktop"), id="Firefox on Ubuntu"),
        pytest.param(IPHONE, Device("safari", "ios", "mobile"), id="a phone"),
        pytest.param(IPAD, Device("safari", "ios", "tablet"), id="a tablet"),
        pytest.param(PIXEL, Device("chrome", "android", "mobile"), id="an Android phone"),
        pytest.param(IE, Device("ie", "windows", "desktop"), id="Internet Explorer"),
        pytest.param(BOT, Device(is_bot=True), id="a bot"),
        pytest.param("", Device(), id="none"),
        pytest.param("curl/8.0", Device(), id="a library"),
        pytest.param("\udcff\x00 nonsense" * 1000, Device(), id="nonsense"),
    ],
)
def test_what_an_agent_says(agent: str, device: Device) -> None:
    assert classify(agent) == device


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("1 day", Interval(0, 86_400_000)), ("2 weeks", Interval(0, 1_209_600_000)), ("1 mon", Interval(1)), ("12 months", Interval(12)),
        ("1 year 2 mons", Interval(14)), ("36:00:00", Interval(0, 129_600_000)), ("1 DAY 12:00", Interval(0, 129_600_000)),
        ("1.5 hours", Interval(0, 5_400_000)), ("90 seconds", Interval(0, 90_000)), ("0.5 years", Interval(6)), (" 3  minutes ", Interval(0, 180_000)),
    ],
)  # fmt: skip
def test_spans_are_read_as_postgresql_reads_them(text: str, interval: Interval) -> None:
    assert read_interval(text, "timeframe") == interval


@pytest.mark.parametrize(
    "text", ["", " ", "day", "1", "1 fortnight", "-1 day", "0 days", "1 day ago", "12:99:00", "0.3 months", "1e9 days", "99999999 years", None, 7, ["1 day"]],
)  # fmt: skip
def test_what_is_no_span_says_so(text: Any) -> None:
    with pytest.raises(BadQuestion, match="timeframe"):
        read_interval(text, "timeframe")


def test_months_and_days_do_not_mix_in_a_width() -> None:
    with pytest.raises(BadQuestion):
        read_width("1 month 1 day", "interval")


def test_random_moments_are_in_the_bucket_that_plain_python_says() -> None:
    chance = random.Random(3)
    for text in ("1 week", "1 day", "3 days", "2 hours", "7 minutes", "1 month", "5 months", "1 year", "3 years"):
        width = read_width(text, "interval")
        for _ in range(300):
            ms = chance.randrange(-2_000_000_000_000, 4_000_000_000_000)
            assert width.bucket(ms) == video_oracle.bucket(ms, text), (text, ms)


def value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth else 6)
    if kind < 6:
        return (None, True, 0, 1.0, "a", "1")[kind]
    if kind == 6:
        return {
            chance.choice("ab.") + chance.choice(("", "b")): value(chance, depth - 1)
            for _ in range(chance.randrange(3))
        }
    return [value(chance, depth - 1) for _ in range(chance.randrange(3))]


def test_containment_and_tokens_agree_with_plain_python() -> None:
    chance, contained = random.Random(5), 0
    for _ in range(30_000):
        have, wanted = value(chance, 3), value(chance, 2)
        expected = video_oracle.contains(have, wanted)
        assert jsonb.contains(have, wanted) == expected, (have, wanted)
        by_tokens = set(jsonb.tokens(wanted, "video")) <= set(jsonb.tokens(have, "video"))
        assert by_tokens or not expected
        if jsonb.is_flat(wanted):
            assert by_tokens == expected, (have, wanted)
        contained += expected
    assert contained > 1000


@pytest.mark.parametrize(
    ("given", "position"),
    [(0, 0), ("3.25", 3.25), ("1e2", 100), (-1, -1), ("-0.5", -0.5), (True, None), (None, None), ("", None), ("nan", None),
     (float("inf"), None), ("1_000", None), ("3.25abc", None), ({}, None), ("9" * 400, None), (10**400, None)],
)  # fmt: skip
def test_positions_are_numbers_or_their_text(given: Any, position: float | None) -> None:
    assert position_of(given) == position


@pytest.mark.parametrize(
    ("duration", "to", "elapsed"), [(None, 15.0, 5.0), (12.0, 12.0, 2.0), (9.0, 10.0, 0.0), (60.0, 15.0, 5.0)]
)
def test_a_stretch_that_nobody_ended_goes_no_further_than_its_video(
    duration: float | None, to: float, elapsed: float
) -> None:
    stretch = Stretch(0, 1000, 10.0)
    assert closed_at(stretch, 6000, duration) == Watched(stretch, to, elapsed)
    assert closed_at(stretch, 0, duration).elapsed == 0


def test_random_stretches_add_up_to_their_distinct_seconds() -> None:
    chance = random.Random(9)
    for _ in range(300):
        seen, every, total = Seen(), set[int](), 0
        for number in range(chance.randrange(1, 12)):
            start = round(chance.random() * 20, 2)
            watched = Watched(Stretch(number, 0, start), round(start + chance.random() * 8, 2), 0)
            every |= set(range(int(start + 0.5), int(watched.to) + 1))
            counted = seen.count(watched)
            total += counted["stretch.fresh"]
            assert (counted["stretch.order"], total) == (number, len(every))


def test_parts_are_the_union() -> None:
    chance = random.Random(4)
    for _ in range(300):
        parts, given = Parts(), []
        for _ in range(chance.randrange(1, 10)):
            start = chance.randrange(30)
            given.append((float(start), float(start + chance.randrange(1, 9))))
            before = parts.length
            fresh = parts.add(*given[-1])
            assert list(parts) == video_oracle.merged(given)
            assert sum(high - low for low, high in fresh) == parts.length - before


def test_the_latest_stretch_by_start_time_is_paused_first() -> None:
    playing = Playing()
    late, early = playing.play(1, 5000), playing.play(2, 3000)
    assert playing.pause(9) == (late, Watched(late, 9, 8))  # type: ignore[arg-type]
    assert playing.pause(1) == (early, None)
    assert playing.pause(3) == (None, None)


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("http://example.test/page/one?utm=1#frag", ("http://example.test/page/one", "example.test")),
        ("https://ann:pw@Example.test:8443/x", ("https://example.test/x", "example.test")),
        ("http://example.com", ("http://example.com/", "example.com")),
        ("http://[::1]:3000/a", ("http://[::1]/a", "::1")),
    ],
)
def test_a_page_has_neither_port_nor_query(address: str, page: tuple[str, str]) -> None:
    found = page_of(address)
    assert found is not None and (found.address, found.host) == page


@pytest.mark.parametrize(
    "address", ["", "nonsense", "/relative", "http://", "file:///x", "http://[::1", 7, None, "http://a/" + "x" * 3000]
)
def test_what_is_no_page_is_none(address: Any) -> None:
    assert page_of(address) is None


def test_metadata_of_any_depth_is_measured_without_a_stack() -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    assert not fits(deep) and not fits({"a": list(range(200))}) and fits({"a": {"b": {"c": [1]}}})


def test_months_are_clamped() -> None:
    assert read_interval("1 month", "t").before(datetime(2024, 3, 31, tzinfo=UTC)) == datetime(2024, 2, 29, tzinfo=UTC)
    assert read_interval("1000 years", "t").before(datetime(500, 1, 1, tzinfo=UTC)).year == 1
