"""Months as texts, `2026-05`: the steps of a report's period."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from datetime import datetime

#: `2026-05` or `2026-05-01`.
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?", re.ASCII)


def month_of(at: datetime) -> str:
    return f"{at:%Y-%m}"


def from_number(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def to_number(month: str) -> int:
    """Months since the year 0, which makes arithmetic of them."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def before(month: str) -> str:
    return from_number(to_number(month) - 1)


def through(begin: str, end: str) -> list[str]:
    """Every month from `begin` to `end`, both included."""
    return [from_number(number) for number in range(to_number(begin), to_number(end) + 1)]


def first_day(month: str) -> str:
    return f"{month}-01"


def last_day(month: str) -> str:
    return f"{month}-{calendar.monthrange(int(month[:4]), int(month[5:]))[1]:02}"


def read(text: str, *, last: bool) -> str:
    """The month of `yyyy-mm`, or of the date of its first day; with `last`, of its last day. Raises ValueError."""
    found = _DATE.fullmatch(text)
    if not found or not 1 <= int(found[2]) <= 12 or found[1] == "0000":
        raise ValueError(text)
    month = f"{found[1]}-{found[2]}"
    if found[3] and text != (last_day(month) if last else first_day(month)):
        raise ValueError(text)
    return month


def runs(months: Iterable[str]) -> str:
    """`2026-01 to 2026-03, 2026-05` of ascending months."""
    found: list[list[int]] = []
    for number in map(to_number, months):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(
        from_number(first) if first == last else f"{from_number(first)} to {from_number(last)}" for first, last in found
    )


def column(month: str) -> str:
    """The head of a month's column in tables: `Jan-2026`."""
    return f"{calendar.month_abbr[int(month[5:])]}-{month[:4]}"
