"""Facts of documents that never passed intake: a part's columns hold what a document says itself, and these are derived
when it is read, by the functions that intake uses. So a better list of robots needs no part built anew.
"""

from __future__ import annotations

from metronome.event import agents
from metronome.event.facts import classify, format_of, referer_page_of
from metronome.event.fields import AGENT_NAMES, DOWNLOAD, Event

#: Facts that intake stores and that are derived here.
DERIVED = frozenset(
    (
        "event",
        "format",
        "referer_page",
        "is_robot",
        "is_machine",
        "robot_pattern",
        "robot_list",
        "browser",
        "platform",
    )
)


def with_facts(event: Event) -> Event:
    """A shipped document with its facts, as a tock counts them. The given one isn't changed."""
    event = dict(event)
    agent = next((event[name] for name in AGENT_NAMES if event.get(name)), None)
    if agent:
        sent = {name: event[name] for name in ("browser", "platform") if event.get(name) is not None}
        event.update(agents.judge(str(agent)))
        event.update(sent)
    name = event.get("event") or classify(event, shipped=True)
    if name:
        event["event"] = name
    if name == DOWNLOAD and not event.get("format"):
        event["format"] = format_of(event)
    page = referer_page_of(event)
    if page:
        event["referer_page"] = page
    return event
