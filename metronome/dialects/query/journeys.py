"""Funnel, retention and paths: from the contract's JSON to questions, and from answers to the contract's JSON.

A lifecycle (lifecycle.py) is read and answered in the same way. Source: query contract, sections 3 to 5.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metronome.dialects.query import lifecycle
from metronome.dialects.query.draw import shown
from metronome.dialects.query.read import Common, only, own_field, own_name, step
from metronome.errors import BadQuestion
from metronome.periods import Every
from metronome.query import (
    Answer,
    AnyOf,
    Ask,
    Behind,
    Condition,
    Exclusion,
    Funnel,
    Not,
    Paths,
    Retention,
    StartsWith,
    Window,
)
from metronome.query.journeys import answers
from metronome.query.journeys.questions import (
    FEWEST_STEPS,
    MOST_DAYS,
    MOST_EXCLUSIONS,
    MOST_HELD,
    MOST_PERIODS,
    MOST_SESSIONS,
    MOST_STEPS,
)

KINDS = ("funnel", "retention", "lifecycle", "paths")

#: Buckets of a funnel's trend: each is a funnel of its own.
MOST_BUCKETS = 400

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(\d{1,9})(s|m|h|d|w)")
_SESSIONS = re.compile(r"(\d{1,3}) sessions?")

Result = tuple[dict[str, Any], list[Answer]]


def read(kind: str, asked: Mapping[str, Any], common: Common) -> Any:
    """The question itself; raises BadQuestion."""
    return _KINDS[kind](asked, common)[0]


def answered(kind: str, asked: Mapping[str, Any], common: Common, ask: Ask) -> Result:
    """The result of a question of one of these kinds; raises BadQuestion, TooMuch."""
    question, draw = _KINDS[kind](asked, common)
    (found,) = ask(replace(question, as_of=common.as_of))
    return draw(found), [Answer(watermark=found.watermark, archived=found.archived)]


def duration_ms(text: str, at: str) -> int:
    match = _DURATION.fullmatch(text)
    if not match:
        raise BadQuestion(f"{at}: {text[:40]!r} is no duration; write 90s, 30m, 2h, 7d or 4w", field=at)
    ms = int(match[1]) * _UNITS_MS[match[2]]
    if ms > MOST_DAYS * _UNITS_MS["d"]:
        raise BadQuestion(f"{at}: at most {MOST_DAYS}d", field=at)
    return ms


def _window(text: str) -> Window:
    match = _SESSIONS.fullmatch(text)
    if not match:
        return Window(duration_ms(text, "window"))
    if not 1 <= int(match[1]) <= MOST_SESSIONS:
        raise BadQuestion(f"window: 1 to {MOST_SESSIONS} sessions", field="window")
    return Window(None, int(match[1]))


# Funnel


def _funnel(asked: Mapping[str, Any], common: Common) -> tuple[Funnel, Callable[[Any], dict[str, Any]]]:
    given = asked["steps"]
    if not FEWEST_STEPS <= len(given) <= MOST_STEPS:
        raise BadQuestion(f"steps: {FEWEST_STEPS} to {MOST_STEPS} of them", field="steps")
    steps = tuple(step(one, f"steps[{n}]") for n, one in enumerate(given))
    exclusions = _exclusions(asked["excluded"], len(steps))
    hold = tuple(map(own_name, asked["hold"]))
    if len(hold) > MOST_HELD:
        raise BadQuestion(f"hold: at most {MOST_HELD} fields", field="hold")
    if asked["order"] == "any" and (exclusions or hold):
        name = "exclude" if exclusions else "hold"
        raise BadQuestion(f'{name}: not with order "any"; there are "sequential" and "strict"', field=name)
    if asked["tie_grace_ms"] and asked["order"] != "sequential":
        raise BadQuestion('tie_grace_ms: only with order "sequential"', field="tie_grace_ms")
    question = Funnel(
        steps,
        where=common.where,
        period=common.period,
        subject=common.subject,
        window=_window(asked["window"]),
        order=asked["order"],
        entry=asked["entry"],
        exclusions=exclusions,
        by=None if asked["by"] is None else own_name(asked["by"]),
        attribution=_attribution(asked["attribution"], len(steps)),
        hold=hold,
        trend=_trend(asked["trend"], common),
        clip=asked["clip"],
        tie_grace_ms=asked["tie_grace_ms"],
        collapse_repeats=asked["collapse_repeats"],
        strict_scope=_scope(asked["strict_scope"]),
        explain=common.witness,
        behind=_behind(asked["behind"], len(steps)),
    )
    names = [_name(one) for one in given]
    return question, lambda found: _drawn_funnel(found, names, question.trend)


def _name(given: Mapping[str, Any]) -> str:
    """A step's label, or its events."""
    if given.get("as") is not None:
        if not isinstance(given["as"], str):
            raise BadQuestion("steps: as: a text", field="steps")
        return given["as"]
    if "any" in given:
        return " or ".join(map(_name, given["any"]))
    events = given.get("event")
    return "any event" if events is None else events if isinstance(events, str) else " or ".join(events)


