"""Events about people: their names, the properties that they use, and which ids can be anybody's.

    $identify   linked_id is distinct_id        an anonymous id turned out to be this user
    $alias      linked_id is distinct_id        another id of the same person
    $merge      linked_id is distinct_id        an administrator says so (`POST /people/<id>/merge`)
    $unmerge    reverses                        takes the event of this `_id` back (`POST /people/<id>/unmerge`)
    $set        set.*, set_once.*, add.*, unset properties of the person
    $session    session.*                       properties of the session

They pass intake, are shipped and archived like every other event. `metronome.people` makes persons of them.
"""

from __future__ import annotations

from typing import Any

IDENTIFY = "$identify"
ALIAS = "$alias"
MERGE = "$merge"
UNMERGE = "$unmerge"
SET = "$set"
SESSION = "$session"

#: Events that say which ids are one person.
LINKS = (IDENTIFY, ALIAS, MERGE, UNMERGE)

#: The id that a link adds to the person of `distinct_id`.
LINKED = "linked_id"

#: The `_id` of the link that `$unmerge` takes back.
REVERSES = "reverses"

#: Who has linked people by hand: the id of a key, or `local` where no key is asked for. Only the gateway can set it.
BY = "merged_by"

MAX_ID = 200

#: What programs send in place of an id that they don't have. Two people who "are" one of these aren't one person.
PLACEHOLDERS = frozenset(
    (
        "",
        "0",
        "-1",
        "anonymous",
        "false",
        "guest",
        "n/a",
        "nan",
        "nil",
        "none",
        "not_authenticated",
        "null",
        "true",
        "undefined",
        "unknown",
        "[object object]",
        "00000000-0000-0000-0000-000000000000",
    )
)


def as_id(value: Any) -> str | None:
    """An id as text: numbers are ids too. None for anything that isn't text or a whole number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def problem_of(value: Any) -> str:
    """Why this can't be the id of a person; empty if it can."""
    name = as_id(value)
    if name is None:
        return "an id is text"
    if len(name) > MAX_ID:
        return f"at most {MAX_ID} characters"
    if name.strip().lower() in PLACEHOLDERS:
        return f"{name!r} stands for no id; leave the id out, or send that of one person"
    return ""
