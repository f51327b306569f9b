"""Health for machines that watch: alive, ready, and figures for Prometheus.

These routes change nothing: they make no file, and a damaged file doesn't keep them from answering. They need no key,
so they describe the state in words of our own. Only the log says which host refused what.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from elasticsearch import Elasticsearch
from flask import Blueprint, Response

from metronome import __version__
from metronome.errors import MetronomeError
from metronome.logs import Sparing
from metronome.metrics import Gauges, Metrics, exposition
from metronome.settings import Settings
from metronome.spool.quarantine import quarantined
from metronome.spool.spool import Spool
from metronome.spool.status import Backlog, backlog, drain_status, held, listen_runs
from metronome.store.client import health
from metronome.web.ledger import ledger
from metronome.web.openapi import Chapter, plain
from metronome.wire.access import needs
from metronome.wire.request import json_answer

log = logging.getLogger("metronome.web")

#: Where the oldest spooled event is older than this, the drain lags.
LAG_S = 60

#: The age of held events is given for at most this many indices, the oldest first.
MOST_INDICES = 20

CHAPTER = Chapter(
    "health",
    "How the gateway stands.",
    {
        "/healthz": {"get": plain("Whether the process answers", "It does")},
        "/readyz": {"get": plain("Whether ticks are taken", "They are; `status` is ready or degraded")},
        "/ledger": {"get": plain("What became of the events that this host accepted", "Counts of events that add up")},
        "/metrics": {"get": plain("Figures for Prometheus", "Text exposition format", "text/plain")},
    },
)


def blueprint(settings: Settings, spool: Spool, client: Elasticsearch, metrics: Metrics) -> Blueprint:
    """The routes /healthz, /readyz, /ledger and /metrics."""
    routes = Blueprint("health", __name__)
    sparing = Sparing(every_s=60)

    @routes.get("/healthz")
    @needs("public")
    def alive() -> Response:
        return json_answer({"status": "alive", "version": __version__})

    @routes.get("/readyz")
    @needs("public")
    def ready() -> Response:
        """200 while ticks can be taken, which Elasticsearch isn't needed for; `status` says whether all is well."""
        state = _state(settings, spool, _cluster(client, sparing))
        return json_answer(state, 503 if state["status"] == "unready" else 200)

    @routes.get("/ledger")
    @needs("read")
    def settled() -> Response:
        # One is read after the other, so that what flows meanwhile is in the difference.
        waiting = backlog(settings.spool_dir).events
        return json_answer(ledger(metrics.all_totals(), waiting, quarantined(settings.spool_dir)))

    @routes.get("/metrics")
    @needs("read")
    def figures() -> Response:
        gauges = _gauges(settings)
        return Response(exposition(metrics, gauges), content_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _cluster(client: Elasticsearch, sparing: Sparing) -> str:
    """The cluster's health: green, yellow, red, or why it isn't known in words that name no host."""
    try:
        return health(client, timeout_s=1)
    except MetronomeError as error:
        if sparing.turn(str(error)) is not None:
            log.warning("Elasticsearch doesn't say how it is", extra={"problem": str(error)})
        return error.message


def _state(settings: Settings, spool: Spool, elasticsearch: str) -> dict[str, Any]:
    waiting = backlog(settings.spool_dir)
    drain = drain_status(settings.spool_dir)
    writable = spool.is_writable() and os.access(settings.spool_dir, os.W_OK)
    refused = quarantined(settings.spool_dir)
    trouble = _trouble(drain, held(settings.spool_dir))
    well = elasticsearch in ("green", "yellow") and drain["running"] and not trouble and waiting.age_s < LAG_S
    # Told where it is wanted: the ports may be those of a process with an environment of its own.
    listen = {"listen": {"running": listen_runs(settings.spool_dir)}} if settings.listens else {}
    well = well and all(part["running"] for part in listen.values())
    return {
        "status": "unready" if not writable else "ready" if well and refused is not None else "degraded",
        "spool": {
            "writable": writable,
            "requests": waiting.requests,
            "events": waiting.events,
            "lag_s": round(waiting.age_s, 3),
        },
        "elasticsearch": elasticsearch,
        "drain": {"running": drain["running"], "trouble": trouble},
        **listen,
        "quarantined": "unreadable" if refused is None else refused,
    }


def _trouble(drain: dict[str, Any], apart: dict[str, Backlog]) -> str:
    """The drain's trouble in our own words. The drain's text may quote Elasticsearch, so it stays in the log."""
    if "at" not in drain:  # no drain wrote anything down
        return str(drain["trouble"])
    if apart:
        oldest_s = max(part.age_s for part in apart.values())
        count = "an index takes" if len(apart) == 1 else f"{len(apart)} indices take"
        return f"{count} nothing just now, the oldest event waits for {oldest_s:.0f} s; the drain's log says why"
    if drain["trouble"]:
        return "the drain can't deliver just now; its log says why"
    if drain.get("rivals"):
        return "another index template stands above ours, so new indices get its mapping; `metronome doctor` names it"
    return ""


def _gauges(settings: Settings) -> Gauges:
    spool_dir = settings.spool_dir
    waiting = backlog(spool_dir)
    drain = drain_status(spool_dir)
    refused = quarantined(spool_dir)
    waits = {index: part.age_s for index, part in held(spool_dir).items()}
    ages = dict(sorted(waits.items(), key=lambda one: one[1], reverse=True)[:MOST_INDICES])
    gauges: Gauges = {
        "spool_requests": ("Requests on disk that wait for Elasticsearch", float(waiting.requests)),
        "spool_events": ("Events on disk that wait for Elasticsearch", float(waiting.events)),
        "spool_age_seconds": ("Age of the oldest waiting event", waiting.age_s),
        "quarantine_readable": ("1 unless the quarantine's file is damaged", float(refused is not None)),
        "drain_running": ("1 while a drain empties the spools", float(bool(drain["running"]))),
        "templates_in_force": ("1 unless another index template stands above ours", float(not drain.get("rivals"))),
        "undelivered_age_seconds": ("Age of the oldest event that its index can't take now", ("index", ages)),
    }
    if settings.listens:
        gauges["listen_running"] = ("1 while `metronome listen` runs", float(listen_runs(spool_dir)))
    if refused is not None:
        gauges["quarantine_events"] = ("Events that Elasticsearch refused for good", float(refused))
    return gauges
