"""Every setting, once: its name, default and meaning. Code, `metronome settings` and docs/settings.md read this table.

Settings come from environment variables only; `Settings.from_env` reads them, and nothing else in the
project looks at the environment. Sizes are in bytes, times in seconds (or as their names say).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from metronome.errors import SetupError

#: The test suite's own, and what Kubernetes sets in every container beside a Service called metronome.
_NOT_SETTINGS = ("METRONOME_TEST_", "METRONOME_SERVICE_", "METRONOME_PORT")


def setting(variable: str, default: Any, meaning: str, *, shown: str | None = None, secret: bool = False) -> Any:
    """One row of the table. `shown` is the default's text where the value itself depends on the machine."""
    metadata = {"variable": variable, "meaning": meaning, "shown": shown, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "metronome"


@dataclass(frozen=True)
class Settings:
    """All settings of one installation, checked and typed."""

    bind: str = setting("METRONOME_BIND", "127.0.0.1:8000", "Address and port where HTTP is served.")
    home: Path = setting(
        "METRONOME_HOME",
        lambda: _xdg("XDG_DATA_HOME", ".local/share"),
        "Folder of this installation: spool, quarantine, metrics and the private Elasticsearch's data.",
        shown="~/.local/share/metronome",
    )
    cache: Path = setting(
        "METRONOME_CACHE",
        lambda: _xdg("XDG_CACHE_HOME", ".cache"),
        "Folder of downloads, shared by all installations of a user. Safe to delete.",
        shown="~/.cache/metronome",
    )
    url: str = setting(
        "METRONOME_URL",
        "http://127.0.0.1:8000",
        "Where the commands tick, tock and load find the gateway.",
    )
    log_level: str = setting(
        "METRONOME_LOG_LEVEL", "info", "Least severe log line written: debug, info, warning or error."
    )

    elasticsearch_url: str = setting(
        "ELASTICSEARCH_URL",
        "",
        "Your cluster (8.19+ or 9.x), several nodes separated by commas. Empty: a private node is started.",
        shown="(a private node)",
    )
    elasticsearch_username: str = setting("ELASTICSEARCH_USERNAME", "", "User for HTTP basic authentication.")
    elasticsearch_password: str = setting("ELASTICSEARCH_PASSWORD", "", "Password of that user.", secret=True)
    elasticsearch_api_key: str = setting(
        "ELASTICSEARCH_API_KEY", "", "API key (encoded form), instead of user and password.", secret=True
    )
    elasticsearch_ca_certs: str = setting(
        "ELASTICSEARCH_CA_CERTS", "", "File with the CA certificate that signed the cluster's certificate."
    )

    index_prefix: str = setting(
        "METRONOME_INDEX_PREFIX", "logstash", "Indices are named PREFIX-YYYY.MM.DD, by the event's UTC day."
    )
    shards: int = setting("METRONOME_SHARDS", 1, "Primary shards of a daily index.")
    refresh_s: int = setting(
        "METRONOME_REFRESH_S",
        1,
        "Seconds until an indexed event can be found (refresh interval of the indices).",
    )

    node_version: str = setting(
        "METRONOME_NODE_VERSION", "8.19.3", "Version of the private Elasticsearch: 8.19.3 or 9.2.0."
    )
    node_heap: str = setting(
        "METRONOME_NODE_HEAP", "512m", "Java heap of the private Elasticsearch, such as 512m or 4g."
    )
    node_port: str = setting(
        "METRONOME_NODE_PORT",
        "9200-9299",
        "HTTP port of the private Elasticsearch, or a range whose first free port is taken.",
    )
    node_data: Path | None = setting(
        "METRONOME_NODE_DATA",
        None,
        "Data folder of the private Elasticsearch.",
        shown="METRONOME_HOME/node/data",
    )

    workers: int = setting("METRONOME_WORKERS", 2, "HTTP worker processes; each has a spool of its own.")
    threads: int = setting("METRONOME_THREADS", 16, "Threads of a worker: requests that it serves at one time.")
    rate_limit: str = setting(
        "METRONOME_RATE_LIMIT",
        "",
        "Ticks a client address may post to one worker, such as 100/second; more get 429. Empty: no limit.",
        shown="(none)",
    )
    max_body_bytes: int = setting(
        "METRONOME_MAX_BODY_BYTES", 10 * 2**20, "Largest body, after inflation; more gets 413."
    )
    max_inflation: int = setting(
        "METRONOME_MAX_INFLATION", 100, "Largest ratio of inflated to compressed bytes; more gets 413."
    )
    max_batch_events: int = setting("METRONOME_MAX_BATCH_EVENTS", 2000, "Most events in one request; more gets 413.")
    max_event_bytes: int = setting(
        "METRONOME_MAX_EVENT_BYTES", 32 * 2**10, "Largest event as stored; a larger one is refused."
    )
    max_properties: int = setting("METRONOME_MAX_PROPERTIES", 255, "Most properties of an event, after flattening.")
    max_depth: int = setting("METRONOME_MAX_DEPTH", 5, "Deepest nesting of an event's objects.")
    max_key_length: int = setting(
        "METRONOME_MAX_KEY_LENGTH", 256, "Longest property name, after flattening, in characters."
    )

    spool_max_bytes: int = setting(
        "METRONOME_SPOOL_MAX_BYTES",
        8 * 2**30,
        "Room for events that wait for Elasticsearch, per worker; beyond it ticks get 503.",
    )
    drain_bulk_bytes: int = setting(
        "METRONOME_DRAIN_BULK_BYTES", 8 * 2**20, "Size of a bulk request at which the drain sends it."
    )
    drain_senders: int = setting(
        "METRONOME_DRAIN_SENDERS", 2, "Bulk requests that the drain has under way at one time."
    )
    drain_timeout_s: int = setting(
        "METRONOME_DRAIN_TIMEOUT_S", 60, "How long a bulk request may take before it is sent again."
    )
    query_timeout_s: int = setting("METRONOME_QUERY_TIMEOUT_S", 20, "How long a question to Elasticsearch may take.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment; raises SetupError that names the variable and what it takes.

        An empty variable counts as not set. A misspelt METRONOME_ variable is an error rather than a silent default.
        """
        environ = os.environ if environ is None else environ
        rows = {row.metadata["variable"]: row for row in fields(cls)}
        for name in environ:
            if name.startswith("METRONOME_") and name not in rows and not name.startswith(_NOT_SETTINGS):
                raise SetupError(f"{name} is not a setting of Metronome; `metronome settings` lists those there are")
        values = {row.name: _parse(row, environ[name]) for name, row in rows.items() if environ.get(name)}
        return cls(**values)

    @property
    def spool_dir(self) -> Path:
        return self.home / "spool"

    @property
    def metrics_dir(self) -> Path:
        return self.home / "metrics"

    @property
    def node_dir(self) -> Path:
        return self.home / "node"


def _parse(row: Any, text: str) -> Any:
    kind = str(row.type)
    if "Path" in kind:
        return Path(text).expanduser().absolute()
    if kind == "int":
        try:
            return int(text)
        except ValueError:
            raise SetupError(f"{row.metadata['variable']}: {text!r} is not a whole number") from None
    return text


def table() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, in the order in which they are declared."""
    rows = []
    for row in fields(Settings):
        default = row.metadata["shown"]
        if default is None:
            value = row.default if row.default is not MISSING else ""
            default = str(value) if value != "" else "(empty)"
        rows.append((row.metadata["variable"], default, row.metadata["meaning"]))
    return rows


def secret_variables() -> set[str]:
    """Variables whose values are never shown."""
    return {row.metadata["variable"] for row in fields(Settings) if row.metadata["secret"]}
