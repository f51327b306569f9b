"""The Python client, with the standard library alone. The commands of the gateway use it as well.

http.py         requests to a gateway: address, key, and the errors that an answer means
text.py         an event as one line of text, as the tracker of old wrote it
tracker.py      Tracker: events go out in batches, in the background
queues.py       where they wait, in memory or on disk
retriever.py    Retriever: counts, properties, values and time series, and every kind of question
logs.py         records of Python's logging become events
middleware.py   each request to a WSGI, ASGI or Flask application becomes an event

`clients/python` ships this package, `metronome.errors` and `metronome.kinds` without the server, as `metronome-client`.
So nothing here imports anything else of Metronome.
"""

from metronome.client.http import TIMEOUT_S, Target, get, is_ready, post, url_of
from metronome.client.logs import EventHandler
from metronome.client.middleware import ASGIMiddleware, MetronomeFlask, WSGIMiddleware
from metronome.client.retriever import Retriever, TimeRange
from metronome.client.tracker import Tracker

__all__ = [
    "TIMEOUT_S",
    "ASGIMiddleware",
    "EventHandler",
    "MetronomeFlask",
    "Retriever",
    "Target",
    "TimeRange",
    "Tracker",
    "WSGIMiddleware",
    "get",
    "is_ready",
    "post",
    "url_of",
]
