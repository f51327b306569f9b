"""What a usage was about, apart from who and when: a text that is the same for all usages that are alike.

Intake writes it (`written`). It is JSON; what isn't known is left out:

    labels, denial, search               as the usage says
    void                                 true where neither status 200 nor 304 was sent, and nothing was denied
    robot                                true where the visitor has no agent, which the list of robots matches
    item, title, publisher, databases    as the contract's `counter` has them
    country, subdivision, customers      as the usage says; `customers` with their consortia

The first four lines say WHAT was used, the last says WHOSE usage it was. A month has nearly as many texts as usages,
since every customer uses every item, but far fewer that differ in one of these. So processing numbers both, and reads
one text of each number (`uses`, `whose`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from metronome.counter.facts import Author, Subject
from metronome.counter.values import PARENT_OF, PART_OF, WHOLE, are_in

NO_YOP = "0001"

#: The members of a text that say what was used, and those that say whose usage it was.
WHAT = ("databases", "denial", "item", "labels", "publisher", "robot", "search", "title", "void")
WHOSE = ("country", "customers", "subdivision")


@dataclass(frozen=True)
class Use:
    """One item that a usage counts for. An empty data type says that the report doesn't hold it.

    item            None where only the title was used, such as a journal's home page; IR then doesn't hold it
    title           of TR; None where TR doesn't hold it
    parent          of the item in IR, where its data type has one
    platform_type, database_type, title_type, item_type    data types in PR, DR, TR, IR
    """

    item: Subject
    title: Subject | None
    parent: Subject | None
    platform_type: str
    database_type: str
    title_type: str
    item_type: str


@dataclass(frozen=True)
class Uses:
    """What one usage counts as, once it is known to be valid, no robot's and no double click.

    request           a request, and so an investigation too; else an investigation alone
    denial            `No_License` or `Limit_Exceeded`; then `items` holds the one item that was denied
    search            mode of the search, or empty
    databases         all that were searched; items and denials are credited to the first
    """

    items: tuple[Use, ...] = ()
    request: bool = False
    denial: str = ""
    search: str = ""
    databases: tuple[Subject, ...] = ()
    yop: str = NO_YOP
    access_type: str = ""
    access_method: str = "Regular"

    @property
    def is_click(self) -> bool:
        """Whether it can be one half of a double click. Searches never are."""
        return bool(self.items)


NOTHING = Uses()


class Whose(NamedTuple):
    """Whose usage it was beside The World's, and from where; empty where that isn't known."""

    customers: tuple[str, ...] = ()
    country: str = ""
    subdivision: str = ""


def written(said: Mapping[str, Any]) -> str:
    """The text of a usage, from what is known of it; equal for equal usages."""
    return orjson.dumps({name: value for name, value in said.items() if value}, option=orjson.OPT_SORT_KEYS).decode()


def whose(text: str) -> Whose:
    """Whose a usage of this text was."""
    said = orjson.loads(text)
    return Whose(tuple(said.get("customers", ())), said.get("country", ""), said.get("subdivision", ""))


def uses(text: str) -> Uses:
    """What a usage of this text counts as."""
    said = orjson.loads(text)
    if said.get("void") or said.get("robot"):
        return NOTHING
    labels = said.get("labels", ())
    databases = tuple(map(_database, said.get("databases", ())))
    denial, item = said.get("denial", ""), said.get("item", {})
    used = denial or "view" in labels or "download" in labels
    return Uses(
        items=_items(said, databases, whole=bool(denial)) if used else (),
        request="download" in labels,
        denial=denial,
        search=said.get("search", "Regular") if "search" in labels and not denial else "",
        databases=databases,
        yop=item.get("yop", NO_YOP),
        access_type=item.get("access_type", "Controlled"),
        access_method="TDM" if "api" in labels else "Regular",
    )


def _items(said: Mapping[str, Any], databases: tuple[Subject, ...], *, whole: bool) -> tuple[Use, ...]:
    item = said.get("item", {})
    kind = item.get("data_type", "Unspecified")
    subject = _item(said)
    if subject is None:
        return ()
    title = _title(said, subject, kind)
    segments = (
        ()
        if whole
        else tuple(dict.fromkeys((one["id"], one.get("name", one["id"])) for one in item.get("segments", ())))
    )
    item_type = _item_type(kind, title, segmented=bool(segments))
    parent = _parent(item_type, title, databases)
    title_type = title.data_type if title else ""
    use = Use(
        item=subject,
        title=title,
        parent=parent,
        platform_type=title_type or kind,
        database_type=title_type or (kind if are_in("D", kind) else ""),
        title_type=title_type,
        item_type=item_type,
    )
    if not segments:
        return (use,)
    # A segment has neither the ids nor the version of the whole.
    part = Subject("", "", publisher=subject.publisher, publisher_ids=subject.publisher_ids)
    return tuple(replace(use, item=part._replace(id=id_, name=name)) for id_, name in segments)


def _item_type(kind: str, title: Subject | None, *, segmented: bool) -> str:
    """The data type in IR, which knows no books and journals but their parts."""
    if are_in("I", kind):
        return kind
    # A journal's or a conference's page isn't one of its articles. A book whose parts aren't known is one part.
    return PART_OF[kind] if segmented or kind in WHOLE else ""


def _parent(item_type: str, title: Subject | None, databases: tuple[Subject, ...]) -> Subject | None:
    wanted = PARENT_OF.get(item_type)
    if wanted is None:
        return None
    if title is not None and title.data_type == wanted:
        return title
    return next((one for one in databases[:1] if one.data_type == wanted), None)


def _item(said: Mapping[str, Any]) -> Subject | None:
    item, title = said.get("item", {}), said.get("title", {})
    id_ = item.get("id") or title.get("id")
    if not id_:
        return None
    publisher = said.get("publisher", {})
    return Subject(
        id_,
        item.get("name") or id_,
        ids=_pairs(item.get("ids")),
        publisher=publisher.get("name", ""),
        publisher_ids=_several(publisher.get("ids")),
        authors=tuple(Author(one["name"], one.get("id", "")) for one in item.get("authors", ())),
        publication_date=item.get("publication_date", ""),
        article_version=item.get("article_version", ""),
    )


def _title(said: Mapping[str, Any], item: Subject, kind: str) -> Subject | None:
    """The title of TR: that which was named, else the item itself if it is one."""
    title = said.get("title")
    if title:
        data_type = title.get("data_type") or PARENT_OF.get(kind, kind)
        if are_in("T", data_type):
            return Subject(
                title["id"],
                title.get("name") or title["id"],
                data_type,
                _pairs(title.get("ids")),
                item.publisher,
                item.publisher_ids,
            )
    return (
        item._replace(data_type=kind, authors=(), publication_date="", article_version="")
        if are_in("T", kind)
        else None
    )


def _database(one: Mapping[str, Any]) -> Subject:
    return Subject(one["id"], one.get("name") or one["id"], one.get("data_type", "Database_Full"))


def _pairs(ids: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((ids or {}).items()))


def _several(ids: Mapping[str, list[str]] | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((kind, tuple(values)) for kind, values in sorted((ids or {}).items()))
