"""What a user agent says: robot or person, which browser, which platform.

Robots are those of COUNTER's list, in the form in which PyPI `counter-robots` ships it, matched without regard
to case (COUNTER R5.1, section 7.8). The package's own functions match with regard to case, and miss `googlebot/`. RE2
matches all patterns at once, and its time grows only with the length of the agent, whatever the agent holds. Families
of browsers and platforms come from the patterns of uap-core. Neither the agent nor anything finer than these families
is ever stored.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import re2
import ua_parser

from metronome.event.memo import Memo

ROBOT_LIST = f"counter-robots {version('counter-robots')}"

#: Longer agents are cut to this many characters before they are judged. No browser sends one, and matching costs time
#: per character.
MAX_AGENT = 512


def judge(agent: str) -> dict[str, Any]:
    """The fields that an agent gives an event; empty for a blank agent. Callers must not change the result.

    `is_robot` (COUNTER's whole list), `is_machine` (its list of scripts and libraries), for robots
    `robot_pattern` and `robot_list`, and `browser` and `platform` where they are known.
    """
    return judged[agent]


def _judge(agent: str) -> dict[str, Any]:
    agent = agent.strip()[:MAX_AGENT]
    if agent in ("", "-"):
        return {}
    # Both matchers read UTF-8, which can't hold half of a surrogate pair.
    agent = agent.encode("utf-8", "replace").decode()
    machine = _patterns("machine.txt").first(agent)
    robot = _patterns("robot.txt").first(agent) or machine
    fields: dict[str, Any] = {"is_robot": robot is not None, "is_machine": machine is not None}
    if robot is not None:
        fields["robot_pattern"] = robot
        fields["robot_list"] = ROBOT_LIST
    parsed = ua_parser.parse(agent)
    if parsed.user_agent and parsed.user_agent.family != "Other":
        fields["browser"] = parsed.user_agent.family
    if parsed.os and parsed.os.family != "Other":
        fields["platform"] = parsed.os.family
    return fields


class _Patterns:
    """A list of regular expressions. All are matched at once, without regard to case."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        options = re2.Options()
        options.case_sensitive = False
        self._set = re2.Set.SearchSet(options)
        for line in lines:
            self._set.Add(line)
        self._set.Compile()

    def first(self, agent: str) -> str | None:
        """The first pattern of the list that matches; None if none does."""
        found = self._set.Match(agent)
        return self._lines[min(found)] if found else None


@cache
def _patterns(name: str) -> _Patterns:
    text = (files("counter_robots") / "data" / name).read_text()
    return _Patterns([line for line in text.splitlines() if line.strip()])


#: What `judge` says, by agent; whoever judges millions looks here, which saves the call.
judged = Memo(_judge, most=16_384, longest=MAX_AGENT)
