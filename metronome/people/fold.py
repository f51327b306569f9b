"""Which ids are one person: the fold of links, for ids that any link connects. Source: semantics, section 7.

Links are folded in the order of `(at, id)`, whatever the order in which they came, so the same links always give the
same persons. One that is taken back is left out, so what follows is as if it had never been there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from metronome.event.identity import ALIAS, IDENTIFY, UNMERGE

#: Most ids of one person.
MAX_CLUSTER = 500

ALREADY_IDENTIFIED = "already_identified"
TOO_MANY_IDS = "too_many_ids"

#: How ids are told apart: texts, or numbers that stand for them.
Id = TypeVar("Id")


#: Sessions whose later events belong to somebody else: since when they were received (in milliseconds) and to whom.
Moves = dict[Id, list[tuple[int, Id]]]


class Link(NamedTuple, Generic[Id]):
    """`source` is another id of the person of `target`.

    at         since when, in milliseconds of Unix time; ties go by `id`, the `_id` of the event
    session    whether `/v1/setUserId` said it, of a session: then it was received at `at`
    reverses   of an unmerge: the `id` of the link that is taken back
    """

    at: int
    id: str
    kind: str
    source: Id
    target: Id
    session: bool = False
    reverses: str = ""


@dataclass
class Cluster(Generic[Id]):
    """One person while the fold goes on. `user` is the first id that an identify named; `name` is the person's id."""

    name: Id
    ids: list[Id]
    user: Id | None = None

    def is_user(self, target: Id) -> None:
        """An application has named `target` as the id of its user."""
        if self.user is None:
            self.user = self.name = target

    def absorb(self, other: Cluster[Id]) -> None:
        self.ids += other.ids
        if self.user is None:
            self.user = other.user


@dataclass
class Folded(Generic[Id]):
    """What links make of ids.

    persons     the person's id of each id
    refused     the reason for each link that was refused, by its id
    joined      the links that joined two persons, in order
    moved       sessions whose later events belong to somebody else, in order
    """

    clusters: dict[Id, Cluster[Id]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    joined: list[Link[Id]] = field(default_factory=list)
    moved: Moves[Id] = field(default_factory=dict)

    @property
    def persons(self) -> dict[Id, Id]:
        return {name: cluster.name for name, cluster in self.clusters.items()}


def fold(links: Iterable[Link[Id]]) -> Folded[Id]:
    """Persons of the ids that these links connect."""
    ordered = sorted(links, key=lambda link: (link.at, link.id))
    void = taken_back(ordered)
    found: Folded[Id] = Folded()
    for link in ordered:
        if link.kind != UNMERGE and link.id not in void:
            _apply(link, found)
    return found


def taken_back(ordered: list[Link[Id]]) -> set[str]:
    """Ids of the links that an unmerge takes back. An unmerge can be taken back by a later one."""
    void: set[str] = set()
    for link in reversed(ordered):
        if link.kind == UNMERGE and link.id not in void:
            void.add(link.reverses)
    return void


def _apply(link: Link[Id], found: Folded[Id]) -> None:
    source = _cluster(link.source, found)
    target = _cluster(link.target, found)
    refused = ""
    if source is not target:
        if link.kind in (IDENTIFY, ALIAS) and source.user is not None:
            refused = ALREADY_IDENTIFIED
        elif len(source.ids) + len(target.ids) > MAX_CLUSTER:
            refused = TOO_MANY_IDS
    if link.kind == IDENTIFY:
        target.is_user(link.target)
    if refused:
        found.refused[link.id] = refused
    elif source is not target:
        target.absorb(source)
        found.clusters.update(dict.fromkeys(source.ids, target))
        found.joined.append(link)
    # A session that belongs to somebody else from now on. Once one has moved, each later setUserId says where it is.
    if link.session and (refused or link.source in found.moved):
        found.moved.setdefault(link.source, []).append((link.at, link.target))


def _cluster(name: Id, found: Folded[Id]) -> Cluster[Id]:
    cluster = found.clusters.get(name)
    if cluster is None:
        cluster = found.clusters[name] = Cluster(name, [name])
    return cluster


def owner_of(session: Id, received: int, moves: Moves[Id]) -> Id:
    """Whose an event of this session is that was received then: the session's own id, or that of another user."""
    found = session
    for since, user in moves.get(session, ()):
        if since <= received:
            found = user
    return found
