"""The largest groups of a question, without a reading of all groups.

Each shard gives its most frequent values. Elasticsearch tells how many events a value may have at most in the shards
that didn't give it. An answer is taken only where this bound proves it.

    1. first     beside the other questions of a search: some more values than are needed
    2. second    the same, or as many values as Elasticsearch gives at once, with exact counts of the likely largest
    3. else      all groups, page by page
"""

from __future__ import annotations

from typing import Any

from metronome.query.clause import Json
from metronome.query.kinds import TEXTS, Kinds
from metronome.query.question import Count, Question, Values

#: Values that a terms aggregation gives at once.
TERMS = 10_000


def is_top(question: Question, kinds: Kinds) -> bool:
    """Whether a question needs only its largest groups, and their sizes are known from counts of values."""
    if question.most is None or len(question.by) != 1 or not isinstance(question.measure, Count):
        return False
    (grouping,) = question.by
    return isinstance(grouping, Values) and kinds.of(grouping.field) in TEXTS


def first(question: Question) -> Json:
    """The aggregations that are asked beside other questions."""
    return _aggregations(question, _some(question))


def second(question: Question, answered: Json) -> Json:
    """The aggregations to ask if the first answer proves nothing: with them, bound and counts are of one moment."""
    by = answered["by"]
    error, found = by["doc_count_error_upper_bound"], [bucket["doc_count"] for bucket in by["buckets"]]
    most = min(_most(question), len(found) - 1)
    likely = [bucket["key"] for bucket in by["buckets"] if bucket["doc_count"] + error >= found[most]]
    counted: Json = {"terms": {"field": _field(question), "include": likely, "size": len(likely)}}
    is_near = found[-1] + error < found[most - 1]
    return {**_aggregations(question, _some(question) if is_near else TERMS), "likely": counted}


def proved(question: Question, answered: Json, shards: int) -> dict[Any, int] | None:
    """The groups with their counts: the `most` largest, at least one more if there are any, and None. None if unsure.

    Groups whose counts aren't certain are left out.
    """
    if not answered:  # every index was deleted a moment ago
        return {}
    counts = _proved(question, answered, shards)
    none = answered.get("none", {}).get("doc_count")
    return {**counts, None: none} if counts is not None and none else counts


def _proved(question: Question, answered: Json, shards: int) -> dict[Any, int] | None:
    by = answered["by"]
    error, others = by["doc_count_error_upper_bound"], by["sum_other_doc_count"]
    given = {bucket["key"]: bucket["doc_count"] for bucket in by["buckets"]}
    if not error and not others:
        return given
    if not error and shards > 1:
        # Some versions say so although shards have left values out (elastic/elasticsearch#134645).
        return None
    likely = {bucket["key"]: bucket["doc_count"] for bucket in answered.get("likely", {"buckets": []})["buckets"]}
    counts = likely if error else given
    # What isn't in `given` has at most as many known events as the last that is, and further ones in other shards.
    rival = max([min(given.values()), *(count for value, count in given.items() if value not in counts)]) + error
    larger = sum(count > rival for count in counts.values())
    return counts if len(counts) > _most(question) <= larger else None


def _aggregations(question: Question, size: int) -> Json:
    found: Json = {"by": {"terms": {"field": _field(question), "size": size, "shard_size": size}}}
    (grouping,) = question.by
    if isinstance(grouping, Values) and grouping.missing:
        found["none"] = {"missing": {"field": grouping.field}}
    return found


def _some(question: Question) -> int:
    """Values that are mostly enough to tell the largest from all others."""
    return min(TERMS, 10 * _most(question) + 100)


def _field(question: Question) -> str:
    (grouping,) = question.by
    assert isinstance(grouping, Values)
    return grouping.field


def _most(question: Question) -> int:
    assert question.most is not None
    return question.most
