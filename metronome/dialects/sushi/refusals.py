"""Errors as the standard's exceptions: one object, `{"Code", "Message", "Data"?}`, with its HTTP status."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, request

from metronome.counter.reports.notices import BUSY, NOT_AVAILABLE, Notice, declined
from metronome.errors import Busy, Declined, MetronomeError, NotFound, StoreUnavailable
from metronome.logs import Sparing
from metronome.wire.request import error_answer, json_answer

log = logging.getLogger("metronome.web")


def answer_errors(routes: Blueprint) -> None:
    """Let every error of these routes be answered as an exception. What has gone wrong here is only in the log."""
    sparing = Sparing()

    @routes.errorhandler(Declined)
    def no(error: Declined) -> Response:
        return _answer(error)

    @routes.errorhandler(NotFound)
    def nowhere(error: NotFound) -> Response:
        # The standard wants a 404 without an exception.
        return error_answer(error)

    @routes.errorhandler(MetronomeError)
    def ours(error: MetronomeError) -> Response:
        if (unsaid := sparing.turn(str(error))) is not None:
            extra = {"path": request.path, "unsaid": unsaid}
            log.error(str(error), extra=extra, exc_info=error if error.status == 500 else None)
        busy = isinstance(error, Busy) and not isinstance(error, StoreUnavailable)
        return _answer(declined(BUSY if busy else NOT_AVAILABLE, retry_after_s=error.retry_after_s))

    @routes.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.exception("unforeseen error", extra={"path": request.path})
        return _answer(declined(NOT_AVAILABLE))


def _answer(error: Declined) -> Response:
    response = json_answer(Notice(error.number, error.detail).as_json(), error.status)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response
