"""`GET /`: a short page that says what this is, how to post a first tick, and where everything else is."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from flask import Blueprint, Flask, Response, current_app, render_template, request

from metronome import __version__
from metronome.wire.access import needs
from metronome.wire.request import json_answer

#: Where the page leads, with what is there. A link whose route isn't served is left out.
LINKS = {
    "/try/": "try every route in the browser",
    "/openapi.json": "the same for programs (OpenAPI)",
    "/videos/": "two videos that are watched, and their figures",
    "/limits": "how large and how often requests may be",
    "/healthz": "whether the process answers",
    "/readyz": "whether ticks are taken, and how the rest stands",
    "/metrics": "figures for Prometheus",
}

_STYLE = (Path(__file__).parent / "templates" / "front.css").read_text()
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: The page needs nothing but its own style: no script, no picture, no form, no frame around it.
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def blueprint() -> Blueprint:
    """The route `/`: HTML, or JSON for clients that ask for it."""
    routes = Blueprint("front", __name__, template_folder="templates")

    @routes.get("/")
    @needs("public")
    def front() -> Response:
        links = _links(current_app._get_current_object())  # type: ignore[attr-defined]
        if request.accept_mimetypes.best_match(("text/html", "application/json")) == "application/json":
            answer = json_answer({"name": "Metronome", "version": __version__, "links": list(links)})
        else:
            answer = Response(
                render_template(
                    "front.html", style=_STYLE, version=__version__, here=request.host_url.rstrip("/"), links=links
                ),
                content_type="text/html; charset=utf-8",
            )
            answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["Vary"] = "Accept"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    return routes


def _links(app: Flask) -> dict[str, str]:
    served = {rule.rule for rule in app.url_map.iter_rules()}
    return {path: meaning for path, meaning in LINKS.items() if path in served}
