"""What a user agent says: robot or person, which browser, which platform.

Robots are those of COUNTER's list, in the form in which PyPI `counter-robots` ships it, matched without regard
to case (COUNTER R5.1, section 7.8; the package's own functions match with regard to case, and miss `Googlebot/`
spelt otherwise). Families come from the patterns of uap-core. Neither the agent nor anything finer than its
families is ever stored.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import ua_parser

ROBOT_LIST = f"counter-robots {version('counter-robots')}"

#: Longer agents are cut before they are judged: no browser sends one, and patterns cost time per character.
MAX_AGENT = 512


def judge(agent: str) -> dict[str, Any]:
    """The fields that an agent gives an event; empty for a blank agent. Callers must not change the result.

    `is_robot` (COUNTER's whole list), `is_machine` (its list of scripts and libraries), for robots
    `robot_pattern` and `robot_list`, and `browser` and `platform` where they are known.
    """
    return _judge(agent.strip()[:MAX_AGENT])


@lru_cache(maxsize=32768)
def _judge(agent: str) -> dict[str, Any]:
    if agent in ("", "-"):
        return {}
    robots, machines = _patterns("robot.txt"), _patterns("machine.txt")
    machine = bool(machines.any.search(agent))
    robot = machine or bool(robots.any.search(agent))
    fields: dict[str, Any] = {"is_robot": robot, "is_machine": machine}
    if robot:
        fields["robot_pattern"] = robots.first(agent) or machines.first(agent)
        fields["robot_list"] = ROBOT_LIST
    parsed = ua_parser.parse(agent)
    if parsed.user_agent and parsed.user_agent.family != "Other":
        fields["browser"] = parsed.user_agent.family
    if parsed.os and parsed.os.family != "Other":
        fields["platform"] = parsed.os.family
    return fields


class _Patterns:
    """A list of regular expressions: one that says whether any matches, and which matched first."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.any = re.compile("|".join(lines), re.IGNORECASE)

    def first(self, agent: str) -> str | None:
        return next((line for line in self.lines if re.search(line, agent, re.IGNORECASE)), None)


@cache
def _patterns(name: str) -> _Patterns:
    text = (files("counter_robots") / "data" / name).read_text()
    return _Patterns([line for line in text.splitlines() if line.strip()])
