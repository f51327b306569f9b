"""Videos: who may ask for their figures."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.settings.row import setting


@dataclass(frozen=True)
class Video:
    """Videos: who may ask for their figures."""

    metrics_auth_enabled: str = setting(
        "METRICS_AUTH_ENABLED",
        kinds.TEXT,
        "false",
        "true: the video API (`/api/v1`) asks for METRICS_USER and METRICS_PASSWORD, and for no key. Anything else: "
        "for a key, as the rest of the gateway does.",
    )
    metrics_user: str = setting("METRICS_USER", kinds.TEXT, "metrics", "User name for the video API.")
    metrics_password: str = setting(
        "METRICS_PASSWORD", kinds.TEXT, "metrics", "Password for the video API.", secret=True
    )

    @property
    def metrics_auth(self) -> bool:
        return self.metrics_auth_enabled == "true"
