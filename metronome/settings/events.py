"""What an event may be, and what of it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.kinds import size, whole
from metronome.settings.row import GB, KB, MB, setting


@dataclass(frozen=True)
class Events:
    """What an event may be, and what of it is stored."""

    max_body_bytes: int = setting(
        "METRONOME_MAX_BODY_BYTES", size(1 * KB, 1 * GB), 10 * MB, "Largest body, after inflation; more gets 413."
    )
    max_inflation: int = setting(
        "METRONOME_MAX_INFLATION", whole(1, 1024), 100, "Largest ratio of inflated to compressed bytes; more gets 413."
    )
    max_batch_events: int = setting(
        "METRONOME_MAX_BATCH_EVENTS", whole(1, 100_000), 2000, "Most events in one request; more gets 413."
    )
    max_event_bytes: int = setting(
        "METRONOME_MAX_EVENT_BYTES",
        size(1 * KB, 1 * MB),
        32 * KB,
        "Largest event as stored; a larger one is refused.",
    )
    max_properties: int = setting(
        "METRONOME_MAX_PROPERTIES", whole(1, 1000), 255, "Most properties of an event, after flattening."
    )
    max_depth: int = setting("METRONOME_MAX_DEPTH", whole(1, 20), 5, "Deepest nesting of an event's objects.")
    max_key_length: int = setting(
        "METRONOME_MAX_KEY_LENGTH", whole(1, 512), 256, "Longest property name, after flattening, in characters."
    )
    horizon_days: int = setting(
        "METRONOME_HORIZON_DAYS",
        whole(0, 1_000_000),
        7305,
        "How far back an event's time may lie, in days; older events are kept in the quarantine. 0: any time is taken.",
    )
    new_days: int = setting(
        "METRONOME_NEW_DAYS",
        whole(1, 1_000_000),
        2000,
        "Most new days for which events are taken in an hour, each of which is an index; today and yesterday don't "
        "count. Events for more are kept in the quarantine.",
    )
    new_days_public: int = setting(
        "METRONOME_NEW_DAYS_PUBLIC", whole(1, 1_000_000), 60, "The same for events that public keys sent."
    )
    keep_fields: tuple[str, ...] = setting(
        "METRONOME_KEEP_FIELDS",
        kinds.NAMES,
        (),
        "Names of properties that are stored whole though they hold IP addresses, credentials or a page's address.",
        shown="(empty)",
    )
    keep_parameters: tuple[str, ...] = setting(
        "METRONOME_KEEP_PARAMETERS",
        kinds.NAMES,
        ("utm_*", "mtm_*", "pk_campaign", "pk_kwd"),
        "Query parameters that stay in the addresses of pages, * for any text; the others are cut.",
    )
