"""Elasticsearch itself, for those who may ask it anything: requests and answers pass through as they are.

Its refusals of a request (400, 404 and the like) are answers. Any other trouble is an error of ours: that it is away,
or refuses the gateway's own credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import pattern

#: Statuses that say that the request is wrong.
_REFUSALS = (400, 404, 405, 406, 409, 410, 411, 413, 415)


@dataclass(frozen=True)
class Passed:
    """An answer: its status, and its JSON, or its text where it has another form."""

    status: int
    body: Any


class Raw:
    """All methods may raise StoreUnavailable, SetupError or StoreFailed."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client.options(ignore_status=_REFUSALS)
        self._events = pattern(settings)

    def send(self, method: str, path: str, parameters: Mapping[str, str], body: Any | None) -> Passed:
        """Send a request to `/path`; `body` is JSON."""
        headers = {"accept": "application/json", "content-type": "application/json"}
        with our_errors():
            found = self._client.perform_request(
                method, f"/{path}", params=dict(parameters), headers=headers, body=body
            )
        return Passed(found.meta.status, found.body)

    def search(self, body: Mapping[str, Any]) -> Passed:
        """Search the events. `body` is that of Elasticsearch's search."""
        with our_errors():
            found = self._client.search(index=self._events, body=dict(body), allow_no_indices=True)
        return Passed(found.meta.status, found.body)
