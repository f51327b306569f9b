"""Whose events aren't taken any more: people who were erased. One file, which every process of a host reads.

    METRONOME_HOME/spool/suppressed.json     {"key": "<hex>", "ids": ["<hex>", …]}

It holds keyed hashes and no id. The list itself is in Elasticsearch, for all gateways; `metronome.erasure` writes this
copy. Intake looks at it for each request and the drain for each body, so that neither a straggler nor a replay brings
an erased person back.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metronome.event.identity import LINKED, as_id
from metronome.files import Identity, identity, replace_file
from metronome.spool.files import make_folder

log = logging.getLogger("metronome.spool")

NAME = "suppressed.json"


@dataclass(frozen=True)
class Suppression:
    """The hashes of ids whose events aren't taken, and the key that they were made with."""

    key: bytes
    hashes: frozenset[str] = field(default_factory=frozenset)

    def hash_of(self, name: str) -> str:
        return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), key=self.key, digest_size=16).hexdigest()

    def holds(self, event: Mapping[str, Any]) -> bool:
        """Whether a flat event is that of such a person, or links one to somebody."""
        subject = event.get("distinct_id") or event.get("session_id")
        names = (as_id(subject), as_id(event.get(LINKED)))
        return any(name is not None and self.hash_of(name) in self.hashes for name in names)


class Suppressed:
    """The file as it is now. Safe to use from many threads; without a folder nobody is suppressed."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / NAME
        self._read: tuple[Identity | None, Suppression | None] = (None, None)

    def now(self) -> Suppression | None:
        """Who is suppressed; None if nobody is. Looks whether the file was replaced, which costs a microsecond."""
        if self._path is None:
            return None
        there = identity(self._path)
        known, found = self._read
        if there != known:
            found = read(self._path) if there is not None else None
            self._read = (there, found)
        return found if found is not None and found.hashes else None


def read(path: Path) -> Suppression | None:
    """The file's content; None if there is none, or if it can't be read."""
    try:
        given = json.loads(path.read_bytes())
        return Suppression(bytes.fromhex(given["key"]), frozenset(given["ids"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("who is suppressed can't be read", extra={"file": str(path), "problem": str(error)})
        return None


def write(folder: Path, suppression: Suppression) -> None:
    """Replace the file, durably: the processes of this host see it with their next request."""
    make_folder(folder)
    text = json.dumps({"key": suppression.key.hex(), "ids": sorted(suppression.hashes)})
    replace_file(folder / NAME, text, durable=True, shared=True)


def known(folder: Path, hashes: Iterable[str]) -> bool:
    """Whether the file of this host has all these hashes already."""
    found = read(folder / NAME)
    return found is not None and found.hashes.issuperset(hashes)
