"""What a part must hold, in plain Python: the contract's rules once more, slowly, and random documents to try them on."""

from __future__ import annotations

import json
import math
import random
import re
from datetime import UTC, datetime
from typing import Any

FIXED = ["_id", "_source", "_subject", "@timestamp", "received_at", "seq"]

#: Values as JSON text, so that it can be seen whether their bytes stay.
SCALARS = (
    "1", "1.10", "1e5", "-0.0", "0.1", "9007199254740993", "123456789012345678901234567890", "1E400", "true", "false",
    '"text"', '"3"', '""', '"true"', r'"caf\u00e9"', r'"\ud83d\ude00"', r'"half \ud800 pair"', r'"nul\u0000byte"', '"ünï"',
    '"it\'s; drop table"', r'"line\nfeed"', "null",
)  # fmt: skip
ARRAYS = ("[]", "[null]", "[1, 2.50]", '["a", "b"]', "[[1], [2, [3]]]", "[true, false]", '["single"]', "[null, 7]")
NAMES = (
    "plain",
    "Plain",
    'a"b',
    ";",
    "x.y",
    "naïve",
    "NAÏVE",
    "with space",
    "props.plan",
    "$p",
    "b",
    "tail:text",
    "'",
    "_subject",
)
TIMES = (
    '"2026-11-03T00:00:00.000Z"', '"2026-11-03T00:00:00.001Z"', '"2026-11-03T01:00:00+01:00"', '"2026-11-03"',
    '"2026-11-03T00:00:00.123456789Z"', "1793664000000", '"1793664000001"', '"2026-11-03T00:00Z"', '"never"',
)  # fmt: skip
SEQS = ("1", "2", "2.9", '"3"', "9223372036854775807", "9223372036854775808", '"x"', "null")
SUBJECTS = ('"u1"', '"u2"', '"é"', '"z"', '"😀"', '"\uffee"', "12", "1.10", "null", "true", '["m", "n"]')


def random_source(rng: random.Random) -> str:
    """A document as JSON text with odd names, values and spaces."""
    members = [f'"@timestamp": {rng.choice(TIMES)}']
    if rng.random() < 0.6:
        members.append(f'"distinct_id":{rng.choice(SUBJECTS)}')
    if rng.random() < 0.6:
        members.append(f'"session_id" : {rng.choice(SUBJECTS)}')
    if rng.random() < 0.5:
        members.append(f'"seq":{rng.choice(SEQS)}')
    if rng.random() < 0.5:
        members.append(f'"received_at":{rng.choice(TIMES[:2])}')
    for name in rng.sample(NAMES, rng.randrange(6)):
        members.append(f"{json.dumps(name)}:{rng.choice(SCALARS * 2 + ARRAYS)}")
    if rng.random() < 0.3:
        members.append(f'"x" : {{"z": {rng.choice(SCALARS)}, "deep": {{"y": {rng.choice(SCALARS)}}}}}')
    if rng.random() < 0.2:
        members.append(f'"items": [{{"sku": {rng.choice(SCALARS)}}}, {{"sku": {rng.choice(SCALARS)}}}]')
    rng.shuffle(members)
    return "{" + rng.choice((",", ", ")).join(members) + "}"


def flat(source: str, **options: Any) -> dict[str, list[Any]]:
    """Every property's values, in the order of the document."""
    found: dict[str, list[Any]] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{name}.{key}" if name else key, inner)
        elif isinstance(value, list):
            for inner in value:
                visit(name, inner)
        elif value is not None:
            found.setdefault(name, []).append(value)

    visit("", json.loads(source, **options))
    return found


def in_arrays(source: str) -> set[str]:
    """Names of properties that stand in an array, or twice in a document."""
    found: set[str] = set()
    seen: set[str] = set()

    def visit(name: str, value: Any, inside: bool) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{name}.{key}" if name else key, inner, inside)
        elif isinstance(value, list):
            for inner in value:
                visit(name, inner, True)
        elif value is not None:
            if inside or name in seen:
                found.add(name)
            seen.add(name)

    visit("", json.loads(source), False)
    return found


def kind_of(value: Any) -> str | None:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    try:
        return "number" if math.isfinite(float(value)) else None
    except OverflowError:
        return None


def typed(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    return value if isinstance(value, bool) else float(value)


def row(number: str, source: str) -> dict[str, Any]:
    """The fixed columns of one document."""
    values = flat(source)
    texts = flat(source, parse_int=str, parse_float=str)
    subject = next((texts[name][0] for name in ("distinct_id", "session_id") if values.get(name)), None)
    if isinstance(subject, bool):
        subject = json.dumps(subject)
    return {
        "_id": number,
        "_source": source,
        "_subject": subject,
        "@timestamp": milliseconds(values.get("@timestamp")),
        "received_at": milliseconds(values.get("received_at")),
        "seq": whole(values.get("seq")),
    }


def milliseconds(values: list[Any] | None) -> int | None:
    value = values[0] if values else None
    if isinstance(value, int):
        return value
    if value is None or value == "never":
        return None
    if value.isdigit():
        return int(value)
    moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return math.floor(moment.timestamp() * 1000 + 1e-6)


def whole(values: list[Any] | None) -> int | None:
    value = values[0] if values else None
    if isinstance(value, str):
        value = int(value) if value.isdigit() else None
    if value is None or not -(2**63) <= int(value) < 2**63:
        return None
    return int(value)


def order(fixed: dict[str, Any]) -> tuple[Any, ...]:
    """Subject (none last), time (none last), seq (none first), arrival (none last), id; text by its UTF-8 bytes."""
    subject, at, seq, received = (fixed[name] for name in ("_subject", "@timestamp", "seq", "received_at"))
    return (
        (subject is None, (subject or "").encode()),
        (at is None, at or 0),
        (seq is not None, seq or 0),
        (received is None, received or 0),
        fixed["_id"].encode(),
    )


def table(documents: dict[str, str]) -> dict[str, list[Any]]:
    """The whole part: every column with its values in order."""
    fixed = sorted((row(number, source) for number, source in documents.items()), key=order)
    found: dict[str, list[Any]] = {name: [one[name] for one in fixed] for name in FIXED}
    values = [flat(one["_source"]) for one in fixed]
    arrays = [in_arrays(one["_source"]) for one in fixed]
    names = {name for one in values for name in one}
    for name in sorted(names, key=lambda name: name.encode()):
        if name in FIXED or name.endswith((":text", ":flag")):
            continue
        if name.upper() == "PLAIN" and name != min(n for n in names if n.upper() == "PLAIN"):
            continue  # differs in case alone
        kinds = {kind_of(value) for one in values for value in one.get(name, ())}
        present = [kind for kind in ("number", "flag", "text") if kind in kinds]
        for kind in present:
            column = name if kind == present[0] else f"{name}:{kind}"
            of_kind = [[typed(v) for v in one.get(name, ()) if kind_of(v) == kind] for one in values]
            lists = any(several and name in inside for several, inside in zip(of_kind, arrays, strict=True))
            if lists:
                found[column] = [several or None for several in of_kind]
            else:
                found[column] = [several[0] if several else None for several in of_kind]
    return found
