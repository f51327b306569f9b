"""The meaning of an answer of `_bulk`, for the request as a whole and for each of its items.

item:           2xx                     indexed
                409                     duplicate: stored before, which is success
                two types at once       again: two documents that bring one new name with two types race for its
                                        mapping; the second finds it settled
                408, 429, 5xx           later: its index can't take it now, so it is set aside and tried again
                403, 404, index closed, later: blocked, forbidden or gone. That is no fault of the event, and
                no shards left          whoever runs the cluster may mend it
                any other 4xx           quarantine, with the reason

whole request:  413                     in halves, down to one event, which goes to quarantine
                400                     the same, if it is Elasticsearch that says so
                no answer in time, but  the events of each index by themselves. Those of an index that doesn't answer
                the cluster answers     then either are set aside: one of its shards hangs
                all else                the same request again: nobody there, an answer that doesn't fit, a proxy's
                                        400, and 401, 403, 404, 429, 5xx. Elasticsearch as a whole is away or busy
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from metronome.spool.quarantine import Refusal

Verdict = Literal["indexed", "duplicate", "again", "later", "quarantined"]

#: The parts of an answer that are judged: the status of each item, and the reason of the failed ones.
FILTER = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"

#: Errors of status 400 that the document didn't cause: the index is closed or gone, or the cluster has no shards left.
_NOT_ITS_FAULT = frozenset(("index_closed_exception", "index_not_found_exception", "validation_exception"))


def judge(status: int, kind: str, reason: str) -> Verdict:
    """Decide what to do with one item of a bulk answer."""
    if status < 300:
        return "indexed"
    if status == 409:
        return "duplicate"
    if is_race(reason):
        return "again"
    if status in (403, 404, 408, 429) or status >= 500 or kind in _NOT_ITS_FAULT:
        return "later"
    return "quarantined"


def is_race(reason: str) -> bool:
    """Whether two documents brought one new name with two types at the same moment."""
    return "cannot be changed from type" in reason


def is_own_fault(status: int) -> bool:
    """Whether the event itself may have caused the status. A 500 doesn't tell whether the event or its index did."""
    return status == 500


@dataclass(frozen=True)
class AllStored:
    """Every item was stored: the answer said `errors: false` and had as many items as were sent."""

    count: int


@dataclass(frozen=True)
class RequestRefused:
    """The request as a whole was refused with this status. A smaller one may be accepted."""

    status: int


@dataclass(frozen=True)
class Unanswered:
    """No answer came in time, though the cluster answers other requests."""


#: The kind of refusal for events of an index that doesn't answer.
NO_ANSWER = "no_answer"

#: The result of a request. A list has the result of each item, in order.
Reply = AllStored | RequestRefused | Unanswered | list[dict[str, Any]]


def refuses_request(status: int, headers: Any) -> bool:
    """Whether an error is about the bytes that were sent: 413 always, 400 only if Elasticsearch (no proxy) says it."""
    return status == 413 or (status == 400 and "x-elastic-product" in headers)


def understood(answer: Any, count: int) -> AllStored | list[dict[str, Any]] | None:
    """The results of `count` items, in order; None if the answer isn't one to so many items."""
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        return None
    items = answer["items"]
    if len(items) != count:
        return None
    if answer.get("errors") is False:
        return AllStored(len(items))
    results: list[Any] = [next(iter(item.values()), None) if isinstance(item, dict) else None for item in items]
    if not all(isinstance(result, dict) and isinstance(result.get("status"), int) for result in results):
        return None
    return results


def refusal(action: bytes, source: bytes, result: dict[str, Any]) -> Refusal:
    """An item and its result in the form that the quarantine keeps. Kind and reason are empty if it was stored."""
    # {"status": 400, "error": {"type": "document_parsing_exception", "reason": "…", "caused_by": {"reason": "…"}}}
    error = result.get("error") or {}
    reason = str(error.get("reason", ""))
    cause = (error.get("caused_by") or {}).get("reason")
    reason = f"{reason} ({cause})" if cause else reason
    return Refusal(action, source, result["status"], str(error.get("type", "")), reason)
