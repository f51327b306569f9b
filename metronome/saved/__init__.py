"""Saved things: metrics, external series, dashboards. Each change is a new version, and older ones stay readable.

    things.py    Saved: put, get, list, delete; two writers can't overwrite each other unseen

The points of external series are in `store/points.py`. What a thing means is its dialect's matter: here it is JSON.
"""

from metronome.saved.things import Saved, Thing
from metronome.store.points import Point, Points

__all__ = ["Point", "Points", "Saved", "Thing"]
