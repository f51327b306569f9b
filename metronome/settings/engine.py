"""The Elasticsearch of the operator or a private one, and the indices in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metronome import kinds
from metronome.kinds import choice, whole
from metronome.settings.row import setting


@dataclass(frozen=True)
class Engine:
    """The Elasticsearch of the operator or a private one, and the indices in it."""

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
