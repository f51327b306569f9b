"""All links of an installation in memory, and the person of every id: five million ids in a gigabyte.

Ids are numbered; a link is a row of plain arrays. Ids that any link connects, refused or not, are a *component*, and
what the fold makes of a component depends on nothing else. So a link that comes, however late, costs the fold of its
own component: nearly always a handful of links.

    number[id]      -> parent, some, person                       arrays with a place an id
    row of a link   -> at, source, target, kind, day, id, next    arrays with a place a link

The links of a component are a ring of `next`; `some` of the component's root is one of them. Two rings become one when
two of their links change their `next`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from metronome.event.identity import ALIAS, IDENTIFY, MERGE, UNMERGE, problem_of
from metronome.people.fold import MAX_CLUSTER, Folded, Link, Moves, fold

_KINDS = (IDENTIFY, ALIAS, MERGE, UNMERGE)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}

_IDENTIFY = _NUMBERS[IDENTIFY]

#: Kind of a row whose event was deleted.
_GONE = len(_KINDS)

#: Added to the kind of what `/v1/setUserId` said. It has no time of its own, so it was received when it holds from.
_OF_SESSION = 16

_NONE = -1


class Graph:
    """Links in, persons out. Not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._parent, self._some, self._person = (array("i") for _ in range(3))
        self._source, self._target, self._next = (array("i") for _ in range(3))
        self._at, self._kind, self._day = array("q"), array("b"), array("H")
        #: Sixteen bytes an `_id` that is a UUID. Others are texts in `_other_ids`, by row.
        self._ids = bytearray()
        self._other_ids: dict[int, str] = {}
        self._reverses: dict[int, str] = {}
        self._moved: Moves[int] = {}
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._names)

    @property
    def links(self) -> int:
        """Links that were added, also those whose event is gone since."""
        return len(self._kind)

    def add(self, link: Link[str], day: int = 0) -> None:
        """Take a link of the day's index `day`. What can't be a person's id links nothing. Call `settle` afterwards."""
        source, target, row = self._number(link.source), self._number(link.target), len(self._kind)
        if source == _NONE or target == _NONE:
            return
        self._at.append(link.at)
        self._source.append(source)
        self._target.append(target)
        self._kind.append(_NUMBERS[link.kind] + (_OF_SESSION if link.session else 0))
        self._day.append(day)
        self._next.append(row)
        packed = _packed(link.id)
        self._ids += packed or bytes(16)
        if not packed:
            self._other_ids[row] = link.id
        if link.reverses:
            self._reverses[row] = link.reverses
        root = self._united(source, target)
        self._join(root, row)
        self._changed.add(root)

    def settle(self) -> int:
        """Fold the components that have changed; says how many."""
        roots = {self._root(number) for number in self._changed}
        self._changed.clear()
        for root in roots:
            self._fold(root)
        return len(roots)

    def ids_of_day(self, day: int) -> dict[str, int]:
        """The links of one day's index: `_id` to row."""
        rows = (row for row, of_day in enumerate(self._day) if of_day == day and self._kind[row] != _GONE)
        return {self._id(row): row for row in rows}

    def forget(self, row: int) -> None:
        """The event of this link was deleted."""
        self._kind[row] = _GONE
        self._changed.add(self._source[row])

    def persons(self) -> array[int]:
        """Everybody as known now, for `resolve`. Numbers and names only grow, so it stays right while links come."""
        return self._person[:]

    def resolve(self, ids: Sequence[str], persons: array[int] | None = None) -> list[str]:
        """The person of each id; an id that nothing links is a person of its own."""
        person = self._person if persons is None else persons
        number, names, known = self._numbers.get, self._names, len(person)
        return [name if (at := number(name, known)) >= known else names[person[at]] for name in ids]

    def resolve_as_of(self, ids: Sequence[str], at: int, folds: dict[int, dict[int, int]] | None = None) -> list[str]:
        """The same by the links up to `at`, in milliseconds of Unix time. `folds` keeps what was folded, by root."""
        folds = {} if folds is None else folds
        found = []
        for name in ids:
            number = self._numbers.get(name)
            if number is None:
                found.append(name)
                continue
            root = self._root(number)
            if root not in folds:
                folds[root] = fold(link for link in self._links(root) if link.at <= at).persons
            found.append(self._names[folds[root].get(number, number)])
        return found

    def moves(self, at: int | None = None) -> Moves[str]:
        """The sessions for which `/v1/setUserId` named another user though they had one, by the links up to `at`."""
        names = self._names
        moved = self._moved if at is None else self._moved_as_of(at)
        return {names[number]: [(since, names[user]) for since, user in moved[number]] for number in moved}

    def _moved_as_of(self, at: int) -> Moves[int]:
        found: Moves[int] = {}
        for root, row in enumerate(self._some):
            if row == _NONE or self._parent[root] != root:
                continue
            rows = list(self._rows(root))
            if not self._is_star(rows) and any(self._kind[row] >= _OF_SESSION for row in rows):
                found.update(fold(link for link in self._links(root) if link.at <= at).moved)
        return found

    def component(self, name: str, at: int | None = None) -> Folded[str]:
        """The fold of all that is connected with this id, by the links up to `at`."""
        number = self._numbers.get(name)
        if number is None:
            return Folded()
        links = (self._named(link) for link in self._links(self._root(number)))
        return fold(link for link in links if at is None or link.at <= at)

    def links_of(self, name: str) -> list[Link[str]]:
        """All links that are connected with the id, in order."""
        number = self._numbers.get(name)
        links = self._links(self._root(number)) if number is not None else ()
        # A link is here twice while its day is in Elasticsearch and in the archive.
        return sorted({link.id: link for link in map(self._named, links)}.values(), key=lambda link: (link.at, link.id))

    def find_link(self, name: str, link_id: str) -> Link[str] | None:
        """The link with this `_id`, among those connected with the id."""
        return next((link for link in self.links_of(name) if link.id == link_id), None)

    def _named(self, link: Link[int]) -> Link[str]:
        source, target = self._names[link.source], self._names[link.target]
        return Link(link.at, link.id, link.kind, source, target, link.session, link.reverses)

    # --- Numbers and components ---------------------------------------------------------------------------------

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            if problem_of(name):
                return _NONE
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
            self._parent.append(number)
            self._some.append(_NONE)
            self._person.append(number)
        return number

    def _root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    def _united(self, one: int, other: int) -> int:
        """The root of both, whose components are one from now on."""
        one, other = self._root(one), self._root(other)
        if one == other:
            return one
        if self._some[other] != _NONE:
            self._join(one, self._some[other])
        self._parent[other] = one
        return one

    def _join(self, root: int, row: int) -> None:
        """Make one ring of the links of `root` and that of `row`."""
        some = self._some[root]
        if some == _NONE:
            self._some[root] = row
        else:
            self._next[some], self._next[row] = self._next[row], self._next[some]

    def _rows(self, root: int) -> Iterator[int]:
        row = first = self._some[root]
        while row != _NONE:
            yield row
            row = self._next[row]
            if row == first:
                return

    def _links(self, root: int) -> Iterable[Link[int]]:
        return [
            Link(
                self._at[row],
                self._id(row),
                _KINDS[self._kind[row] % _OF_SESSION],
                self._source[row],
                self._target[row],
                self._kind[row] >= _OF_SESSION,
                self._reverses.get(row, ""),
            )
            for row in self._rows(root)
            if self._kind[row] != _GONE
        ]

    def _id(self, row: int) -> str:
        if row in self._other_ids:
            return self._other_ids[row]
        digits = self._ids[16 * row : 16 * row + 16].hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _is_star(self, rows: list[int]) -> bool:
        """Whether all of these say that an id is one and the same user. More links can end that, and none begin it."""
        user = self._target[rows[0]]
        return all(self._kind[row] % _OF_SESSION == _IDENTIFY and self._target[row] == user for row in rows)

    def _fold(self, root: int) -> None:
        person, rows = self._person, list(self._rows(root))
        # Some ids that were identified as one user, and nothing else: most components are like that.
        if len(rows) < MAX_CLUSTER and self._is_star(rows):
            user = person[self._target[rows[0]]] = self._target[rows[0]]
            for row in rows:
                person[self._source[row]] = user
            return
        for row in rows:
            for number in (self._source[row], self._target[row]):
                person[number] = number
                self._moved.pop(number, None)
        found = fold(self._links(root))
        for number, cluster in found.clusters.items():
            person[number] = cluster.name
        self._moved.update(found.moved)


def _packed(link_id: str) -> bytes:
    """The 16 bytes of a UUID that is written the common way; none for any other `_id`."""
    if len(link_id) != 36 or link_id[8:24:5] != "----":
        return b""
    digits = link_id.replace("-", "")
    try:
        number = bytes.fromhex(digits)
    except ValueError:
        return b""
    return number if number.hex() == digits else b""
