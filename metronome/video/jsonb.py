"""JSON as PostgreSQL's `jsonb` compares it: equality, containment (`@>`), and tokens by which an index finds it.

1 equals 1.0; true isn't 1; `{"a.b": 1}` isn't `{"a": {"b": 1}}`. An array contains another if it has each of its
elements, in any order. Source: video contract, section 6.

    tokens({"a": [1]}, "video")     the object, its array `a`, and the element 1 of `a`, each as a hash

If a value contains another, it has all tokens of the other. The reverse holds too, unless the other has an object or an
array inside an array (`is_flat`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

#: Stands for "any element" in a path of keys. No key of an object is a number.
_ELEMENT = 0


def canonical(value: Any) -> Any:
    """The same value, with whole numbers as integers, so that equal values have equal texts."""
    if isinstance(value, dict):
        return {key: canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def text_of(value: Any) -> str:
    """One text for each value: compact, with sorted keys."""
    return orjson.dumps(canonical(value), option=orjson.OPT_SORT_KEYS).decode()


def digest(*parts: Any) -> str:
    """A short hash of a list of values; equal lists have equal hashes."""
    return hashlib.blake2b(text_of(list(parts)).encode(), digest_size=12).hexdigest()


def tokens(value: Any, name: str) -> list[str]:
    """The tokens of a value, each once. `name` keeps those of two kinds of values apart."""
    return list(dict.fromkeys(digest(name, *leaf) for leaf in _leaves(value, [])))


def _leaves(value: Any, path: list[Any]) -> Iterator[tuple[list[Any], Any]]:
    if isinstance(value, dict):
        yield path, {}
        for key, inner in value.items():
            yield from _leaves(inner, [*path, key])
    elif isinstance(value, list):
        yield path, []
        for inner in value:
            yield from _leaves(inner, [*path, _ELEMENT])
    else:
        yield path, value


def is_flat(value: Any) -> bool:
    """Whether a value's tokens say all of it: no array of it holds an object or another array."""
    if isinstance(value, dict):
        return all(map(is_flat, value.values()))
    return not isinstance(value, list) or not any(isinstance(inner, dict | list) for inner in value)


def contains(value: Any, wanted: Any) -> bool:
    """Whether `value @> wanted`."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            key in value and contains(value[key], inner) for key, inner in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(one, inner) for one in value) for inner in wanted)
    return _kind(value) == _kind(wanted) and bool(value == wanted)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, int | float) else type(value).__name__


def size_of(value: Any, most: int) -> tuple[int, int]:
    """How many values there are in a value, itself included, and how deep it is. Counting stops behind `most`."""
    count, depth, level = 0, 0, [value]
    while level and count <= most:
        count += len(level)
        depth += 1
        level = [inner for outer in level for inner in _inner(outer)][: most + 1]
    return count, depth


def _inner(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
