"""Which Elasticsearch a command speaks to."""

from __future__ import annotations

from metronome.errors import SetupError
from metronome.settings import Settings
from metronome.store.address import Address


def address(settings: Settings) -> Address | None:
    """The private node's address where no cluster is configured; raises SetupError if it doesn't run."""
    if settings.elasticsearch_url:
        return None
    from metronome.node.node import running

    found = running(settings)
    if found is None:
        raise SetupError(
            f"no Elasticsearch: set ELASTICSEARCH_URL, or start the private one of {settings.home} with `metronome up`"
        )
    return found
