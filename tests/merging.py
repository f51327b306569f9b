"""Questions answered from merged columns wherever these can answer: made at once, before each reading."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from metronome.parts import closed
from metronome.parts.closed import Own, read_days
from metronome.parts.folder import Folder
from metronome.parts.merge import Merger
from metronome.parts.merged import Key
from metronome.query.persons import scene

WAYS = st.sampled_from(["parts", "merged"])


class AtOnce(Merger):
    """Makes what is wanted while the question waits."""

    def want(self, folder: Folder, keys: Sequence[Key]) -> None:
        self.note(keys)
        self.make(folder)


def read_by(way: str) -> AbstractContextManager[Any]:
    """Questions are answered from `parts` or from `merged` columns while the block runs."""
    return merged_at_once() if way == "merged" else nullcontext()


@contextmanager
def merged_at_once() -> Iterator[Counter[str]]:
    """While the block runs, all questions read merged columns where they can; counts how many batches came from them."""
    batches: Counter[str] = Counter()
    batch = closed._Reading._batch

    def counted(self: Any, stretch: Any) -> Any:
        batches["merged"] += 1
        return batch(self, stretch)

    def twice(folder: Any, own: Own, *asked: Any) -> Any:
        at_once = Own(own.folder, AtOnce(2**30), own.others)
        closed._open(at_once, *asked)
        return read_days(folder, at_once, *asked)

    with (
        mock.patch.object(scene, "read_days", twice),
        mock.patch.object(closed._Reading, "_batch", counted),
        # These files needn't outlive a power cut.
        mock.patch.object(os, "fsync"),
    ):
        yield batches
