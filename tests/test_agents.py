"""Robots by COUNTER's list, whatever their case; families of browsers and platforms."""

from __future__ import annotations

import random
import re
from importlib.resources import files
from typing import Any

import pytest

from metronome.event.agents import MAX_AGENT, ROBOT_LIST, judge

PERSON = {"is_robot": False, "is_machine": False}
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    "Mobile/15E148 Safari/604.1"
)


def robot(pattern: str, *, machine: bool = False, **families: str) -> dict[str, Any]:
    return {"is_robot": True, "is_machine": machine, "robot_pattern": pattern, "robot_list": ROBOT_LIST, **families}


@pytest.mark.parametrize(
    ("agent", "fields"),
    [
        pytest.param(CHROME, {**PERSON, "browser": "Chrome", "platform": "Windows"}, id="a browser on a desktop"),
        pytest.param(IPHONE, {**PERSON, "browser": "Mobile Safari", "platform": "iOS"}, id="a browser on a phone"),
        pytest.param(
            "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
            {**PERSON, "browser": "Firefox", "platform": "Linux"},
            id="another browser",
        ),
        pytest.param("My App", PERSON, id="an app of one's own is a person, of no known family"),
        pytest.param(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            robot("bot", browser="Googlebot"),
            id="a crawler",
        ),
        pytest.param("MOZILLA/5.0 (COMPATIBLE; GOOGLEBOT/2.1)", robot("bot"), id="a crawler in capitals"),
        pytest.param("curl/8.5.0", robot(r"curl\/", machine=True, browser="curl"), id="a tool is a machine"),
        pytest.param("CURL/8.5.0", robot(r"curl\/", machine=True), id="a tool in capitals"),
        pytest.param("python-requests/2.32", robot("python", machine=True, browser="Python Requests"), id="a library is a machine"),
        pytest.param("pear.php.net", robot(r"pear\.php\.net", machine=True), id="a machine that isn't on the list of robots"),
        pytest.param("x", robot("^.?$"), id="a single character is nobody's browser"),
        pytest.param("\ud800bot", robot("bot"), id="half of an emoji costs nothing"),
        pytest.param("", {}, id="no agent says nothing"),
        pytest.param("  ", {}, id="nor does a blank one"),
        pytest.param("-", {}, id="nor the dash of access logs"),
    ],
)  # fmt: skip
def test_what_an_agent_gives_an_event(agent: str, fields: dict[str, Any]) -> None:
    assert judge(agent) == fields


@pytest.mark.parametrize("change", [str, str.upper, str.lower], ids=["as listed", "in capitals", "in small letters"])
def test_every_plain_name_of_the_lists_is_a_robot(change: Any) -> None:
    lines = [
        line
        for name in ("robot.txt", "machine.txt")
        for line in (files("counter_robots") / "data" / name).read_text().splitlines()
    ]
    names = [line for line in lines if line.replace(" ", "").isalnum()]
    assert len(names) > 100
    assert [name for name in names if not judge(f"Mozilla/5.0 (compatible; {change(name)}/1.0)")["is_robot"]] == []


def test_an_endless_agent_is_cut_before_it_is_judged() -> None:
    assert judge("a" * MAX_AGENT + " bot") == PERSON


def test_the_patterns_find_what_pythons_own_expressions_find() -> None:
    """Each pattern's own words, in the middle of browsers' agents and alone, in any case; which one is first, too."""
    robots = (files("counter_robots") / "data" / "robot.txt").read_text().splitlines()
    compiled = [re.compile(line, re.IGNORECASE) for line in robots]
    rng = random.Random(7)
    for line in robots:
        words = line.replace("\\", "").replace("$", "").replace("^", "")
        at = rng.randrange(len(CHROME))
        for agent in (words, rng.choice([str.upper, str.lower, str.title])(CHROME[:at] + words + CHROME[at:])):
            expected = next((one.pattern for one in compiled if one.search(agent[:MAX_AGENT])), None)
            machine = judge(agent).get("is_machine")
            assert machine or judge(agent).get("robot_pattern") == expected, agent