def _exclusions(given: Sequence[Any], steps: int) -> tuple[Exclusion, ...]:
    if len(given) > MOST_EXCLUSIONS:
        raise BadQuestion(f"exclude: at most {MOST_EXCLUSIONS}", field="exclude")
    found = []
    for number, one in enumerate(given):
        at = f"exclude[{number}]"
        where = step(one, at, ("between", "mode"))
        between = one.get("between", [1, steps])
        if not _is_pair(between) or not 1 <= between[0] < between[1] <= steps:
            raise BadQuestion(f"{at}.between: two steps from 1 to {steps}, the earlier first", field="exclude")
        mode = one.get("mode", "stop")
        if mode not in ("stop", "remove"):
            raise BadQuestion(f'{at}.mode: there are "stop" and "remove"', field="exclude")
        found.append(Exclusion(where, between[0], between[1], mode))
    return tuple(found)


def _is_pair(given: Any) -> bool:
    return isinstance(given, list) and len(given) == 2 and all(type(one) is int for one in given)


def _attribution(given: Any, steps: int) -> Any:
    if given in ("first", "last", "all") or (type(given) is int and 1 <= given <= steps):
        return given
    raise BadQuestion(f'attribution: "first", "last", "all", or a step from 1 to {steps}', field="attribution")


def _trend(unit: str | None, common: Common) -> Every | None:
    if unit is None:
        return None
    every = Every(unit, tz=common.tz, week_start=common.week_start)
    assert common.period.start is not None and common.period.end is not None
    for number, _ in enumerate(every.starts(common.period.start, common.period.end)):
        if number > MOST_BUCKETS:
            raise BadQuestion(f"trend: more than {MOST_BUCKETS} buckets; ask for fewer days", field="trend")
    return every


def _scope(given: Sequence[Any] | None) -> Condition:
    """Events that strictness looks at: all but those of Metronome itself, whose names start with $."""
    if given is None:
        return Not(StartsWith("event", "$"))
    return AnyOf(*(step(one, f"strict_scope[{n}]") for n, one in enumerate(given)))


def _behind(given: Any, steps: int) -> Behind | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadQuestion('list: {"step": 2, "state": "reached"}', field="list")
    only(given, ("step", "state", "limit", "cursor"), "list")
    number, state, limit = given.get("step"), given.get("state", "reached"), given.get("limit", 100)
    if state not in ("reached", "dropped"):
        raise BadQuestion('list.state: there are "reached" and "dropped"', field="list")
    first = 1 if state == "reached" else 2
    if type(number) is not int or not first <= number <= steps:
        raise BadQuestion(f"list.step: a step from {first} to {steps}", field="list")
    if type(limit) is not int or not 1 <= limit <= 10_000:
        raise BadQuestion("list.limit: 1 to 10,000", field="list")
    return Behind(number, state, limit, _opened(given.get("cursor")))


def _opened(cursor: Any) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(str(cursor).encode()).decode()
    except ValueError:
        raise BadQuestion("list.cursor: it isn't one of ours; take it from the page before", field="list") from None


def _drawn_funnel(found: answers.FunnelAnswer, names: list[str], every: Every | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "steps": _steps(found.steps, names),
        "time_to_convert_s": {
            **(_times(found.convert) or {}),
            "histogram": [{"from": low, "to": high, "count": count} for low, high, count in found.histogram],
        },
        "open": found.open,
    }
    if found.groups is not None:
        result["groups"] = [{"group": name, "steps": _steps(steps, names)} for name, steps in found.groups]
    if found.trend is not None and every is not None:
        result["trend"] = [{"bucket": every.label(bucket), "counts": list(counts)} for bucket, counts in found.trend]
    if found.witness is not None:
        result["witness"] = _witness(found.witness)
    if found.behind is not None:
        last = base64.urlsafe_b64encode(found.behind[-1].encode()).decode() if found.more else None
        result["subjects"], result["cursor"] = list(found.behind), last
    return result


