"""Where archives are: objects under names, in a bucket of an S3 (s3.py) or in a folder (folder.py).

Both give the same promises: an object is seen whole or not at all, and `replace` changes one only if it is still the
one that the caller read. Names are whole keys, `prefix` included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from metronome.errors import SetupError
from metronome.settings import Settings


@dataclass(frozen=True)
class Object:
    """One object as a listing has it; `etag` without quotes."""

    key: str
    bytes: int
    etag: str


class Objects(Protocol):
    """Every method may raise ArchiveUnavailable (the same call will work later) or SetupError (the operator's)."""

    #: What every key of this archive begins with: empty, or with a slash at its end.
    prefix: str

    def put(self, key: str, path: Path) -> str:
        """Store a file, in parts where it is large; gives the etag."""
        ...

    def replace(self, key: str, body: bytes, etag: str | None) -> str:
        """Store a small object in place of the one with this etag, or where there is none; gives the new etag.

        Raises Conflict where the object is another one by now.
        """
        ...

    def get(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its etag; None if there is none."""
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """A large object, piece by piece; raises NotFound. What is cut short raises ArchiveUnavailable."""
        ...

    def list(self, prefix: str) -> Iterator[Object]:
        """Every object whose key begins with `prefix`, in the order of keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object, if there is one."""
        ...

    def purge(self, prefix: str, kept: Collection[str]) -> None:
        """Remove for good what is below a prefix: every version of every object but the present ones of these keys.

        Uploads that were never ended go as well.
        """
        ...


def open_objects(settings: Settings) -> Objects:
    """The objects of METRONOME_ARCHIVE; raises SetupError where there is none."""
    if settings.archive.startswith("file:"):
        from metronome.archive.folder import Folder

        return Folder(Path(settings.archive.removeprefix("file://")))
    if settings.archive:
        from metronome.archive.s3 import Bucket

        return Bucket(settings)
    raise SetupError("METRONOME_ARCHIVE: no archive is set; write s3://bucket/prefix, or file:///path")
