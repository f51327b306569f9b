"""The processes that serve HTTP, and what their clients may cost."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.kinds import size, whole
from metronome.settings.row import GB, KB, MB, setting


@dataclass(frozen=True)
class Http:
    """The processes that serve HTTP, and what their clients may cost."""

    workers: int = setting("METRONOME_WORKERS", whole(1, 256), 2, "HTTP worker processes; each has a spool of its own.")
    threads: int = setting(
        "METRONOME_THREADS", whole(1, 1024), 16, "Threads of a worker: requests that it serves at one time."
    )
    connections: int = setting(
        "METRONOME_CONNECTIONS",
        whole(1, 1_000_000),
        1000,
        "Open connections of a worker; past them the slowest unfinished one is closed, then the longest idle one.",
    )
    header_timeout_s: int = setting(
        "METRONOME_HEADER_TIMEOUT_S",
        whole(1, 3600),
        10,
        "How long a request's head may take to arrive; then it gets 408.",
    )
    body_timeout_s: int = setting(
        "METRONOME_BODY_TIMEOUT_S",
        whole(1, 3600),
        10,
        "How long a body may take to arrive, or an answer to be read, beside METRONOME_MIN_BYTES_PER_S.",
    )
    min_bytes_per_s: int = setting(
        "METRONOME_MIN_BYTES_PER_S",
        size(1, 1 * GB),
        8 * KB,
        "Bodies and answers may take longer by a second for so many bytes.",
    )
    keepalive_s: int = setting(
        "METRONOME_KEEPALIVE_S",
        whole(1, 3600),
        75,
        "How long an idle connection stays open for the client's next request.",
    )
    streams: int = setting(
        "METRONOME_STREAMS", whole(1, 1_000_000), 10_000, "Websockets and event streams open at one time; more get 503."
    )
    stream_message_bytes: int = setting(
        "METRONOME_STREAM_MESSAGE_BYTES",
        size(1 * KB, 16 * MB),
        64 * KB,
        "Largest message of a websocket; a larger one closes it with 1009.",
    )
    stream_messages_per_s: int = setting(
        "METRONOME_STREAM_MESSAGES_PER_S",
        whole(1, 1_000_000_000),
        100,
        "Messages a second of one websocket, twice as many at once; more closes it with 1008.",
    )
    rate_limit: str = setting(
        "METRONOME_RATE_LIMIT",
        kinds.RATE,
        "",
        "Posts that a client address may make, to all workers of a host together; more get 429. Empty: no limit.",
        shown="(none)",
    )
