"""Logs: one JSON object a line on standard error, for machines first and still readable by people."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time

from pythonjsonlogger.json import JsonFormatter

#: An API key (`metronome.keys`): which one it is may be told, its secret may not.
_KEY = re.compile(r"\b(mt_[a-z0-9]{1,16}_[0-9a-z]{1,24}_)[A-Za-z0-9_-]{8,}")


class Discreet(JsonFormatter):
    """Writes no API key, wherever one got into a message: a request line that can't be read may hold one."""

    def format(self, record: logging.LogRecord) -> str:
        return _KEY.sub(r"\1…", super().format(record))


class Sparing:
    """Keeps lines that repeat themselves, such as refusals while a disk is full, to one in `every_s` seconds.

    Each text is counted by itself.
    """

    def __init__(self, every_s: float = 10.0, most: int = 1000) -> None:
        self._every_s = every_s
        self._most = most
        self._lock = threading.Lock()
        #: By text: until when it is left out, and how often it was.
        self._quiet: dict[str, tuple[float, int]] = {}

    def turn(self, text: str) -> int | None:
        """None where `text` was logged a moment ago; else how often it was left out since, and it is to be logged."""
        now = time.monotonic()
        with self._lock:
            until, unsaid = self._quiet.get(text, (0.0, 0))
            if now < until:
                self._quiet[text] = until, unsaid + 1
                return None
            if len(self._quiet) >= self._most:
                self._quiet.clear()
            self._quiet[text] = now + self._every_s, 0
            return unsaid


def configure(level: str, role: str) -> None:
    """Send all logging to standard error as JSON lines: `{"time": …, "level": "INFO", "role": "web", "message": …}`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Discreet(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"role": role},
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These packages log every request. What matters of it is in lines of our own.
    for noisy in ("elastic_transport", "elasticsearch", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
