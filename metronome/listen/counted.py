"""Records that are counted usage: no address, agent or login of a visitor goes on to the door.

COUNTER's rooms are opened with the first record that may be a usage. Nobody else pays for them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from metronome.errors import SetupError, StoreUnavailable
from metronome.settings import Settings
from metronome.store.address import Address

if TYPE_CHECKING:
    from metronome.counter.usage import Usages

_COUNTER = "counter"

#: Gives the address of Elasticsearch, where the customers are, or raises SetupError while there is none.
Find = Callable[[], Address | None]


class Counted:
    """Makes events of usages. One per process; safe to use from many threads."""

    def __init__(self, settings: Settings, find: Find) -> None:
        self._settings = settings
        self._find = find

    def read(self, record: Any) -> Any:
        """The record, or what intake takes in its place. Raises Busy where a usage can't be read just now."""
        if type(record) is not dict or not any(name.startswith(_COUNTER) for name in record):
            return record
        from metronome.counter.usage import Came

        # Who ships a log isn't the visitor.
        (event,) = self._usages.among([record], Came("", "", datetime.now(UTC)), publishable=False)
        return event

    @cached_property
    def _usages(self) -> Usages:
        from metronome.counter import Counter
        from metronome.store.client import connect

        try:
            client = connect(self._settings, self._find())
        except SetupError as error:
            raise StoreUnavailable(f"whose usage it is can't be known yet: {error}") from None
        return Counter(client, self._settings).usages
