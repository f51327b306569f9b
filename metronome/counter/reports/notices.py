"""The exceptions of the standard: what a COUNTER API says when an answer isn't what was asked for.

Those with HTTP status 200 stand in a report's header; every other is the whole answer (`errors.Declined`).
Source: COUNTER R5.1, Appendix D; messages match it letter by letter.
"""

from __future__ import annotations

from dataclasses import dataclass

from metronome.errors import Declined


@dataclass(frozen=True)
class Notice:
    """One exception. `data` says what it is about; some kinds always have it."""

    code: int
    data: str = ""

    @property
    def message(self) -> str:
        return MESSAGES[self.code][1]

    @property
    def status(self) -> int:
        """The HTTP status that comes with it."""
        return MESSAGES[self.code][0]

    @property
    def text(self) -> str:
        """As in tables: `3031: Usage Not Ready for Requested Dates (2026-05)`."""
        return f"{self.code}: {self.message}" + (f" ({self.data})" if self.data else "")

    def as_json(self) -> dict[str, int | str]:
        return {"Code": self.code, "Message": self.message, **({"Data": self.data} if self.data else {})}


NOT_AVAILABLE, BUSY, QUEUED, TOO_MANY, INSUFFICIENT = 1000, 1010, 1011, 1020, 1030
UNKNOWN_REQUESTOR, NOT_FOR_INSTITUTION, NO_GLOBAL, BAD_KEY = 2000, 2010, 2011, 2020
BAD_DATES, NO_USAGE, NOT_READY, NO_LONGER, PARTIAL = 3020, 3030, 3031, 3032, 3040
PARAMETER, FILTER, INCONGRUOUS, ATTRIBUTE, COMPONENTS, NO_FILTER = 3050, 3060, 3061, 3062, 3063, 3070

#: HTTP status and message by code.
MESSAGES: dict[int, tuple[int, str]] = {
    NOT_AVAILABLE: (503, "Service Not Available"),
    BUSY: (503, "Service Busy"),
    QUEUED: (202, "Report Queued for Processing"),
    TOO_MANY: (429, "Client has made too many requests"),
    INSUFFICIENT: (400, "Insufficient Information to Process Request"),
    UNKNOWN_REQUESTOR: (401, "Requestor Not Authorized to Access Service"),
    NOT_FOR_INSTITUTION: (403, "Requestor is Not Authorized to Access Usage for Institution"),
    NO_GLOBAL: (403, "Global Reports Not Supported"),
    BAD_KEY: (401, "APIKey Invalid"),
    BAD_DATES: (400, "Invalid Date Arguments"),
    NO_USAGE: (200, "No Usage Available for Requested Dates"),
    NOT_READY: (200, "Usage Not Ready for Requested Dates"),
    NO_LONGER: (200, "Usage No Longer Available for Requested Dates"),
    PARTIAL: (200, "Partial Data Returned"),
    PARAMETER: (200, "Parameter Not Recognized in this Context"),
    FILTER: (200, "Invalid ReportFilter Value"),
    INCONGRUOUS: (200, "Incongruous ReportFilter Value"),
    ATTRIBUTE: (200, "Invalid ReportAttribute Value"),
    COMPONENTS: (200, "Components Not Supported"),
    NO_FILTER: (200, "Required ReportFilter Missing"),
}


def declined(code: int, data: str = "", *, retry_after_s: int | None = None) -> Declined:
    """The error to raise where an exception is the whole answer."""
    status, message = MESSAGES[code]
    return Declined(message, number=code, status=status, detail=data, retry_after_s=retry_after_s)
