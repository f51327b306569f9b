"""From the attributes of a usage to an event. Whoever it was leaves hashes; address, agent and user id stay here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from metronome.counter.about import written
from metronome.counter.customers import Directory
from metronome.counter.facts import WORLD
from metronome.counter.identities import Hashes, Identities, Visitor
from metronome.counter.keys import document_key
from metronome.counter.usage.schema import Invalid, Problem
from metronome.errors import StoreUnavailable
from metronome.event.fields import DOWNLOAD, VIEW
from metronome.intake import WithFacts
from metronome.intake.stamp import MAX_AHEAD
from metronome.periods import to_text

#: What `event` is, by the first of these labels that the usage has.
_EVENTS = (DOWNLOAD, VIEW, "search", "api", "web")

#: Statuses of a usage that counts. Source: COUNTER R5.1, section 7.1.
_GOOD = (200, 304)

_BLANK = ("", "-")


@dataclass(frozen=True)
class Came:
    """The request: the client's address and agent, and when it came."""

    address: str
    agent: str
    at: datetime


def usage(
    given: dict[str, Any], came: Came, customers: Directory, identities: Identities, platform_iri: str
) -> WithFacts:
    """The event of a usage, from its checked attributes.

    Raises Invalid for a customer that isn't known, and StoreUnavailable until the customers were read once.
    """
    counter = given.get("counter", {})
    page = given.get("pageview_info", {})
    labels = sorted(set(given["action_labels"]))
    at = counter.get("timestamp", came.at)
    # Intake replaces a time further ahead by the time of arrival.
    moment = came.at if at > came.at + MAX_AHEAD else at
    visitor = _visitor(given, came)
    hashes = identities.hashes(visitor, _link(given, labels), moment, came.at)
    about = written(
        {
            **{name: counter.get(name) for name in ("denial", "search", "country", "subdivision")},
            **_things(given, counter),
            "labels": labels,
            "void": not counter.get("denial") and counter.get("status", 200) not in _GOOD,
            "robot": visitor.agent.strip() in _BLANK,
            "customers": _customers(counter, visitor, customers),
        }
    )
    event = {
        "@timestamp": to_text(at),
        "event": "denial" if counter.get("denial") else next(name for name in _EVENTS if name in labels),
        "id": given.get("item_guid"),
        "provider_id": given.get("provider_id"),
        **_page(page),
    }
    facts = {
        "action_labels": labels,
        "session_id": hashes.session,
        "user_is_authenticated": bool(visitor.user_id),
        "surrounding_guids": _title_of(counter),
        "item_public": _is_public(given),
        "status": counter.get("status"),
        "country": counter.get("country"),
        "pageview_info.hour_of_day": moment.hour if page else None,
        "counter.about": about,
        **_keys(given, hashes, labels, moment, platform_iri),
    }
    return WithFacts(
        {name: value for name, value in event.items() if value is not None},
        {name: value for name, value in facts.items() if value is not None},
        visitor.agent.strip(),
        ("visitor_unlinked",) if hashes.unlinked else (),
    )


def _visitor(given: dict[str, Any], came: Came) -> Visitor:
    """Whom the usage is of. Raises Invalid where nothing at all says it: everybody would be one visitor then."""
    counter = given.get("counter", {})
    found = Visitor(
        counter.get("user_id", ""),
        counter.get("user_cookie", ""),
        given.get("client_session_id", ""),
        counter.get("ip", came.address),
        counter.get("user_agent", came.agent),
    )
    if not (found.address or found.user_id or found.cookie or found.client_session_id):
        detail = "This or a user id, cookie or session says whose usage it is; a record that is shipped has to have one"
        raise Invalid([Problem(("counter", "ip"), detail)])
    return found


def _link(given: dict[str, Any], labels: list[str]) -> tuple[str, ...]:
    url = given.get("pageview_info", {}).get("page_url")
    return ("url", url) if url else ("item", given["item_guid"], *labels)


def _keys(
    given: dict[str, Any], hashes: Hashes, labels: list[str], moment: datetime, platform_iri: str
) -> dict[str, str]:
    key = document_key(
        platform_iri=platform_iri,
        page_url=given.get("pageview_info", {}).get("page_url"),
        item_guid=given.get("item_guid"),
        session_id=hashes.session,
        at=moment,
        labels=labels,
    )
    found = {"counter.key": key, "counter.click": hashes.click}
    return {**found, "counter.click_before": hashes.click_before} if hashes.click_before else found


def _page(page: dict[str, Any]) -> dict[str, Any]:
    """The page, as the contract has it; `url` and `referer` lose what isn't kept of addresses."""
    if not page:
        return {}
    referer = page.get("referer_url")
    return {
        "url": page["page_url"],
        "referer": referer,
        "pageview_info.page_title": page.get("page_title"),
        "pageview_info.route_name": page.get("route_name"),
        "pageview_info.page_path": _split(page["page_url"]).path.rstrip("/"),
        "pageview_info.referer_domain": _split(referer).netloc.rpartition("@")[2] if referer else None,
    }


def _split(address: str) -> Any:
    try:
        return urlsplit(address)
    except ValueError:  # an IPv6 address without its closing bracket
        return urlsplit("")


def _customers(counter: dict[str, Any], visitor: Visitor, customers: Directory) -> list[str]:
    """Whose usage it is beside The World's: named, or by the visitor's address; each with its consortia."""
    named: list[str] | None = counter.get("customer_id")
    if named is None:
        if not customers.known:
            # The address isn't kept, so whose usage it is couldn't be found out later.
            raise StoreUnavailable("this gateway hasn't reached Elasticsearch yet; it doesn't know whose usage it is")
        named = customers.of_address(visitor.address)
    else:
        unknown = [one for one in named if customers.find(one) is None and not customers.is_new(one)]
        if unknown:
            detail = f"There is no customer {unknown[0][:70]!r}; add it: metronome counter customers add"
            raise Invalid([Problem(("counter", "customer_id"), detail)])
    return [one for one in customers.with_consortia(named) if one != WORLD]


def _is_public(given: dict[str, Any]) -> bool | None:
    said = given.get("item_public")
    if isinstance(said, bool):
        return said
    access = given.get("counter", {}).get("item", {}).get("access_type")
    return None if access is None else access != "Controlled"


def _title_of(counter: dict[str, Any]) -> list[str] | None:
    title = counter.get("title", {}).get("id")
    return [title] if title else None


def _things(given: dict[str, Any], counter: dict[str, Any]) -> dict[str, Any]:
    """Item, title, publisher and databases, each with an id."""
    item = dict(counter.get("item", {}))
    if given.get("item_guid"):
        item["id"] = given["item_guid"]
    if _is_public(given) and "access_type" not in item:
        item["access_type"] = "Open"
    if item.get("authors"):
        item["authors"] = [_author(one) for one in item["authors"][:3]]
    title = dict(counter.get("title", {}))
    if title and "id" not in title:
        # "Online_ISSN:1234-5679"    an ISSN or ISBN tells titles apart; a name only where there is none
        title["id"] = next((f"{kind}:{one}" for kind, one in sorted(title.get("ids", {}).items())), title.get("name"))
    databases = counter.get("databases")
    if not databases and given.get("provider_id"):
        databases = [{"id": given["provider_id"]}]
    return {"item": item, "title": title, "publisher": counter.get("publisher"), "databases": databases}


def _author(given: dict[str, str]) -> dict[str, str]:
    kind = next((kind for kind in ("ORCID", "ISNI") if kind in given), None)
    return {"name": given["name"], **({"id": f"{kind}:{given[kind]}"} if kind else {})}
