"""A made-up site's month, for `metronome demo`: visits, downloads, sign-ups, purchases, videos, robots, an outage.

Every day brings new visitors. The whole life of a visitor (when they come back, whether they sign up, what they buy)
is drawn from the seed, the day of the first visit and the visitor's number. So a day has the same events whenever it
is made, with the same insert_ids: what is loaded again, or tomorrow for one more day, is counted once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from metronome.event.fields import Event
from metronome.event.identity import IDENTIFY, LINKED

SITE = "https://shop.example"

#: New visitors on an ordinary weekday.
NEW_A_DAY = 150
#: Days after the first visit in which a visitor may come back.
LIFE_DAYS = 30
#: One outage in so many days, and its hours, UTC.
OUTAGE_EVERY_DAYS = 23
OUTAGE_HOURS = (13.0, 15.5)

_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
_CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)
_EDGE = f"{_CHROME} Edg/141.0.0.0"
_SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Safari/605.1.15"
)
_PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Mobile/15E148 Safari/604.1"
)
_ANDROID = (
    "Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36"
)

#: Each with its weight.
AGENTS = {_CHROME: 34, _ANDROID: 24, _PHONE: 20, _SAFARI: 9, _FIREFOX: 7, _EDGE: 6}
ROBOTS = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": 50,
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": 25,
    "curl/8.5.0": 15,
    "python-requests/2.32.3": 10,
}
#: Weight, and how many hours the clocks are ahead of UTC.
COUNTRIES = {"DE": (26, 1), "NL": (18, 1), "FR": (14, 1), "GB": (12, 0), "US": (20, -6), "IN": (6, 5), "JP": (4, 9)}
REFERERS = {
    "": 38,
    "https://www.google.com/": 30,
    "https://news.ycombinator.com/item": 8,
    "https://www.reddit.com/r/maps": 8,
    "https://duckduckgo.com/": 6,
    "https://blog.example.org/best-maps": 6,
    "https://www.youtube.com/watch": 4,
}
PAGES = {
    "/": 30,
    "/maps": 20,
    "/maps/rivers": 9,
    "/maps/railways": 8,
    "/maps/night-sky": 7,
    "/pricing": 12,
    "/docs": 9,
    "/blog/why-maps": 5,
}
FILES = {
    ("/files/rivers.csv", "csv"): 34,
    ("/files/railways.geojson", "geojson"): 20,
    ("/files/night-sky.pdf", "pdf"): 26,
    ("/files/all-maps.zip", "zip"): 20,
}
VIDEOS = {"/videos/tour": (95, 6), "/videos/how-rivers-are-drawn": (310, 3), "/videos/first-map": (180, 2)}
PLANS = {"free": 70, "team": 24, "enterprise": 6}
PRODUCTS = {
    "Rivers poster": (24.0, 40),
    "Railways poster": (29.0, 30),
    "Night sky globe": (89.0, 12),
    "Atlas": (149.0, 6),
}
SEARCHES = {"rivers": 30, "railway 1910": 14, "night sky": 16, "old paris": 10, "elevation data": 12, "refund": 3}
#: How likely a visit begins in each hour of the visitor's clock.
_HOURS = (3, 2, 1, 1, 1, 2, 5, 10, 16, 20, 21, 20, 18, 18, 19, 19, 18, 17, 18, 20, 21, 17, 11, 6)


@dataclass
class Visitor:
    """One visitor: what stays the same over all visits."""

    id: str
    draw: random.Random
    agent: str
    country: str
    referer: str
    #: The application's own id, once they signed up.
    user: str = ""
    plan: str = ""
    events: list[Event] = field(default_factory=list)


def month(seed: str, until: datetime, days: int, app: str) -> Iterator[Event]:
    """The events of the `days` that end at `until` (UTC), day by day. Each has an insert_id of its own."""
    last = until.date()
    first = last - timedelta(days=days - 1)
    start, end = datetime.combine(first, time(), UTC), until
    births = [first + timedelta(days=number) for number in range(-LIFE_DAYS, days)]
    events = [event for day in births for event in _of_day(seed, day) if start <= event["@timestamp"] < end]
    events.sort(key=lambda event: event["@timestamp"])
    for event in events:
        yield {**event, "@timestamp": event["@timestamp"].isoformat(timespec="milliseconds"), "app": app}


def _of_day(seed: str, day: date) -> Iterator[Event]:
    """The whole lives of the visitors who came first on this day, and the day's robots."""
    draw = _draw(seed, day, "visitors")
    weekend = day.weekday() >= 5
    # A little growth, a weekend that is quiet, and some noise.
    growth = 1 + (day.toordinal() % 365) / 1200
    count = int(NEW_A_DAY * (0.6 if weekend else 1) * growth * draw.uniform(0.85, 1.15))
    for number in range(count):
        yield from _numbered(_life(seed, day, number), f"{seed}-{day:%Y%m%d}-{number}")
    yield from _numbered(_robots(seed, day), f"{seed}-{day:%Y%m%d}-robots")


def _numbered(events: list[Event], name: str) -> Iterator[Event]:
    """With insert_ids, and without what would have happened while the site was away."""
    head = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
    for number, event in enumerate(events):
        if is_outage(event["@timestamp"]):
            if event.get("event") != "view":
                continue
            event = {**event, "event": "error", "status": 503}
        yield {**event, "insert_id": f"{head}-{number}"}


