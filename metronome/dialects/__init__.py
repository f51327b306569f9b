"""One module a dialect: schemas (the wire), pure translations, routes. A dialect passes the two doors, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from metronome.intake import Intake
from metronome.metrics import Metrics
from metronome.query import Engine
from metronome.settings import Settings


@dataclass(frozen=True)
class Doors:
    """What a dialect is given: the door in, the door out, and what it may know of the installation."""

    intake: Intake
    engine: Engine
    settings: Settings
    metrics: Metrics
    clock: Callable[[], datetime]