def _steps(steps: Sequence[answers.Step], names: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, (one, name) in enumerate(zip(steps, names, strict=True)):
        before = steps[number - 1].count if number else None
        rows.append(
            {
                "step": number + 1,
                "name": name,
                "count": one.count,
                "of_first": _ratio(one.count, steps[0].count),
                "of_previous": None if before is None else _ratio(one.count, before),
                "dropped": None if before is None else before - one.count,
                "time_from_previous_s": _times(one.from_previous),
            }
        )
    return rows


def _ratio(above: int, below: int) -> float | None:
    return above / below if below else None


def _times(times: answers.Times | None) -> dict[str, Any] | None:
    if times is None:
        return None
    return {
        "n": times.n, "mean": times.mean, "median": times.median, "p90": times.p90, "min": times.low, "max": times.high,
    }  # fmt: skip


def _witness(witness: answers.Witness) -> dict[str, Any]:
    stopped = None
    if witness.stopped is not None:
        event = None if witness.stopped.event is None else shown(witness.stopped.event)
        stopped = {"step": witness.stopped.step, "reason": witness.stopped.reason, "event": event}
    events = [{"step": one.step, **shown(one)} for one in witness.events]
    return {"level": witness.level, "events": events, "stopped": stopped}


# Retention


def _retention(asked: Mapping[str, Any], common: Common) -> tuple[Retention, Callable[[Any], dict[str, Any]]]:
    brackets = _brackets(asked)
    every = Every(asked["period"], tz=common.tz, week_start=common.week_start)
    assert common.period.start is not None and common.period.end is not None
    for number, _ in enumerate(every.starts(common.period.start, common.period.end)):
        if number > MOST_PERIODS:
            raise BadQuestion(f"period: more than {MOST_PERIODS} cohorts; ask for fewer days", field="period")
    question = Retention(
        step(asked["start"], "start"),
        step(asked["returns"], "return"),
        where=common.where,
        period=common.period,
        subject=common.subject,
        every=every,
        periods=asked["periods"],
        birth=asked["birth"],
        mode=asked["mode"],
        count=asked["count"] or "on",
        brackets=brackets,
        zero=asked["zero"],
        average=asked["average"],
        by=None if asked["by"] is None else own_name(asked["by"]),
        match=asked["match"],
        value=_summed(asked["value"]),
        explain=common.witness,
    )
    return question, lambda found: _drawn_retention(found, every)


def _brackets(asked: Mapping[str, Any]) -> tuple[tuple[int, int], ...] | None:
    given = asked["brackets"]
    if given is None:
        return None
    if asked["count"] is not None:
        raise BadQuestion("count: not beside brackets, which say what counts", field="count")
    if not given or len(given) > MOST_PERIODS or not all(map(_is_pair, given)):
        raise BadQuestion("brackets: a list such as [[1, 7], [8, 14]], both ends included", field="brackets")
    if not all(0 <= low <= high <= MOST_PERIODS for low, high in given):
        raise BadQuestion(f"brackets: from 0 to {MOST_PERIODS}, the lower end first", field="brackets")
    return tuple((low, high) for low, high in given)


def _summed(given: str | None) -> str | None:
    if given is None:
        return None
    kind, _, name = given.partition(":")
    if kind != "sum" or not name:
        raise BadQuestion('value: "sum:" and a field of numbers, such as "sum:props.price"', field="value")
    return own_field(name, "value")


def _drawn_retention(found: answers.RetentionAnswer, every: Every) -> dict[str, Any]:
    result = _table(found.table, every)
    if found.groups is not None:
        result["groups"] = [{"group": name, **_table(table, every)} for name, table in found.groups]
    if found.witness is not None:
        result["witness"] = [
            {
                "cohort": every.label(one.cohort),
                "birth": shown(one.birth),
                "returns": [{"cell": cell, **shown(event)} for cell, event in one.returns.items()],
            }
            for one in found.witness
        ]
    return result


def _table(table: answers.Table, every: Every) -> dict[str, Any]:
    rows = []
    for one in table.cohorts:
        row = {
            "cohort": every.label(one.start),
            "size": one.size,
            "returned": list(one.returned),
            "rate": list(one.rate),
            "complete": list(one.complete),
        }
        further = {"can_rise": one.can_rise, "value": one.value}
        rows.append(row | {name: list(values) for name, values in further.items() if values is not None})
    return {"cohorts": rows, "average": {"rate": list(table.average.rate), "cohorts": list(table.average.cohorts)}}


# Paths


def _paths(asked: Mapping[str, Any], common: Common) -> tuple[Paths, Callable[[Any], dict[str, Any]]]:
    given = [name for name in ("start", "end") if asked[name] is not None]
    if len(given) != 1:
        raise BadQuestion("start: one of start and end, which looks backward", field="start")
    question = Paths(
        step(asked[given[0]], given[0]),
        backward=given == ["end"],
        where=common.where,
        period=common.period,
        subject=common.subject,
        depth=asked["depth"],
        top=asked["top"],
        node=own_name(asked["node"]),
        within_ms=duration_ms(asked["within"], "within"),
        collapse_repeats=asked["collapse_repeats"],
        across_sessions=asked["across_sessions"],
    )
    return question, _drawn_paths


def _drawn_paths(found: answers.PathsAnswer) -> dict[str, Any]:
    return {
        "paths": found.paths,
        "nodes": [{"step": one.step, "name": one.name, "count": one.count} for one in found.nodes],
        "links": [
            {"step": one.step, "from": one.source, "to": one.target, "count": one.count, "median_s": one.median_s}
            for one in found.links
        ],
        "ended": [{"step": one.step, "name": one.name, "count": one.count} for one in found.ended],
    }


_KINDS: dict[str, Callable[[Mapping[str, Any], Common], tuple[Any, Callable[[Any], dict[str, Any]]]]] = {
    "funnel": _funnel,
    "retention": _retention,
    "lifecycle": lifecycle.read,
    "paths": _paths,
}
