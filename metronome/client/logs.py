"""Records of Python's logging as events."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from metronome.client.tracker import Tracker, log

#: Attributes that every record has. Others come from `extra`, and are properties of the event.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventHandler(logging.Handler):
    """Logs each record as an event: `{"event": "log", "level": "WARNING", "logger": "shop", "message": …}`.

    What a record's `extra` has becomes properties, `id`, `event` and `distinct_id` among them. Records of the client
    itself are passed over, since each would cause another one.
    """

    def __init__(self, tracker: Tracker, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._tracker = tracker

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == log.name:
            return
        try:
            said = {
                "event": "log",
                "timestamp": datetime.fromtimestamp(record.created, UTC),
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
                **({"exception": _name_of(record)} if record.exc_info else {}),
                **{name: value for name, value in vars(record).items() if name not in _OWN},
            }
            self._tracker.track(**said)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Send what waits, in at most the seconds that the tracker takes at the end of a process."""
        self._tracker.flush(self._tracker.exit_s)


def _name_of(record: logging.LogRecord) -> str:
    kind = record.exc_info[0] if record.exc_info else None
    return "" if kind is None else kind.__name__
