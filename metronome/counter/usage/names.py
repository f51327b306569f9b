"""The attributes of a counted usage by their flat names: as ticks, access logs and lists of items say them.

    {"id": "roads-1", "event": "download", "counter.ip": "198.51.100.7", "counter.item.name": "On roads"}
    {"id": "roads-1", "event": "download", "counter": {"ip": "198.51.100.7", "item": {"name": "On roads"}}}

A tick is a counted usage if it has an attribute of `counter`. Names below `counter` that aren't in the table don't make
it one: they are the sender's own. In a usage they are refused, as they are where usages have a route of their own.

An attribute may also stand under the name that a tick has for the same thing: `url` is `pageview_info.page_url`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metronome.counter.usage.schema import LABELS, SERVERS_ONLY, Invalid, Problem, is_url
from metronome.event.facts import classify
from metronome.event.fields import AGENT_NAMES, DOWNLOAD, ITEM_NAMES, OWNED, TIME_NAMES, VIEW


@dataclass(frozen=True)
class Name:
    """An attribute: its name, its meaning, and the properties of a tick that say the same, the first of which counts.

    A `*` stands for the kind of an identifier.
    """

    name: str
    meaning: str
    ticks: tuple[str, ...] = ()


#: Every attribute. What begins with `counter.` makes a tick a usage.
NAMES = (
    Name(
        "action_labels",
        f"What was done, a list or separated by commas: {', '.join(LABELS)}. Default: `web` and what `event` says.",
    ),
    Name("item_guid", "The item.", ITEM_NAMES),
    Name("client_session_id", "The visit; replaced by a hash.", ("session_id",)),
    Name("provider_id", "Who provides the item; its database, where none is named."),
    Name("item_public", "Whether everybody may read it: `true` is access type `Open`."),
    Name("pageview_info.page_url", "Address of the page or file.", ("url",)),
    Name("pageview_info.page_title", "Title of the page."),
    Name("pageview_info.referer_url", "Address of the page that led here.", ("referer", "extra.referer")),
    Name("pageview_info.route_name", "What the platform calls the kind of page."),
    Name("counter.timestamp", "When it happened.", TIME_NAMES),
    Name("counter.status", "HTTP status; only 200 and 304 count.", ("status",)),
    Name("counter.ip", "The visitor's address; says whose usage it is, then only a hash is left of it."),
    Name("counter.user_agent", "The visitor's agent; robots are told by it, then it is dropped.", AGENT_NAMES),
    Name("counter.user_id", "The visitor's login; only a hash is left of it."),
    Name("counter.user_cookie", "The visitor's cookie; only a hash is left of it.", ("distinct_id",)),
    Name("counter.customer_id", "Whose usage it is, one id or a list, where the address doesn't say."),
    Name("counter.item.name", "The item's name."),
    Name("counter.item.data_type", "Such as `Article`, `Book_Segment` or `Dataset`."),
    Name("counter.item.yop", "Year of publication; 0001 where it isn't known."),
    Name("counter.item.access_type", "`Controlled`, `Open` or `Free_To_Read`."),
    Name("counter.item.ids.*", "Identifiers: `counter.item.ids.DOI`."),
    Name("counter.item.segments", "Chapters that were read in this one request: a list of objects with `id`, `name`."),
    Name("counter.item.article_version", "Such as `VoR`."),
    Name("counter.item.publication_date", "Such as 2024-02-01."),
    Name("counter.item.authors", "A list of objects with `name`, `ORCID`, `ISNI`."),
    Name("counter.title.id", "The journal, book or the like that the item is a part of."),
    Name("counter.title.name", "Its name."),
    Name("counter.title.data_type", "Such as `Journal`."),
    Name("counter.title.ids.*", "Its identifiers: `counter.title.ids.Online_ISSN`."),
    Name("counter.publisher.name", "The publisher's name."),
    Name("counter.publisher.ids.*", "Its identifiers: `counter.publisher.ids.ROR`."),
    Name("counter.databases", "The databases that hold the item: a list of objects with `id`, `name`, `data_type`."),
    Name("counter.denial", "`No_License` or `Limit_Exceeded`: then the event is this denial and nothing else."),
    Name("counter.search", "`Regular`, `Automated` or `Federated`, with the label `search`."),
    Name("counter.country", "Country of the visitor, such as `NL`.", ("country",)),
    Name("counter.subdivision", "Subdivision of it, such as `NL-UT`."),
)

_HEAD = "counter."

#: First parts of names: of `counter.item.name` that is `item`.
_COUNTER = frozenset(one.name.split(".")[1] for one in NAMES if one.name.startswith(_HEAD))
_OTHER = frozenset(one.name.partition(".")[0] for one in NAMES if not one.name.startswith(_HEAD))

_PAGE = ("pageview_info",)

#: Attributes that a tick has under names of its own: where they stand in a usage, and these names.
_OWN = tuple((tuple(one.name.split(".")[:-1]), one.name.rpartition(".")[2], one.ticks) for one in NAMES if one.ticks)

#: More parts than any name has.
_MOST_PARTS = 6

#: Lists of objects. Where there is one object, it needs no list around it.
_LISTS = (("item", "segments"), ("item", "authors"), ("databases",))

#: What a tick says of the visitor. A usage keeps none of it.
_VISITOR = frozenset(("session_id", "distinct_id", *AGENT_NAMES))


def is_usage(tick: Any) -> bool:
    """Whether a tick is a counted usage."""
    if type(tick) is not dict:
        return False
    for name in tick:
        if name[:8] == _HEAD and name[8:].partition(".")[0] in _COUNTER:
            return True
    counter = tick.get("counter")
    return type(counter) is dict and not _COUNTER.isdisjoint(name.partition(".")[0] for name in counter)


def without_usage(tick: Mapping[str, Any]) -> dict[str, Any]:
    """The tick's own properties: neither attributes of the usage, nor anything of the visitor."""
    return {name: value for name, value in tick.items() if name not in _VISITOR and not is_attribute(name)}


