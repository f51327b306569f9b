"""The spool, and the drain that empties it."""

from __future__ import annotations

from dataclasses import dataclass

from metronome.kinds import size, whole
from metronome.settings.row import GB, KB, MB, TB, setting


@dataclass(frozen=True)
class Delivery:
    """The spool, and the drain that empties it."""

    spool_max_bytes: int = setting(
        "METRONOME_SPOOL_MAX_BYTES",
        size(100 * KB, 16 * TB),
        8 * GB,
        "Room for events that wait for Elasticsearch, per worker; beyond it ticks get 503.",
    )
    disk_reserve_bytes: int = setting(
        "METRONOME_DISK_RESERVE_BYTES",
        size(0, 16 * TB),
        512 * MB,
        "Free space that the spools leave to others on their disk; below it ticks get 503, and recover by themselves.",
    )
    drain_bulk_bytes: int = setting(
        "METRONOME_DRAIN_BULK_BYTES",
        size(1 * KB, 100 * MB),
        8 * MB,
        "Size of a bulk request at which the drain sends it.",
    )
    drain_senders: int = setting(
        "METRONOME_DRAIN_SENDERS", whole(1, 64), 2, "Bulk requests that the drain has under way at one time."
    )
    drain_timeout_s: int = setting(
        "METRONOME_DRAIN_TIMEOUT_S", whole(1, 3600), 60, "How long a bulk request may take before it is sent again."
    )
