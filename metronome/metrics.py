"""What is counted while it runs, for Prometheus. Web workers and the drain write into one folder; `/metrics` adds up.

Files are named by spool slot instead of by process, so a restarted worker goes on counting where its predecessor
stopped, and their number stays that of the workers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def use_folder(folder: Path, name: str) -> None:
    """Let this process count into files of `folder` under `name`. Must come before `Metrics` is first made."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]


_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters and histograms. Without `use_folder` they live in this process alone (tests, one-off commands)."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"metronome_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Any:
            return Histogram(f"metronome_{name}_seconds", text, labels, registry=registry, buckets=_LATENCIES_S)

        self.registry = registry
        self.accepted = counter("events_accepted", "Events answered 2xx, on disk", "dialect")
        self.duplicate = counter(
            "events_duplicate", "Events that repeated an insert_id of their own request", "dialect"
        )
        self.refused = counter("events_refused", "Events refused, by the field at fault", "dialect", "field")
        self.set_aside = counter("events_set_aside", "Events refused that are kept in the quarantine", "dialect")
        self.requests = counter("http_requests", "Requests answered, by route and status", "route", "status")
        self.request_seconds = seconds("http_request", "Time from a request's body to its answer", "route")
        self.spool_seconds = seconds("spool_append", "Time until a request's events were fsynced", "dialect")
        self.bulk_items = counter(
            "bulk_items",
            "Events judged by Elasticsearch: indexed, duplicate, quarantined, retried",
            "outcome",
        )
        self.bulk_requests = counter("bulk_requests", "Bulk requests sent, by what became of them", "outcome")
        self.bulk_seconds = seconds("bulk_request", "Time that bulk requests took")


def exposition(metrics: Metrics, gauges: dict[str, tuple[str, float]]) -> bytes:
    """The text Prometheus reads: all processes' counters, and `gauges` (name to help and value) as of now."""
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess
    from prometheus_client.core import GaugeMetricFamily

    registry = metrics.registry
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    # Made of samples, not of Gauges: each process that makes a Gauge keeps it in a file of its own, as 0 and for ever.
    families = [GaugeMetricFamily(f"metronome_{name}", text, value=value) for name, (text, value) in gauges.items()]
    now = CollectorRegistry()
    now.register(_Now(families))
    return bytes(generate_latest(registry) + generate_latest(now))


class _Now:
    """A collector of figures as they are now."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
