"""Intake with a spool in memory and a clock that stands still, for the tests of what comes in."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from conftest import NOW

from metronome.intake import Intake, Origin, Receipt
from metronome.settings import Settings

SETTINGS = Settings(home=Path("unused"), cache=Path("unused"))
TICK = Origin("tick")
NOTHING = {"accepted": 0, "duplicate": 0, "quarantined": 0}
STAMPS = {"@version": "1", "received_at": "2026-11-22T09:30:00.000Z", "dialect": "tick"}


class Kept:
    """A spool that keeps bodies in memory."""

    def __init__(self) -> None:
        self.bodies: list[tuple[bytes, int]] = []

    def append(self, body: bytes, events: int) -> None:
        self.bodies.append((body, events))

    def documents(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(index, id, source) of all that was appended."""
        lines = [json.loads(line) for body, _ in self.bodies for line in body.splitlines()]
        return [
            (action["create"]["_index"], action["create"]["_id"], source)
            for action, source in zip(lines[::2], lines[1::2], strict=True)
        ]


class Door:
    """Intake with a spool in memory and a clock that stands still."""

    def __init__(self, now: datetime = NOW, folder: Path | None = None, **limits: Any) -> None:
        self.now = now
        self.spool = Kept()
        settings = Settings(home=Path("unused"), cache=Path("unused"), **limits)
        self.intake = Intake(settings, self.spool, folder=folder, clock=lambda: self.now)

    def accept(self, *events: Any, origin: Origin = TICK) -> Receipt:
        return self.intake.accept(events, origin)

    def stored(self, event: Any, origin: Origin = TICK) -> dict[str, Any]:
        """One event's document, without what is the same in all."""
        receipt = self.accept(event, origin=origin)
        assert receipt.rejected == []
        (_, _, document) = self.spool.documents()[-1]
        assert {name: document.pop(name) for name in STAMPS} == {**STAMPS, "received_at": document_time(self.now)}
        return document


def document_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
