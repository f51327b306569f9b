"""Applications, their events and the properties of these: the analytics example's web application, and its HTTP.

    GET  /applications, /application/<name>    pages.py       for people; each view is tracked as an event itself
    GET  /api/application/<name>               routes.py      what the chart of a page shows
    GET  /api/retrieve/<what>                  retrieve.py    what AnalyticsRetriever's methods give
    POST /api/track                            translate.py   what AnalyticsTracker sends
         /static/<file>                        static/        script and style of the pages
                                               paths.py       all of it as OpenAPI operations

An application is the `app` of events, whichever dialect they came by. Its properties are `props.*`, and other fields
that mean nothing to the gateway. Robots' events are counted too. Source: tracker contract.
"""

from metronome.dialects import Dialect
from metronome.dialects.applications.paths import paths
from metronome.dialects.applications.routes import NAME, ApplicationConverter, blueprint

__all__ = ["DIALECT"]

DIALECT = Dialect(
    name=NAME,
    meaning="Applications, charts of their events over time and by property; the Python tracker and retriever.",
    blueprint=blueprint,
    paths=paths,
    converters={"application": ApplicationConverter},
)
