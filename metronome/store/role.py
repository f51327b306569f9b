"""The role that an installation's user needs in your cluster. It holds only privileges that are used."""

from __future__ import annotations

from typing import Any

from metronome.settings import Settings
from metronome.store import names

#: `monitor`: version and health. `manage_index_templates`: the drain installs the templates and keeps them current.
CLUSTER = ("monitor", "manage_index_templates")

#: Events are only added. Day parts need `maintenance` (refresh) and `monitor` (the counters of a shard).
EVENTS = ("auto_configure", "create_doc", "read", "view_index_metadata", "maintenance", "monitor")

#: Records change. `maintenance` lets a change be found at once (refresh).
RECORDS = ("auto_configure", "write", "read", "view_index_metadata", "maintenance")


def role(settings: Settings) -> dict[str, Any]:
    """The body of `PUT _security/role/<name>`."""
    return {
        "cluster": list(CLUSTER),
        "indices": [
            {"names": [names.pattern(settings)], "privileges": list(EVENTS)},
            {"names": [names.record_pattern(settings)], "privileges": list(RECORDS)},
        ],
    }
