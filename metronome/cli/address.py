"""Which Elasticsearch a command speaks to, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from metronome.errors import SetupError
from metronome.settings import Settings
from metronome.store.address import Address

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


@contextmanager
def connected(settings: Settings) -> Iterator[Elasticsearch]:
    """A client of that Elasticsearch, with our templates there; raises SetupError as `address` does."""
    from metronome.store import indices
    from metronome.store.client import connect

    with closing(connect(settings, address(settings))) as client:
        indices.install(client, settings)
        yield client


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
