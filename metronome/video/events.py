"""The events of a session, each with the facts that only the gateway can set.

    video.play, .pause, .leave, .disconnect     what happened, at its own time; and further names as players send them
    video.watch                                 a stretch that was watched, at the time when it began: what is counted
    video.progress                              a quarter, half, three quarters, 95 % of the video have been seen

`video.watch` has the time and the id of its stretch. So however often a stretch is closed, after a crash for example,
there is one document.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from metronome.event.fields import Event
from metronome.periods import from_ms, to_text
from metronome.video.identity import About
from metronome.video.stretches import Seen, Stretch, Watched

PLAY, WATCH, PROGRESS = "video.play", "video.watch", "video.progress"

#: What our own player script says of quality: that somebody wants to play, `seconds` until the first frame, and
#: `seconds` of a stall.
PLAY_REQUEST, STARTED, REBUFFERED = "video.play_request", "video.startup", "video.rebuffering_end"

#: Longest name of an event that a player sends, in characters.
_MAX_NAME = 64


class Fact(NamedTuple):
    """An event and the facts that go with it."""

    event: Event
    facts: dict[str, Any]


def happened(about: About, name: str, at_ms: int, **properties: Any) -> Event:
    """An event as it happened. Properties that are None are left out."""
    given = {key: value for key, value in properties.items() if value is not None}
    return {
        **about.properties,
        "event": f"video.{name[:_MAX_NAME]}",
        "@timestamp": to_text(from_ms(at_ms)),
        **given,
    }


def stretch_id(about: About, stretch: Stretch) -> str:
    return f"{about.facts['stretch.session']}-{stretch.number}"


def played(about: About, stretch: Stretch, duration: float | None) -> Fact:
    """The play that opens a stretch."""
    name = stretch_id(about, stretch)
    event = happened(
        about, "play", stretch.start_ms, position=stretch.start, duration=duration, insert_id=f"{name}-play"
    )
    return Fact(event, {**about.facts, "stretch.id": name})


def watched(about: About, found: Iterable[Watched], duration: float | None, seen: Seen) -> list[Fact]:
    """What was watched, and which thresholds of coverage that crosses."""
    facts: list[Fact] = []
    for one in found:
        name, start = stretch_id(about, one.stretch), one.stretch.start_ms
        of_stretch = {
            "stretch.id": name,
            "stretch.from": one.stretch.start,
            "stretch.to": one.to,
            "stretch.elapsed": one.elapsed,
            **seen.count(one),
        }
        if duration is not None:
            of_stretch["stretch.duration"] = duration
        event = happened(about, "watch", start, position=one.to, duration=duration, insert_id=name)
        facts.append(Fact(event, {**about.facts, **of_stretch}))
        for threshold, at_ms in seen.cross(one, duration):
            crossing = f"{about.facts['stretch.session']}-c{threshold * 100:.0f}"
            event = happened(about, "progress", at_ms, coverage=threshold, duration=duration, insert_id=crossing)
            facts.append(Fact(event, {}))
    return facts
