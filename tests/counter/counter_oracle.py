"""COUNTER R5.1, section 7, restated in plain Python over usages as they were posted.

A usage is the attributes of the contract, with `counter.timestamp` and a user or session that is given. The figures are
`{(customer, report, parent, subject, data type, yop, access type, access method, metric): count}`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

WORLD = "0000000000000000"

Usage = dict[str, Any]
Figures = dict[tuple[str, ...], int]

PATTERNS = (files("counter_robots") / "data" / "robot.txt").read_text().split("\n")


def is_robot(agent: str) -> bool:
    return not agent or any(re.search(pattern, agent, re.I) for pattern in PATTERNS if pattern)


def at(usage: Usage) -> datetime:
    return datetime.fromisoformat(usage["counter"]["timestamp"])


def is_valid(usage: Usage) -> bool:
    counter = usage["counter"]
    if is_robot(counter["user_agent"]):
        return False
    return bool(counter.get("denial")) or counter.get("status", 200) in (200, 304)


def is_click(usage: Usage) -> bool:
    if not usage.get("item_guid"):
        return False
    return bool(usage["counter"].get("denial")) or bool({"view", "download"} & set(usage["action_labels"]))


def user(usage: Usage) -> Any:
    counter = usage["counter"]
    for name, value in (("user", counter.get("user_id")), ("cookie", counter.get("user_cookie")), ("session", usage.get("client_session_id"))):  # fmt: skip
        if value:
            return name, value
    return counter["ip"], counter["user_agent"]


def session(usage: Usage) -> Any:
    counter, time = usage["counter"], at(usage)
    if usage.get("client_session_id"):
        return usage["client_session_id"], time.date()
    who = counter.get("user_id") or counter.get("user_cookie") or (counter["ip"], counter["user_agent"])
    return who, time.date(), time.hour


def link(usage: Usage) -> Any:
    page = usage.get("pageview_info")
    return page["page_url"] if page else (usage["item_guid"], tuple(sorted(set(usage["action_labels"]))))


def without_double_clicks(usages: Iterable[Usage]) -> Iterator[Usage]:
    clicks: dict[Any, list[Usage]] = {}
    for usage in usages:
        if is_click(usage):
            clicks.setdefault((user(usage), link(usage)), []).append(usage)
        else:
            yield usage
    for run in clicks.values():
        run.sort(key=at)
        for number, usage in enumerate(run):
            if number + 1 == len(run) or at(run[number + 1]) - at(usage) > timedelta(seconds=30):
                yield usage


PARENTS = {"Article": "Journal", "Book_Segment": "Book", "Conference_Item": "Conference", "Reference_Item": "Reference_Work", "News_Item": "Newspaper_or_Newsletter"}  # fmt: skip
PARTS = {parent: part for part, parent in PARENTS.items()}
TITLES = (*PARTS, "Other", "Patent", "Report", "Standard", "Thesis_or_Dissertation", "Unspecified")
NOT_IN_DR = ("Article", "Book_Segment", "Conference_Item", "Dataset", "News_Item", "Reference_Item", "Software")


def placed(usage: Usage) -> list[dict[str, str]]:
    """Each item of a usage: its ids and its data type in each report, empty where it isn't in one."""
    counter = usage["counter"]
    item, title = counter.get("item", {}), counter.get("title")
    kind = item.get("data_type", "Unspecified")
    if title:
        title_id, title_type = title["id"], title["data_type"]
    elif kind in TITLES:
        title_id, title_type = usage["item_guid"], kind
    else:
        title_id, title_type = "", ""
    segments = [] if counter.get("denial") else [one["id"] for one in item.get("segments", ())]
    if kind not in PARTS:
        item_type = kind
    else:
        item_type = PARTS[kind] if segments or kind in ("Book", "Reference_Work", "Newspaper_or_Newsletter") else ""
    parent = title_id if title_type and PARENTS.get(item_type) == title_type else ""
    found = {
        "title": title_id,
        "parent": parent,
        "PR": title_type or kind,
        "DR": title_type or ("" if kind in NOT_IN_DR else kind),
        "TR": title_type,
        "IR": item_type,
    }
    return [{**found, "item": one} for one in dict.fromkeys(segments or [usage["item_guid"]])]


