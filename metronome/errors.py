"""Every way in which Metronome says no, drawn once.

MetronomeError
├── Refused            the caller can mend it (4xx)
│   ├── BadPayload          400  the body can't be read
│   ├── BadQuestion         400  a parameter can't be understood
│   ├── BadKey              401  no key, or one that isn't valid (any more)
│   ├── Forbidden           403  the key is valid, and not for this
│   ├── NotFound            404
│   ├── Conflict            409  somebody else changed it first
│   ├── LengthRequired      411
│   ├── TooLarge            413
│   ├── UnsupportedMedia    415
│   ├── Misdirected         421  the Host header names another server
│   ├── ReportInvalid       422  a report that can't be told from others, or has fields that its class hasn't
│   ├── NothingAccepted     422  every event of the request was refused
│   ├── TooMuch             422  a question that reads, takes or holds more than it may; says what to narrow
│   ├── TooMany             429  slow down, then send the same again
│   └── Declined            own  an exception of the COUNTER API, with its code and HTTP status
├── Busy               the same call will work later (503, with Retry-After)
│   ├── SpoolFull
│   ├── SpoolUnavailable
│   ├── ArchiveUnavailable
│   ├── PartsUnavailable
│   ├── ImportFailed
│   ├── QuestionsWait
│   ├── DaysClosed
│   └── StoreUnavailable
└── Broken             ours or the operator's to mend (500)
    ├── ArchiveDamaged      an object of the archive isn't what its manifest says
    ├── SetupError          a setting, a file or a permission is wrong; says which and how to mend it
    └── StoreRefused        Elasticsearch answered what this code can't have caused

Each class knows its HTTP status. A message says what, where and what to do. It may be shown to anybody; what only the
operator should see, such as Elasticsearch's own words, is the error's `detail`.
"""

from __future__ import annotations

from typing import Any


class MetronomeError(Exception):
    """Base of the tree. `code` is stable and meant for programs, the message for people.

    `str(error)` is the message and the detail: for logs, and for commands that an operator runs.
    """

    status = 500

    def __init__(
        self, message: str, *, detail: str = "", field: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} ({self.detail})" if self.detail else self.message

    @property
    def code(self) -> str:
        """The class name in snake case: `BadPayload` is `bad_payload`."""
        name = type(self).__name__
        return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")

    def body(self) -> dict[str, Any]:
        """The project's one error body, as a JSON-ready dictionary."""
        return error_body(self.status, self.code, self.message, self.field)


def error_body(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """`{"error": {"status": 400, "code": "bad_payload", "message": "…", "field": "…"}}`; `field` only if known."""
    error: dict[str, Any] = {"status": status, "code": code, "message": message}
    if field is not None:
        error["field"] = field
    return {"error": error}


class Refused(MetronomeError):
    """The caller can mend it."""

    status = 400


class BadPayload(Refused):
    """The body can't be read as what its Content-Type says."""


class BadQuestion(Refused):
    """A parameter of a question can't be understood."""


class BadKey(Refused):
    """No key came, or one that isn't known, has expired or was revoked."""

    status = 401


class Forbidden(Refused):
    """The key is valid, but not for this scope, origin, network or application."""

    status = 403


class NotFound(Refused):
    status = 404


class Conflict(Refused):
    """It exists already, or was changed by somebody else since it was read."""

    status = 409


class LengthRequired(Refused):
    status = 411


class TooLarge(Refused):
    status = 413


class UnsupportedMedia(Refused):
    status = 415


class Misdirected(Refused):
    """The request names a host that this gateway isn't."""

    status = 421


class ReportInvalid(Refused):
    """A report that can't be told from others of its day, or has fields that its class doesn't have."""

    status = 422


class NothingAccepted(Refused):
    """Every event of the request was refused; `receipt` says why, event by event."""

    status = 422

    def __init__(self, message: str, receipt: dict[str, Any]) -> None:
        super().__init__(message)
        self.receipt = receipt

    def body(self) -> dict[str, Any]:
        return {**super().body(), **self.receipt}


class TooMuch(Refused):
    """A question reads more events, takes longer or holds more memory than it may."""

    status = 422


class TooMany(Refused):
    status = 429


class Declined(Refused):
    """An exception of the COUNTER API that is the whole answer; `counter.reports.notices.declined` makes it.

    `number` is the standard's code. The detail is the standard's Data, which the client is told.
    """

    def __init__(
        self, message: str, *, number: int = 0, status: int = 400, detail: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(message, detail=detail, retry_after_s=retry_after_s)
        self.number = number
        self.status = status


class Busy(MetronomeError):
    """The same call will work later."""

    status = 503

    def __init__(self, message: str, *, detail: str = "", retry_after_s: int = 5) -> None:
        super().__init__(message, detail=detail, retry_after_s=retry_after_s)


class SpoolFull(Busy):
    """The spool's limit or the disk's is reached; nothing of the request was taken."""


class SpoolUnavailable(Busy):
    """The spool can't be written; whether the request's bytes are on disk isn't known."""


class ArchiveUnavailable(Busy):
    """The archive doesn't answer, or answers that it can't just now."""


class PartsUnavailable(Busy):
    """A day's part is being built by another process, or disk or memory don't allow it just now."""


class ImportFailed(Busy):
    """A metric that another server computes can't be had from there just now."""


class QuestionsWait(Busy):
    """As many questions as may run are running, and none of them ended in time."""


class DaysClosed(Busy):
    """Days of the question have an index that is closed, so an answer would be too small."""


class StoreUnavailable(Busy):
    """Elasticsearch doesn't answer, or answers that it can't just now."""


class Broken(MetronomeError):
    """Ours or the operator's to mend."""


class ArchiveDamaged(Broken):
    """An object of the archive is missing, or isn't what its manifest says."""


class SetupError(Broken):
    """A setting, a file or a permission is wrong."""


class StoreRefused(Broken):
    """Elasticsearch refused a request that it should have served."""
