"""The spool's folder: its slots, the names of its files, and what every user of its databases needs."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from metronome.errors import SetupError
from metronome.files import Lock

_NAME = re.compile(r"[a-z]+-\d+\.\d+\.db")


def make_folder(folder: Path) -> None:
    """Make the spool's folder; raises SetupError where that, or writing in it, isn't allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SetupError(f"METRONOME_HOME: the spool's folder {folder} can't be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise SetupError(f"METRONOME_HOME: the spool's folder {folder} can't be written by this user")


def take_slot(folder: Path, role: str) -> tuple[str, Lock]:
    """The first slot no living process holds, so that a restarted worker takes up a dead one's file."""
    for number in range(1000):
        lock = Lock(folder / f"{role}-{number}.lock")
        if lock.take():
            return f"{role}-{number}", lock
    raise SetupError(f"no free slot in {folder}: a thousand workers hold its locks")


def slot_and_number(path: Path) -> tuple[str, int]:
    """`web-0.12.db` is number 12 of slot `web-0`."""
    slot, number, _ = path.name.split(".")
    return slot, int(number)


def spool_files(folder: Path) -> list[Path]:
    """All spool files, of each slot the oldest first."""
    return sorted((path for path in folder.glob("*.db") if _NAME.fullmatch(path.name)), key=slot_and_number)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. An unfinished transaction would keep every other process from writing."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


def last_id(db: sqlite3.Connection) -> int:
    """The last id given in a file, whether or not its row is still there."""
    return int(db.execute("select last_id from tally").fetchone()[0])


def error_code(error: Exception) -> int:
    """SQLite's number for what went wrong, without details; 0 if it isn't SQLite that complains."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
