"""SQLite's write-ahead log, read without SQLite: is every frame as it was written?

Why       SQLite takes a log up to the first frame whose checksum doesn't hold, and drops all that follow, without a
          word. After a crash one flipped bit would so cost every request that was acknowledged after it. Therefore
          each process looks at a file's log before it opens the file for the first time.
Who       Reader, Spool and Quarantine call `is_damaged`. A spool's damaged log is `Damaged`, as any other damage;
          rescue.py reads it then.

Format (https://www.sqlite.org/fileformat2.html#the_write_ahead_log): a head of 32 bytes, then frames of 24 bytes and a
page. A frame's checksum goes on from the one before it, so that a frame can be checked by what its predecessor says.
Frames with another salt than the head's are left over from an earlier round.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile
from operator import mul
from pathlib import Path

from metronome.files import Identity, identity

_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_MASK = 2**32 - 1
_MAGIC = 0x377F0682

#: A writer that is at work completes a frame in microseconds. What is still wrong after this is damage.
_CONFIRM_AFTER_S = 0.05

#: Files whose logs this process has looked at.
_seen: set[tuple[Path, Identity]] = set()


@dataclass(frozen=True)
class Frame:
    """One page's image in a log: `at` is where its bytes begin, `commits` whether a transaction ends with it.

    `intact` says that checksum and salt hold; only then is `page` sure to be the page's number.
    """

    page: int
    at: int
    commits: bool
    intact: bool


def is_damaged(path: Path, page_bytes: int) -> bool:
    """Whether the log of a database has damaged frames; a file that this process has looked at before has none.

    A last frame that was cut short by a crash isn't damage, unless it lies over one of an earlier round: that costs a
    rescue, and no row.
    """
    known = identity(path)
    if known is None or (path, known) in _seen:
        return False
    log = path.with_name(path.name + "-wal")
    found = _damage(log, page_bytes)
    while found is not None:
        time.sleep(_CONFIRM_AFTER_S)
        again = _damage(log, page_bytes)
        if again == found:
            return True
        found = again
    _seen.add((path, known))
    return False


def lost_writes(path: Path, page_bytes: int) -> int:
    """How many transactions a damaged log holds from its first damaged frame on, as far as can be told; one at least.

    SQLite drops them all.
    """
    try:
        with path.with_name(path.name + "-wal").open("rb") as file:
            left = dropwhile(lambda frame: frame.intact, frames(file.fileno(), page_bytes))
            return max(1, sum(frame.commits for frame in left))
    except OSError:
        return 1


def _damage(log: Path, page_bytes: int) -> tuple[bytes, int] | None:
    """The head of a log and the place of its first damaged frame; None if there is no damage."""
    try:
        with log.open("rb") as file:
            if next((frame for frame in frames(file.fileno(), page_bytes)), None) is None:
                return None
            head = os.pread(file.fileno(), _HEAD_BYTES, 0)
            if not _head_holds(head):
                return head, 0
            found = list(frames(file.fileno(), page_bytes))
            bad = next((place for place, frame in enumerate(found) if not frame.intact), None)
            if bad is None or (bad == len(found) - 1 and _is_cut(file.fileno(), found[bad], page_bytes)):
                return None
            return head, found[bad].at
    except OSError:
        return None  # there is none, or its disk is ill: then SQLite says so


def _is_cut(log: int, frame: Frame, page_bytes: int) -> bool:
    """Whether the writing of the last frame was cut short: its end of zeros shows it. Nobody was told that it is safe.

    A bit that flips in a last frame whose page happens to end in zero looks the same. Then the last group of requests
    is lost without being told; every other damage is told.
    """
    return os.pread(log, 1, frame.at + page_bytes - 1) in (b"", b"\0")


def frames(log: int, page_bytes: int) -> Iterator[Frame]:
    """The frames of a log's present round, as far as they are there whole; `log` is a file descriptor.

    A frame whose salt was damaged is told by its checksum, or by that of the frame after it.
    """
    size = os.fstat(log).st_size
    head = os.pread(log, _HEAD_BYTES, 0)
    order = _order(head)
    first = os.pread(log, _FRAME_HEAD_BYTES, _HEAD_BYTES)
    # With a damaged head the first frame says which round this is.
    salt = head[16:24] if _head_holds(head) else first[8:16]
    before = head[24:32]
    if not any(salt):
        return
    step = _FRAME_HEAD_BYTES + page_bytes
    for place in range(_HEAD_BYTES, size - step + 1, step):
        data = os.pread(log, step, place)
        told = data[16:24]
        holds = _sum(before, data[:8] + data[24:], order) == told
        ours = data[8:16] == salt
        if not ours and not holds and not _goes_on(log, place + step, told, step, salt, order):
            return
        yield Frame(int.from_bytes(data[:4]), place + _FRAME_HEAD_BYTES, any(data[4:8]), ours and holds)
        before = told


def _goes_on(log: int, place: int, before: bytes, step: int, salt: bytes, order: str) -> bool:
    """Whether the frame at a place is of this round and follows one with the checksum `before`."""
    data = os.pread(log, step, place)
    return len(data) == step and data[8:16] == salt and _sum(before, data[:8] + data[24:], order) == data[16:24]


def _head_holds(head: bytes) -> bool:
    """Whether a log's head is as it was written."""
    return (
        len(head) == _HEAD_BYTES
        and int.from_bytes(head[:4]) | 1 == _MAGIC | 1
        and _sum(bytes(8), head[:24], _order(head)) == head[24:]
    )


def _order(head: bytes) -> str:
    """The byte order of checksums; this machine's where a damaged head doesn't say."""
    return {_MAGIC: "little", _MAGIC | 1: "big"}.get(int.from_bytes(head[:4]), sys.byteorder)


def _sum(before: bytes, data: bytes, order: str) -> bytes:
    """SQLite's checksum of `data`, going on from `before`.

    For each pair of words x, y it is a += x + b; b += y + a. That is linear, so that each word has a fixed weight, and
    a sum of products does it without a line of Python for each word.
    """
    words = array("I", before)
    if sys.byteorder == "little":
        words.byteswap()  # checksums are stored in big-endian order, whatever order the words are summed in
    body = array("I", data)
    if order != sys.byteorder:
        body.byteswap()
    words.extend(body)
    for_a, for_b = _weights(len(words))
    a: int = sum(map(mul, words, for_a)) & _MASK
    b: int = sum(map(mul, words, for_b)) & _MASK
    return a.to_bytes(4) + b.to_bytes(4)


@lru_cache(maxsize=4)
def _weights(count: int) -> tuple[array[int], array[int]]:
    """How often each of `count` words, the two of the checksum before among them, is part of the two sums."""
    # From the last pair of words to the first. One more pair makes of (a, b): a' = a + b + x, b' = a + 2 b + x + y.
    # (a_a, a_b) says what a and b of now are in the a of the end; likewise for its b.
    a_a, a_b, b_a, b_b = 1, 0, 0, 1
    for_a, for_b = array("I"), array("I")
    for _ in range(count // 2 - 1):
        # x goes into a and through it into b; y goes into b.
        for_a.extend((a_b, (a_a + a_b) & _MASK))
        for_b.extend((b_b, (b_a + b_b) & _MASK))
        a_a, a_b = (a_a + a_b) & _MASK, (a_a + 2 * a_b) & _MASK
        b_a, b_b = (b_a + b_b) & _MASK, (b_a + 2 * b_b) & _MASK
    for_a.extend((a_b, a_a))
    for_b.extend((b_b, b_a))
    for_a.reverse()
    for_b.reverse()
    return for_a, for_b
