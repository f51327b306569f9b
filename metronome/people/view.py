"""Who is whom as one question sees it: links that come while it is answered change nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from metronome.people.fold import Folded
from metronome.people.graph import Graph


class View:
    """Persons by the links that are known now, or with `at` (milliseconds of Unix time) by those up to then.

    `moves` are the sessions whose later events belong to another user, for `owner_of`.
    """

    def __init__(self, graph: Graph, lock: threading.RLock, at: int | None = None) -> None:
        self._graph, self._lock, self._at = graph, lock, at
        self._folds: dict[int, dict[int, int]] = {}
        with lock:
            self.moves = graph.moves(at)
            self._persons = graph.persons() if at is None else None

    @property
    def unlinked(self) -> bool:
        """Whether no id is linked to any other: `resolve` gives what it gets."""
        return self._persons is not None and not self._persons

    def resolve(self, ids: Sequence[str]) -> list[str]:
        """The person of each id; an id that nothing links is a person of its own."""
        if self._persons is not None:
            return self._graph.resolve(ids, self._persons)
        assert self._at is not None
        with self._lock:
            return self._graph.resolve_as_of(ids, self._at, self._folds)

    def folded(self, name: str) -> Folded[str]:
        """The fold of all that is connected with this id; nothing for an id that nothing links."""
        with self._lock:
            return self._graph.component(name, self._at)

    def ids_of(self, name: str) -> tuple[str, ...]:
        """All ids of the person that has this one: the person's own first, then the others in order."""
        cluster = self.folded(name).clusters.get(name)
        if cluster is None:
            return (name,)
        return tuple(sorted(cluster.ids, key=lambda one: (one != cluster.name, one)))

    def sent_under(self, ids: Sequence[str]) -> list[str]:
        """The ids under which events of these ids were sent: themselves, and sessions that have moved to them."""
        moved = [session for session, moves in self.moves.items() if any(user in ids for _, user in moves)]
        return sorted({*ids, *moved})


def nobody_linked() -> View:
    """Each id is a person of its own."""
    return View(Graph(), threading.RLock())
