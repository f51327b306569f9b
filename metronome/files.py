"""Locks between processes, and files that are never seen half written."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from metronome.errors import SetupError

#: Device and inode of a file: says whether a path still leads to the file that was opened.
Identity = tuple[int, int]


def identity(path: Path) -> Identity | None:
    """Which file a path leads to just now; None if to none. Costs a microsecond."""
    try:
        return _identity_of(os.stat(path))  # noqa: PTH116 - Path.stat costs more, and spools ask at each commit
    except OSError:
        return None


def _identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


class Lock:
    """An flock on a file: held until `release`, or until the process dies in whatever way.

    The file holds the process id of the last holder, for messages; the lock itself is the kernel's. `setting` names the
    variable that says where the file is.
    """

    def __init__(self, path: Path, setting: str = "METRONOME_HOME") -> None:
        self.path = path
        self._setting = setting
        self._file: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Take it if it is free, or once it is; says whether it is ours now.

        Raises SetupError where there can't be such a file.
        """
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SetupError(
                f"{self._setting}: {self.path} can't be written ({error.strerror}); mend that, or set another folder"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        # A full disk can't take the number; the lock holds all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, str(os.getpid()).encode())
        self._file = file
        return True

    def holder(self) -> str:
        """The process that took it last, as text; `(unknown)` where the file doesn't say."""
        try:
            return self.path.read_text() or "(unknown)"
        except (OSError, ValueError):
            return "(unknown)"

    @property
    def held(self) -> bool:
        return self._file is not None

    def is_in_place(self) -> bool:
        """Whether it is held and others can still see it: a lock on a removed file keeps nobody away."""
        return self._file is not None and _identity_of(os.fstat(self._file)) == identity(self.path)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Lock:
        """Wait for it, and hold it while the block runs."""
        self.take(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_taken(path: Path) -> bool:
    """Whether some process holds the Lock of this file. Several may look at a time."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def replace_file(path: Path, text: str | bytes, *, durable: bool = False, shared: bool = False) -> None:
    """Write a small file so that a reader finds the old text or the new one, never a part. Only its user can read it.

    With `durable` the new text is on disk when this returns: without, a power cut may bring the old one back. `shared`
    says that several processes may write the file at one time. Raises OSError; the old file is then untouched.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}.new" if shared else f"{path.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
