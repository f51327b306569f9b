"""The spool's folder: its owner, its slots, the names of its files, and functions for every user of its databases."""

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

#: Endings of the files that SQLite keeps beside a database, and of the database. The log comes first: see `move_aside`.
BESIDE = ("-wal", "-shm", "")


def make_folder(folder: Path) -> None:
    """Make the spool's folder, for its owner alone.

    Raises SetupError if this process may not make the folder or write in it. Also raises it if root would write into a
    folder that another user can change: that user could put links there and have any file overwritten.
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
    """If root runs a command on another user's folder, go on with the rights of that user.

    The owner's processes can then write and delete the files that the command makes.
    """
    if os.geteuid() != 0 or not folder.exists():
        return
    status = folder.stat()
    if status.st_uid != 0:
        os.setgroups([])
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)


def take_slot(folder: Path, role: str) -> tuple[str, Lock]:
    """Take the first slot that no living process holds. So a restarted worker takes up the file of a dead one."""
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
    """All spool files. For each slot, the oldest comes first."""
    return sorted((path for path in folder.glob("*.db") if _NAME.fullmatch(path.name)), key=slot_and_number)


def move_aside(path: Path, name: str) -> Path:
    """Rename a database and the files that SQLite keeps beside it; gives the new path.

    The log is renamed first. Otherwise a process that opens the database in between could take the log of the old file
    for the log of a new one.
    """
    for beside in BESIDE:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + beside).rename(path.with_name(name + beside))
    return path.with_name(name)


def damaged_ending() -> str:
    """Ending of the name of a damaged file that is moved aside: the time at which that happens, in UTC."""
    return time.strftime(".damaged-%Y%m%dT%H%M%SZ", time.gmtime())


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit everything in the block, or roll it back: an open transaction would block every other writer."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise


def last_id(db: sqlite3.Connection) -> int:
    """The last id that was given to a row of a file, whether or not the row is still there."""
    return int(db.execute("select last_id from tally").fetchone()[0])


def error_code(error: Exception) -> int:
    """SQLite's primary error code; 0 if the error isn't from SQLite."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


#: Errors whose cause lies outside of the file: its disk, its rights, another process.
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
