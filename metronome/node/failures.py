"""Read from the logs why the private Elasticsearch didn't start. Each message ends with what to do about it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from metronome.errors import SetupError
from metronome.node.launch import data_folder
from metronome.settings import Settings

Message = Callable[[Settings, re.Match[str]], str]

# Patterns that a failed start leaves in its logs, each with the message for it. The first that matches counts.
FAILURES: tuple[tuple[str, Message], ...] = (
    (
        # Elasticsearch logs the first text if it can read the files. If it can't, Lucene logs one of the others.
        r"cannot downgrade a node|indexCreatedVersionMajor is in the future|IndexFormatTooNewException",
        lambda s, m: (
            f"METRONOME_NODE_VERSION: {data_folder(s)} was written by a newer Elasticsearch than "
            f"{s.node_version}; set the version it had, or METRONOME_NODE_DATA to another folder"
        ),
    ),
    (
        r"cannot upgrade a node from version \[([\d.]+)\]",
        lambda s, m: (
            f"METRONOME_NODE_VERSION: {data_folder(s)} was written by Elasticsearch {m[1]}, too old for "
            f"{s.node_version}; start 8.19.3 on it once, or set METRONOME_NODE_DATA to another folder"
        ),
    ),
    (
        r"BindHttpException|Failed to bind to|Address already in use",
        lambda s, m: no_port(s).message,
    ),
    (
        r"No space left on device|[Dd]isk quota exceeded",
        lambda s, m: (
            f"The disk of {data_folder(s)} is full; make room, or set METRONOME_NODE_DATA to a folder on another"
        ),
    ),
    (
        r"Could not reserve enough space|Cannot allocate memory|insufficient memory for the Java"
        r"|unable to allocate heap|java\.lang\.OutOfMemoryError",
        lambda s, m: f"METRONOME_NODE_HEAP: there isn't enough memory for {s.node_heap}; set less, or free some memory",
    ),
    (
        # java: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by ...)
        r"version [`'](GLIBC\w*_[\d.]+)' not found|Error relocating|ld-musl",
        lambda s, m: (
            f"The Java runtime can't run on this system's C library (it wants {m[1] or 'glibc, not musl'}); "
            "set ES_JAVA_HOME to the system's own Java, or set ELASTICSEARCH_URL"
        ),
    ),
    (
        r"can ?not run elasticsearch as root",
        lambda s, m: (
            "Elasticsearch refuses to run as root; run metronome as an ordinary user, or set ELASTICSEARCH_URL"
        ),
    ),
    (
        r"failed to obtain node lock|LockObtainFailed|Lock held by (?:this|another)",
        lambda s, m: (
            f"METRONOME_NODE_DATA: another Elasticsearch uses {data_folder(s)}; stop it, or name another folder"
        ),
    ),
    (
        r"AccessDeniedException: ([^\s\"]+)",
        lambda s, m: (
            f"Elasticsearch may not use {m[1]}; give that back to the user it runs as, "
            "or set METRONOME_HOME and METRONOME_NODE_DATA to other folders"
        ),
    ),
)


def no_port(settings: Settings) -> SetupError:
    return SetupError(
        f"METRONOME_NODE_PORT: no port of {settings.node_port} is free on 127.0.0.1; "
        "stop what listens there, or set another port or range"
    )


def explain(settings: Settings, logs: Iterable[tuple[Path, int]], status: int) -> SetupError:
    """The error for a start that ended with `status`. Each log is read from its offset, in bytes, to its end."""
    logs = list(logs)
    text = "".join(_since(path, offset) for path, offset in logs)
    for pattern, message in FAILURES:
        found = re.search(pattern, text)
        if found:
            return SetupError(message(settings, found))
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return SetupError(
            "Elasticsearch was killed while it started, probably for want of memory; set METRONOME_NODE_HEAP "
            f"(now {settings.node_heap}) to less, or free some memory"
        )
    places = " and ".join(str(path) for path, _ in logs)
    return SetupError(f"Elasticsearch ended while it started (status {status}): {_last_error(text)}; see {places}")


def _since(path: Path, offset: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as log:
        # A log that is smaller than its offset was rotated in the meantime, so all of it is new.
        log.seek(offset if offset <= path.stat().st_size else 0)
        return log.read().decode(errors="replace")


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Program will exit" not in line]
    errors = [line for line in lines if re.search(r"ERROR|FATAL|Error:|Exception", line)]
    return (errors or lines or ["its logs are empty"])[-1][:300]
