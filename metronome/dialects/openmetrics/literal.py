"""The object of `q` as the documentation of OpenMetrics writes it: `{'events':[{'name':'login','ts':123}]}`.

JSON, and beside it: single quotes, and True, False, None. It is read character by character and never evaluated.
"""

from __future__ import annotations

import re
from typing import Any

from metronome.errors import BadPayload

_MAX_DEPTH = 50

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,300})(\.\d+)?([eE][+-]?\d{1,3})?")
_TEXT = {quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL) for quote in "'\""}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_WORD = re.compile("|".join(_WORDS) + r"(?!\w)")


def read_literal(text: str) -> Any:
    """The value that the text spells. Raises BadPayload, which says where it stops making sense."""
    reader = _Reader(text)
    value = reader.value(0)
    reader.skip()
    if reader.at < len(text):
        raise reader.wrong("the end")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def wrong(self, wanted: str) -> BadPayload:
        return BadPayload(f"q can't be read at character {self.at}: {wanted} is missing there")

    def skip(self) -> None:
        space = _SPACE.match(self._text, self.at)
        assert space is not None
        self.at = space.end()

    def takes(self, letter: str) -> bool:
        """Whether `letter` comes next; it is read then."""
        self.skip()
        found = self._text.startswith(letter, self.at)
        self.at += len(letter) if found else 0
        return found

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise BadPayload(f"q is nested more than {_MAX_DEPTH} deep")
        if self.takes("{"):
            return self._object(depth)
        if self.takes("["):
            return self._array(depth)
        if self._text[self.at : self.at + 1] in _TEXT:
            return self._string()
        if word := _WORD.match(self._text, self.at):
            self.at = word.end()
            return _WORDS[word[0]]
        if number := _NUMBER.match(self._text, self.at):
            self.at = number.end()
            return float(number[0]) if number[1] or number[2] else int(number[0])
        raise self.wrong("a value")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.takes("}"):
            return found
        while True:
            self.skip()
            name = self._string()
            if not self.takes(":"):
                raise self.wrong("a colon")
            found[name] = self.value(depth + 1)
            if self.takes("}"):
                return found
            if not self.takes(","):
                raise self.wrong("a comma or }")

    def _array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        if self.takes("]"):
            return found
        while True:
            found.append(self.value(depth + 1))
            if self.takes("]"):
                return found
            if not self.takes(","):
                raise self.wrong("a comma or ]")

    def _string(self) -> str:
        form = _TEXT.get(self._text[self.at : self.at + 1])
        text = form.match(self._text, self.at) if form else None
        if text is None:
            raise self.wrong("a text in quotes")
        self.at = text.end()
        return _ESCAPE.sub(_unescaped, text[1])


def _unescaped(escape: re.Match[str]) -> str:
    letter = escape[1]
    if len(letter) > 1:
        return chr(int(letter[1:], 16))
    return _ESCAPED.get(letter, letter)
