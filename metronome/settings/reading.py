"""What questions may cost, and the day parts that some are answered from."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.kinds import size, whole
from metronome.settings.row import GB, MB, TB, setting


@dataclass(frozen=True)
class Reading:
    """What questions may cost, and the day parts that some are answered from."""

    query_timeout_s: int = setting(
        "METRONOME_QUERY_TIMEOUT_S", whole(1, 3600), 20, "How long a question to Elasticsearch may take."
    )
    query_events: int = setting(
        "METRONOME_QUERY_EVENTS", whole(1, 10**12), 200_000_000, "Events that a funnel, retention or paths may read."
    )
    query_seconds: int = setting(
        "METRONOME_QUERY_SECONDS", whole(1, 3600), 30, "How long a funnel, retention or paths may take, and may wait."
    )
    query_bytes: int = setting(
        "METRONOME_QUERY_BYTES", size(1 * MB, 1 * TB), 1 * GB, "Memory that a funnel, retention or paths may hold."
    )
    query_parallel: int = setting(
        "METRONOME_QUERY_PARALLEL", whole(0, 1024), 0, "Funnels, retentions and paths at one time a worker; 0: cores."
    )
    import_hosts: tuple[str, ...] = setting(
        "METRONOME_IMPORT_HOSTS",
        kinds.HOSTS,
        (),
        "Hosts that may be asked for the result of a saved metric. Addresses of private networks never are.",
        shown="(none)",
    )
    parts_max_bytes: int = setting(
        "METRONOME_PARTS_MAX_BYTES",
        size(1 * MB, 16 * TB),
        10 * GB,
        "Room for day parts below METRONOME_HOME/parts; the least recently read go first.",
    )
    merged_max_bytes: int = setting(
        "METRONOME_MERGED_MAX_BYTES",
        size(0, 16 * TB),
        2 * GB,
        "Room for columns of closed days beside the day parts, by which questions are faster; 0 for none.",
    )
