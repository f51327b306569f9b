"""Health for machines that watch: alive, ready, and figures for Prometheus."""

from __future__ import annotations

import os
from typing import Any

import orjson
from elasticsearch import Elasticsearch
from flask import Blueprint, Response

from metronome import __version__
from metronome.errors import MetronomeError
from metronome.metrics import Metrics, exposition
from metronome.settings import Settings
from metronome.spool.quarantine import Quarantine
from metronome.spool.spool import Spool
from metronome.spool.status import backlog, drain_status
from metronome.store.client import health

#: Older than this, the oldest spooled event says that the drain lags.
LAG_S = 60


def blueprint(settings: Settings, spool: Spool, client: Elasticsearch, metrics: Metrics) -> Blueprint:
    routes = Blueprint("health", __name__)
    quarantine = Quarantine(settings.spool_dir)

    @routes.get("/healthz")
    def alive() -> Response:
        return _json({"status": "alive", "version": __version__}, 200)

    @routes.get("/readyz")
    def ready() -> Response:
        """200 while ticks can be taken, which Elasticsearch isn't needed for; `status` says whether all is well."""
        state = _state(settings, spool, client)
        state["quarantined"] = quarantine.count()
        return _json(state, 503 if state["status"] == "unready" else 200)

    @routes.get("/metrics")
    def figures() -> Response:
        waiting = backlog(settings.spool_dir)
        drain = drain_status(settings.spool_dir)
        gauges = {
            "spool_requests": ("Requests on disk that wait for Elasticsearch", float(waiting.requests)),
            "spool_events": ("Events on disk that wait for Elasticsearch", float(waiting.events)),
            "spool_age_seconds": ("Age of the oldest waiting event", waiting.age_s),
            "quarantine_events": ("Events that Elasticsearch refused for good", float(quarantine.count())),
            "drain_running": ("1 while a drain empties the spools", float(bool(drain["running"]))),
        }
        return Response(exposition(metrics, gauges), content_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _state(settings: Settings, spool: Spool, client: Elasticsearch) -> dict[str, Any]:
    waiting = backlog(settings.spool_dir)
    drain = drain_status(settings.spool_dir)
    writable = spool.is_writable() and os.access(settings.spool_dir, os.W_OK)
    try:
        elasticsearch = health(client, timeout_s=1)
    except MetronomeError as error:
        elasticsearch = error.message
    well = elasticsearch in ("green", "yellow") and drain["running"] and not drain["trouble"] and waiting.age_s < LAG_S
    return {
        "status": "unready" if not writable else "ready" if well else "degraded",
        "spool": {
            "writable": writable,
            "requests": waiting.requests,
            "events": waiting.events,
            "lag_s": round(waiting.age_s, 3),
        },
        "elasticsearch": elasticsearch,
        "drain": {"running": drain["running"], "trouble": drain["trouble"]},
    }


def _json(body: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")
