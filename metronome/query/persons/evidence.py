"""The events behind a trend of one subject: those that its figures count."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from metronome.periods import to_ms
from metronome.query.journeys.answers import Matched
from metronome.query.journeys.load import Wish, load
from metronome.query.persons.answers import EvidenceAnswer
from metronome.query.persons.questions import Evidence
from metronome.query.persons.scene import Scene
from metronome.store.names import day_index


def answer(question: Evidence, scene: Scene, now: datetime) -> EvidenceAnswer:
    start, end = question.period.start, question.period.end
    assert end is not None
    wish = Wish(question.where, question.conditions, question.subject, start=start, end=end, only=question.of)
    loaded = load(scene, wish)
    columns, settings = loaded.columns, scene.days.settings
    found = []
    for row in np.flatnonzero(columns.time < to_ms(end)).tolist():
        day, name = loaded.document(row)
        for number in range(len(question.conditions)):
            if columns.bits[row] >> np.uint64(number) & np.uint64(1):
                found.append(Matched(number, name, day_index(settings, day), int(columns.time[row])))
    if question.subject != "person":
        return EvidenceAnswer(subject=question.of, ids=(question.of,), found=tuple(found))
    ids = scene.view.ids_of(question.of)
    return EvidenceAnswer(subject=ids[0], ids=ids, found=tuple(found))
