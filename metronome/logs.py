"""Logs: one JSON object a line on standard error, for machines first and still readable by people."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def configure(level: str, role: str) -> None:
    """Send all logging to standard error as JSON lines: `{"time": …, "level": "INFO", "role": "web", "message": …}`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"role": role},
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell each request; ours says what matters of them.
    for noisy in ("elastic_transport", "elasticsearch", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
