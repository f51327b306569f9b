"""The COUNTER API: where the platform is registered, and how often one may ask."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.settings.row import setting


@dataclass(frozen=True)
class Sushi:
    """The COUNTER API: where the platform is registered, and how often one may ask."""

    registry_record: str = setting(
        "METRONOME_REGISTRY_RECORD",
        kinds.URL,
        "",
        "Address of the platform's record in the COUNTER registry, which every COUNTER report names.",
    )
    report_rate: str = setting(
        "METRONOME_REPORT_RATE",
        kinds.RATE,
        "",
        "Requests that one requestor of COUNTER reports may make; more get 429. Empty: no limit.",
        shown="(none)",
    )
