"""Questions about journeys, answered: parts up to date, columns, figures, within what a question may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from metronome.query.journeys import funnel, lifecycle, paths, retention, witness
from metronome.query.journeys.answers import FunnelAnswer, LifecycleAnswer, PathsAnswer, RetentionAnswer
from metronome.query.journeys.days import Budget, Days
from metronome.query.journeys.load import Wish, load
from metronome.query.journeys.questions import Funnel, Lifecycle, Paths, Retention
from metronome.query.persons.scene import open_scene


def answer(question: Any, days: Days, now: datetime, budget: Budget) -> Any:
    """The answer to a question of any of the kinds; raises TooMuch."""
    return _ANSWERS[type(question)](question, days, now, budget)


def funnel_wish(question: Funnel, only: str | None = None) -> Wish:
    """What a funnel reads: from where steps that swap places reach back to, up to where the last window ends."""
    every = funnel.reads_all(question) or only is not None
    start, end = question.period.start, question.period.end
    assert start is not None and end is not None
    if question.window.ms is not None:
        start -= timedelta(milliseconds=question.tie_grace_ms * len(question.steps))
        end += timedelta(milliseconds=question.window.ms)
    else:
        # A session is known from its first event on.
        start = end = None
    return Wish(
        question.where,
        funnel.conditions(question),
        question.subject,
        every=every,
        sessions=question.window.sessions is not None,
        fields=funnel.fields(question),
        start=start,
        end=end,
        only=only,
    )


def _funnel(question: Funnel, days: Days, now: datetime, budget: Budget) -> FunnelAnswer:
    scene = open_scene(days, budget, question.as_of)
    loaded = load(scene, funnel_wish(question))
    found = funnel.answer(question, loaded.columns, now, budget.check)
    if question.explain is not None:
        one = load(scene, funnel_wish(question, question.explain))
        found = replace(found, witness=witness.of_funnel(question, one, now, days.settings))
    return found


def retention_wish(question: Retention, only: str | None = None) -> Wish:
    """What retention reads: for a first start all history, else from the first cohort on."""
    return Wish(
        question.where,
        retention.conditions(question),
        question.subject,
        fields=retention.fields(question),
        number=question.value,
        start=question.period.start if question.birth == "recurring" else None,
        only=only,
    )


def _retention(question: Retention, days: Days, now: datetime, budget: Budget) -> RetentionAnswer:
    scene = open_scene(days, budget, question.as_of)
    loaded = load(scene, retention_wish(question))
    found = retention.answer(question, loaded.columns, now, budget.check)
    if question.explain is not None:
        one = load(scene, retention_wish(question, question.explain))
        found = replace(found, witness=witness.of_retention(question, one, now, days.settings))
    return found


def lifecycle_wish(question: Lifecycle, only: str | None = None) -> Wish:
    """What a lifecycle reads: all history, since it says who is new."""
    end = lifecycle.periods(question)[-1]
    return Wish(question.where, lifecycle.conditions(question), question.subject, end=end, only=only)


def _lived(question: Lifecycle, days: Days, now: datetime, budget: Budget) -> LifecycleAnswer:
    scene = open_scene(days, budget, question.as_of)
    found = lifecycle.answer(question, load(scene, lifecycle_wish(question)).columns, now)
    if question.explain is not None:
        one = load(scene, lifecycle_wish(question, question.explain))
        found = replace(found, witness=witness.of_lifecycle(question, one, now, days.settings))
    return found


def paths_wish(question: Paths) -> Wish:
    """What paths read: every event, since any of them may be the next one."""
    return Wish(
        question.where,
        paths.conditions(question),
        question.subject,
        every=True,
        sessions=not question.across_sessions,
        fields=paths.fields(question),
        start=question.period.start if question.across_sessions and not question.backward else None,
    )


def _walked(question: Paths, days: Days, now: datetime, budget: Budget) -> PathsAnswer:
    loaded = load(open_scene(days, budget, question.as_of), paths_wish(question))
    return paths.answer(question, loaded.columns, now, budget.check)


_ANSWERS: dict[type, Callable[[Any, Days, datetime, Budget], Any]] = {
    Funnel: _funnel,
    Retention: _retention,
    Lifecycle: _lived,
    Paths: _walked,
}
