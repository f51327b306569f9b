"""The web application logs its own use, as events of the application `analytics`. Source: tracker contract, 2.5."""

from __future__ import annotations

import logging

from metronome.dialects.applications.translate import to_event
from metronome.errors import Busy
from metronome.intake import Intake, Origin
from metronome.logs import Sparing

log = logging.getLogger("metronome.web")

APPLICATION = "analytics"


class SelfTracking:
    """Logs what people look at. Nothing of who looks is in it, and a spool that is full keeps nobody from looking."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sparing = Sparing()

    def note(self, event: str, **properties: str) -> bool:
        """Log an event with those of the properties that have a value; says whether it is on disk."""
        given = {name: value for name, value in properties.items() if value}
        said = to_event({"application": APPLICATION, "event": event, "properties": given})
        try:
            receipt = self._intake.accept([said], Origin("applications"))
        except Busy as error:
            if self._sparing.turn(str(error)) is not None:
                log.warning("a page view wasn't tracked: %s", error)
            return False
        return receipt.accepted == 1
