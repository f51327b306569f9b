"""A repository's months for the tests: usages posted as a server would, processed, and facts as flat figures."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from conftest import Gateway
from doors import CHROME

from metronome.counter.customers import Customers
from metronome.counter.facts import REPORTS, Month
from metronome.counter.kept import Kept
from metronome.counter.process import Processor
from metronome.counter.source import Source
from metronome.parts.build import Builder
from metronome.store import indices
from metronome.store.client import connect, unread

MAY = "2026-05"
NOW = datetime(2026, 6, 2, 12, tzinfo=UTC)
PATH = "/_/metrics/events/counted_usage/"


class Repository:
    """A gateway with customers, on a day in June 2026; its usages are of May unless they say otherwise."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        gateway.now = NOW
        indices.install(gateway.elasticsearch, gateway.settings)
        self.customers = Customers(gateway.elasticsearch, gateway.settings)
        self.kept = Kept(gateway.elasticsearch, gateway.settings)
        self.raw = unread(connect(gateway.settings))
        source = Source(gateway.settings, gateway.elasticsearch, Builder(gateway.settings, self.raw))
        self.processor = Processor(gateway.settings, self.kept, source, clock=lambda: gateway.now or NOW)

    def post(self, *usages: dict[str, Any]) -> None:
        for usage in usages:
            answer = self.gateway.http.post(PATH, json={"data": {"type": "counted-usage", "attributes": usage}})
            assert answer.status_code == 201, answer.text

    def process(self, month: str = MAY, **options: Any) -> Month:
        self.gateway.drain()
        return self.processor.process(month, **options)

    def figures(self, month: str = MAY, customers: Iterable[str] | None = None) -> dict[tuple[str, ...], int]:
        """All facts, as the oracle has them: added up over where they came from."""
        named = customers or ["0000000000000000", *(one.id for one in self.customers.all())]
        found: Counter[tuple[str, ...]] = Counter()
        for customer in named:
            for report in REPORTS:
                for fact in self.kept.facts(month, customer, report):
                    parent = fact.parent.id if fact.parent else ""
                    subject = fact.subject.id if fact.subject else ""
                    for one in fact.performances:
                        row = (customer, report, parent, subject, one.data_type, one.yop, one.access_type, one.access_method)  # fmt: skip
                        for metric, count in one.counts.items():
                            assert count > 0
                            found[*row, metric] += count
        return dict(found)


def usage(time: str, labels: Iterable[str] = ("view",), guid: str | None = "a", **counter: Any) -> dict[str, Any]:
    """One usage; `time` is `03T10:01:29` of May, or a whole time. Other attributes are given in capitals."""
    attributes = {name.lower(): counter.pop(name) for name in list(counter) if name.isupper()}
    stamp = time if time.startswith("20") else f"2026-05-{time}"
    said = {"timestamp": f"{stamp}Z" if "Z" not in stamp else stamp, "ip": "198.51.100.7", "user_agent": CHROME}
    return {"action_labels": list(labels), "item_guid": guid, **attributes, "counter": {**said, **counter}}


KINDS = ("Article", "Book", "Book_Segment", "Dataset", "Image", "Reference_Work", "Report", "Journal", "Unspecified")
TITLES = {"Article": ("j", "Journal"), "Book_Segment": ("b", "Book"), "Book": ("b", "Book"), "Reference_Work": ("r", "Reference_Work")}  # fmt: skip


def random_usages(rng: random.Random, many: int, customers: list[str]) -> list[dict[str, Any]]:
    """Usages of May and the first minutes of June, close together in time, by few visitors of few items."""
    return [_random(rng, customers) for _ in range(many)]


def _random(rng: random.Random, customers: list[str]) -> dict[str, Any]:
    # Moments around which clicks gather: midnights and the month's ends among them.
    base = rng.choice(["2026-05-01T00:00:10", "2026-05-03T09:59:40", "2026-05-03T23:59:50", "2026-05-31T23:59:45", "2026-05-20T12:00:00"])  # fmt: skip
    # Times are all different, so that no two clicks are of one moment.
    time = datetime.fromisoformat(base) + timedelta(seconds=rng.choice([0, 5, 10, 15, 30, 40, 70]), microseconds=1000 * rng.randrange(1000))  # fmt: skip
    labels = rng.choice([["view"], ["view", "web"], ["download", "web"], ["view", "download"], ["download", "api"], ["search", "web"], ["web"], ["search", "view"]])  # fmt: skip
    kind = rng.choice(KINDS)
    item: dict[str, Any] = {"data_type": kind, "yop": rng.choice(["2020", "0001"]), "access_type": rng.choice(["Open", "Controlled"])}  # fmt: skip
    if kind in ("Book", "Book_Segment", "Reference_Work") and rng.random() < 0.4:
        item["segments"] = [{"id": f"ch{n}"} for n in rng.sample(range(3), rng.randrange(1, 4))]
    given: dict[str, Any] = {"item": item, "user_agent": rng.choice([CHROME, CHROME, CHROME, "GPTBot/1.0", ""]), "ip": f"198.51.100.{rng.randrange(2)}"}  # fmt: skip
    if kind in TITLES and rng.random() < 0.7:
        id_, type_ = TITLES[kind]
        given["title"] = {"id": f"{id_}{rng.randrange(2)}", "data_type": type_}
    for name, value, chance in (
        ("user_id", f"u{rng.randrange(2)}", 0.3),
        ("user_cookie", f"k{rng.randrange(2)}", 0.3),
        ("customer_id", rng.sample(customers, rng.randrange(1, len(customers) + 1)), 0.5),
        ("databases", [{"id": f"d{n}", "data_type": rng.choice(["Database_Full", "Database_AI"][n : n + 1])} for n in rng.sample(range(2), 1 + rng.randrange(2))], 0.4),
        ("denial", rng.choice(["No_License", "Limit_Exceeded"]), 0.1),
        ("status", rng.choice([200, 304, 404, 403]), 0.3),
        ("country", rng.choice(["NL", "DE"]), 0.3),
    ):  # fmt: skip
        if rng.random() < chance:
            given[name] = value
    if "search" in labels and rng.random() < 0.5:
        given["search"] = rng.choice(["Regular", "Automated", "Federated"])
    found = usage(time.isoformat(timespec="milliseconds"), labels, f"i-{kind}-{rng.randrange(2)}", **given)
    if rng.random() < 0.4:
        found["client_session_id"] = f"s{rng.randrange(2)}"
    if rng.random() < 0.3:
        found["provider_id"] = "osf"
    if rng.random() < 0.5:
        found["pageview_info"] = {"page_url": f"https://repo.example/{rng.randrange(3)}?token=1"}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
