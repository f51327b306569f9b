"""A month's facts: what one customer did in one month with one title, item or database, or with the platform.

There are four sorts of facts, one for each full report. A report, and each of its Standard Views, is a selection of the
facts of its sort, with the counts of what isn't shown added up:

    PR    one fact, without a subject
    DR    a fact for each database: its searches and denials, and the usage of what it holds
    TR    a fact for each title
    IR    a fact for each item; `parent` is the title of it, where its data type has one

Nothing else has to be known to add up. Uniques were counted within a session for each combination of the attributes of
`Performance`, and sums of them aren't deduplicated again. The data types are those of the report: an article is
`Journal` in PR, DR and TR, and `Article` in IR. A fact has only metrics that its report knows, and no zeros.

The platform is that of the installation. The World is a customer of its own, over all usage.

Source: COUNTER R5.1, sections 4 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

Report = Literal["PR", "DR", "TR", "IR"]

REPORTS: tuple[Report, ...] = ("PR", "DR", "TR", "IR")

#: The customer whose usage is all usage.
WORLD = "0000000000000000"
WORLD_NAME = "The World"


class Author(NamedTuple):
    """`id` is as in reports: `ORCID:0000-0001-2345-6789` or `ISNI:…`, or empty."""

    name: str
    id: str = ""


class Subject(NamedTuple):
    """A title, item or database, as it was last described in the month.

    id                  its proprietary id without the platform's prefix; never empty. Months are joined by it
    data_type           of a parent; that of a fact's own subject is in `Performance`
    ids                 other identifiers: (("DOI", "10.1234/x"), ("Print_ISSN", "1234-5679"))
    publisher_ids       (("ROR", ("00hx57361",)),)
    publication_date    yyyy-mm-dd
    """

    id: str
    name: str
    data_type: str = ""
    ids: tuple[tuple[str, str], ...] = ()
    publisher: str = ""
    publisher_ids: tuple[tuple[str, tuple[str, ...]], ...] = ()
    authors: tuple[Author, ...] = ()
    publication_date: str = ""
    article_version: str = ""


class Performance(NamedTuple):
    """How often, for one combination of attributes. A report that lacks an attribute has the empty text in it.

    yop, access_type         TR and IR only
    country, subdivision     ISO 3166-1 and 3166-2; empty where they aren't known
    attributed               whether the usage is also that of a customer other than The World
    counts                   metric type to a positive count
    """

    counts: dict[str, int]
    data_type: str
    yop: str = ""
    access_type: str = ""
    access_method: str = "Regular"
    country: str = ""
    subdivision: str = ""
    attributed: bool = True


class Fact(NamedTuple):
    """All performances of one subject in one month. `subject` is None in PR alone."""

    subject: Subject | None
    parent: Subject | None
    performances: tuple[Performance, ...]


def order(fact: Fact) -> tuple[str, str]:
    """The order in which facts of a month are read: by parent (items without one first), then by subject.

    So facts of several months are merged by `heapq.merge(…, key=order)`, and those of one parent stand together.
    """
    return (fact.parent.id if fact.parent else "", fact.subject.id if fact.subject else "")


class Change(NamedTuple):
    """What a restatement changed: a customer's total of one metric in one report."""

    customer_id: str
    report: str
    metric: str
    old: int
    new: int


@dataclass(frozen=True)
class Restatement:
    """A month was processed again and came out otherwise."""

    at: datetime
    cause: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Month:
    """What is known of a month that was processed at least once, is being processed, or is to be.

    month           `2026-05`
    processed_at    when its facts were last replaced; None: there are none yet
    processing      whether it is being processed now. Facts of the time before stay readable meanwhile
    robot_list      name and version of the list by which robots were left out
    changed_at      when figures last changed: at first processing, or by the last restatement
    asked_at        since when a request waits for it to be processed; None: none does
    failed_at       when processing last failed; None once it went well
    lost            what of its usage is lost for good, as an operator noted it; empty where nothing is
    """

    month: str
    processed_at: datetime | None = None
    processing: bool = False
    robot_list: str = ""
    changed_at: datetime | None = None
    restatements: tuple[Restatement, ...] = ()
    asked_at: datetime | None = None
    failed_at: datetime | None = None
    lost: str = ""


class Facts(Protocol):
    """Reads facts. All methods may raise StoreUnavailable, SetupError or StoreFailed."""

    def months(self) -> Sequence[Month]:
        """Every month of which something is known, ascending. A month that isn't there has no facts."""
        ...

    def first_month(self) -> str | None:
        """The first month of which usage or facts are kept; None where there is neither."""
        ...

    def facts(self, month: str, customer_id: str, report: Report) -> Iterator[Fact]:
        """One customer's facts of a processed month, ascending by `order`; nothing where there are none."""
        ...
