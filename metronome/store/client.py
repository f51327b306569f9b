"""Connect to Elasticsearch, and turn every error of its client into one of ours.

An 8.x client speaks to 8.19+ and to 9.x. Foreign errors are mapped here, in the one place that imports them:

    no answer, 429, 502, 503, 504, timeout     StoreUnavailable   the same call will work later
    401, 403                                   SetupError         credentials or role
    an answer of another product               SetupError         the address leads elsewhere
    any other status                           StoreFailed        a request that Elasticsearch should have served
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import elastic_transport
import orjson
from elastic_transport import SerializerCollection
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError
from elasticsearch.serializer import CompatibilityModeJsonSerializer, JsonSerializer, NdjsonSerializer

from metronome.errors import SetupError, StoreFailed, StoreUnavailable
from metronome.kinds import masked
from metronome.settings import Settings
from metronome.store.address import Address

_JSON = "application/json"

OLDEST = (8, 19)
NEWEST_MAJOR = 9

_LATER = frozenset((429, 502, 503, 504))


class _Spooled(NdjsonSerializer):
    """Sends bulk bodies unchanged: the spool has them in their final form. The client's own serializer copies each."""

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else super().dumps(data)


class _Quick(JsonSerializer):
    """Reads JSON faster, but whole numbers of more than 64 bits lose digits."""

    def loads(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except ValueError:
            return super().loads(data)


class _Unread(JsonSerializer):
    """Leaves answers as bytes, for callers that need a document exactly as it was written."""

    def loads(self, data: bytes) -> Any:
        return data


def connect(
    settings: Settings,
    address: Address | None = None,
    *,
    timeout_s: float | None = None,
    exact: bool = True,
) -> Elasticsearch:
    """A client for the configured cluster, or for the private node at `address`. Doesn't send anything yet.

    Without `exact`, answers are read faster, but whole numbers of more than 64 bits lose digits.
    """
    options: dict[str, Any] = {
        "request_timeout": timeout_s or settings.query_timeout_s,
        "max_retries": 0,
        "serializers": {"application/x-ndjson": _Spooled()},
        "connections_per_node": max(settings.threads, settings.drain_senders) + 2,
    }
    if not exact:
        options["serializers"][_JSON] = _Quick()
    if address is not None:
        return Elasticsearch(address.url, basic_auth=(address.username, address.password), **options)
    if settings.elasticsearch_api_key:
        options["api_key"] = settings.elasticsearch_api_key
    elif settings.elasticsearch_username:
        options["basic_auth"] = (settings.elasticsearch_username, settings.elasticsearch_password)
    if settings.elasticsearch_ca_certs:
        if not Path(settings.elasticsearch_ca_certs).is_file():
            raise SetupError(f"ELASTICSEARCH_CA_CERTS: there is no file {settings.elasticsearch_ca_certs}")
        options["ca_certs"] = settings.elasticsearch_ca_certs
    try:
        hosts = [url.strip() for url in settings.elasticsearch_url.split(",") if url.strip()]
        return Elasticsearch(hosts, **options)
    except (ValueError, OSError) as error:
        raise SetupError(
            f"ELASTICSEARCH_URL: {masked(settings.elasticsearch_url)!r} can't be used ({error}); write https://host:9200"
        ) from error


@contextmanager
def our_errors() -> Iterator[None]:
    """Turn every error of the client into one of ours. The text of Elasticsearch's answer goes to the log only."""
    try:
        yield
    except UnsupportedProductError as error:
        raise SetupError("ELASTICSEARCH_URL: what answers there isn't Elasticsearch 8 or 9") from error
    except ApiError as error:
        raise from_status(error.meta.status, str(error.message)) from error
    except elastic_transport.TlsError as error:
        raise SetupError("TLS to Elasticsearch failed; check ELASTICSEARCH_CA_CERTS", detail=error.message) from error
    except elastic_transport.TransportError as error:
        raise StoreUnavailable("Elasticsearch doesn't answer", detail=type(error).__name__) from error


def unread(client: Elasticsearch) -> Elasticsearch:
    """The same client of the same cluster, but answers to requests that accept `application/json` are bytes.

    The two share their connections: closing one closes both.
    """
    transport = copy(client.transport)
    # The client asks for JSON of a version that it knows, and gets that type as the answer's.
    serializers = dict.fromkeys((_JSON, CompatibilityModeJsonSerializer.mimetype), _Unread())
    transport.serializers = SerializerCollection({**client.transport.serializers.serializers, **serializers})
    found = client.options()
    found._transport = transport
    return found


def from_status(status: int, detail: str) -> SetupError | StoreUnavailable | StoreFailed:
    """Our error for an answer of Elasticsearch. Its own text names hosts and indices, so it becomes the `detail`."""
    detail = f"{status} {detail[:200]}"
    if status in (401, 403):
        return SetupError(
            "Elasticsearch refused our credentials or role; check ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD "
            "or ELASTICSEARCH_API_KEY; docs/elasticsearch.md has the minimal role",
            detail=detail,
        )
    if status in _LATER:
        return StoreUnavailable("Elasticsearch can't answer just now", detail=detail)
    return StoreFailed("Elasticsearch refused a request", detail=detail)


def health(client: Elasticsearch, *, timeout_s: float = 5) -> str:
    """`green`, `yellow` or `red`; raises StoreUnavailable or SetupError."""
    with our_errors():
        return str(client.options(request_timeout=timeout_s).cluster.health(filter_path="status")["status"])


def version(client: Elasticsearch) -> tuple[int, ...]:
    """The lowest version of the cluster's nodes. (`GET /` isn't served by the private node's distribution.)"""
    with our_errors():
        nodes = client.options(request_timeout=5).nodes.info(filter_path="nodes.*.version")["nodes"]
    return min(tuple(int(part) for part in node["version"].split("-")[0].split(".")) for node in nodes.values())


def check(client: Elasticsearch) -> str:
    """The cluster's version if it is one we work with; raises SetupError that says what to do."""
    found = version(client)
    text = ".".join(map(str, found))
    if found[:2] < OLDEST or found[0] > NEWEST_MAJOR:
        raise SetupError(f"ELASTICSEARCH_URL: this cluster runs {text}; Metronome needs 8.19 or a newer 8.x, or 9.x")
    return text


def wait_until_usable(
    client: Elasticsearch, *, timeout_s: float, on_wait: Callable[[str], None] = lambda text: None
) -> str:
    """Wait for a cluster that answers and isn't red; gives its version. At the end it raises the last error."""
    deadline = time.monotonic() + timeout_s
    while True:
        problem = None
        found = ""
        # Each is asked, whatever comes of the other: a cluster that is slow or red just now may be one of a version
        # that waiting doesn't mend.
        try:
            if health(client) == "red":
                problem = StoreUnavailable("the cluster's state is red: a primary shard is missing")
        except StoreUnavailable as error:
            problem = error
        try:
            found = check(client)
        except StoreUnavailable as error:
            problem = problem or error
        if problem is None:
            return found
        if time.monotonic() > deadline:
            raise problem
        on_wait(str(problem))
        time.sleep(0.5)
