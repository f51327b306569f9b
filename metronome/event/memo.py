"""A dictionary that remembers the results of a function of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Memo(dict[str, Found], Generic[Found]):
    """Remembers the result of `find` for each text. A remembered text costs one dictionary look-up, and no call.

    Once it holds `most` texts, it forgets them all. A text of more than `longest` characters isn't remembered, because
    nobody sends the same one twice. (`functools.lru_cache` also keeps the order of use, which takes longer.)
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
