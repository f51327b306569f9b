"""Whether what a receipt says still holds: the objects that went are gone, and the ids are still not taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metronome.archive.work import Work
from metronome.erasure import suppress
from metronome.store.records import Records


def problems_of(work: Work, receipt: Mapping[str, Any]) -> list[str]:
    """What doesn't hold any more."""
    problems = []
    there = {one.key for one in work.catalogue.objects.list("")} if work.settings.archive else set()
    for row in receipt["found"]["archive"]:
        problems += [f"{key} is in the archive again" for key in row["gone"] if key in there]
    if receipt["suppressed"]:
        listed = suppress.listed(Records(work.client, work.settings, "privacy"))
        missing = set(receipt["what"]["ids"]) - listed.hashes
        if missing:
            problems.append(f"{len(missing)} of its ids are taken again")
    return problems
