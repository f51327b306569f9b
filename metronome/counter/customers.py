"""Customers: institutions whose usage is reported, the networks by which it is theirs, and the keys to their reports.

A customer has one requestor id and one API key, which is shown once; its SHA-256 is stored. They open the reports of
the customer itself and of its members: a consortium is a customer of which others are members.

`Customers` adds, lists and removes them, which needs Elasticsearch. `Directory` is one process's copy of all, which is
there also while Elasticsearch is away.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from elasticsearch import Elasticsearch

from metronome.counter.facts import WORLD, WORLD_NAME
from metronome.errors import BadQuestion, MetronomeError
from metronome.kinds import Network
from metronome.logs import Sparing
from metronome.periods import read_time, to_text
from metronome.settings import Settings
from metronome.store.records import Mirror, Record, Records

log = logging.getLogger("metronome.counter")

KIND = "counter-customers"

#: Age in seconds at which the copy is looked after, by who next asks for a customer.
REFRESH_S = 1.5

#: How long in seconds the first reading may take, since nobody's usage is told without it.
FIRST_S = 10

#: Ids stand in names of chunks and in URLs.
_ID = re.compile(r"[A-Za-z0-9_./-]{1,64}")


@dataclass(frozen=True)
class Customer:
    """One customer. `ids` are identifiers of the institution: (("ROR", ("00hx57361",)),)."""

    id: str
    name: str
    requestor_id: str = ""
    key_hash: str = ""
    networks: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()
    ids: tuple[tuple[str, tuple[str, ...]], ...] = ()
    created_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def has_key(self, api_key: str) -> bool:
        return bool(self.key_hash) and hmac.compare_digest(_digest(api_key), self.key_hash)


#: Not a record, unless one is added to give a key to the reports of all usage.
THE_WORLD = Customer(WORLD, WORLD_NAME)


class Customers:
    """The customers in Elasticsearch. Methods may raise as Records does."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._records = Records(client, settings, KIND)

    def add(
        self,
        customer_id: str,
        name: str,
        *,
        requestor_id: str = "",
        networks: Iterable[str] = (),
        member_of: Iterable[str] = (),
        ids: Iterable[tuple[str, tuple[str, ...]]] = (),
    ) -> tuple[Customer, str]:
        """A new customer and its API key, which can't be shown again. Raises BadQuestion, or Conflict."""
        for what, text in (("id", customer_id), ("requestor id", requestor_id or customer_id)):
            if not _ID.fullmatch(text):
                raise BadQuestion(f"{what}: {text[:70]!r} isn't 1 to 64 letters, digits and _ . / -")
        if customer_id == WORLD and tuple(networks):
            raise BadQuestion("The World has no networks: all usage is its usage")
        if not name.strip():
            raise BadQuestion("name: a customer has a name, such as Example University")
        api_key = secrets.token_urlsafe(32)
        customer = Customer(
            customer_id,
            name,
            requestor_id or customer_id,
            _digest(api_key),
            tuple(_network(one) for one in networks),
            tuple(self._known(one) for one in member_of),
            tuple(ids),
            datetime.now(UTC),
        )
        if any(other.requestor_id == customer.requestor_id for other in self.all()):
            raise BadQuestion(f"requestor id: {customer.requestor_id!r} is another customer's")
        self._records.create(customer.id, _value(customer))
        return customer, api_key

    def all(self) -> list[Customer]:
        """By id."""
        return [_customer(record) for record in self._records.list()]

    def remove(self, customer_id: str) -> None:
        """Its facts stay until their months are processed again. Raises NotFound."""
        self._records.delete(self._records.get(customer_id))

    def _known(self, customer_id: str) -> str:
        self._records.get(customer_id)
        return customer_id


