"""Semantics section 7 in plain Python: which ids are one person, and what is known of it."""

from __future__ import annotations

from typing import Any


class Oracle:
    """`links` are dictionaries: at, id, kind, source, target, reverses, and session (true) where `/v1` said it."""

    def __init__(self, links: list[dict[str, Any]], limit: int = 500) -> None:
        self.persons: list[dict[str, Any]] = []  # {"ids": set, "user": str | None, "name": str}
        self.refused: dict[str, str] = {}
        self.moves: list[tuple[int, str, str]] = []
        in_order = sorted(links, key=lambda link: (link["at"], link["id"]))
        reversed_ids = self.reversed_of(in_order)
        for link in in_order:
            if link["kind"] != "$unmerge" and link["id"] not in reversed_ids:
                self.link(link, limit)

    def reversed_of(self, in_order: list[dict[str, Any]]) -> set[str]:
        """A link is reversed if some unmerge of it is in force: one that no later unmerge in force reverses."""
        unmerges = [link for link in in_order if link["kind"] == "$unmerge"]

        def in_force(place: int) -> bool:
            later = range(place + 1, len(unmerges))
            return not any(unmerges[other]["reverses"] == unmerges[place]["id"] and in_force(other) for other in later)

        return {unmerge["reverses"] for place, unmerge in enumerate(unmerges) if in_force(place)}

    def person(self, name: str) -> dict[str, Any]:
        for person in self.persons:
            if name in person["ids"]:
                return person
        self.persons.append({"ids": {name}, "user": None, "name": name})
        return self.persons[-1]

    def link(self, link: dict[str, Any], limit: int) -> None:
        source, target = self.person(link["source"]), self.person(link["target"])
        same = source is target
        why = None
        if not same and link["kind"] != "$merge" and source["user"] is not None:
            why = "already_identified"
        elif not same and len(source["ids"] | target["ids"]) > limit:
            why = "too_many_ids"
        if link["kind"] == "$identify" and target["user"] is None:
            target["user"] = target["name"] = link["target"]
        if why:
            self.refused[link["id"]] = why
        elif not same:
            self.persons.remove(source)
            target["ids"] |= source["ids"]
            target["user"] = target["user"] or source["user"]
        if link.get("session") and (why or any(session == link["source"] for _, session, _ in self.moves)):
            self.moves.append((link["at"], link["source"], link["target"]))

    def resolve(self, name: str) -> str:
        return next((person["name"] for person in self.persons if name in person["ids"]), name)

    def ids(self, name: str) -> set[str]:
        return next((person["ids"] for person in self.persons if name in person["ids"]), {name})

    def owner(self, session: str, received: int) -> str:
        past = [move for move in self.moves if move[1] == session and move[0] <= received]
        return past[-1][2] if past else session
