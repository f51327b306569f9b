"""What is counted while it runs, for Prometheus. `/metrics` of any worker adds up all workers and the drain.

Each process counts in memory. Once a second it writes what it has counted into a small file of its own, in place and
by an ordinary write: a full disk or a removed folder then costs others the latest figures of this process, and nothing
else. (A mapped file would end the process by SIGBUS.) The file's name is that of a spool's slot, or `drain`; the next
process of that name goes on from there, so that no figure falls and there are no more files than workers.

    <length of the text: 4 bytes> <CRC-32 of the text: 4 bytes> <text: [[sample, labels, value], ...] as JSON> <zeros>
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger("metronome.metrics")

PUBLISH_EVERY_S = 1.0

_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_ENDING = ".counts"
_HEAD = struct.Struct(">II")
#: Files get room in steps of this, so that most writes need none.
_ROOM_BYTES = 65536

#: (sample's name, labels) to value, in the order in which they are shown.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Metrics:
    """The counters and histograms. Without `publish` they stay in this process (tests, one-off commands)."""

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
        self.hidden = counter(
            "properties_hidden",
            "Properties not stored whole for privacy: withheld by name, as an address, or a page's address cut",
            "kind",
        )
        self.requests = counter("http_requests", "Requests answered, by route and status", "route", "status")
        self.request_seconds = seconds("http_request", "Time from a request's body to its answer", "route")
        self.spool_seconds = seconds("spool_append", "Time until a request's events were fsynced", "dialect")
        self.spool_damaged = counter("spool_damaged", "Spooled requests that their disk has damaged")
        self.connections = counter(
            "listen_connections",
            "Connections of shippers that are over: ended, unreadable, refused, late, broken or untaken",
            "protocol",
            "outcome",
        )
        self.dropped = counter("listen_dropped", "Datagrams dropped while the spool took nothing", "protocol")
        self.bulk_items = counter(
            "bulk_items",
            "Events judged by Elasticsearch: indexed, duplicate, quarantined, held (set aside for now), retried; and "
            "suppressed, which were an erased person's",
            "outcome",
        )
        self.bulk_requests = counter("bulk_requests", "Bulk requests sent, by what became of them", "outcome")
        self.bulk_seconds = seconds("bulk_request", "Time that bulk requests took")
        self._path: Path | None = None
        self._before: Samples = {}
        self._written = b""
        self._closing = threading.Event()
        self._publisher: threading.Thread | None = None

    def publish(self, place: Path) -> None:
        """Go on counting from what is published at `place`, and publish there until `close`.

        One process at a time may do so: it holds the lock of the slot that the place is named for.
        """
        self._path = place.with_name(place.name + _ENDING)
        self._before = _read(self._path)
        self._publisher = threading.Thread(target=self._publish_until_closed, name="metrics", daemon=True)
        self._publisher.start()

    def close(self) -> None:
        """Publish for the last time."""
        if self._publisher is not None:
            self._closing.set()
            self._publisher.join()
            self._publisher = None

    def totals(self) -> Samples:
        """What this process and those of the same name before it have counted."""
        return _sum([self._before, _samples(self.registry.collect())])

    def all_totals(self) -> Samples:
        """What all processes have counted: this one to the moment, the others to the second."""
        others = []
        if self._path is not None:
            paths = sorted(self._path.parent.glob("*" + _ENDING))
            others = [_read(path) for path in paths if path != self._path]
        return _sum([self.totals(), *others])

    def _publish_until_closed(self) -> None:
        last = False
        while True:
            # A disk that is full or gone: the figures stay in memory until there is room.
            with contextlib.suppress(OSError):
                self._write()
            if last:
                return
            last = self._closing.wait(PUBLISH_EVERY_S)

    def _write(self) -> None:
        assert self._path is not None
        rows = [[name, dict(labels), value] for (name, labels), value in self.totals().items()]
        text = json.dumps(rows, separators=(",", ":")).encode()
        if text == self._written and self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            wanted = _HEAD.size + len(text)
            if os.fstat(file).st_size < wanted:
                os.posix_fallocate(file, 0, -(-wanted // _ROOM_BYTES) * _ROOM_BYTES)
            os.pwrite(file, _HEAD.pack(len(text), zlib.crc32(text)) + text, 0)
        finally:
            os.close(file)
        self._written = text


def _read(path: Path) -> Samples:
    """What a process has published; nothing where the file can't be read or is damaged."""
    for _ in range(3):  # it may be written just now
        try:
            data = path.read_bytes()
            length, checksum = _HEAD.unpack_from(data)
            text = data[_HEAD.size : _HEAD.size + length]
            if zlib.crc32(text) == checksum and text:
                return {(name, tuple(sorted(labels.items()))): value for name, labels, value in json.loads(text)}
        except (OSError, ValueError, struct.error):
            break
    return {}


def _samples(families: Iterable[Any]) -> Samples:
    """The samples of counters and histograms, without the times at which these were made."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _sum(parts: list[Samples]) -> Samples:
    total: Samples = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, 0.0) + value
    return total


class _Totals:
    """The families of a registry with the totals of all processes, as prometheus_client collects them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Any]:
        from prometheus_client import Metric

        totals = self._metrics.all_totals()
        for family in self._metrics.registry.collect():
            shown = Metric(family.name, family.documentation, family.type)
            endings = ("_total",) if family.type == "counter" else ("_bucket", "_count", "_sum")
            names = {family.name + ending for ending in endings}
            for (name, labels), value in totals.items():
                if name in names:
                    shown.add_sample(name, dict(labels), value)
            yield shown


#: A gauge's help, and its value, or its values by one label: `(label's name, {label: value})`.
Gauges = dict[str, tuple[str, float | tuple[str, dict[str, float]]]]


def exposition(metrics: Metrics, gauges: Gauges) -> bytes:
    """The text Prometheus reads: all processes' counters, and `gauges` as of now."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    registry.register(_Totals(metrics))
    for name, (text, value) in gauges.items():
        if isinstance(value, tuple):
            gauge = Gauge(f"metronome_{name}", text, [value[0]], registry=registry)
            for label, one in value[1].items():
                gauge.labels(label).set(one)
        else:
            Gauge(f"metronome_{name}", text, registry=registry).set(value)
    return bytes(generate_latest(registry))
