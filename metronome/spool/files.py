"""The spool's folder: who may own it, its slots, the names of its files, and what every user of its databases needs."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from metronome.errors import SetupError
from metronome.files import Lock

_NAME = re.compile(r"[a-z]+-\d+\.\d+\.db")

#: What SQLite keeps beside a database, and the database itself. The log comes first: see `move_aside`.
BESIDE = ("-wal", "-shm", "")


def make_folder(folder: Path) -> None:
    """Make the spool's folder, for its owner alone.

    Raises SetupError where that, or writing in it, isn't allowed, and where root would write into what another
    user can change: such a user could put links there and have any file overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_owner(folder)
    except OSError as error:
        raise SetupError(f"METRONOME_HOME: the spool's folder {folder} can't be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK, effective_ids=True):
        raise SetupError(f"METRONOME_HOME: the spool's folder {folder} can't be written by this user")


def _check_owner(folder: Path) -> None:
    status, user = folder.stat(), os.geteuid()
    if status.st_uid == user:
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            folder.chmod(0o700)
    elif status.st_mode & stat.S_IWOTH:
        raise SetupError(f"METRONOME_HOME: everybody may write in the spool's folder {folder}; chmod it to 700")
    for place in (folder, folder.parent):
        owner = place.stat().st_uid
        if user == 0 and owner != 0:
            raise SetupError(f"METRONOME_HOME: {place} belongs to {_name_of(owner)}; run as that user, not as root")


def _name_of(user: int) -> str:
    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"uid {user}"


def act_as_owner(folder: Path) -> None:
    """For a command that root runs: go on with the rights of the folder's owner, if that is another user.

    The files that the command makes are then such as the owner's own processes can write and delete.
    """
    if os.geteuid() != 0 or not folder.exists():
        return
    status = folder.stat()
    if status.st_uid != 0:
        os.setgroups([])
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)


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


def move_aside(path: Path, name: str) -> Path:
    """Rename a database with what SQLite keeps beside it; gives the new path.

    The log goes first. A process that opened the database in between would otherwise take the log of the old file
    for that of a new one.
    """
    for beside in BESIDE:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + beside).rename(path.with_name(name + beside))
    return path.with_name(name)


def damaged_ending() -> str:
    """Ending of the name of a damaged file that was moved aside: when that was, in UTC."""
    return time.strftime(".damaged-%Y%m%dT%H%M%SZ", time.gmtime())


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


#: SQLite couldn't get at a file for a reason that lies outside of it: its disk, its rights, another process.
_OUTSIDE = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CONSTRAINT,
    )
)


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file's own bytes are wrong: no database, a bad page, a changed schema."""
    code = error_code(error)
    return isinstance(error, sqlite3.DatabaseError) and code != 0 and code not in _OUTSIDE


def open_notes(path: Path, schema: str, *, synchronous: str = "normal", timeout_s: float = 5) -> sqlite3.Connection:
    """A small SQLite file that all processes of a host write to, its table made if it is missing.

    Where two processes make it at one moment, SQLite tells one of them at once that the file is busy, whatever its
    timeout: that one tries again. Raises sqlite3.Error.
    """
    db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            db.execute("pragma journal_mode = wal")
            db.execute(f"pragma synchronous = {synchronous}")
            db.execute(schema)
        except sqlite3.Error as error:
            if error_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                db.close()
                raise
            time.sleep(0.005)
        else:
            return db
