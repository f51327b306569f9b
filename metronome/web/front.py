"""`GET /`: the dashboard's frame. Without a script, or events, it says what this is and how to post a first tick."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app, render_template, request

from metronome import __version__
from metronome.wire.access import needs
from metronome.wire.request import json_answer

#: Where the page leads, with what is there. A link whose route isn't served is left out.
LINKS = {
    "/applications": "the applications, and each one's events over time",
    "/live": "what happens just now",
    "/try/": "try every route in the browser",
    "/openapi.json": "the same for programs (OpenAPI)",
    "/videos/": "two videos that are watched, and their figures",
    "/limits": "how large and how often requests may be",
    "/healthz": "whether the process answers",
    "/readyz": "whether ticks are taken, and how the rest stands",
    "/metrics": "figures for Prometheus",
}

#: The page takes scripts, style and figures from the gateway alone, no markup's own, and no frame goes around it.
#: Pictures of charts are made in the page (`data:` and `blob:`). The hash is that of an empty style: plotly.js makes
#: one, and fills it rule by rule.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


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
                render_template("front.html", version=__version__, here=request.host_url.rstrip("/"), links=links),
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
