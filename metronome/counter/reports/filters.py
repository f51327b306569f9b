"""Filters of full reports: what a request may ask for, read and applied.

Each parameter is a row of FILTERS. A value that isn't one of the standard's is ignored and named in a notice.
Source: COUNTER R5.1, section 3.3.9 and the COUNTER API specification.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from metronome.counter.reports.notices import FILTER, INCONGRUOUS, Notice
from metronome.counter.reports.table import Report
from metronome.counter.reports.values import (
    ACCESS_METHOD,
    ACCESS_METHODS,
    ACCESS_TYPE,
    ATTRIBUTED,
    COUNTRY,
    DATA_TYPE,
    DATA_TYPES,
    IDS,
    LINKING,
    METRICS,
    PROPRIETARY,
    SUBDIVISION,
    YOP,
)
from metronome.counter.values import ACCESS_TYPES
from metronome.counter.values import COUNTRY as COUNTRY_FORM
from metronome.counter.values import SUBDIVISION as SUBDIVISION_FORM

METRIC, ITEM_ID, DATABASE, AUTHOR, PLATFORM = "Metric_Type", "Item_ID", "Database", "Author", "Platform"

#: Filters that a header shows as one text; every other is a list there.
TEXTS = frozenset((ITEM_ID, DATABASE, AUTHOR, PLATFORM))

#: Identifiers by which items can be filtered.
ITEM_NAMESPACES = (*IDS, LINKING)

_YEARS = re.compile(r"([0-9]{4})(?:-([0-9]{4}))?", re.ASCII)
_AUTHOR = re.compile(r"(?:ORCID|ISNI):\S.*")


@dataclass(frozen=True)
class Filter:
    """A parameter and its name in a header; `of` says which full reports have it, `is_valid` what a value may be."""

    parameter: str
    name: str
    of: frozenset[str]
    is_valid: Callable[[str, str], bool]
    #: The order in which a header lists its values; without one, it is the order of the request.
    order: tuple[str, ...] = ()


_ALL, _DATED, _ITEMS = frozenset(("PR", "DR", "TR", "IR")), frozenset(("TR", "IR")), frozenset(("IR",))


def _matches(form: re.Pattern[str]) -> Callable[[str, str], bool]:
    return lambda full, value: form.fullmatch(value) is not None


def _is_years(full: str, value: str) -> bool:
    found = _YEARS.fullmatch(value)
    return found is not None and found[1] <= (found[2] or found[1])


FILTERS = (
    Filter("metric_type", METRIC, _ALL, lambda full, value: value in METRICS[full]),
    Filter("data_type", DATA_TYPE, _ALL, lambda full, value: value in DATA_TYPES[full]),
    Filter("access_type", ACCESS_TYPE, _DATED, lambda full, value: value in ACCESS_TYPES, ACCESS_TYPES),
    Filter("access_method", ACCESS_METHOD, _ALL, lambda full, value: value in ACCESS_METHODS, ACCESS_METHODS),
    Filter("yop", YOP, _DATED, _is_years),
    Filter("item_id", ITEM_ID, _DATED, lambda full, value: ":" in value),
    Filter("database", DATABASE, frozenset(("DR",)), lambda full, value: bool(value)),
    Filter("author", AUTHOR, _ITEMS, lambda full, value: _AUTHOR.fullmatch(value) is not None),
    Filter("attributed", ATTRIBUTED, _ALL, lambda full, value: value in ("Yes", "No"), ("Yes", "No")),
    Filter("country_code", COUNTRY, _ALL, _matches(COUNTRY_FORM)),
    Filter("subdivision_code", SUBDIVISION, _ALL, _matches(SUBDIVISION_FORM)),
)


@dataclass
class Read:
    """What of a request's filters can be applied, by name in the header, and what can't."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)
    incongruous: list[str] = field(default_factory=list)

    def notices(self) -> list[Notice]:
        codes = ((FILTER, self.unsupported), (INCONGRUOUS, self.incongruous))
        return [Notice(code, "; ".join(rows)) for code, rows in codes if rows]


def read(report: Report, given: dict[str, str], platform: str, platform_id: str) -> Read:
    """Read the filters of a request, by parameter. A Standard View has the platform's alone, beside its fixed ones."""
    found = Read(report.fixed)
    if named := given.get("platform", "").strip():
        if named in (platform, platform_id):
            found.values[PLATFORM] = (named,)
        else:
            found.unsupported.append(f"platform={named}")
    for row in () if report.is_view else FILTERS:
        if row.parameter in given and report.full in row.of:
            _read(row, report.full, given[row.parameter], platform_id, found)
    return found


def _read(row: Filter, full: str, text: str, platform_id: str, found: Read) -> None:
    # database=Roads DB | Rails     one name, whatever is in it
    # data_type=Book|Journal        several values
    given = [text.strip()] if row.name == DATABASE else list(dict.fromkeys(part.strip() for part in text.split("|")))
    values = [value for value in given if value]
    bad = [value for value in values if not row.is_valid(full, value)]
    if row.name == ITEM_ID:
        bad += [one for one in values if one not in bad and namespace(one, platform_id) not in ITEM_NAMESPACES]
    good = [value for value in values if value not in bad]
    if bad:
        found.unsupported.append(f"{row.parameter}={'|'.join(bad)}")
    if row.name == ITEM_ID and len({namespace(one, platform_id) for one in good}) > 1:
        found.incongruous.append(f"{row.parameter}={'|'.join(good)}")
        return
    if good:
        order = METRICS[full] if row.name == METRIC else row.order
        found.values[row.name] = tuple(value for value in order if value in good) or tuple(good)


def namespace(item_id: str, platform_id: str) -> str:
    """`DOI` of `DOI:10.1234/x`. A proprietary id may stand as reports show it, `plat:x`, without a namespace before."""
    found = item_id.partition(":")[0]
    return PROPRIETARY if found == platform_id else found


def bare(item_id: str, platform_id: str) -> str:
    """The value of an identifier as a subject has it: without namespace, and without the platform's prefix."""
    value = item_id if item_id.startswith(f"{platform_id}:") else item_id.partition(":")[2]
    return value.removeprefix(f"{platform_id}:")


def years(values: Sequence[str]) -> Callable[[str], bool]:
    """Whether a YOP is within one of the years and ranges."""
    ranges = [(found[1], found[2] or found[1]) for found in map(_YEARS.fullmatch, values) if found]
    return lambda year: any(first <= year <= last for first, last in ranges)


def among(values: Iterable[str]) -> Callable[[str], bool]:
    return frozenset(values).__contains__
