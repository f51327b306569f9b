"""Documents rewritten: ids replaced and properties taken out, while every other byte stays as it was.

JSON that is parsed and written again has other numbers (1.10 becomes 1.1), so tokens are replaced where they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

import msgspec

#: A text of JSON, or a number.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][-+.0-9eE]*', re.DOTALL)

#: What stands before a number that is an id.
_ID_NAME = re.compile(rb'"(?:distinct_id|session_id|linked_id)"\s*:\s*\[?\s*$')

_COLON = re.compile(rb"\s*:")


def with_ids_replaced(source: bytes, ids: Collection[str], instead: bytes) -> bytes:
    """The document with `instead`, a value of JSON, for each value that is one of these ids.

    Names stay. A number is an id only under the name of one.
    """

    def replaced(found: re.Match[bytes]) -> bytes:
        token = found.group()
        if token.startswith(b'"'):
            is_name = _COLON.match(source, found.end()) is not None
            return token if is_name or _text(token) not in ids else instead
        is_id = token.decode() in ids and _ID_NAME.search(source, max(0, found.start() - 40), found.start())
        return instead if is_id else token

    return _TOKEN.sub(replaced, source)


def _text(token: bytes) -> str:
    if b"\\" in token:
        text: str = json.loads(token)
        return text
    return token[1:-1].decode("utf-8", "replace")


def without_names(source: bytes, names: Collection[str]) -> bytes:
    """The document without these properties, each with all that is below it. Nested ones have dotted names."""
    if not any(name.rpartition(".")[2].encode() in source or b"\\" in source for name in names):
        return source
    return _without(source, names, "") or source


def _without(source: bytes, names: Collection[str], before: str) -> bytes | None:
    """The object without the properties; None where it has none of them."""
    try:
        held = msgspec.json.decode(source, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    kept: dict[str, msgspec.Raw] = {}
    changed = False
    for name, value in held.items():
        whole = before + name
        if any(whole == one or whole.startswith(f"{one}.") for one in names):
            changed = True
            continue
        if any(one.startswith(f"{whole}.") for one in names) and bytes(value).lstrip().startswith(b"{"):
            inner = _without(bytes(value), names, f"{whole}.")
            changed = changed or inner is not None
            value = value if inner is None else msgspec.Raw(inner)
        kept[name] = value
    return msgspec.json.encode(kept) if changed else None
