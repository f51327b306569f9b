"""Sessions to try the video API with: those of the original's examples, and some of the last month.

They are the same however often they are made: ids, times and figures follow from the day.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from metronome.event.privacy import Privacy
from metronome.periods import to_ms
from metronome.video.device import Device
from metronome.video.events import Fact, watched
from metronome.video.identity import Page, about
from metronome.video.stretches import Playing, Seen

#: The videos of the example page, and their length in seconds.
VIDEOS = ("clock", "stripes")
LENGTH_S = 12.5

_DEVICES = (
    Device("chrome", "mac", "desktop"), Device("chrome", "android", "mobile"), Device("safari", "ios", "mobile"),
    Device("firefox", "linux", "desktop"), Device("edge", "windows", "desktop"), Device("safari", "ios", "tablet"),
)  # fmt: skip

#: What the original's examples show: when, and what was watched.
_EXAMPLES = (("2023-04-02T08:29:10", 2.0), ("2023-05-02T08:29:20", 6.267), ("2023-05-02T08:41:30", 2.4))

_SESSIONS, _DAYS = 240, 30


def sessions(now: datetime, key: str) -> Iterator[Fact]:
    """The events of all sessions; `key` is the id of the key that the players would have joined with."""
    for number, (text, seconds) in enumerate(_EXAMPLES):
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        yield from _session(f"example-{number}", "label name", _EXAMPLE_PAGE, _DEVICES[0], key, at, [(0.0, seconds)])
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    chance = random.Random(to_ms(today))  # noqa: S311 - the same sessions each time are what is wanted
    for number in range(_SESSIONS):
        at = today - timedelta(minutes=chance.randrange(1, _DAYS * 24 * 60))
        # Most watch the beginning; some skip to the end, and some watch a part again.
        parts = [(0.0, chance.choice((0.6, 3.1, 6.27, 9.0, LENGTH_S)))]
        if chance.random() < 0.4:
            start = round(chance.random() * 10, 2)
            parts.append((start, round(min(LENGTH_S, start + chance.random() * 6), 2)))
        page = chance.choice(_PAGES)
        join = f"demo-{today:%Y%m%d}-{number}"
        yield from _session(join, chance.choice(VIDEOS), page, chance.choice(_DEVICES), key, at, parts)


_EXAMPLE_PAGE = Page("http://example.com/", "example.com")
_PAGES = (
    Page("http://example.com/", "example.com"),
    Page("http://example.com/blog/release", "example.com"),
    Page("https://docs.example.com/start", "docs.example.com"),
)


def _session(
    join: str, identifier: str, page: Page, device: Device, key: str, at: datetime, parts: list[tuple[float, float]]
) -> Iterator[Fact]:
    said: dict[str, Any] = {"identifier": identifier, "metadata": {"demo": True}, "session_data": None}
    found = about(**said, page=page, key=key, session=join, join=join, device=device, privacy=Privacy())
    playing, seen, at_ms = Playing(), Seen(), to_ms(at)
    for start, to in parts:
        stretch = playing.play(start, at_ms)
        _, ended = playing.pause(to)
        if stretch is not None and ended is not None:
            yield from watched(found, [ended], LENGTH_S, seen)
        at_ms += int((to - start) * 1000) + 2000
