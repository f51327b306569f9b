"""The state of the spools: the backlog, and what the drain and `metronome listen` last wrote about themselves."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metronome.files import replace_file
from metronome.spool.files import spool_files
from metronome.spool.held import held_folders
from metronome.spool.reader import Damaged, Reader

#: A process that hasn't written its state for this many seconds doesn't run. Each writes once a second.
SILENT_S = 10

_DRAIN, _LISTEN = "drain.json", "listen.json"


@dataclass(frozen=True)
class Backlog:
    """The rows that wait in the spools: requests, events, and the age of the oldest in seconds."""

    requests: int
    events: int
    age_s: float


def backlog(folder: Path) -> Backlog:
    """The whole backlog: in the workers' spools, and in `held/` for indices that can't take events now."""
    parts = [_waiting(folder), *held(folder).values()]
    return Backlog(
        sum(part.requests for part in parts),
        sum(part.events for part in parts),
        max(part.age_s for part in parts),
    )


def held(folder: Path) -> dict[str, Backlog]:
    """The backlog in `held/` by index: events of indices that can't take them now."""
    found = {index: _waiting(place) for index, place in held_folders(folder).items()}
    return {index: part for index, part in found.items() if part.requests}


def _waiting(folder: Path) -> Backlog:
    requests = events = 0
    oldest: int | None = None
    for path in spool_files(folder):
        try:
            with contextlib.closing(Reader(path)) as reader:
                more, more_events, since = reader.pending()
        except (sqlite3.Error, Damaged):
            # The file was just removed, or is damaged; the drain's log says which.
            continue
        requests, events = requests + more, events + more_events
        if since is not None:
            oldest = since if oldest is None else min(oldest, since)
    age_s = max(0.0, time.time() - oldest / 1000) if oldest is not None else 0.0
    return Backlog(requests, events, age_s)


def drain_status(folder: Path) -> dict[str, Any]:
    """How the drain stands: `running` (and heard of in the last ten seconds), `trouble` or an empty text."""
    return _read(folder / _DRAIN) or {"running": False, "trouble": "no drain has run here"}


def listen_runs(folder: Path) -> bool:
    """Whether a `metronome listen` with this folder was heard of in the last ten seconds."""
    return bool((_read(folder / _LISTEN) or {"running": False})["running"])


def _read(path: Path) -> dict[str, Any] | None:
    """The state that a process wrote, with whether it still runs; None if there is none."""
    try:
        status: dict[str, Any] = json.loads(path.read_text())
        # The wall clock may be set. The monotonic clock runs evenly, and is the same for all processes of a host.
        silent_s = time.monotonic() - float(status["monotonic"])
        return {**status, "running": bool(status["running"]) and 0 <= silent_s <= SILENT_S}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_drain_status(
    folder: Path, *, running: bool, trouble: str, rivals: str = "", oldest_s: float | None = None
) -> None:
    """Write the state for `drain_status`. On a full disk nothing is written, since that must not stop the drain.

    `rivals` says which index templates stand above ours, `oldest_s` when the oldest body under way was begun, by the
    monotonic clock.
    """
    _write(folder / _DRAIN, running, {"trouble": trouble, "rivals": rivals, "oldest_s": oldest_s})


def write_listen_status(folder: Path, *, running: bool) -> None:
    """Write the state for `listen_runs`; nothing on a full disk."""
    _write(folder / _LISTEN, running, {}, shared=True)


def _write(path: Path, running: bool, more: dict[str, object], *, shared: bool = False) -> None:
    now = {"at": time.time(), "monotonic": time.monotonic(), "pid": os.getpid(), "running": running}
    with contextlib.suppress(OSError):
        replace_file(path, json.dumps({**now, **more}), shared=shared)
