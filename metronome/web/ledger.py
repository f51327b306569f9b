"""The ledger of this host: each event that was accepted is stored, waits, or is in quarantine.

    accepted = indexed + duplicate + quarantined + suppressed + waiting + difference

The counters are those of `/metrics`: of all processes with this METRONOME_HOME, since it was made. Other processes
publish theirs once a second, so while events flow the difference is about a second's events. One that stays has a
cause:

    above 0   spooled requests that their disk damaged, or that an erasure took out of the spool
    below 0   events that went to Elasticsearch twice: after a crash of the drain, or by `metronome quarantine replay`;
              or a process that was killed before it published its last second
"""

from __future__ import annotations

from typing import Any

from metronome.metrics import Samples

#: What becomes of an event in the drain for good. `held` and `retried` are on the way.
ENDS = ("indexed", "duplicate", "quarantined", "suppressed")

COVERS = (
    "what the processes of this host have counted since its METRONOME_HOME was made; other hosts have ledgers of their "
    "own, and what shippers write straight into Elasticsearch is in none"
)


def ledger(totals: Samples, waiting: int, in_quarantine: int | None) -> dict[str, Any]:
    """The events of this host by what became of them; `in_quarantine` is None where that can't be read."""

    def total(name: str, **labels: str) -> int:
        wanted = set(labels.items())
        return int(sum(value for (known, said), value in totals.items() if known == name and wanted <= set(said)))

    accepted = total("metronome_events_accepted_total")
    ends = {outcome: total("metronome_bulk_items_total", outcome=outcome) for outcome in ENDS}
    return {
        "accepted": accepted,
        **ends,
        "waiting": waiting,
        "difference": accepted - waiting - sum(ends.values()),
        # Not accepted, or no events: they are in none of the figures above.
        "refused": total("metronome_events_refused_total"),
        "refused_but_kept": total("metronome_events_set_aside_total"),
        "repeated_in_their_request": total("metronome_events_duplicate_total"),
        "damaged_requests": total("metronome_spool_damaged_total"),
        "in_quarantine": in_quarantine,
        "covers": COVERS,
    }
