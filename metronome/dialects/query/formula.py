"""Formulas over series, such as `(A - B) / C`. They are parsed to a tree, and only the tree is evaluated.

    sum     = product (("+" | "-") product)*
    product = unary (("*" | "/") unary)*
    unary   = "-" unary | number | name | "(" sum ")"

A division by zero is null, and so is any result computed from null. Source: semantics, section 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metronome.errors import BadQuestion

Value = int | float | None

MAX_LENGTH = 500

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_][A-Za-z0-9_]*)|([-+*/()]))")

_RUN: dict[str, Callable[[float, float], Value]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else None,
}


@dataclass(frozen=True)
class Number:
    value: float

    def of(self, series: Mapping[str, Value]) -> Value:
        return self.value

    def replaced(self, trees: Mapping[str, Tree]) -> Tree:
        return self


@dataclass(frozen=True)
class Name:
    name: str

    def of(self, series: Mapping[str, Value]) -> Value:
        return series[self.name]

    def replaced(self, trees: Mapping[str, Tree]) -> Tree:
        """The same formula with a tree in place of each name."""
        return trees[self.name]


@dataclass(frozen=True)
class Operation:
    sign: str
    left: Tree
    right: Tree

    def of(self, series: Mapping[str, Value]) -> Value:
        left, right = self.left.of(series), self.right.of(series)
        return None if left is None or right is None else _RUN[self.sign](left, right)

    def replaced(self, trees: Mapping[str, Tree]) -> Tree:
        return Operation(self.sign, self.left.replaced(trees), self.right.replaced(trees))


Tree = Number | Name | Operation


def parse(text: str, names: list[str]) -> Tree:
    """The tree of a formula over these series; raises BadQuestion."""
    if len(text) > MAX_LENGTH:
        raise _bad(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(_tokens(text), names)
    tree = parser.sum(0)
    if parser.ahead:
        raise _bad(f"{parser.ahead!r} isn't expected where it stands")
    return tree


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at, text = 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise _bad(f"{text[at : at + 10]!r} can't be read; there are + - * / ( ), numbers and names of series")
        tokens.append(match[1] or match[2] or match[3])
        at = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str], names: list[str]) -> None:
        self._tokens = tokens[::-1]
        self._names = names

    @property
    def ahead(self) -> str:
        return self._tokens[-1] if self._tokens else ""

    def sum(self, depth: int) -> Tree:
        return self._chain(("+", "-"), self._product, depth)

    def _product(self, depth: int) -> Tree:
        return self._chain(("*", "/"), self._unary, depth)

    def _chain(self, signs: tuple[str, ...], part: Callable[[int], Tree], depth: int) -> Tree:
        tree = part(depth)
        while self.ahead in signs:
            sign = self._tokens.pop()
            tree = Operation(sign, tree, part(depth))
        return tree

    def _unary(self, depth: int) -> Tree:
        if depth > 50:
            raise _bad("nested deeper than 50")
        if not self._tokens:
            raise _bad("ends where a number or the name of a series is missing")
        part = self._tokens.pop()
        if part == "-":
            return Operation("-", Number(0), self._unary(depth + 1))
        if part == "(":
            tree = self.sum(depth + 1)
            if self.ahead != ")":
                raise _bad("a bracket isn't closed")
            self._tokens.pop()
            return tree
        if part[0].isdigit():
            return Number(float(part))
        if part not in self._names:
            raise _bad(f"{part!r} is no series; there are {', '.join(self._names)}")
        return Name(part)


def _bad(said: str) -> BadQuestion:
    return BadQuestion(f"formula: {said}", field="formula")
