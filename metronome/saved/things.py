"""Saved things as versioned records.

    index `saved`       the newest version of each thing, or the mark that it was deleted
    index `versions`    the older ones, under `<record>@<version>`

A change first copies the present version into `versions`, and then replaces it. The copy is the same whoever makes it,
so a writer that fails between the two leaves nothing wrong behind.

Each application that a key can be bound to has things of its own, and so has the installation (`app` is "").
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import Conflict, NotFound, TooLarge
from metronome.periods import to_text
from metronome.settings import Settings
from metronome.store.points import Points
from metronome.store.records import Record, Records

#: How often a change without an expected version is tried while others change the same thing.
TRIES = 5

#: Most things of one kind and application.
MOST = 1000


@dataclass(frozen=True)
class Thing:
    """A saved thing at one version. `by` is the id of the key that saved it, `at` when that was, as text in UTC."""

    id: str
    version: int
    at: str | None
    by: str
    body: Mapping[str, Any]


class Saved:
    """All saved things of an installation, and the points of its external series."""

    def __init__(
        self, client: Elasticsearch, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._newest = Records(client, settings, "saved")
        self._older = Records(client, settings, "versions")
        self._clock = clock
        self.points = Points(client, settings)

    def get(self, what: str, name: str, app: str, version: int | None = None) -> Thing:
        """The newest version, or another one; raises NotFound."""
        head = self._head(what, name, app)
        if head is not None and version is None and not head.value.get("deleted"):
            return _thing(head)
        if head is not None and version == head.value["version"] and not head.value.get("deleted"):
            return _thing(head)
        if head is not None and version is not None:
            with contextlib.suppress(NotFound):
                return _thing(self._older.get(f"{head.id}@{version}"))
        shown = "" if version is None else f" of version {version}"
        raise NotFound(f"{what}: there is no {name!r}{shown}")

    def list(self, what: str, app: str) -> list[Thing]:
        """The newest version of each, by id."""
        rows = [row for row in self._newest.list() if (row.value["what"], row.value["app"]) == (what, app)]
        return sorted((_thing(row) for row in rows if not row.value.get("deleted")), key=lambda thing: thing.id)

    def put(
        self, what: str, name: str, app: str, body: Mapping[str, Any], *, by: str = "", expected: int | None = None
    ) -> Thing:
        """Save the next version. With `expected`, the newest must have this version (0: there is none).

        Raises Conflict if it has another, TooLarge if there are too many things.
        """
        value = {"what": what, "name": name, "app": app, "by": by, "body": body, "deleted": False}
        return _thing(self._change(what, name, app, value, expected))

    def delete(self, what: str, name: str, app: str, *, by: str = "", expected: int | None = None) -> None:
        """Take it out of sight; its versions stay readable. Raises NotFound, Conflict."""
        self.get(what, name, app)
        value = {"what": what, "name": name, "app": app, "by": by, "body": {}, "deleted": True}
        self._change(what, name, app, value, expected)

    def points_name(self, name: str, app: str) -> str:
        """The name of a series in `points`: other applications may have a series of the same id."""
        return _record_id("series", name, app)

    def _change(self, what: str, name: str, app: str, value: dict[str, Any], expected: int | None) -> Record:
        for attempt in range(TRIES):
            head = self._head(what, name, app)
            seen = 0 if head is None or head.value.get("deleted") else head.value["version"]
            if expected is not None and expected != seen:
                raise Conflict(f"{what}: {name!r} has version {seen} and not {expected}; read it again")
            value = {**value, "version": (head.value["version"] if head else 0) + 1, "at": to_text(self._clock())}
            try:
                return self._replaced(head, _record_id(what, name, app), value)
            except Conflict:
                if expected is not None or attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _replaced(self, head: Record | None, record_id: str, value: dict[str, Any]) -> Record:
        if head is None:
            if len(self.list(value["what"], value["app"])) >= MOST:
                raise TooLarge(f"{value['what']}: there are {MOST} already; delete some")
            return self._newest.create(record_id, value)
        with contextlib.suppress(Conflict):  # another writer has copied the same version
            self._older.create(f"{head.id}@{head.value['version']}", head.value)
        return self._newest.replace(head, value)

    def _head(self, what: str, name: str, app: str) -> Record | None:
        try:
            return self._newest.get(_record_id(what, name, app))
        except NotFound:
            return None


def _record_id(what: str, name: str, app: str) -> str:
    """`metrics/buyers`; with an application, whose name may be long or hold anything, its hash goes before."""
    return f"{hashlib.sha256(app.encode()).hexdigest()[:24]}/{what}/{name}" if app else f"{what}/{name}"


def _thing(record: Record) -> Thing:
    value = record.value
    return Thing(value["name"], value["version"], value["at"], value.get("by", ""), value["body"])
