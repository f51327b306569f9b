"""An archive in a folder, with the layout that it has in a bucket.

A file is written beside its place, synced, and renamed into it. `.lock` makes looking at an etag and replacing the file
one step, for all processes that share the folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from metronome.archive.objects import Object
from metronome.errors import ArchiveUnavailable, Conflict, NotFound, SetupError
from metronome.files import Lock

PIECE = 2**20

#: What isn't an object: files being written, and the lock.
_HIDDEN = "."


class Folder:
    """Objects below a folder, which is made when the first is stored.

    The etag of JSON is its MD5, that of a larger file its size and time: a listing must not read every day.
    """

    prefix = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, path: Path) -> str:
        with _our_errors(self.root), self._written(key) as new:
            shutil.copyfile(path, new)
        return self._etag(self.root / key)

    def replace(self, key: str, body: bytes, etag: str | None) -> str:
        with _our_errors(self.root), self._lock():
            found = self.get(key)
            if (found and found[1]) != etag:
                raise Conflict(f"{key} was changed by somebody else; read it again")
            with self._written(key) as new:
                new.write_bytes(body)
        return _md5(body)

    def get(self, key: str) -> tuple[bytes, str] | None:
        self._must_be_there()
        try:
            with _our_errors(self.root):
                body = (self.root / key).read_bytes()
        except NotFound:
            return None
        return body, _md5(body)

    def read(self, key: str) -> Iterator[bytes]:
        self._must_be_there()
        with _our_errors(self.root), (self.root / key).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def list(self, prefix: str) -> Iterator[Object]:
        self._must_be_there()
        with _our_errors(self.root):
            paths = sorted(path for path in self.root.rglob("*") if path.is_file())
            for path in paths:
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix) and not path.name.startswith(_HIDDEN):
                    yield Object(key, path.stat().st_size, self._etag(path))

    def delete(self, key: str) -> None:
        with _our_errors(self.root):
            path = self.root / key
            path.unlink(missing_ok=True)
            if path.parent.is_dir() and path.parent != self.root and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def purge(self, prefix: str, kept: Collection[str]) -> None:
        with _our_errors(self.root):
            # Files that were being written have hidden names; a listing leaves these out.
            for path in sorted(self.root.rglob("*")):
                key = path.relative_to(self.root).as_posix()
                if path.is_file() and key.startswith(prefix) and key not in kept and "/" in key:
                    self.delete(key)

    def _must_be_there(self) -> None:
        # A disk that isn't mounted must not look like an archive without days: its parent is there, and it isn't.
        if not self.root.is_dir() and not self.root.parent.is_dir():
            raise ArchiveUnavailable(f"the archive's folder {self.root} isn't there; is its disk mounted?")

    @contextmanager
    def _written(self, key: str) -> Iterator[Path]:
        """A path for the new file, which gets its name once it is on disk."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.parent / f"{_HIDDEN}{uuid4().hex}"
        try:
            yield new
            _sync(new)
            new.rename(path)
            _sync(path.parent)
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = Lock(self.root / ".lock")
        while not lock.take():
            time.sleep(0.01)
        try:
            yield
        finally:
            lock.release()

    def _etag(self, path: Path) -> str:
        if path.suffix == ".json":
            return _md5(path.read_bytes())
        status = path.stat()
        return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@contextmanager
def _our_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"there is no {error.filename} in the archive") from error
    except PermissionError as error:
        raise SetupError(f"METRONOME_ARCHIVE: {error.filename} can't be used ({error.strerror})") from error
    except OSError as error:
        raise ArchiveUnavailable(f"the archive's folder {root} can't be used", detail=str(error)) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
