"""What our long-lived processes know about their memory: what is worth remembering, and what isn't worth collecting."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")

#: A batch makes thousands of objects and no cycles. With Python's 700 the collector wakes several times a batch, to
#: walk what will be gone at once without it.
THRESHOLD = (50_000, 20, 20)


def after_start() -> None:
    """Call once everything that stays is made: the collector needn't walk it ever again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLD)


class Memo(dict[str, Found], Generic[Found]):
    """Remembers what `find` says of a text; a look at what is there costs no call.

    Once `most` texts are in it, it starts afresh. One of more than `longest` characters isn't remembered: nobody sends
    the same one twice. (`functools.lru_cache` keeps an order of use besides, which costs more than the look.)
    """

    def __init__(self, find: Callable[[str], Found], *, most: int, longest: int = 512) -> None:
        super().__init__()
        self._find = find
        self._most = most
        self._longest = longest

    def __missing__(self, text: str) -> Found:
        found = self._find(text)
        if len(text) <= self._longest:
            if len(self) >= self._most:
                self.clear()
            self[text] = found
        return found
