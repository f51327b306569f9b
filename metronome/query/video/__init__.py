"""Questions about videos: how often and long they are watched, which parts of them, where, by how many now.

    questions.py    the questions, and the condition that selects videos and sessions
    rows.py         what Elasticsearch gives: one row for each session in a bucket, or for each stretch
    plays.py        plays, sources, watching
    parts.py        engagement: viewers of ranges and seconds
    report.py       beyond the original: coverage, completion, curves, concurrency (semantics, section 9)

The events asked are `video.watch`, each of which is a stretch, at the time when it began (`metronome.video.events`).
Source: video contract, section 3.3.
"""

from __future__ import annotations

from metronome.query.video import parts, plays, report  # noqa: F401 - they register who answers
from metronome.query.video.questions import (
    Engagement,
    PerSecond,
    Plays,
    PlaysRow,
    RangeRow,
    Report,
    SecondsRow,
    SourceRow,
    Sources,
    Summary,
    Watching,
    asked,
    selected,
)

__all__ = [
    "Engagement",
    "PerSecond",
    "Plays",
    "PlaysRow",
    "RangeRow",
    "Report",
    "SecondsRow",
    "SourceRow",
    "Sources",
    "Summary",
    "Watching",
    "asked",
    "selected",
]