def attributes(tick: Mapping[str, Any], *, publishable: bool = False) -> dict[str, Any]:
    """The attributes that a tick says, nested as the route of usages takes them; not checked. Raises Invalid.

    What a `publishable` key's tick says under its own names of time, status and visitor is passed over: only a server
    may say that.
    """
    found: dict[str, Any] = {}
    for name, value in tick.items():
        if is_attribute(name):
            _put(found, name, value)
    for parents, last, own in _OWN:
        if not (publishable and last in SERVERS_ONLY):
            _add_own(found, tick, parents, last, own)
    _add_labels(found, tick)
    _add_lists(found.get("counter"))
    return found


def is_name(name: str) -> bool:
    """Whether a name is in the table."""
    head, _, kind = name.rpartition(".")
    return any(one.name == name or (kind and one.name == f"{head}.*") for one in NAMES)


def is_attribute(name: str) -> bool:
    """Whether a property of a tick is one of a usage's attributes, or is below `counter`."""
    # What only the gateway sets isn't an attribute: the door renames it.
    head, _, _ = name.partition(".")
    return name not in OWNED and (head in _OTHER or head == "counter")


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where its dotted name says. An empty agent says something: robots have it."""
    if value in (None, "") and name != "counter.user_agent":
        return
    *parents, last = name.split(".", _MOST_PARTS)
    if len(parents) == _MOST_PARTS:
        raise Invalid([Problem(tuple(parents), "Unknown field.")])
    place = found
    for number, parent in enumerate(parents):
        place = place.setdefault(parent, {})
        if type(place) is not dict:
            raise Invalid([Problem(tuple(parents[: number + 1]), "An object is expected.")])
    if type(value) is dict:
        for inner, said in value.items():
            _put(found, f"{name}.{inner}", said)
    elif (value is not None and value != "") or name == "counter.user_agent":
        place[last] = value


def _add_own(
    found: dict[str, Any], tick: Mapping[str, Any], parents: tuple[str, ...], last: str, own: tuple[str, ...]
) -> None:
    """Take an attribute from the tick's own properties, where it isn't said by its name."""
    value = next((tick[name] for name in own if tick.get(name) not in (None, "")), None)
    if value is None or (parents == _PAGE and not is_url(value)):
        return
    if last == "referer_url" and not found.get("pageview_info"):
        return  # a usage without a page has nothing of the page
    place = found
    for parent in parents:
        place = place.setdefault(parent, {})
    if type(place) is dict:
        place.setdefault(last, value)


def _add_labels(found: dict[str, Any], tick: Mapping[str, Any]) -> None:
    labels = found.get("action_labels")
    if isinstance(labels, str):
        found["action_labels"] = [label.strip() for label in labels.split(",")]
    elif labels is None:
        event = tick.get("event") or classify(dict(tick), shipped="@version" in tick)
        if event in (VIEW, DOWNLOAD, "search"):
            found["action_labels"] = [event, "web"]
        elif event == "denial":
            found["action_labels"] = [VIEW, "web"]


def _add_lists(counter: Any) -> None:
    for path in _LISTS:
        place = counter
        for parent in path[:-1]:
            place = place.get(parent) if type(place) is dict else None
        if type(place) is dict and type(place.get(path[-1])) is dict:
            place[path[-1]] = [place[path[-1]]]


def table() -> Iterator[str]:
    """The names as a Markdown table."""
    yield "| attribute | in a tick also | meaning |"
    yield "| --- | --- | --- |"
    for one in NAMES:
        yield f"| `{one.name}` | {', '.join(f'`{name}`' for name in one.ticks)} | {one.meaning} |"