class Directory:
    """One process's copy of all customers; safe to use from many threads.

    Who looks a customer up may wait a moment for a refresh. Where Elasticsearch is away, the copy is used as it is.
    """

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._mirror = Mirror(Records(client, settings, KIND), settings.home / "counter-customers.json")
        self._lock = threading.Lock()
        self._sparing = Sparing(every_s=60)
        self._due = 0.0
        self._rows: tuple[Record, ...] | None = None
        self._by_id: dict[str, Customer] = {}
        self._networks: list[tuple[Network, str]] = []

    @property
    def known(self) -> bool:
        """Whether the customers have been read, from Elasticsearch or from the file."""
        self._fresh()
        return self._mirror.known

    def all(self) -> list[Customer]:
        """By id; The World only where it was added."""
        return list(self._fresh().values())

    def find(self, customer_id: str) -> Customer | None:
        """The customer of this id; The World is always known."""
        return self._fresh().get(customer_id) or (THE_WORLD if customer_id == WORLD else None)

    def is_new(self, customer_id: str) -> bool:
        """Whether a customer that `find` doesn't know was added a moment ago."""
        with self._lock:
            self.refresh()
            self._take()
        return customer_id in self._by_id

    def of_requestor(self, requestor_id: str) -> Customer | None:
        return next((one for one in self.all() if one.requestor_id == requestor_id), None)

    def members(self, customer_id: str) -> list[Customer]:
        """Those that are members of it, at any depth, by id; without itself."""
        found = {customer_id}
        while more := {one.id for one in self.all() if found & set(one.member_of)} - found:
            found |= more
        return [one for one in self.all() if one.id in found - {customer_id}]

    def with_consortia(self, customer_ids: Iterable[str]) -> list[str]:
        """These ids and those of what they are members of, at any depth, each once and in order."""
        known, found, left = self._fresh(), set[str](), list(customer_ids)
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += known[one].member_of if one in known else ()
        return sorted(found)

    def of_address(self, address: str) -> list[str]:
        """Ids of the customers in whose networks an address is, by id."""
        self._fresh()
        if not self._networks:
            return []
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return []
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return sorted(
            {one for network, one in self._networks if parsed.version == network.version and parsed in network}
        )

    def refresh(self) -> None:
        """Look for changes now; an error of Elasticsearch is logged. The first reading may take longer."""
        try:
            self._mirror.refresh(timeout_s=2 if self._mirror.known else FIRST_S)
        except MetronomeError as error:
            if (unsaid := self._sparing.turn(str(error))) is not None:
                log.warning("customers can't be read", extra={"problem": str(error), "unsaid": unsaid})

    def _fresh(self, clock: Callable[[], float] = time.monotonic) -> dict[str, Customer]:
        if clock() >= self._due and self._lock.acquire(blocking=self._rows is None):
            try:
                if clock() >= self._due:
                    self.refresh()
                    self._take()
                    self._due = clock() + REFRESH_S
            finally:
                self._lock.release()
        return self._by_id

    def _take(self) -> None:
        rows = self._mirror.rows
        if rows is self._rows:
            return
        found = [_customer(record) for record in rows]
        self._networks = [(ipaddress.ip_network(text), one.id) for one in found for text in one.networks]
        self._by_id, self._rows = {one.id: one for one in found}, rows


def _value(customer: Customer) -> dict[str, Any]:
    return {
        "name": customer.name,
        "requestor_id": customer.requestor_id,
        "key_hash": customer.key_hash,
        "networks": list(customer.networks),
        "member_of": list(customer.member_of),
        "ids": [f"{kind}:{value}" for kind, values in customer.ids for value in values],
        "created_at": to_text(customer.created_at),
    }


def _customer(record: Record) -> Customer:
    value = record.value
    ids: dict[str, tuple[str, ...]] = {}
    for text in value.get("ids", ()):
        kind, _, one = text.partition(":")
        ids[kind] = (*ids.get(kind, ()), one)
    return Customer(
        record.id,
        value["name"],
        value["requestor_id"],
        value["key_hash"],
        tuple(value["networks"]),
        tuple(value["member_of"]),
        tuple(ids.items()),
        read_time(value["created_at"]),
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _network(given: str) -> str:
    try:
        return str(ipaddress.ip_network(given.strip(), strict=False))
    except ValueError:
        raise BadQuestion(
            f"network: {given[:60]!r} isn't a network or address, such as 192.0.2.0/24", field="network"
        ) from None
