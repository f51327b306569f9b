"""Every setting, once: its name, default, range and meaning. `settings_table.py` shows these rows to people.

Settings come from environment variables only. This is the one module that reads the environment; `environment` gives a
copy to a room that starts another program. Sizes are in bytes, times in seconds (or as their names say).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from metronome import kinds
from metronome.errors import SetupError
from metronome.kinds import Kind, Network, choice, size, whole

#: Variables that begin like ours and are no settings: the test suite's own, and those that Kubernetes sets in every
#: container beside a Service called metronome.
_NOT_SETTINGS = ("METRONOME_TEST_", "METRONOME_SERVICE_", "METRONOME_PORT")

_KB, _MB, _GB, _TB = 2**10, 2**20, 2**30, 2**40


def setting(
    variable: str, kind: Kind, default: Any, meaning: str, *, shown: str | None = None, secret: bool = False
) -> Any:
    """One row of the table. `shown` is the default's text where the value itself depends on the machine."""
    metadata = {"variable": variable, "kind": kind, "meaning": meaning, "shown": shown, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def environment() -> dict[str, str]:
    """A copy of this process's environment, for a process that is started from it."""
    return dict(os.environ)


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "metronome"


@dataclass(frozen=True)
class Settings:
    """All settings of one installation, checked and typed."""

    bind: str = setting("METRONOME_BIND", kinds.BIND, "127.0.0.1:8000", "Address and port where HTTP is served.")
    hosts: tuple[str, ...] = setting(
        "METRONOME_HOSTS",
        kinds.HOSTS,
        (),
        "Names under which the gateway is reached, beside localhost; a request for another host gets 421. Empty: any "
        "name where METRONOME_BIND isn't a loopback address, only localhost where it is.",
        shown="(empty)",
    )
    home: Path = setting(
        "METRONOME_HOME",
        kinds.FOLDER,
        lambda: _xdg("XDG_DATA_HOME", ".local/share"),
        "Folder of this installation: spool, quarantine, metrics and the private Elasticsearch's data.",
        shown="~/.local/share/metronome",
    )
    cache: Path = setting(
        "METRONOME_CACHE",
        kinds.FOLDER,
        lambda: _xdg("XDG_CACHE_HOME", ".cache"),
        "Folder of downloads, shared by all installations of a user. Safe to delete.",
        shown="~/.cache/metronome",
    )
    url: str = setting(
        "METRONOME_URL", kinds.URL, "http://127.0.0.1:8000", "Where the commands tick, tock and load find the gateway."
    )
    key: str = setting(
        "METRONOME_KEY", kinds.TEXT, "", "API key that the commands tick, tock and load send.", secret=True
    )
    open: str = setting(
        "METRONOME_OPEN",
        choice("yes", "no"),
        "",
        "yes: everybody is served. no: only who has a key. Empty: everybody, while it listens on this machine alone "
        "and no key was ever made; else only who has a key.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "METRONOME_TRUSTED_PROXIES",
        kinds.NETWORKS,
        (),
        "Your proxies: X-Forwarded-For is believed if it comes from one of them, and from nobody else.",
        shown="(empty)",
    )
    log_level: str = setting(
        "METRONOME_LOG_LEVEL", choice("debug", "info", "warning", "error"), "info", "Least severe log line written."
    )

    elasticsearch_url: str = setting(
        "ELASTICSEARCH_URL",
        kinds.URLS,
        "",
        "Your cluster (8.19+ or 9.x), several nodes separated by commas. Empty: a private node is started.",
        shown="(a private node)",
    )
    elasticsearch_username: str = setting(
        "ELASTICSEARCH_USERNAME", kinds.TEXT, "", "User for HTTP basic authentication."
    )
    elasticsearch_password: str = setting(
        "ELASTICSEARCH_PASSWORD", kinds.TEXT, "", "Password of that user.", secret=True
    )
    elasticsearch_api_key: str = setting(
        "ELASTICSEARCH_API_KEY", kinds.TEXT, "", "API key (encoded form), instead of user and password.", secret=True
    )
    elasticsearch_ca_certs: str = setting(
        "ELASTICSEARCH_CA_CERTS", kinds.FILE, "", "File with the CA certificate that signed the cluster's certificate."
    )

    index_prefix: str = setting(
        "METRONOME_INDEX_PREFIX",
        kinds.PREFIX,
        "logstash",
        "Indices are named PREFIX-YYYY.MM.DD, by the event's UTC day.",
    )
    shards: int = setting("METRONOME_SHARDS", whole(1, 1024), 1, "Primary shards of a daily index.")
    refresh_s: int = setting(
        "METRONOME_REFRESH_S",
        whole(1, 3600),
        1,
        "Seconds until an indexed event can be found (refresh interval of the indices).",
    )

    node_version: str = setting(
        "METRONOME_NODE_VERSION", choice("8.19.3", "9.2.0"), "8.19.3", "Version of the private Elasticsearch."
    )
    node_heap: str = setting("METRONOME_NODE_HEAP", kinds.HEAP, "512m", "Java heap of the private Elasticsearch.")
    node_port: str = setting(
        "METRONOME_NODE_PORT",
        kinds.PORTS,
        "9200-9299",
        "HTTP port of the private Elasticsearch, or a range whose first free port is taken.",
    )
    node_data: Path | None = setting(
        "METRONOME_NODE_DATA",
        kinds.FOLDER,
        None,
        "Data folder of the private Elasticsearch.",
        shown="METRONOME_HOME/node/data",
    )

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
        size(1, 1 * _GB),
        8 * _KB,
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
        size(1 * _KB, 16 * _MB),
        64 * _KB,
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
    max_body_bytes: int = setting(
        "METRONOME_MAX_BODY_BYTES", size(1 * _KB, 1 * _GB), 10 * _MB, "Largest body, after inflation; more gets 413."
    )
    max_inflation: int = setting(
        "METRONOME_MAX_INFLATION", whole(1, 1024), 100, "Largest ratio of inflated to compressed bytes; more gets 413."
    )
    max_batch_events: int = setting(
        "METRONOME_MAX_BATCH_EVENTS", whole(1, 100_000), 2000, "Most events in one request; more gets 413."
    )
    max_event_bytes: int = setting(
        "METRONOME_MAX_EVENT_BYTES",
        size(1 * _KB, 1 * _MB),
        32 * _KB,
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

    forward_bind: str = setting(
        "METRONOME_FORWARD_BIND",
        kinds.BIND,
        "",
        "Where Fluentd's forward protocol is served: TCP, and UDP for heartbeats. Empty: nowhere.",
        shown="(off)",
    )
    forward_shared_key: str = setting(
        "METRONOME_FORWARD_SHARED_KEY",
        kinds.TEXT,
        "",
        "Senders by the forward protocol must know this key.",
        secret=True,
    )
    forward_username: str = setting(
        "METRONOME_FORWARD_USERNAME", kinds.TEXT, "", "Senders must name this user too, beside the shared key."
    )
    forward_password: str = setting("METRONOME_FORWARD_PASSWORD", kinds.TEXT, "", "Password of that user.", secret=True)
    lines_bind: str = setting(
        "METRONOME_LINES_BIND", kinds.BIND, "", "Where JSON lines are taken over TCP. Empty: nowhere.", shown="(off)"
    )
    lines_udp_bind: str = setting(
        "METRONOME_LINES_UDP_BIND",
        kinds.BIND,
        "",
        "Where JSON is taken over UDP, an object a datagram. Empty: nowhere.",
        shown="(off)",
    )
    listen_tls_cert: str = setting(
        "METRONOME_LISTEN_TLS_CERT", kinds.FILE, "", "File with the certificate chain for TLS on these TCP ports."
    )
    listen_tls_key: str = setting(
        "METRONOME_LISTEN_TLS_KEY", kinds.FILE, "", "File with that certificate's private key."
    )
    listen_tls_client_ca: str = setting(
        "METRONOME_LISTEN_TLS_CLIENT_CA",
        kinds.FILE,
        "",
        "File with a CA certificate: senders must show one that it signed.",
    )
    listen_connections: int = setting(
        "METRONOME_LISTEN_CONNECTIONS",
        whole(1, 100_000),
        3000,
        "Most connections by forward protocol and JSON lines at one time.",
    )

    spool_max_bytes: int = setting(
        "METRONOME_SPOOL_MAX_BYTES",
        size(100 * _KB, 16 * _TB),
        8 * _GB,
        "Room for events that wait for Elasticsearch, per worker; beyond it ticks get 503.",
    )
    disk_reserve_bytes: int = setting(
        "METRONOME_DISK_RESERVE_BYTES",
        size(0, 16 * _TB),
        512 * _MB,
        "Free space that the spools leave to others on their disk; below it ticks get 503, and recover by themselves.",
    )
    drain_bulk_bytes: int = setting(
        "METRONOME_DRAIN_BULK_BYTES",
        size(1 * _KB, 100 * _MB),
        8 * _MB,
        "Size of a bulk request at which the drain sends it.",
    )
    drain_senders: int = setting(
        "METRONOME_DRAIN_SENDERS", whole(1, 64), 2, "Bulk requests that the drain has under way at one time."
    )
    drain_timeout_s: int = setting(
        "METRONOME_DRAIN_TIMEOUT_S", whole(1, 3600), 60, "How long a bulk request may take before it is sent again."
    )
    query_timeout_s: int = setting(
        "METRONOME_QUERY_TIMEOUT_S", whole(1, 3600), 20, "How long a question to Elasticsearch may take."
    )
    query_events: int = setting(
        "METRONOME_QUERY_EVENTS", whole(1, 10**12), 200_000_000, "Events that a funnel, retention or paths may read."
    )
    query_seconds: int = setting(
        "METRONOME_QUERY_SECONDS", whole(1, 3600), 30, "How long a funnel, retention or paths may take, and may wait."
    )
    query_bytes: int = setting(
        "METRONOME_QUERY_BYTES", size(1 * _MB, 1 * _TB), 1 * _GB, "Memory that a funnel, retention or paths may hold."
    )
    query_parallel: int = setting(
        "METRONOME_QUERY_PARALLEL", whole(0, 1024), 0, "Funnels, retentions and paths at one time a worker; 0: cores."
    )
    parts_max_bytes: int = setting(
        "METRONOME_PARTS_MAX_BYTES",
        size(1 * _MB, 16 * _TB),
        10 * _GB,
        "Room for day parts below METRONOME_HOME/parts; the least recently read go first.",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment; raises SetupError that names the variable, what it got and what it takes.

        An empty variable counts as not set. A misspelt METRONOME_ variable is an error rather than a silent default.
        """
        environ = os.environ if environ is None else environ
        rows = {row.metadata["variable"]: row for row in fields(cls)}
        for name in environ:
            if name.startswith("METRONOME_") and name not in rows and not name.startswith(_NOT_SETTINGS):
                raise SetupError(f"{name} is not a setting of Metronome; `metronome settings` lists those there are")
        return cls(**{row.name: read(row, environ[name]) for name, row in rows.items() if environ.get(name)})

    @property
    def spool_dir(self) -> Path:
        return self.home / "spool"

    @property
    def parts_dir(self) -> Path:
        return self.home / "parts"

    @property
    def metrics_dir(self) -> Path:
        return self.home / "metrics"

    @property
    def streams_socket(self) -> Path:
        """Where the workers hand long connections over."""
        return self.home / "streams.sock"

    @property
    def node_dir(self) -> Path:
        return self.home / "node"


def read(row: Field[Any], text: str) -> Any:
    """The value of one setting; raises SetupError as `Settings.from_env` does."""
    kind: Kind = row.metadata["kind"]
    try:
        return kind.read(text)
    except ValueError:
        raise SetupError(f"{row.metadata['variable']}: {_quoted(row, text)} isn't {kind.takes}") from None


def _quoted(row: Field[Any], text: str) -> str:
    return "the value" if row.metadata["secret"] else repr(row.metadata["kind"].mask(text)[:100])
