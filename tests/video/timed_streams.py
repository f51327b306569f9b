"""`python timed_streams.py streams` is `metronome streams` with the times of PLAYING_LIMITS (JSON)."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from metronome.cli import main
from metronome.streams.video import room

if __name__ == "__main__":
    room.LIMITS = replace(room.LIMITS, **json.loads(os.environ["PLAYING_LIMITS"]))
    main()