def is_outage(moment: datetime) -> bool:
    """Whether the site is away at this moment."""
    hour = moment.hour + moment.minute / 60
    return moment.toordinal() % OUTAGE_EVERY_DAYS == 7 and OUTAGE_HOURS[0] <= hour < OUTAGE_HOURS[1]


def _draw(seed: str, day: date, what: str) -> random.Random:
    return random.Random(f"{seed}:{day}:{what}")  # noqa: S311 - made-up data


def _one_of(draw: random.Random, weights: dict[Any, Any]) -> Any:
    """A key, drawn by its weight."""
    return draw.choices(list(weights), list(weights.values()))[0]


def _life(seed: str, day: date, number: int) -> list[Event]:
    draw = _draw(seed, day, str(number))
    visitor = Visitor(
        f"anon-{day:%m%d}-{number}-{draw.randrange(16**4):04x}",
        draw,
        _one_of(draw, AGENTS),
        _one_of(draw, {name: weight for name, (weight, _) in COUNTRIES.items()}),
        _one_of(draw, REFERERS),
    )
    # Those who come back once are more likely to come back again.
    after, chance = 0, 0.42
    visit = 0
    while after <= LIFE_DAYS:
        _visit(visitor, day + timedelta(days=after), visit)
        if draw.random() > chance:
            break
        after += 1 + int(draw.expovariate(1 / 4))
        chance, visit = min(chance + 0.12, 0.8), visit + 1
    return visitor.events


def _visit(visitor: Visitor, day: date, number: int) -> None:
    draw = visitor.draw
    hour = draw.choices(range(24), _HOURS)[0] - COUNTRIES[visitor.country][1]
    clock = datetime.combine(day, time(), UTC) + timedelta(hours=hour, seconds=draw.uniform(0, 3600))
    visit = _Visit(visitor, clock, f"{visitor.id}-{number}")
    visit.see(_one_of(draw, PAGES), referer=visitor.referer if number == 0 or draw.random() < 0.3 else "")
    while draw.random() < 0.68:
        visit.see(_one_of(draw, PAGES))
    if draw.random() < 0.16:
        visit.log("search", query=_one_of(draw, SEARCHES))
    if draw.random() < 0.04:
        visit.log("error", 5, id="/maps/atlantis", url=f"{SITE}/maps/atlantis", status=404)
    if draw.random() < 0.2:
        item, form = _one_of(draw, FILES)
        visit.log("download", 20, id=item, url=SITE + item, format=form)
    if draw.random() < 0.14:
        visit.watch()
    if not visitor.user and draw.random() < 0.07 + 0.05 * number:
        visit.sign_up()
    if visitor.user and draw.random() < 0.22:
        visit.buy()


class _Visit:
    """One visit: events of one session, one after another."""

    def __init__(self, visitor: Visitor, clock: datetime, session: str) -> None:
        self._visitor, self._clock, self._session = visitor, clock, session

    def log(self, event: str, pause_s: float = 8, **properties: Any) -> None:
        """Log an event, about `pause_s` seconds after the one before."""
        visitor = self._visitor
        self._clock += timedelta(seconds=visitor.draw.expovariate(1 / pause_s))
        said = {
            "@timestamp": self._clock,
            "event": event,
            "distinct_id": visitor.user or visitor.id,
            "session_id": self._session,
            "user_agent": visitor.agent,
            "country": visitor.country,
            **({"plan": visitor.plan} if visitor.plan else {}),
            **properties,
        }
        visitor.events.append(said)

    def see(self, page: str, referer: str = "") -> None:
        self.log("view", 35, id=page, url=SITE + page, **({"referer": referer} if referer else {}))

    def watch(self) -> None:
        video = _one_of(self._visitor.draw, {name: weight for name, (_, weight) in VIDEOS.items()})
        length = VIDEOS[video][0]
        watched = min(length, round(self._visitor.draw.expovariate(1 / (length * 0.6))))
        self.see(video)
        self.log("play", 3, id=video, url=SITE + video)
        self.log("watched", max(watched, 1), id=video, url=SITE + video, seconds=watched, finished=watched == length)

    def sign_up(self) -> None:
        visitor = self._visitor
        self.see("/sign-up")
        if visitor.draw.random() < 0.35:
            return  # they looked at the form and left
        plan = _one_of(visitor.draw, PLANS)
        self.log("sign_up", 60, plan=plan)
        visitor.user, visitor.plan = f"user-{visitor.id[5:]}", plan
        self.log(IDENTIFY, 0.1, **{LINKED: visitor.id})

    def buy(self) -> None:
        draw = self._visitor.draw
        product = _one_of(draw, {name: weight for name, (_, weight) in PRODUCTS.items()})
        price, quantity = PRODUCTS[product][0], draw.choices((1, 2, 3), (80, 15, 5))[0]
        self.log("add_to_basket", 40, product=product, price=price)
        if draw.random() < 0.62:
            self.log("purchase", 90, product=product, price=price * quantity, quantity=quantity, currency="EUR")


def _robots(seed: str, day: date) -> list[Event]:
    draw = _draw(seed, day, "robots")
    midnight = datetime.combine(day, time(), UTC)
    return [
        {
            "@timestamp": midnight + timedelta(seconds=draw.uniform(0, 86_400)),
            "event": "view",
            "id": page,
            "url": SITE + page,
            "user_agent": _one_of(draw, ROBOTS),
        }
        for page in draw.choices(list(PAGES), list(PAGES.values()), k=draw.randrange(150, 260))
    ]