def databases(usage: Usage) -> list[tuple[str, str]]:
    given = usage["counter"].get("databases")
    if given:
        return [(one["id"], one.get("data_type", "Database_Full")) for one in given]
    return [(usage["provider_id"], "Database_Full")] if usage.get("provider_id") else []


def figures(usages: list[Usage], month: str, consortia: dict[str, list[str]]) -> Figures:
    """The figures of a month such as `2026-05`."""
    totals: Counter[tuple[str, ...]] = Counter()
    sessions: dict[tuple[str, ...], set[Any]] = {}
    for usage in without_double_clicks(filter(is_valid, usages)):
        if usage["counter"]["timestamp"][:7] != month:
            continue
        named = usage["counter"].get("customer_id", [])
        for customer in {WORLD, *named, *(up for one in named for up in consortia.get(one, ()))}:
            _count(usage, customer, totals, sessions)
    for key, held in sessions.items():
        *row, _unit, metric = key
        totals[*row, metric] += len(held)
    return dict(totals)


def _count(usage: Usage, customer: str, totals: Counter[tuple[str, ...]], sessions: dict[Any, set[Any]]) -> None:
    counter, labels = usage["counter"], usage["action_labels"]
    method = "TDM" if "api" in labels else "Regular"
    held_by = databases(usage)
    if counter.get("denial"):
        for row in _rows(usage, customer, method):
            if row[1] in ("TR", "IR"):
                totals[*row[:-1], counter["denial"]] += 1
        for id_, kind in held_by[:1]:
            totals[customer, "DR", "", id_, kind, "", "", method, counter["denial"]] += 1
        return
    if "search" in labels:
        totals[customer, "PR", "", "", "Platform", "", "", method, "Searches_Platform"] += 1
        for id_, kind in dict.fromkeys(held_by):
            totals[customer, "DR", "", id_, kind, "", "", method, f"Searches_{counter.get('search', 'Regular')}"] += 1
    if not is_click(usage):
        return
    for act in ("Investigations", "Requests") if "download" in labels else ("Investigations",):
        for row in _rows(usage, customer, method):
            totals[*row[:-1], f"Total_Item_{act}"] += 1
            sessions.setdefault((*row, f"Unique_Item_{act}"), set()).add(session(usage))
        for row in dict.fromkeys(_title_rows(usage, customer, method)):
            sessions.setdefault((*row, f"Unique_Title_{act}"), set()).add(session(usage))


def _rows(usage: Usage, customer: str, method: str) -> Iterator[tuple[str, ...]]:
    """A row a report and item; the last part says which item it is."""
    item = usage["counter"].get("item", {})
    yop, access = item.get("yop", "0001"), item.get("access_type", "Controlled")
    for one in placed(usage):
        unit = "|".join((one["parent"], one["item"], yop, access))
        yield customer, "PR", "", "", one["PR"], "", "", method, unit
        for id_, _ in databases(usage)[:1] if one["DR"] else ():
            yield customer, "DR", "", id_, one["DR"], "", "", method, unit
        if one["TR"]:
            yield customer, "TR", "", one["title"], one["TR"], yop, access, method, unit
        if one["IR"]:
            yield customer, "IR", one["parent"], one["item"], one["IR"], yop, access, method, unit


def _title_rows(usage: Usage, customer: str, method: str) -> Iterator[tuple[str, ...]]:
    item = usage["counter"].get("item", {})
    yop, access = item.get("yop", "0001"), item.get("access_type", "Controlled")
    for one in placed(usage):
        if one["TR"] not in ("Book", "Reference_Work"):
            continue
        unit = "|".join((one["title"], yop, access))
        yield customer, "PR", "", "", one["PR"], "", "", method, unit
        for id_, _ in databases(usage)[:1]:
            yield customer, "DR", "", id_, one["DR"], "", "", method, unit
        yield customer, "TR", "", one["title"], one["TR"], yop, access, method, unit
