"""Who may have whose reports: the credentials of the standard, which stand in the address of each request.

In this order: all three are there (1030), the requestor is known (2000), the key is its key (2020), reports of all
usage are offered (2011), the customer is the requestor itself or a member of it (2010), and it doesn't ask too often
(1020). Source: COUNTER R5.1, section 8.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metronome.counter.customers import Customer, Directory
from metronome.counter.facts import WORLD
from metronome.counter.reports.notices import (
    BAD_KEY,
    INSUFFICIENT,
    NO_GLOBAL,
    NOT_FOR_INSTITUTION,
    TOO_MANY,
    UNKNOWN_REQUESTOR,
    declined,
)
from metronome.counter.reports.selection import CREDENTIALS
from metronome.errors import StoreUnavailable
from metronome.settings import Settings
from metronome.wire.rates import Rates


@dataclass(frozen=True)
class Admitted:
    """The customer whose reports are asked for, and its members if it is a consortium."""

    customer: Customer
    members: list[Customer] = field(default_factory=list)


class Admission:
    def __init__(self, customers: Directory, settings: Settings) -> None:
        self._customers = customers
        self._rate = settings.report_rate
        self._rates = Rates(settings.home / "rates.db")

    def admit(self, given: Mapping[str, str]) -> Admitted:
        """The customer of a request; raises Declined, or StoreUnavailable while the customers haven't been read yet."""
        missing = [name for name in CREDENTIALS if not given.get(name, "").strip()]
        if missing:
            raise declined(INSUFFICIENT, f"{' and '.join(missing)} missing")
        customer_id, requestor_id, api_key = (given[name].strip() for name in CREDENTIALS)
        requestor = self._customers.of_requestor(requestor_id)
        if requestor is None:
            if not self._customers.known:
                raise StoreUnavailable(
                    "this gateway hasn't reached Elasticsearch yet, so it doesn't know the customers"
                )
            raise declined(UNKNOWN_REQUESTOR)
        if not requestor.has_key(api_key):
            raise declined(BAD_KEY)
        customer = self._customers.find(customer_id)
        if customer_id == WORLD and (customer is None or not customer.key_hash):
            raise declined(NO_GLOBAL)
        if customer is None or not self._is_for(requestor, customer):
            raise declined(NOT_FOR_INSTITUTION)
        self._count(requestor)
        return Admitted(customer, self._customers.members(customer.id))

    def _is_for(self, requestor: Customer, customer: Customer) -> bool:
        return requestor.id in self._customers.with_consortia([customer.id])

    def _count(self, requestor: Customer) -> None:
        if not self._rate:
            return
        usage = self._rates.hit(f"requestor {requestor.id}", self._rate)
        if not usage.allowed:
            raise declined(TOO_MANY, f"at most {self._rate} for one requestor_id", retry_after_s=usage.reset_s)
