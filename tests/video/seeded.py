"""Random sessions for the video API: stored through intake as the players' process stores them, and for the oracle."""

from __future__ import annotations

import random
from typing import Any

from conftest import NOW, Gateway
from video_oracle import Said

from metronome.event.privacy import Privacy
from metronome.intake import NO_HORIZON, Intake, Origin
from metronome.keys import split
from metronome.video.device import Device
from metronome.video.events import Fact, watched
from metronome.video.identity import about, page_of
from metronome.video.stretches import Playing, Seen, Watched, closed_at

PRIVACY = Privacy()

KEY = "HDsj3NfKQTNwn5Ix9g+cfQ=="

METADATA: tuple[Any, ...] = (
    {"custom_query_id": 1234},
    {"custom_query_id": 1234.0, "tags": ["a", "b"], "by": {"id": 7, "name": "Ann"}},
    {"custom_query_id": "1234", "tags": ["b"]},
    {"tags": [{"a": 1}, {"b": 2}]},
    {"tags": [{"a": 1, "b": 2}]},
    {"by.id": 7, "flag": True},
    {"by": {"id": [7]}, "flag": 1},
    {"none": None, "deep": [[1, 2], [3]]},
    {},
)
SESSIONS: tuple[Any, ...] = ({"plan": "free"}, {"plan": "paid", "user": {"id": 1}}, None)
IDENTIFIERS: tuple[Any, ...] = ("label name", "other", {"a": 1}, 5, None)
PAGES = ("http://example.test/page/one?x=1", "https://www.example.test/", "http://other.test:8080/p#f")
AGENTS = (
    Device("chrome", "mac", "desktop"), Device("safari", "ios", "mobile"), Device("other", "other", "other"),
    Device("firefox", "linux", "desktop"), Device("edge", "windows", "tablet"),
)  # fmt: skip


def store(gateway: Gateway, facts: list[Fact]) -> None:
    intake = Intake(gateway.settings, gateway.spool, clock=lambda: NOW)
    for fact in facts:
        receipt = intake.accept([fact.event], Origin("video", facts=fact.facts, horizon=NO_HORIZON))
        assert receipt.accepted == 1, receipt.as_dict(full=True)


class Session:
    """One join: plays, pauses and an end, in the order in which they are called."""

    def __init__(
        self, join: str, *, page_load: str = "", page: str = PAGES[0], device: Device = AGENTS[0], **said: Any
    ) -> None:
        found = page_of(page)
        assert found is not None
        self.said = {"identifier": "label name", "metadata": None, "session_data": None, **said}
        self.page, self.device, self.join, self.page_load = found, device, join, page_load or join
        self.about = about(
            **self.said,
            page=found,
            key=split(KEY)[0],
            session=self.page_load,
            join=join,
            device=device,
            privacy=PRIVACY,
        )
        self.playing, self.seen = Playing(), Seen()
        self.duration: float | None = None
        self.facts: list[Fact] = []
        self.stretches: list[Said] = []

    def watch(self, start: float, to: float, at_ms: int, duration: float | None = None) -> None:
        self.duration = duration or self.duration
        self.playing.play(start, at_ms)
        _, found = self.playing.pause(to)
        self.take([found] if found else [])

    def leave(self, start: float, at_ms: int, left_ms: int) -> None:
        stretch = self.playing.play(start, at_ms)
        assert stretch is not None
        self.playing.open.clear()
        self.take([closed_at(stretch, left_ms, self.duration)])

    def take(self, found: list[Watched]) -> None:
        self.facts += watched(self.about, found, self.duration, self.seen)
        self.stretches += [
            Said(
                self.join, self.page_load, one.stretch.start_ms, one.stretch.start, one.to, one.elapsed, self.duration,
                self.page.address, self.page.host, (self.device.browser, self.device.platform, self.device.device),
                self.said["metadata"], self.said["session_data"], self.said["identifier"],
            )
            for one in found
        ]  # fmt: skip


def random_sessions(seed: int, count: int, first_ms: int, last_ms: int) -> list[Session]:
    """Sessions with seeks, replays, overlaps, reconnects, doubled and lost messages."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        page_load = f"load{chance.randrange(count * 2 // 3)}"
        said = {
            "identifier": chance.choice(IDENTIFIERS), "metadata": chance.choice(METADATA),
            "session_data": chance.choice(SESSIONS),
        }  # fmt: skip
        session = Session(
            f"join{seed}-{number}", page_load=page_load, page=chance.choice(PAGES), device=chance.choice(AGENTS), **said
        )
        at = chance.randrange(first_ms, last_ms)
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            if chance.random() < 0.05:
                session.seen.order = None  # the process died meanwhile
            start = chance.choice((0.0, 0.5, 3.25, round(chance.random() * 60, 2)))
            to = round(start + chance.choice((-1, 0, 0.4, 0.5, 1, 5, 20.13)), 2)
            if chance.random() < 0.2:
                session.leave(start, at, at + chance.randrange(120_000))
            else:
                session.watch(start, to, at, chance.choice((None, 60.0)))
            # Some sessions cross hours and days.
            at += chance.choice((100, 5_000, 60_000, 4_000_000, 90_000_000))
        found.append(session)
    return found
